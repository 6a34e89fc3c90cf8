"""Geometry of boxes: float32 `(N, 4)` xyxy in continuous pixels, width = x2 − x1."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Boxes = TypeVar("Boxes", bound=NDArray[np.float32])
Real = TypeVar("Real", np.float32, np.float64)
"""The geometry itself also works in float64, which metrics need to agree with reference implementations."""


def empty_boxes() -> NDArray[np.float32]:
    """No boxes: shape (0, 4)."""
    return np.zeros((0, 4), np.float32)


def area(boxes: NDArray[Real]) -> NDArray[Real]:
    """Areas (N,) in square pixels; an inverted box has area 0."""
    size = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return size[:, 0] * size[:, 1]


def centres(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centres (N, 2)."""
    return (boxes[:, :2] + boxes[:, 2:]) * np.float32(0.5)


def sizes(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Widths and heights (N, 2)."""
    return boxes[:, 2:] - boxes[:, :2]


def intersection(a: NDArray[Real], b: NDArray[Real]) -> NDArray[Real]:
    """Pairwise overlap areas (N, M) of a (N, 4) and b (M, 4)."""
    # Side by side: tables of pairs are quicker than a table of pairs of pairs.
    left, top, right, bottom = a.T[:, :, None]
    other_left, other_top, other_right, other_bottom = b.T
    width = np.minimum(right, other_right) - np.maximum(left, other_left)
    height = np.minimum(bottom, other_bottom) - np.maximum(top, other_top)
    return np.maximum(width, 0) * np.maximum(height, 0)


def iou(a: NDArray[Real], b: NDArray[Real]) -> NDArray[Real]:
    """Pairwise intersection over union (N, M), 0 where both boxes are empty."""
    overlap = intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def coverage(a: NDArray[Real], b: NDArray[Real]) -> NDArray[Real]:
    """Pairwise share (N, M) of each box of a that lies inside each box of b."""
    own = area(a)[:, None]
    overlap = intersection(a, b)
    return np.divide(overlap, own, out=np.zeros_like(overlap), where=own > 0)


def contains(outer: NDArray[np.float32], inner: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pairwise (N, M): does each box of `outer` contain each box of `inner`, edges included?"""
    left, top, right, bottom = outer.T[:, :, None]
    own_left, own_top, own_right, own_bottom = inner.T
    is_inside: NDArray[np.bool_] = left <= own_left
    is_inside &= top <= own_top
    is_inside &= right >= own_right
    is_inside &= bottom >= own_bottom
    return is_inside


def clip(boxes: Boxes, width: float, height: float) -> Boxes:
    """Boxes cut to the rectangle (0, 0)–(width, height)."""
    limit = np.array([width, height, width, height], np.float32)
    clipped: Any = np.clip(boxes, 0, limit)  # NumPy's stubs lose the kind of boxes, or not, by version
    return clipped


def pad(boxes: Boxes, by: NDArray[np.float32]) -> Boxes:
    """Boxes grown on every side by `by` pixels, shape (N, 2) for x and y."""
    return np.concatenate([boxes[:, :2] - by, boxes[:, 2:] + by], axis=1)  # type: ignore[return-value]


def suppress(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], labels: NDArray[np.int32], threshold: float
) -> NDArray[np.intp]:
    """Greedy non-maximum suppression within each label.

    Args:
        boxes: (N, 4).
        scores: (N,); ties are broken by position, so that the result is deterministic.
        labels: (N,) class ids; boxes of different classes never suppress each other.
        threshold: IoU above which the lower-scored box is dropped.
    Returns:
        Indices of the boxes kept, highest score first.
    """
    if len(boxes) == 0:
        return np.zeros(0, np.intp)
    order = np.argsort(-scores, kind="stable")
    overlapping = (iou(boxes, boxes) > threshold) & (labels[:, None] == labels[None, :])
    alive = np.ones(len(boxes), bool)
    kept = []
    for index in order:
        if alive[index]:
            kept.append(index)
            alive &= ~overlapping[index]
    return np.array(kept, np.intp)
