"""From many raw predictions to few detections: score floor, suppression of duplicates, clipping."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core import boxes as box_geometry
from app.core.errors import SettingsError
from app.core.types import CanvasBoxes, CanvasDetections, Size

FloatArray = NDArray[np.float32]
Activation = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a prediction must pass to become a detection.

    Raises:
        SettingsError: a value is outside its range.
    """

    score_floor: float = 0.05
    """Lowest score put out, 0 to 1."""
    nms_iou: float | None = 0.6
    """Overlap above which the lower-scored of two boxes of one class is a duplicate; None: keep both."""
    max_candidates: int = 300
    """Suppression compares all pairs, so only so many of the strongest predictions are looked at."""

    def __post_init__(self) -> None:
        if not 0 <= self.score_floor < 1:
            raise SettingsError(f"score_floor is {self.score_floor}; it must be at least 0 and below 1.")
        if self.nms_iou is not None and not 0 < self.nms_iou <= 1:
            raise SettingsError(f"nms_iou is {self.nms_iou}; it must be above 0 and at most 1.")
        if self.max_candidates < 1:
            raise SettingsError(f"max_candidates is {self.max_candidates}; it must be at least 1.")


@dataclass(frozen=True, slots=True)
class Candidates:
    """The predictions of one canvas that reach the score floor, strongest first."""

    indices: NDArray[np.intp]
    """(K,) rows of the raw output."""
    scores: FloatArray
    """(K,) in [0, 1]."""
    class_ids: NDArray[np.int32]
    """(K,)."""


def sigmoid(values: FloatArray) -> FloatArray:
    """The logistic function, in the form that cannot overflow."""
    return np.float32(0.5) * (np.tanh(values * np.float32(0.5)) + np.float32(1))


def by_class(values: FloatArray, thresholds: Thresholds, activation: Activation | None = None) -> Candidates:
    """Candidates among predictions with one score for each class.

    Args:
        values: (N, C) scores, or what a rising `activation` turns into scores.
        activation: applied to each row's highest value only; None if the values are scores already.
    """
    highest = values.max(axis=1)
    scores = np.asarray(highest if activation is None else activation(highest), np.float32)
    rows = np.flatnonzero(scores >= thresholds.score_floor)
    return _strongest(rows, scores[rows], values[rows].argmax(axis=1), thresholds)


def by_objectness(
    objectness: FloatArray, classes: FloatArray, thresholds: Thresholds, powers: tuple[float, float] = (1, 1)
) -> Candidates:
    """Candidates among predictions scored as objectness times class probability.

    No class probability exceeds 1, so the classes of rows whose objectness misses the floor are never read.

    Args:
        objectness: (N,) in [0, 1].
        classes: (N, C) in [0, 1].
        powers: exponents of the two factors.
    """
    rows = np.flatnonzero(objectness >= thresholds.score_floor ** (1 / powers[0]))
    some = np.asarray(classes[rows], np.float32)
    best = some.argmax(axis=1)
    scores = np.asarray(objectness[rows], np.float32)
    factor = np.take_along_axis(some, best[:, None], axis=1)[:, 0]
    if powers != (1, 1):
        scores = scores ** np.float32(powers[0])
        factor = np.maximum(factor, 0) ** np.float32(powers[1])
    scores = scores * factor
    passed = scores >= thresholds.score_floor
    return _strongest(rows[passed], scores[passed], best[passed], thresholds)


def by_listed_class(scores: FloatArray, class_ids: FloatArray, n_classes: int, thresholds: Thresholds) -> Candidates:
    """Candidates among predictions that come with one score and one class each; unknown classes are dropped.

    Args:
        scores: (N,).
        class_ids: (N,) integers, of any type.
    """
    is_known = (class_ids >= 0) & (class_ids < n_classes)
    rows = np.flatnonzero((scores >= thresholds.score_floor) & is_known)
    return _strongest(rows, np.asarray(scores[rows], np.float32), class_ids[rows].astype(np.intp), thresholds)


def _strongest(
    rows: NDArray[np.intp], scores: FloatArray, class_ids: NDArray[np.intp], thresholds: Thresholds
) -> Candidates:
    order = np.argsort(-scores, kind="stable")[: thresholds.max_candidates]
    return Candidates(rows[order], np.minimum(scores[order], np.float32(1)), class_ids[order].astype(np.int32))


def settle(candidates: Candidates, boxes: FloatArray, size: Size, thresholds: Thresholds) -> CanvasDetections:
    """Detections of one canvas: duplicates suppressed, boxes clipped, those outside the canvas dropped.

    Args:
        boxes: (K, 4) xyxy in canvas pixels, one for each candidate.
        size: of the canvas.
    """
    kept = np.flatnonzero(np.isfinite(boxes).all(axis=1))
    if thresholds.nms_iou is not None:
        kept = kept[_without_duplicates(boxes[kept], candidates, kept, thresholds.nms_iou)]
    clipped = box_geometry.clip(boxes[kept], size.width, size.height)
    is_inside = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    kept = kept[is_inside]
    return CanvasDetections(
        boxes=cast("CanvasBoxes", clipped[is_inside]),
        scores=candidates.scores[kept],
        class_ids=candidates.class_ids[kept],
    )


def _without_duplicates(
    boxes: FloatArray, candidates: Candidates, rows: NDArray[np.intp], nms_iou: float
) -> NDArray[np.intp]:
    """As `app.core.boxes.suppress`, five times as fast."""
    if not len(boxes):
        return np.zeros(0, np.intp)
    # OpenCV tells classes apart by moving each beyond the largest coordinate: none may be negative.
    low = (boxes[:, :2] - boxes[:, :2].min()).astype(np.float64)
    corner_and_size = np.concatenate([low, boxes[:, 2:] - boxes[:, :2]], axis=1)
    scores, class_ids = candidates.scores[rows], candidates.class_ids[rows]
    kept = cv2.dnn.NMSBoxesBatched(corner_and_size, scores, class_ids, -1.0, nms_iou)  # type: ignore[arg-type]
    return np.asarray(kept, np.intp).reshape(-1)
