"""The canvas: which sizes there are, what lies where on it, and the way back to the frame."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import area, contains, coverage, suppress
from app.core.errors import SettingsError
from app.core.types import CanvasBoxes, CanvasDetections, FrameBoxes, InputSizes, PatchCopy, Size

LADDER_PX = (320, 416, 640, 960, 1280, 1920, 2560, 3840)
"""Longer sides of the canvases."""
EDGE_PX = 2.0
"""A detection so near an inner patch edge, in canvas pixels, is taken to be cut by it."""
DUPLICATE_IOU = 0.55
INSIDE_DUPLICATE = 0.75
"""A cut box that lies in a whole one of its class by this share is a part of the same object."""


def canvas_ladder(frame: Size, sizes: InputSizes, max_canvas: Size | None) -> tuple[Size, ...]:
    """The canvas sizes worth choosing from for one stream, smallest first.

    A detector with fixed sizes has just these. Otherwise: widths from 320 in steps of about √2, in the frame's
    shape rounded up to the detector's stride, up to `max_canvas` (by default half the frame's width, within
    640 and 1280, and no larger than the detector takes).

    Raises:
        SettingsError: `max_canvas` is no size that the detector takes.
    """
    if sizes.fixed:
        rungs = [size for size in sizes.fixed if max_canvas is None or size.pixels <= max_canvas.pixels]
        if not rungs:
            raise SettingsError(f"The canvas may be at most {max_canvas}, but the detector takes only {sizes}.")
        return tuple(sorted(rungs, key=lambda size: size.pixels))
    if max_canvas is not None:
        top = max_canvas
        if not sizes.accepts(top):
            raise SettingsError(f"The canvas {top} does not fit the detector: both sides must be {sizes}.")
    else:
        longer = max(frame)
        limit = min(sizes.largest) // sizes.stride * sizes.stride if sizes.largest else 1280
        top = _shaped(frame, min(1280.0, limit, max(640.0, longer / 2), 2.0 * longer), sizes.stride)
    below = [_shaped(frame, side, sizes.stride) for side in LADDER_PX]
    rungs = [size for size in below if size.pixels < 0.8 * top.pixels]
    fitting = dict.fromkeys(size for size in rungs if size.width <= top.width and size.height <= top.height)
    return (*fitting, top)


def _shaped(frame: Size, longer_px: float, stride: int) -> Size:
    """A canvas in the frame's shape whose longer side is about `longer_px`, both sides rounded up to the stride."""
    scale = longer_px / max(frame)
    width, height = (max(1, math.ceil(side * scale / stride - 1e-6)) * stride for side in frame)
    return Size(width, height)


@dataclass(frozen=True, slots=True)
class CanvasLayout:
    """K patches on one canvas. Source and target rectangles are whole pixels; scale is their exact ratio."""

    size: Size
    source: FrameBoxes
    """(K, 4) what was cut from the frame."""
    target: CanvasBoxes
    """(K, 4) where it lies on the canvas."""

    @property
    def scale(self) -> NDArray[np.float32]:
        """(K, 2) canvas pixels per frame pixel, in x and y."""
        return (self.target[:, 2:] - self.target[:, :2]) / (self.source[:, 2:] - self.source[:, :2])

    def shows_all_of(self, frame: Size) -> bool:
        """Whether one patch holds the whole frame."""
        return bool(contains(self.source, FrameBoxes(np.array([[0, 0, *frame]], np.float32))).any())

    @property
    def fill(self) -> float:
        """Share of the canvas that patches cover."""
        return float(area(self.target).sum()) / self.size.pixels

    def copies(self) -> list[PatchCopy]:
        """What the vision has to cut and where to put it."""
        return [
            PatchCopy(source=(s[0], s[1], s[2], s[3]), target=(t[0], t[1], t[2], t[3]))
            for s, t in zip(self.source.astype(int).tolist(), self.target.astype(int).tolist(), strict=True)
        ]


