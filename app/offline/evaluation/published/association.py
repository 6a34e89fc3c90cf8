"""What the detections of one canvas say about the tracks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from app.core.boxes import clip, contains, coverage, iou
from app.core.types import FrameBoxes, Size
from app.flexpatch.canvas import CanvasLayout, FrameDetections

MIN_IOU = 0.3
"""A detection belongs to a track from this overlap on; the paper gives no value, SORT's is taken."""
PART_SHARE = 0.7
"""A cut detection that lies in a track by this share is a part of it."""
MIN_VISIBLE_PX = 16
"""An object lower than this on the canvas, two of the detector's finest cells, may be there unseen."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Rows of tracks and of detections."""

    tracks: NDArray[np.intp]
    """(K,) tracks that a whole detection confirms..."""
    detections: NDArray[np.intp]
    """(K,) ...and these detections."""
    touched: NDArray[np.intp]
    """Tracks that only a cut detection confirms."""
    new: NDArray[np.intp]
    """Whole detections that belong to no track."""
    leads: NDArray[np.intp]
    """Cut detections that belong to no track: an object larger than its patch."""


def associate(boxes: FrameBoxes, class_ids: NDArray[np.int32], found: FrameDetections) -> Matches:
    """Match tracks (N) and detections (M) of one class by IoU, the sum over all pairs being greatest.

    Args:
        boxes: (N, 4) tracks.
        class_ids: (N,)
    """
    same_class = class_ids[:, None] == found.class_ids[None, :]
    overlap = np.where(same_class, iou(boxes, found.boxes), 0)
    tracks, detections = _assign(np.where(found.is_cut, 0, overlap))
    rest = np.where(found.is_cut, overlap, 0)
    rest[tracks] = 0
    touched, touching = _assign(rest)
    is_alone = np.ones(len(found), bool)
    is_alone[detections] = is_alone[touching] = False
    is_part = (_shares(found.boxes, found.class_ids, boxes, class_ids) > PART_SHARE).any(axis=1)
    return Matches(
        tracks=tracks,
        detections=detections,
        touched=touched,
        new=np.flatnonzero(is_alone & ~found.is_cut),
        leads=np.flatnonzero(is_alone & found.is_cut & ~is_part),
    )


def examined(boxes: FrameBoxes, layout: CanvasLayout, frame: Size) -> NDArray[np.bool_]:
    """(N,) did a patch show the whole box, large enough for the detector to see its object?"""
    visible = clip(boxes, *frame)
    height = visible[:, 3] - visible[:, 1]
    is_large = height[:, None] * layout.scale[:, 1] >= MIN_VISIBLE_PX
    return np.asarray((contains(layout.source, visible).T & is_large).any(axis=1))


def _shares(
    boxes: FrameBoxes, class_ids: NDArray[np.int32], others: FrameBoxes, other_class_ids: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Share (N, M) of each box inside each other box of its class."""
    return np.where(class_ids[:, None] == other_class_ids[None, :], coverage(boxes, others), np.float32(0))


def _assign(overlap: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of rows and columns whose overlap reaches `MIN_IOU`, the greatest in sum."""
    gain = np.where(overlap >= MIN_IOU, overlap, 0)
    rows, columns = linear_sum_assignment(gain, maximize=True)
    is_pair = gain[rows, columns] > 0
    return rows[is_pair], columns[is_pair]
