"""The work on pixels, on the CPU with OpenCV.

Flow, corners and maps use the luma plane at reduced size; colour is touched only where a patch is cut.
Source-frame coordinates are continuous (a pixel's centre is at +0.5); OpenCV's count from pixel centres.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

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
    YuvPicture,
)
from app.vision.colour import planes_to_bgr

LUMA_WIDTH_PX = 1280
"""Luma is reduced by the smallest whole number that brings it to that width: 2 for 1080p, 3 for 4K."""
CELL_LUMA_PX = 8
"""The paper's cell, on the reduced plane."""
WINDOW_PX = 11
MAX_PYRAMID_LEVELS = 3
SEARCH = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 12, 0.03)
TEMPLATE_SIDE = 16
CORNER_BLOCK_PX = 7
"""Wide enough for a corner to be felt at the samples beside it."""
SAMPLES_PER_CELL = 6
MIN_CORNER_EIGENVALUE = 1e-5
"""Below this a corner has no texture to follow (luma in 0..1, per window pixel)."""
MOTION_THRESHOLD = 12
"""Change of luma, of 255, that counts as motion; above the noise of a compressed stream."""
CANNY_LOW, CANNY_HIGH = 60, 160
THUMBNAIL = Size(96, 54)
SURPRISE_PRICE = 3.0
"""Correlation that a shift must gain for each width of the frame that it is from the expected one and from none at all:
facades repeat."""
NO_SHIFT = np.zeros(2, np.float32)
SWING = Size(19, 11)
"""A fifth of the thumbnail: the furthest that a picture is looked for between two frames."""
FLAT = 1.0
"""Standard deviation of luma, of 255, up to which a picture shows nothing."""


