"""How likely a tracked box has lost its object: features, and the model used where none is trained.

Features 1 to 5 are the paper's (FlexPatch, INFOCOM 2022, IV-B); the others tell how the flow itself went, what
became of the box since a detector last spoke, and how long ago that was. Lengths are shares of the box's height, so
that a model holds at any resolution.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import area, centres, clip, iou, sizes
from app.core.types import FrameBoxes, Size
from app.flexpatch.failure_forms import with_logarithms
from app.flexpatch.tracks import TrackTable

PUBLISHED_FEATURES = ("min_eigenvalue", "ncc", "acceleration", "flow_std", "confidence")
FEATURES = (
    *PUBLISHED_FEATURES,
    "round_trip",
    "inlier_ratio",
    "detection_age_s",
    "height_px",
    "speed",
    "shift",
    "growth",
    "visible_share",
    "overlap",
    "aspect",
    "worst_ncc",
    "worst_flow_std",
    "worst_inlier_ratio",
    "total_acceleration",
    "total_round_trip",
    "n_hits",
    "miss_log_odds",
)
"""Of a track; `speed` is a second's, in heights, the camera's motion taken out. Since a detector last confirmed it:
`shift` of the centre in heights, `growth` of the height as a logarithm, and the worst and total of the flow's own."""
_SMALLEST_PX = 1.0


def failure_features(tracks: TrackTable, pts_s: float, frame: Size) -> NDArray[np.float64]:
    """The features of every track, (N, F) in the order of `FEATURES`.

    Args:
        pts_s: stream time of the frame.
        frame: its width and height.
    """
    heights = np.maximum(tracks.heights, _SMALLEST_PX)
    before = np.maximum(tracks.confirmed_boxes[:, 3] - tracks.confirmed_boxes[:, 1], _SMALLEST_PX)
    moved = centres(tracks.boxes) - centres(tracks.confirmed_boxes)
    return np.stack(
        [
            tracks.min_eigenvalue,
            tracks.ncc,
            tracks.acceleration,
            tracks.flow_std,
            tracks.confidence,
            tracks.round_trip,
            tracks.inlier_ratio,
            pts_s - tracks.detected_pts_s,
            tracks.heights,
            np.linalg.norm(tracks.velocity, axis=1) / heights,
            np.linalg.norm(moved, axis=1) / before,
            np.log(heights / before),
            area(clip(tracks.boxes, *frame)) / np.maximum(area(tracks.boxes), _SMALLEST_PX),
            _overlap_with_others(tracks.boxes),
            sizes(tracks.boxes)[:, 0] / heights,
            tracks.worst_ncc,
            tracks.worst_flow_std,
            tracks.worst_inlier_ratio,
            tracks.total_acceleration,
            tracks.total_round_trip,
            tracks.n_hits,
            tracks.miss_log_odds,
        ],
        axis=1,
    ).astype(np.float64)


def _overlap_with_others(boxes: FrameBoxes) -> NDArray[np.float32]:
    """(N,) greatest IoU of each box (N, 4) with any other: where objects cross, points change sides."""
    overlap = iou(boxes, boxes)
    np.fill_diagonal(overlap, 0)
    return np.asarray(overlap.max(axis=1, initial=0))


def correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normalised cross-correlation (N,) of templates (N, T, T), −1 to 1; 0 where one is flat."""
    if len(a) == 0:
        return np.zeros(0, np.float32)
    flat_a, flat_b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    flat_a = flat_a - flat_a.mean(axis=1, keepdims=True)
    flat_b = flat_b - flat_b.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat_a, axis=1) * np.linalg.norm(flat_b, axis=1)
    product = np.einsum("ij,ij->i", flat_a, flat_b)
    return np.divide(product, norm, out=np.zeros(len(a), np.float32), where=norm > 1e-3)


class FailureModel(Protocol):
    """Predicts which tracks are failing."""

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float32]:
        """Probability (N,) that the box overlaps its object by an IoU of 0.5 or less.

        Args:
            features: (N, F) in the order of `FEATURES`.
        """
        ...


@dataclass(frozen=True, slots=True)
class LogisticFailure:
    """A logistic model; features named in `is_log` enter as log10(max(x, 1e-6))."""

    weights: NDArray[np.float64]
    """(F,)"""
    intercept: float
    is_log: NDArray[np.bool_]
    """(F,)"""

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float32]:
        inputs = with_logarithms(features, self.is_log)
        return (1 / (1 + np.exp(-np.clip(inputs @ self.weights + self.intercept, -30, 30)))).astype(np.float32)


def hand_set_model() -> FailureModel:
    """The model used where no trained one is at hand, and the reference for those: weights set by hand from what each
    feature means, their common scale and the intercept calibrated on the synthetic street. Misses enter by Bayes'
    rule, the other additional features not at all.
    """
    weights = {
        "min_eigenvalue": -1.0,
        "ncc": -3.0,
        "acceleration": 0.8,
        "flow_std": 1.0,
        "confidence": -1.2,
        "round_trip": 2.0,
        "inlier_ratio": -0.5,
        "detection_age_s": 2.6,
        "miss_log_odds": 1.0,
    }
    logs = {"min_eigenvalue", "detection_age_s"}
    return LogisticFailure(
        weights=np.array([weights.get(name, 0.0) for name in FEATURES]),
        intercept=1.5,
        is_log=np.array([name in logs for name in FEATURES]),
    )
