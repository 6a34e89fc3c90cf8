"""The work on pixels, on the CPU with OpenCV.

Flow, corners and maps use the luma plane at reduced size; colour is touched only where a patch is cut.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.types import (
    Alignment,
    BgrPicture,
    FrameBoxes,
    PatchCopy,
    Picture,
    PointFlow,
    PreparedFrame,
    Size,
    VisionPlace,
    YuvPicture,
)
from app.vision.alignment import NO_SHIFT, THUMBNAIL, Thumbnail, align
from app.vision.drawing import Drawer, ScaledPicture, halved
from app.vision.luma import (
    CANNY_HIGH,
    CANNY_LOW,
    CELL_LUMA_PX,
    CORNER_BLOCK_PX,
    MIN_CORNER_EIGENVALUE,
    MOTION_THRESHOLD,
    SAMPLES_PER_CELL,
    SEARCH_END_PX,
    SEARCH_STEPS,
    TEMPLATE_SIDE,
    WINDOW_PX,
    camera_on_luma,
    divisor_of,
    map_shape,
    no_flow,
    on_luma,
    point_flow,
    pyramid_levels,
    reduced_size,
    sample_fractions,
    to_luma,
)

_SEARCH = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, SEARCH_STEPS, SEARCH_END_PX)


class CpuFrame:
    """A picture with the reduced planes that were derived from it so far."""

    __slots__ = ("__weakref__", "_thumbnail", "luma", "scale", "scaled", "size")

    def __init__(self, picture: Picture, divisor: int) -> None:
        self.size = picture.size
        self.scale = 1 / divisor
        self.luma, half = _luma(picture, divisor)
        self.scaled = ScaledPicture(picture, half)
        self._thumbnail: Thumbnail | None = None

    @property
    def thumbnail(self) -> Thumbnail:
        """The luma as a small picture; made when first asked for."""
        if self._thumbnail is None:
            self._thumbnail = Thumbnail(cv2.resize(self.luma, THUMBNAIL, interpolation=cv2.INTER_AREA))
        return self._thumbnail


class CpuVision:
    """`core.types.Vision` with OpenCV. One instance per stream; not thread-safe."""

    def __init__(self) -> None:
        self._divisor = 0
        self._eigenvalues = np.zeros((0, 0), np.float32)
        self._drawer = Drawer()

    place: VisionPlace = "cpu"

    @property
    def cell_px(self) -> int:
        return CELL_LUMA_PX * max(1, self._divisor)

    def prepare(self, picture: Picture) -> PreparedFrame:
        if not self._divisor:
            self._divisor = divisor_of(picture.size)
        return CpuFrame(picture, self._divisor)

    def flow(
        self,
        earlier: PreparedFrame,
        later: PreparedFrame,
        points: NDArray[np.float32],
        guess: NDArray[np.float32],
        reach_px: float = math.inf,
    ) -> PointFlow:
        before, after = cpu_frame(earlier), cpu_frame(later)
        if len(points) == 0:
            return no_flow()
        start = to_luma(points, before.scale)
        there, found, eigenvalues = cv2.calcOpticalFlowPyrLK(
            before.luma,
            after.luma,
            start,
            to_luma(guess, after.scale),
            winSize=(WINDOW_PX, WINDOW_PX),
            maxLevel=pyramid_levels(reach_px * before.scale),
            criteria=_SEARCH,
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW | cv2.OPTFLOW_LK_GET_MIN_EIGENVALS,
        )
        # The way back starts where the point came from: a point that is right stays there, and the search is
        # short; one that jumped to a look-alike converges elsewhere.
        back, found_back, _ = cv2.calcOpticalFlowPyrLK(
            after.luma,
            before.luma,
            there,
            start.copy(),
            winSize=(WINDOW_PX, WINDOW_PX),
            maxLevel=0,
            criteria=_SEARCH,
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )
        return point_flow(
            start,
            there,
            back,
            (found[:, 0] == 1) & (found_back[:, 0] == 1),
            min_eigenvalue=eigenvalues[:, 0],
            scale=after.scale,
            frame=after.size,
        )

    def corners(self, frame: PreparedFrame, boxes: FrameBoxes, grid: tuple[int, int]) -> NDArray[np.float32]:
        own = cpu_frame(frame)
        columns, rows = grid
        n_cells = columns * rows
        if len(boxes) == 0:
            return np.zeros((0, n_cells, 2), np.float32)
        height, width = own.luma.shape
        luma_boxes = on_luma(boxes, own.scale)
        eigenvalues = self._eigenvalues_in(own.luma, luma_boxes)
        samples = SAMPLES_PER_CELL
        size = luma_boxes[:, 2:] - luma_boxes[:, :2]
        x = np.floor(luma_boxes[:, 0:1] + size[:, 0:1] * sample_fractions(columns * samples)).astype(np.int32)
        y = np.floor(luma_boxes[:, 1:2] + size[:, 1:2] * sample_fractions(rows * samples)).astype(np.int32)
        inside = ((x >= 0) & (x < width))[:, None, :] & ((y >= 0) & (y < height))[:, :, None]
        strength = eigenvalues[np.clip(y, 0, height - 1)[:, :, None], np.clip(x, 0, width - 1)[:, None, :]]
        strength = np.where(inside, strength, 0)
        cells = strength.reshape(-1, rows, samples, columns, samples).transpose(0, 1, 3, 2, 4)
        cells = cells.reshape(len(boxes), n_cells, samples * samples)
        best = cells.argmax(axis=2)
        cell_y, cell_x = np.divmod(np.arange(n_cells), columns)
        rows_taken = np.arange(len(boxes))[:, None]
        point_x = x[rows_taken, cell_x * samples + best % samples]
        point_y = y[rows_taken, cell_y * samples + best // samples]
        points = (np.stack([point_x, point_y], axis=2) + np.float32(0.5)) / np.float32(own.scale)
        textured = cells.max(axis=2) >= MIN_CORNER_EIGENVALUE
        return np.where(textured[..., None], points, np.nan).astype(np.float32)

    def _eigenvalues_in(self, luma: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map as large as `luma` whose values are valid inside the boxes."""
        height, width = luma.shape
        low = np.clip(np.floor(boxes[:, :2]).astype(int), 0, (width, height))
        high = np.clip(np.ceil(boxes[:, 2:]).astype(int), 0, (width, height))
        if np.prod(np.maximum(high - low, 0), axis=1).sum() > 0.5 * luma.size:
            return cv2.cornerMinEigenVal(luma, CORNER_BLOCK_PX)
        if self._eigenvalues.shape != luma.shape:
            self._eigenvalues = np.zeros(luma.shape, np.float32)
        for (x1, y1), (x2, y2) in zip(low.tolist(), high.tolist(), strict=True):
            if x2 > x1 and y2 > y1:
                self._eigenvalues[y1:y2, x1:x2] = cv2.cornerMinEigenVal(luma[y1:y2, x1:x2], CORNER_BLOCK_PX)
        return self._eigenvalues

    def templates(self, frame: PreparedFrame, boxes: FrameBoxes) -> NDArray[np.float32]:
        own = cpu_frame(frame)
        if len(boxes) == 0:
            return np.zeros((0, TEMPLATE_SIDE, TEMPLATE_SIDE), np.float32)
        fractions = sample_fractions(TEMPLATE_SIDE)
        luma_boxes = on_luma(boxes, own.scale)
        size = luma_boxes[:, 2:] - luma_boxes[:, :2]
        x = luma_boxes[:, 0:1] + size[:, 0:1] * fractions - 0.5
        y = luma_boxes[:, 1:2] + size[:, 1:2] * fractions - 0.5
        shape = (len(boxes), TEMPLATE_SIDE, TEMPLATE_SIDE)
        map_x = np.broadcast_to(x[:, None, :], shape).reshape(-1, TEMPLATE_SIDE)
        map_y = np.broadcast_to(y[:, :, None], shape).reshape(-1, TEMPLATE_SIDE)
        values = cv2.remap(own.luma, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return values.reshape(shape).astype(np.float32)

    def edge_map(self, frame: PreparedFrame) -> NDArray[np.float32]:
        return _share_by_cell(cv2.Canny(cpu_frame(frame).luma, CANNY_LOW, CANNY_HIGH))

    def motion_map(
        self, earlier: PreparedFrame, later: PreparedFrame, camera: NDArray[np.float64] | None
    ) -> NDArray[np.float32]:
        before, after = cpu_frame(earlier), cpu_frame(later)
        reference = before.luma
        covered: NDArray[np.uint8] | None = None
        if camera is not None:
            matrix = camera_on_luma(camera, after.scale)
            height, width = after.luma.shape
            reference = cv2.warpAffine(reference, matrix, (width, height), flags=cv2.INTER_LINEAR)
            covered = cv2.warpAffine(
                np.full(before.luma.shape, 255, np.uint8), matrix, (width, height), flags=cv2.INTER_NEAREST
            )
        change = cv2.absdiff(reference, after.luma)
        _, changed = cv2.threshold(change, MOTION_THRESHOLD, 255, cv2.THRESH_BINARY)
        if covered is not None:
            changed &= covered  # what the camera has just uncovered has nothing to be compared with
        return _share_by_cell(changed)

    def alignment(
        self, earlier: PreparedFrame, later: PreparedFrame, expected_px: NDArray[np.floating] = NO_SHIFT
    ) -> Alignment:
        return align(cpu_frame(earlier).thumbnail, cpu_frame(later).thumbnail, later.size, expected_px)

    def canvas(
        self, frame: PreparedFrame, copies: Sequence[PatchCopy], size: Size, pad_value: tuple[int, int, int]
    ) -> NDArray[np.uint8]:
        """Cut, resize and place patches on a canvas (H, W, 3) filled with `pad_value`."""
        return self._drawer.draw(cpu_frame(frame).scaled, copies, size, pad_value)

    def close(self) -> None:
        """It holds nothing."""


def share_cores(n_cores: int, n_sessions: int) -> None:
    """Let so many sessions work on pixels at once: OpenCV's own threads gain each of them a little, at a price.

    Measured with 1080p on two cores, a frame takes 2 to 3 ms less with two threads, and 5 ms more of the processors.
    """
    cv2.setNumThreads(max(1, n_cores // max(1, n_sessions)))


def cpu_frame(frame: PreparedFrame) -> CpuFrame:
    """The frame, if OpenCV prepared it.

    Raises:
        TypeError: another vision did.
    """
    if not isinstance(frame, CpuFrame):
        raise TypeError(f"CpuVision was given a {type(frame).__name__} that another vision prepared")
    return frame


def _luma(picture: Picture, divisor: int) -> tuple[NDArray[np.uint8], Picture | None]:
    """Luma reduced by a whole number, and the picture at half size if that came of it."""
    reduced = reduced_size(picture.size, divisor)
    if isinstance(picture, YuvPicture):
        return (picture.y if divisor == 1 else _shrunk(halved(picture.y), reduced)), None
    if divisor == 1:
        return cv2.cvtColor(picture.pixels, cv2.COLOR_BGR2GRAY), None
    # Halved once, for the flow and for the patches that are shown at half size or less.
    half = BgrPicture(halved(picture.pixels))
    return _shrunk(cv2.cvtColor(half.pixels, cv2.COLOR_BGR2GRAY), reduced), half


def _shrunk(plane: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """A plane brought to a size of not much less than half of it, or left as it is."""
    if (plane.shape[1], plane.shape[0]) == size:
        return plane
    return cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)


def _share_by_cell(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Share of non-zero pixels of a 0/255 mask in each cell; the last row and column may be cut."""
    height, width = mask.shape
    rows, columns = map_shape(Size(width, height))
    bottom, right = rows * CELL_LUMA_PX - height, columns * CELL_LUMA_PX - width
    if bottom or right:
        mask = cv2.copyMakeBorder(mask, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=0)
    cells = cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_AREA)
    return cells.astype(np.float32) / np.float32(255)