@dataclass(frozen=True, slots=True)
class FrameDetections:
    """Detections of one canvas, back in the frame: M of them."""

    boxes: FrameBoxes
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    is_cut: NDArray[np.bool_]
    """(M,) the box touches a patch edge inside the frame: the object continues outside."""
    scale: NDArray[np.float32]
    """(M,) canvas pixels per frame pixel of the patch it was seen in."""

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> "FrameDetections":
        return FrameDetections(
            FrameBoxes(self.boxes[index]),
            self.scores[index],
            self.class_ids[index],
            self.is_cut[index],
            self.scale[index],
        )


def joined(parts: Sequence[FrameDetections]) -> FrameDetections:
    """Detections of several canvases as one set, in order.

    Args:
        parts: at least one.
    """
    return FrameDetections(
        FrameBoxes(np.concatenate([item.boxes for item in parts])),
        np.concatenate([item.scores for item in parts]),
        np.concatenate([item.class_ids for item in parts]),
        np.concatenate([item.is_cut for item in parts]),
        np.concatenate([item.scale for item in parts]),
    )


def without_duplicates(found: FrameDetections) -> FrameDetections:
    """One box an object, though several patches showed it: whole boxes before cut ones, then by score."""
    rank = found.scores - found.is_cut.astype(np.float32)
    found = found[suppress(found.boxes, rank, found.class_ids, DUPLICATE_IOU)]
    part_of = (
        (coverage(found.boxes, found.boxes) > INSIDE_DUPLICATE)
        & (found.class_ids[:, None] == found.class_ids[None, :])
        & found.is_cut[:, None]
        & ~found.is_cut[None, :]
    )
    return found[~np.asarray(part_of.any(axis=1))]


def map_back(layout: CanvasLayout, detections: CanvasDetections, frame: Size) -> FrameDetections:
    """Bring detections from the canvas to the frame.

    Each belongs to the patch that holds most of it; one whose centre lies in no patch (in the gutter or on the
    padding) is dropped. Parts that reach over the patch's edge are cut off.
    """
    centre = (detections.boxes[:, :2] + detections.boxes[:, 2:]) / 2
    points = np.concatenate([centre, centre], axis=1)
    is_box = np.isfinite(detections.boxes).all(axis=1) & (area(detections.boxes) > 0)
    is_inside = contains(layout.target, points).T & is_box[:, None]
    share = np.where(is_inside, coverage(detections.boxes, layout.target), -1)
    patch = share.argmax(axis=1) if share.size else np.zeros(len(detections), np.intp)
    kept = np.flatnonzero(is_inside.any(axis=1))
    patch = patch[kept]
    target, source, scale = layout.target[patch], layout.source[patch], layout.scale[patch]
    boxes = detections.boxes[kept]
    low = np.maximum(boxes[:, :2], target[:, :2])
    high = np.minimum(boxes[:, 2:], target[:, 2:])
    is_cut = _touches_inner_edge(low, high, target, source, frame)
    in_frame = np.concatenate(
        [(low - target[:, :2]) / scale + source[:, :2], (high - target[:, :2]) / scale + source[:, :2]],
        axis=1,
    )
    return FrameDetections(
        boxes=FrameBoxes(in_frame.astype(np.float32)),
        scores=detections.scores[kept].astype(np.float32),
        class_ids=detections.class_ids[kept].astype(np.int32),
        is_cut=is_cut,
        scale=np.sqrt(scale[:, 0] * scale[:, 1]).astype(np.float32),
    )


def _touches_inner_edge(
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    target: NDArray[np.float32],
    source: NDArray[np.float32],
    frame: Size,
) -> NDArray[np.bool_]:
    """(M,) does the box touch an edge of its patch that is not also the frame's edge?"""
    inner_low = source[:, :2] > 0
    inner_high = source[:, 2:] < np.array(frame, np.float32)
    touches_low = (low - target[:, :2] <= EDGE_PX) & inner_low
    touches_high = (target[:, 2:] - high <= EDGE_PX) & inner_high
    return np.asarray((touches_low | touches_high).any(axis=1))