class CpuFrame:
    """A picture with the reduced planes that were derived from it so far."""

    __slots__ = ("_thumbnail", "half", "luma", "picture", "scale", "size")

    def __init__(self, picture: Picture, divisor: int) -> None:
        self.picture = picture
        self.size = picture.size
        self.scale = 1 / divisor
        self.half: Picture | None = None
        reduced = Size(-(-self.size.width // divisor), -(-self.size.height // divisor))
        if isinstance(picture, YuvPicture):
            self.luma = _luma(picture.y, divisor, reduced)
        elif divisor == 1:
            self.luma = cv2.cvtColor(picture.pixels, cv2.COLOR_BGR2GRAY)
        else:
            # Halved once, for the flow and for the patches that are shown at half size or less.
            self.half = BgrPicture(_halved(picture.pixels))
            grey = cv2.cvtColor(self.half.pixels, cv2.COLOR_BGR2GRAY)
            self.luma = _shrunk(grey, reduced)
        self._thumbnail: _Thumbnail | None = None

    @property
    def thumbnail(self) -> "_Thumbnail":
        """The luma as a small picture; made when first asked for."""
        if self._thumbnail is None:
            self._thumbnail = _Thumbnail(cv2.resize(self.luma, THUMBNAIL, interpolation=cv2.INTER_AREA))
        return self._thumbnail

    def at_most(self, scale: float) -> Picture:
        """The picture itself, or at half size if it is wanted at `scale` of half or less."""
        if scale > 0.5:
            return self.picture
        if self.half is None:
            self.half = _halve(self.picture)
        return self.half


class _Thumbnail:
    """A frame's luma as a small picture, and what is known of it."""

    __slots__ = ("is_flat", "middle", "pixels", "unit")

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels.astype(np.float32)
        self.middle = self.pixels[SWING.height : -SWING.height, SWING.width : -SWING.width]
        """Of which all is still in view after any swing."""
        centred = self.pixels - self.pixels.mean()
        norm = np.linalg.norm(centred)
        self.is_flat = bool(norm <= FLAT * math.sqrt(centred.size))
        self.unit = centred if self.is_flat else centred / norm

    @property
    def has_flat_middle(self) -> bool:
        return float(self.middle.std()) <= FLAT

    def correlation(self, other: "_Thumbnail") -> float:
        """Of two that are not flat, -1 to 1."""
        return float(np.vdot(self.unit, other.unit))


@dataclass(frozen=True, slots=True)
class _Shifts:
    """All that are tried between two thumbnails, in pixels of the frame."""

    across: NDArray[np.float64]
    """(columns,)"""
    down: NDArray[np.float64]
    """(rows, 1)"""
    distance: NDArray[np.float64]
    """(rows, columns) from none."""


@lru_cache(maxsize=32)
def _shifts(frame: Size) -> _Shifts:
    scale = np.array(frame, np.float32) / np.array(THUMBNAIL, np.float32)
    across = np.arange(-SWING.width, SWING.width + 1) * scale[0]
    down = np.arange(-SWING.height, SWING.height + 1)[:, None] * scale[1]
    return _Shifts(across, down, np.hypot(across, down))


class CpuPixels:
    """All of `core.types.Vision` but `canvas`, with OpenCV. One instance per stream; not thread-safe."""

    def __init__(self) -> None:
        self._divisor = 0
        self._eigenvalues = np.zeros((0, 0), np.float32)
        self._paddings: dict[tuple[Size, tuple[int, int, int]], NDArray[np.uint8]] = {}

    @property
    def cell_px(self) -> int:
        return CELL_LUMA_PX * max(1, self._divisor)

    def prepare(self, picture: Picture) -> PreparedFrame:
        if not self._divisor:
            self._divisor = -(-picture.size.width // LUMA_WIDTH_PX)
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
            return PointFlow(points, np.zeros(0, bool), np.zeros(0, np.float32), np.zeros(0, np.float32))
        start = _to_luma(points, before.scale)
        there, found, eigenvalues = cv2.calcOpticalFlowPyrLK(
            before.luma,
            after.luma,
            start,
            _to_luma(guess, after.scale),
            winSize=(WINDOW_PX, WINDOW_PX),
            maxLevel=_levels(reach_px * before.scale),
            criteria=SEARCH,
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
            criteria=SEARCH,
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )
        ends = _to_frame(there, after.scale)
        inside = np.all((ends >= 0) & (ends <= np.asarray(after.size, np.float32)), axis=1)
        round_trip = np.linalg.norm((back - start) / before.scale, axis=1).astype(np.float32)
        return PointFlow(
            points=ends,
            is_found=(found[:, 0] == 1) & (found_back[:, 0] == 1) & inside,
            round_trip_px=np.where(np.isfinite(round_trip), round_trip, np.float32(1e6)),
            min_eigenvalue=eigenvalues[:, 0],
        )

    def corners(self, frame: PreparedFrame, boxes: FrameBoxes, grid: tuple[int, int]) -> NDArray[np.float32]:
        own = cpu_frame(frame)
        columns, rows = grid
        n_cells = columns * rows
        if len(boxes) == 0:
            return np.zeros((0, n_cells, 2), np.float32)
        height, width = own.luma.shape
        luma_boxes = boxes * np.float32(own.scale)
        eigenvalues = self._eigenvalues_in(own.luma, luma_boxes)
        samples = SAMPLES_PER_CELL
        fractions_x = (np.arange(columns * samples, dtype=np.float32) + 0.5) / (columns * samples)
        fractions_y = (np.arange(rows * samples, dtype=np.float32) + 0.5) / (rows * samples)
        size = luma_boxes[:, 2:] - luma_boxes[:, :2]
        x = np.floor(luma_boxes[:, 0:1] + size[:, 0:1] * fractions_x).astype(np.int32)
        y = np.floor(luma_boxes[:, 1:2] + size[:, 1:2] * fractions_y).astype(np.int32)
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
        fractions = (np.arange(TEMPLATE_SIDE, dtype=np.float32) + 0.5) / TEMPLATE_SIDE
        luma_boxes = boxes * np.float32(own.scale)
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
            matrix = _camera_on_luma(camera, after.scale)
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
        before, after = cpu_frame(earlier).thumbnail, cpu_frame(later).thumbnail
        if before.is_flat or after.is_flat:
            return Alignment(NO_SHIFT, 0.0 if before.is_flat and after.is_flat else 1.0)
        at_rest = before.correlation(after)
        if before.has_flat_middle:
            return Alignment(NO_SHIFT, float(np.clip(1 - at_rest, 0, 1)))
        likeness = cv2.matchTemplate(after.pixels, before.middle, cv2.TM_CCOEFF_NORMED)
        shifts = _shifts(later.size)
        from_expected = np.hypot(shifts.across - expected_px[0], shifts.down - expected_px[1])
        surprise = np.minimum(shifts.distance, from_expected) / later.size.width
        row, column = np.unravel_index((likeness - SURPRISE_PRICE * surprise).argmax(), likeness.shape)
        shift_px = np.array([shifts.across[column], shifts.down[row, 0]], np.float32)
        return Alignment(shift_px, float(np.clip(1 - max(likeness[row, column], at_rest), 0, 1)))

    def draw(
        self, frame: PreparedFrame, copies: Sequence[PatchCopy], size: Size, pad_value: tuple[int, int, int]
    ) -> NDArray[np.uint8]:
        """A canvas (H, W, 3) with patches on it. Any thread may have one drawn."""
        own = cpu_frame(frame)
        canvas = self._padding(size, pad_value).copy()
        for copy in copies:
            x1, y1, x2, y2 = copy.target
            canvas[y1:y2, x1:x2] = _cut(own, copy)
        return canvas

    def _padding(self, size: Size, pad_value: tuple[int, int, int]) -> NDArray[np.uint8]:
        """An empty canvas, made once for each size: filling one is slower than copying it."""
        key = (size, pad_value)
        if key not in self._paddings:
            self._paddings[key] = np.full((size.height, size.width, 3), pad_value, np.uint8)
        return self._paddings[key]


class CpuVision(CpuPixels):
    """`core.types.Vision` with OpenCV."""

    def canvas(
        self, frame: PreparedFrame, copies: Sequence[PatchCopy], size: Size, pad_value: tuple[int, int, int]
    ) -> NDArray[np.uint8]:
        """Cut, resize and place patches on a canvas (H, W, 3) filled with `pad_value`."""
        return self.draw(frame, copies, size, pad_value)


def share_cores(n_cores: int, n_sessions: int) -> None:
    """Let so many sessions work on pixels at once: OpenCV's own threads gain each of them a little, at a price.

    Measured with 1080p on two cores, a frame takes 2 to 3 ms less with two threads, and 5 ms more of the processors.
    """
    cv2.setNumThreads(max(1, n_cores // max(1, n_sessions)))


def to_bgr(picture: Picture) -> NDArray[np.uint8]:
    """The whole picture as (H, W, 3) BGR; the picture's own pixels where it already is."""
    if isinstance(picture, BgrPicture):
        return picture.pixels
    return planes_to_bgr(picture, (0, 0, *picture.size), picture.size)


def _cut(frame: CpuFrame, copy: PatchCopy) -> NDArray[np.uint8]:
    """One patch, resized: bilinear, from the half-size picture where it is reduced by two or more."""
    x1, y1, x2, y2 = copy.source
    target = Size(copy.target[2] - copy.target[0], copy.target[3] - copy.target[1])
    scale = max(target.width / (x2 - x1), target.height / (y2 - y1))
    picture = frame.at_most(scale)
    if picture is not frame.picture:
        x1, y1 = x1 // 2, y1 // 2
        x2, y2 = -(-x2 // 2), -(-y2 // 2)
    if isinstance(picture, YuvPicture):
        return planes_to_bgr(picture, (x1, y1, x2, y2), target)
    return _resize(picture.pixels[y1:y2, x1:x2], target)


def _resize(pixels: NDArray[np.uint8], target: Size) -> NDArray[np.uint8]:
    if (pixels.shape[1], pixels.shape[0]) == target:
        return pixels
    return cv2.resize(pixels, target, interpolation=cv2.INTER_LINEAR)


def _halve(picture: Picture) -> Picture:
    if isinstance(picture, BgrPicture):
        return BgrPicture(_halved(picture.pixels))
    return YuvPicture(
        y=_halved(picture.y),
        u=_halved(picture.u),
        v=_halved(picture.v),
        is_full_range=picture.is_full_range,
    )


def _halved(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half the width and height, rounded up, by averaging 2×2 pixels; an odd last row or column is repeated.

    Only sizes that divide exactly have a fast way through OpenCV.
    """
    height, width = plane.shape[:2]
    if height % 2 or width % 2:
        plane = cv2.copyMakeBorder(plane, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return cv2.resize(plane, (-(-width // 2), -(-height // 2)), interpolation=cv2.INTER_AREA)


def _luma(plane: NDArray[np.uint8], divisor: int, reduced: Size) -> NDArray[np.uint8]:
    return plane if divisor == 1 else _shrunk(_halved(plane), reduced)


def _shrunk(plane: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """A plane brought to a size of not much less than half of it, or left as it is."""
    if (plane.shape[1], plane.shape[0]) == size:
        return plane
    return cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)


def _share_by_cell(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Share of non-zero pixels of a 0/255 mask in each cell; the last row and column may be cut."""
    height, width = mask.shape
    rows, columns = -(-height // CELL_LUMA_PX), -(-width // CELL_LUMA_PX)
    bottom, right = rows * CELL_LUMA_PX - height, columns * CELL_LUMA_PX - width
    if bottom or right:
        mask = cv2.copyMakeBorder(mask, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=0)
    cells = cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_AREA)
    return cells.astype(np.float32) / np.float32(255)


def _camera_on_luma(camera: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """The camera's affine in OpenCV's coordinates of the reduced plane."""
    linear = camera[:, :2]
    offset = camera[:, 2] * scale + linear @ np.array([0.5, 0.5]) - 0.5
    return np.concatenate([linear, offset[:, None]], axis=1)


def _levels(reach_px: float) -> int:
    """Halvings after which the search window covers so many pixels of the reduced plane."""
    doublings = reach_px / (WINDOW_PX / 2)
    return MAX_PYRAMID_LEVELS if doublings >= 2**MAX_PYRAMID_LEVELS else max(1, math.ceil(math.log2(max(doublings, 1))))


def _to_luma(points: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    return points * np.float32(scale) - np.float32(0.5)


def _to_frame(points: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    return (points + np.float32(0.5)) / np.float32(scale)


def cpu_frame(frame: PreparedFrame) -> CpuFrame:
    """The frame, if OpenCV prepared it.

    Raises:
        TypeError: another vision did.
    """
    if not isinstance(frame, CpuFrame):
        raise TypeError(f"CpuVision was given a {type(frame).__name__} that another vision prepared")
    return frame
