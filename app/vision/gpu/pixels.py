"""The work on pixels on an NVIDIA GPU. Results are those of OpenCV, but for the last digits of flow.

Pictures go there once, as they come; points, boxes and maps come and go. Each question is answered before the next one.
"""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.errors import GpuError
from app.core.types import Alignment, BgrPicture, FrameBoxes, Picture, PointFlow, ResidentPicture, Size, YuvPicture
from app.gpu.buffers import Growing, aligned
from app.gpu.device import DeviceMemory, Gpu, PinnedMemory, Stream
from app.gpu.pool import MemoryPool
from app.gpu.structures import CAMERA_MAP, FLOW_JOB, FOLLOWED_POINT, LUMA_PLANE, POINT_SEARCH
from app.vision.alignment import NO_SHIFT, THUMBNAIL, Thumbnail, align
from app.vision.gpu.frames import FrameLayout, GpuFrame
from app.vision.gpu.kernels import VisionKernels, edge_scratch_bytes
from app.vision.luma import (
    SEARCH_END_PX,
    SEARCH_STEPS,
    TEMPLATE_SIDE,
    camera_on_luma,
    divisor_of,
    map_shape,
    no_flow,
    on_luma,
    point_flow,
    pyramid_levels,
    reduced_size,
    to_frame,
    to_luma,
)

logger = logging.getLogger(__name__)

_USUAL_FRAME = Size(1920, 1080)
_FRAMES_HELD = 4
"""The present one, the one before, the one that is being looked at, and one in transit."""


def can_take(picture: Picture, divisor: int) -> bool:
    """Whether pictures are large enough: what is smaller than a thumbnail is the processor's."""
    luma = reduced_size(picture.size, divisor)
    return luma.width >= THUMBNAIL.width and luma.height >= THUMBNAIL.height


def usual_stream_bytes() -> int:
    """GPU memory that the vision of a 1080p stream of pushed pictures comes to hold, for who admits streams."""
    layout = FrameLayout.of(_USUAL_FRAME, is_bgr=True, divisor=divisor_of(_USUAL_FRAME))
    return _FRAMES_HELD * layout.n_bytes + edge_scratch_bytes(layout.level_sizes[0])


