"""The kernels of vision, ready on one GPU, and the arguments that they take."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.types import Size
from app.gpu.device import Kernel, Stream
from app.gpu.loading import LoadedKernels
from app.gpu.structures import CORNER_BLOCK, FOLLOW_BLOCK, PIXEL_BLOCK, TEMPLATE_BLOCK
from app.vision.luma import (
    CANNY_HIGH,
    CANNY_LOW,
    CELL_LUMA_PX,
    MIN_CORNER_EIGENVALUE,
    MOTION_THRESHOLD,
    TEMPLATE_SIDE,
)

Plane = NDArray[Any]
"""One LUMA_PLANE."""


class VisionKernels:
    """All of them on one GPU. Any thread may use them. Arguments that are numbers are addresses on the GPU."""

    def __init__(self, loaded: LoadedKernels) -> None:
        """
        Raises:
            KernelsNotCompiled: NVRTC is missing or fails.
            GpuFailed: the GPU does not take what was compiled.
        """
        self._reduce = loaded.kernel("planes", "reduce_luma")
        self._halve = loaded.kernel("planes", "halve_luma")
        self._shrink = loaded.kernel("planes", "shrink_luma")
        self._follow = loaded.kernel("flow", "follow_points")
        self._corners = loaded.kernel("texture", "find_corners")
        self._templates = loaded.kernel("texture", "sample_templates")
        self._classify = loaded.kernel("maps", "classify_edges")
        self._join = loaded.kernel("maps", "join_edges")
        self._mark = loaded.kernel("maps", "mark_edges")
        self._count = loaded.kernel("maps", "count_edges")
        self._motion = loaded.kernel("maps", "find_motion")

    def reduce(self, stream: Stream, picture: Plane, luma: Plane, *, is_bgr: bool, is_half: bool) -> None:
        """Luma of a picture, its Y plane or interleaved BGR.

        Args:
            is_half: averaged over 2×2 pixels, then resized; else of the picture's own size.
        """
        self._for_pixels(stream, self._reduce, luma, [picture, _int(is_bgr), _int(is_half), luma])

    def halve(self, stream: Stream, luma: Plane, half: Plane) -> None:
        """The next level of a pyramid."""
        self._for_pixels(stream, self._halve, half, [luma, half])

    def shrink(self, stream: Stream, luma: Plane, thumbnail: Plane) -> None:
        """By averaging."""
        self._for_pixels(stream, self._shrink, thumbnail, [luma, thumbnail])

    def follow(self, stream: Stream, job: NDArray[Any], *, searches: int, found: int) -> None:
        """Points there and back.

        Args:
            job: one FLOW_JOB.
            searches: POINT_SEARCH of each point.
            found: FOLLOWED_POINT of each point.
        """
        n_blocks = -(-int(job["n_points"]) // FOLLOW_BLOCK[1])
        stream.launch(self._follow, (n_blocks, 1, 1), FOLLOW_BLOCK, [job, _address(searches), _address(found)])

    def corners(
        self, stream: Stream, luma: Plane, *, boxes: int, n_boxes: int, grid: tuple[int, int], corners: int
    ) -> None:
        """The strongest corner in each cell.

        Args:
            boxes: (n_boxes, 4) float32, x1, y1, x2, y2 from the plane's edges.
            grid: columns and rows of cells in each box.
            corners: (n_boxes, columns · rows, 2) int32, x, y of a pixel; negative where there is none.
        """
        columns, rows = grid
        arguments = [luma, _address(boxes), _int(columns), _int(rows), np.array(MIN_CORNER_EIGENVALUE, np.float32)]
        stream.launch(self._corners, (columns * rows, n_boxes, 1), CORNER_BLOCK, [*arguments, _address(corners)])

    def templates(self, stream: Stream, luma: Plane, *, boxes: int, n_boxes: int, templates: int) -> None:
        """What is in each box.

        Args:
            boxes: as for `corners`.
            templates: (n_boxes, side, side) uint8.
        """
        arguments = [luma, _address(boxes), _int(TEMPLATE_SIDE), _address(templates)]
        stream.launch(self._templates, (n_boxes, 1, 1), TEMPLATE_BLOCK, arguments)

    def edges(self, stream: Stream, luma: Plane, *, scratch: int, map_: int) -> None:
        """Share of edges in each cell.

        Args:
            scratch: `edge_scratch_bytes` of memory.
            map_: (rows, columns) uint8, of 255.
        """
        size = _size(luma)
        labels, is_strong = _address(scratch), _address(scratch + 4 * size.pixels)
        is_marked = _address(scratch + 5 * size.pixels)
        shape = [_int(size.width), _int(size.height)]
        thresholds = [_int(CANNY_LOW), _int(CANNY_HIGH)]
        self._for_pixels(stream, self._classify, luma, [luma, *thresholds, labels, is_strong, is_marked])
        self._for_pixels(stream, self._join, luma, [*shape, labels])
        self._for_pixels(stream, self._mark, luma, [*shape, labels, is_strong, is_marked])
        self._for_cells(stream, self._count, luma, [*shape, labels, is_marked, _address(map_)])

    def motion(self, stream: Stream, earlier: Plane, later: Plane, camera: NDArray[Any], *, map_: int) -> None:
        """Share of changed pixels in each cell.

        Args:
            camera: one CAMERA_MAP.
            map_: as for `edges`.
        """
        arguments = [earlier, later, camera, _int(MOTION_THRESHOLD), _address(map_)]
        self._for_cells(stream, self._motion, later, arguments)

    def _for_pixels(self, stream: Stream, kernel: Kernel, target: Plane, arguments: list[NDArray[Any]]) -> None:
        """A thread for each pixel of the target."""
        width, height = _size(target)
        grid = (-(-width // PIXEL_BLOCK[0]), -(-height // PIXEL_BLOCK[1]), 1)
        stream.launch(kernel, grid, PIXEL_BLOCK, arguments)

    def _for_cells(self, stream: Stream, kernel: Kernel, luma: Plane, arguments: list[NDArray[Any]]) -> None:
        """A block for as many cells, side by side, as it is wide."""
        width, height = _size(luma)
        grid = (-(-width // PIXEL_BLOCK[0]), -(-height // CELL_LUMA_PX), 1)
        stream.launch(kernel, grid, PIXEL_BLOCK, arguments)


def edge_scratch_bytes(luma: Size) -> int:
    """Memory that `edges` needs: a label and two marks for each pixel."""
    return 6 * luma.pixels


def _size(plane: Plane) -> Size:
    return Size(int(plane["width"]), int(plane["height"]))


def _int(value: int) -> NDArray[np.int32]:
    return np.array(value, np.int32)


def _address(address: int) -> NDArray[np.uint64]:
    return np.array(address, np.uint64)
