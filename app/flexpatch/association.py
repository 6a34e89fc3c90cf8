"""Which detection belongs to which track.

Optimal assignment on buffered IoU, confident detections first, then the weak ones for tracks still without
one: after ByteTrack (Zhang et al., ECCV 2022) and C-BIoU (Yang et al., WACV 2023).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from app.core.boxes import area, coverage
from app.core.types import FrameBoxes
from app.flexpatch.canvas import FrameDetections

CONFIDENT = 0.3
"""Detections from this score on are matched first, and may claim a track that has drifted far."""
MIN_SIMILARITY = 0.25
MIN_SIMILARITY_WEAK = 0.45
"""Weak detections must lie on the track they confirm."""
OTHER_CLASS = 0.6
"""Factor on the similarity of a detection of another class than the track's."""
BUFFER = 0.1
"""Both boxes are grown by this share of their size on each side before they are compared..."""
BUFFER_BY_FAILURE = 0.4
"""...and by this much more as the track's failure probability goes to 1."""
CUT_INSIDE = 0.7
"""A cut detection confirms a track that covers it by this share."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Pairs of rows, and who stayed alone."""

    tracks: NDArray[np.intp]
    """(K,) rows of matched tracks."""
    detections: NDArray[np.intp]
    """(K,) rows of their detections."""
    new: NDArray[np.intp]
    """Rows of whole detections that no track explains."""


def associate(
    boxes: FrameBoxes,
    class_ids: NDArray[np.intp],
    failure: NDArray[np.float32],
    detections: FrameDetections,
    *,
    with_weak: bool = True,
) -> Matches:
    """Match tracks (N) with detections (M): confident ones, weak ones, then cut ones that only confirm.

    Args:
        boxes: (N, 4) where flow believes the tracks to be.
        class_ids: (N,)
        failure: (N,) probability that the box is wrong; such tracks are searched for more widely.
        with_weak: whether detections below `CONFIDENT` may confirm tracks.
    """
    similarity = _similarity(boxes, class_ids, failure, detections)
    whole = ~detections.is_cut
    confident = detections.scores >= CONFIDENT
    stages = [(whole & confident, MIN_SIMILARITY)]
    if with_weak:
        stages.append((whole & ~confident, MIN_SIMILARITY_WEAK))
    free_tracks = np.ones(len(boxes), bool)
    pairs: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
    for is_candidate, threshold in stages:
        tracks, found = _assign(similarity, free_tracks, is_candidate, threshold)
        free_tracks[tracks] = False
        pairs.append((tracks, found))
    inside = coverage(detections.boxes, boxes).T * (similarity > 0)
    tracks, found = _assign(inside, free_tracks, detections.is_cut, CUT_INSIDE)
    pairs.append((tracks, found))
    matched_tracks = np.concatenate([pair[0] for pair in pairs])
    matched_detections = np.concatenate([pair[1] for pair in pairs])
    is_new = whole.copy()
    is_new[matched_detections] = False
    order = np.argsort(matched_tracks, kind="stable")
    return Matches(matched_tracks[order], matched_detections[order], np.flatnonzero(is_new))


def _similarity(
    boxes: FrameBoxes,
    class_ids: NDArray[np.intp],
    failure: NDArray[np.float32],
    detections: FrameDetections,
) -> NDArray[np.float32]:
    """IoU (N, M) of boxes grown by the same share of their own sizes, less where the classes differ."""
    grow = (BUFFER + BUFFER_BY_FAILURE * failure)[:, None]
    low, high = [], []
    for axis in (0, 1):
        for box, place in ((boxes, (slice(None), None)), (detections.boxes, (None, slice(None)))):
            start, end = box[:, axis][place], box[:, axis + 2][place]
            low.append(start - grow * (end - start))
            high.append(end + grow * (end - start))
    width = np.minimum(high[0], high[1]) - np.maximum(low[0], low[1])
    height = np.minimum(high[2], high[3]) - np.maximum(low[2], low[3])
    overlap = np.maximum(width, 0) * np.maximum(height, 0)
    union = (area(boxes)[:, None] + area(detections.boxes)) * (1 + 2 * grow) ** 2 - overlap
    buffered = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    same_class = class_ids[:, None] == detections.class_ids[None, :]
    return np.where(same_class, buffered, buffered * np.float32(OTHER_CLASS))


def _assign(
    similarity: NDArray[np.float32],
    rows_free: NDArray[np.bool_],
    columns_free: NDArray[np.bool_],
    threshold: float,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The pairs of free rows and columns with the greatest total similarity, each at least `threshold`."""
    rows, columns = np.flatnonzero(rows_free), np.flatnonzero(columns_free)
    part = similarity[np.ix_(rows, columns)]
    gain = np.where(part >= threshold, part, 0)
    chosen_rows, chosen_columns = linear_sum_assignment(gain, maximize=True)
    is_pair = gain[chosen_rows, chosen_columns] > 0
    return rows[chosen_rows[is_pair]], columns[chosen_columns[is_pair]]