class GpuPixels:
    """All of `core.types.Vision` but `canvas`, for frames of its own. One instance per stream; not thread-safe.

    Every method raises GpuError if the GPU fails, or has too little memory.
    """

    def __init__(self, gpu: Gpu, kernels: VisionKernels) -> None:
        self._gpu = gpu
        self._kernels = kernels
        self._stream: Stream = gpu.open_stream()
        self._layout: FrameLayout | None = None
        self._pool: MemoryPool | None = None
        self._staged = Growing[PinnedMemory](gpu.allocate_pinned)
        self._is_sending = False
        """What is staged may still be on its way."""
        self._host = Growing[PinnedMemory](gpu.allocate_pinned)
        self._device = Growing[DeviceMemory](gpu.allocate)
        self._scratch = Growing[DeviceMemory](gpu.allocate)

    @property
    def device_bytes(self) -> int:
        """GPU memory that it holds."""
        frames = self._pool.device_bytes if self._pool else 0
        return frames + self._device.n_bytes + self._scratch.n_bytes

    def prepare(self, picture: Picture, divisor: int) -> GpuFrame:
        """Send a picture on its way, and have its luma made; of planes, only Y is sent.

        Args:
            divisor: by how much luma is reduced.
        """
        self._gpu.make_current()
        layout, pool = self._memory_for(picture, divisor)
        frame = GpuFrame(picture, layout, pool.take())
        self._send(frame, [picture.y if isinstance(picture, YuvPicture) else picture.pixels], 0)
        if layout.reduces:
            is_half = divisor > 1
            self._kernels.reduce(self._stream, frame.source(), frame.luma, is_bgr=layout.is_bgr, is_half=is_half)
        for index in range(1, len(frame.levels)):
            self._kernels.halve(self._stream, np.asarray(frame.levels[index - 1]), np.asarray(frame.levels[index]))
        return frame

    def resident(self, frame: GpuFrame) -> ResidentPicture:
        """The whole picture, which lies in GPU memory once this returns."""
        picture = frame.picture
        if isinstance(picture, YuvPicture) and not frame.has_colour:
            self._gpu.make_current()
            self._send(frame, [picture.u, picture.v], 1)
            frame.has_colour = True
        self._wait()
        return frame.resident(self._gpu.ordinal)

    def flow(
        self,
        earlier: GpuFrame,
        later: GpuFrame,
        points: NDArray[np.float32],
        guess: NDArray[np.float32],
        reach_px: float = math.inf,
    ) -> PointFlow:
        if len(points) == 0:
            return no_flow()
        start = to_luma(points, earlier.scale)
        searches = np.zeros(len(points), POINT_SEARCH)
        searches["start"], searches["guess"] = start, to_luma(guess, later.scale)
        n_levels = min(pyramid_levels(reach_px * earlier.scale) + 1, len(earlier.levels))
        job = np.zeros((), FLOW_JOB)
        job["earlier"][:n_levels], job["later"][:n_levels] = earlier.levels[:n_levels], later.levels[:n_levels]
        job["n_levels"], job["n_points"] = n_levels, len(points)
        job["max_steps"], job["last_step_px"] = SEARCH_STEPS, SEARCH_END_PX

        def give(asked: int, answer: int) -> None:
            self._kernels.follow(self._stream, job, searches=asked, found=answer)

        found = self._answer(give, searches, (len(points),), FOLLOWED_POINT)
        return point_flow(
            start,
            found["there"],
            found["back"],
            found["has_converged"] == 1,
            min_eigenvalue=np.ascontiguousarray(found["min_eigenvalue"]),
            scale=later.scale,
            frame=later.size,
        )

    def corners(self, frame: GpuFrame, boxes: FrameBoxes, grid: tuple[int, int]) -> NDArray[np.float32]:
        n_boxes, n_cells = len(boxes), grid[0] * grid[1]
        if n_boxes == 0:
            return np.zeros((0, n_cells, 2), np.float32)

        def give(asked: int, answer: int) -> None:
            self._kernels.corners(self._stream, frame.luma, boxes=asked, n_boxes=n_boxes, grid=grid, corners=answer)

        places = self._answer(give, on_luma(boxes, frame.scale), (n_boxes, n_cells, 2), np.dtype(np.int32))
        points = to_frame(places.astype(np.float32), frame.scale)
        return np.where(places >= 0, points, np.float32(np.nan))

    def templates(self, frame: GpuFrame, boxes: FrameBoxes) -> NDArray[np.float32]:
        shape = (len(boxes), TEMPLATE_SIDE, TEMPLATE_SIDE)
        if len(boxes) == 0:
            return np.zeros(shape, np.float32)

        def give(asked: int, answer: int) -> None:
            self._kernels.templates(self._stream, frame.luma, boxes=asked, n_boxes=len(boxes), templates=answer)

        return self._answer(give, on_luma(boxes, frame.scale), shape, np.dtype(np.uint8)).astype(np.float32)

    def edge_map(self, frame: GpuFrame) -> NDArray[np.float32]:
        self._gpu.make_current()
        luma = frame.layout.level_sizes[0]
        scratch = self._scratch.holding(edge_scratch_bytes(luma)).address
        return self._map(luma, lambda map_: self._kernels.edges(self._stream, frame.luma, scratch=scratch, map_=map_))

    def motion_map(self, earlier: GpuFrame, later: GpuFrame, camera: NDArray[np.float64] | None) -> NDArray[np.float32]:
        back = np.zeros((), CAMERA_MAP)
        if camera is not None:
            back["x"], back["y"] = cv2.invertAffineTransform(camera_on_luma(camera, later.scale))
            back["is_used"] = 1
        luma = later.layout.level_sizes[0]
        return self._map(
            luma, lambda map_: self._kernels.motion(self._stream, earlier.luma, later.luma, back, map_=map_)
        )

    def alignment(self, earlier: GpuFrame, later: GpuFrame, expected_px: NDArray[np.floating] = NO_SHIFT) -> Alignment:
        return align(self._thumbnail(earlier), self._thumbnail(later), later.size, expected_px)

    def close(self) -> None:
        """Give all memory back, once the work in hand is done; that of frames when nobody holds them."""
        try:
            self._gpu.make_current()
            self._stream.wait()
        except GpuError as error:
            logger.debug("the GPU's work did not end well", extra={"reason": str(error)})
        for memory in (self._staged, self._host, self._device, self._scratch):
            memory.close()
        if self._pool:
            self._pool.close()
        self._stream.close()

    # ------------------------------------------------------------------------------------------------ pictures

    def _memory_for(self, picture: Picture, divisor: int) -> tuple[FrameLayout, MemoryPool]:
        """Where pictures of that kind are put; frames of another kind keep what they have."""
        if self._layout is None or self._pool is None or not self._layout.fits(picture):
            is_bgr = isinstance(picture, BgrPicture)
            self._layout = FrameLayout.of(picture.size, is_bgr=is_bgr, divisor=divisor)
            if self._pool:
                self._wait()  # for work on frames that nobody holds any more
                self._pool.close()
            self._pool = MemoryPool(self._gpu, self._layout.n_bytes)
        return self._layout, self._pool

    def _send(self, frame: GpuFrame, planes: Sequence[NDArray[np.uint8]], first: int) -> None:
        """Send some of a picture's planes.

        Args:
            first: number of the first one.
        """
        if self._is_sending:
            self._wait()
        staged = self._staged.holding(frame.layout.picture_bytes)
        for index, plane in enumerate(planes, first):
            offset, address = frame.layout.planes[index], frame.address_of(index)
            np.copyto(staged.bytes[offset : offset + plane.size].reshape(plane.shape), plane)
            self._stream.upload(staged, address, plane.size, offset)
        self._is_sending = True

    def _wait(self) -> None:
        self._gpu.make_current()
        self._stream.wait()
        self._is_sending = False

    # ----------------------------------------------------------------------------------------------- questions

    def _answer(
        self,
        give: Callable[[int, int], None],
        asked: NDArray[Any],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> NDArray[Any]:
        """Send an array, have kernels work on it, and wait for what they made of it.

        Args:
            give: gives the stream the kernels; told the addresses of what is asked and of the answer.
            shape, dtype: of the answer.
        """
        self._gpu.make_current()
        n_bytes = math.prod(shape) * dtype.itemsize
        first = aligned(asked.nbytes)
        host, device = self._host.holding(first + n_bytes), self._device.holding(first + n_bytes).address
        if asked.nbytes:
            host.bytes[: asked.nbytes] = np.ascontiguousarray(asked).view(np.uint8).reshape(-1)
            self._stream.upload(host, device, asked.nbytes)
        give(device, device + first)
        self._stream.download(device + first, host, n_bytes, first)
        self._wait()
        return host.bytes[first : first + n_bytes].view(dtype).reshape(shape).copy()

    def _map(self, luma: Size, give: Callable[[int], None]) -> NDArray[np.float32]:
        """A map that kernels fill, 0 to 1.

        Args:
            give: told the address of (rows, columns) uint8.
        """
        nothing = np.zeros(0, np.uint8)
        cells = self._answer(lambda _, map_: give(map_), nothing, map_shape(luma), np.dtype(np.uint8))
        return cells.astype(np.float32) / np.float32(255)

    def _thumbnail(self, frame: GpuFrame) -> Thumbnail:
        """Made when first asked for."""
        if frame.thumbnail is None:
            plane = np.zeros((), LUMA_PLANE)
            plane["pitch"], (plane["width"], plane["height"]) = THUMBNAIL.width, THUMBNAIL

            def give(_asked: int, answer: int) -> None:
                plane["pixels"] = answer
                self._kernels.shrink(self._stream, frame.luma, plane)

            shape = (THUMBNAIL.height, THUMBNAIL.width)
            frame.thumbnail = Thumbnail(self._answer(give, np.zeros(0, np.uint8), shape, np.dtype(np.uint8)))
        return frame.thumbnail
