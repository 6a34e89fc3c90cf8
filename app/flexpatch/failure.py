"""How likely a tracked box has lost its object: features, and the models that read them.

Features 1 to 5 are the paper's (FlexPatch, INFOCOM 2022, IV-B); the others tell how the flow itself went and
how long ago a detector spoke. Lengths are shares of the box's height, so that a model holds at any resolution.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelNotFound, ModelUnreadable
from app.flexpatch.tracks import TrackTable

FEATURES = (
    "min_eigenvalue",
    "ncc",
    "acceleration",
    "flow_std",
    "confidence",
    "round_trip",
    "inlier_ratio",
    "detection_age_s",
    "height_px",
)
FORMAT = "flexpatch-failure-model"
VERSION = 1


def failure_features(tracks: TrackTable, pts_s: float) -> NDArray[np.float64]:
    """The features of every track, (N, 9) in the order of `FEATURES`."""
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
        ],
        axis=1,
    ).astype(np.float64)


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
            features: (N, 9) in the order of `FEATURES`.
        """
        ...


@dataclass(frozen=True, slots=True)
class LogisticFailure:
    """A logistic model; features named in `is_log` enter as log10(max(x, 1e-6))."""

    weights: NDArray[np.float64]
    """(9,)"""
    intercept: float
    is_log: NDArray[np.bool_]
    """(9,)"""

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float32]:
        inputs = np.where(self.is_log, np.log10(np.maximum(features, 1e-6)), features)
        return (1 / (1 + np.exp(-np.clip(inputs @ self.weights + self.intercept, -30, 30)))).astype(np.float32)


@dataclass(frozen=True, slots=True)
class TreesFailure:
    """The mean of binary decision trees, all walked at once: T trees, padded to M nodes.

    A node with `feature` −1 is a leaf; other nodes go left where the feature is at most the threshold, as
    scikit-learn's do.
    """

    feature: NDArray[np.int32]
    """(T, M)"""
    threshold: NDArray[np.float64]
    """(T, M)"""
    left: NDArray[np.int32]
    """(T, M) index of the child within the tree; greater than the node's own."""
    right: NDArray[np.int32]
    """(T, M)"""
    probability: NDArray[np.float64]
    """(T, M) of failure, at leaves."""

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float32]:
        n_trees = len(self.feature)
        tree = np.arange(n_trees)[:, None]
        row = np.arange(len(features))[None, :]
        node = np.zeros((n_trees, len(features)), np.int32)
        while True:
            feature = self.feature[tree, node]
            inner = feature >= 0
            if not inner.any():
                return self.probability[tree, node].mean(axis=0).astype(np.float32)
            goes_left = features[row, np.maximum(feature, 0)] <= self.threshold[tree, node]
            child = np.where(goes_left, self.left[tree, node], self.right[tree, node])
            node = np.where(inner, child, node)


def hand_set_model() -> FailureModel:
    """The model used until one is trained: weights set by hand from what each feature means, their common scale
    and the intercept calibrated on the synthetic street.
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
        "height_px": 0.0,
    }
    logs = {"min_eigenvalue", "detection_age_s", "height_px"}
    return LogisticFailure(
        weights=np.array([weights[name] for name in FEATURES]),
        intercept=1.5,
        is_log=np.array([name in logs for name in FEATURES]),
    )


def load_failure_model(path: Path) -> FailureModel:
    """Read a model from its safe form: JSON of plain arrays, nothing that could run code.

    Raises:
        ModelNotFound: no such file.
        ModelUnreadable: not this format or version, other features, or arrays that make no model.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelNotFound(f"There is no failure model at {path}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelUnreadable(f"{path} is not a failure model in JSON: {error}.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelUnreadable(f'{path} is not a failure model: "format" must be "{FORMAT}".')
    if content.get("version") != VERSION:
        raise ModelUnreadable(
            f"{path} has version {content.get('version')!r}; this service reads version {VERSION}. Train it again."
        )
    if content.get("features") != list(FEATURES):
        raise ModelUnreadable(
            f"{path} was trained on the features {content.get('features')}; this service computes {list(FEATURES)}."
        )
    readers: dict[str, Callable[[dict[str, Any]], FailureModel]] = {"logistic": _logistic, "trees": _trees}
    reader = readers.get(str(content.get("kind")))
    if reader is None:
        raise ModelUnreadable(f"{path} has kind {content.get('kind')!r}; known are {', '.join(readers)}.")
    try:
        return reader(content)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelUnreadable(f"{path} makes no {content['kind']} model: {error}.") from error


def _logistic(content: dict[str, Any]) -> FailureModel:
    model = LogisticFailure(
        weights=np.array(content["weights"], np.float64),
        intercept=float(content["intercept"]),
        is_log=np.isin(FEATURES, content["log"]),
    )
    if model.weights.shape != (len(FEATURES),) or not np.isfinite([*model.weights, model.intercept]).all():
        raise ValueError(f"weights must be {len(FEATURES)} finite numbers")
    return model


def _trees(content: dict[str, Any]) -> FailureModel:
    model = TreesFailure(
        feature=np.array(content["feature"], np.int32),
        threshold=np.array(content["threshold"], np.float64),
        left=np.array(content["left"], np.int32),
        right=np.array(content["right"], np.int32),
        probability=np.array(content["probability"], np.float64),
    )
    shape = model.feature.shape
    arrays = (model.threshold, model.left, model.right, model.probability)
    if len(shape) != 2 or 0 in shape or any(array.shape != shape for array in arrays):
        raise ValueError("feature, threshold, left, right and probability must be equal tables (trees, nodes)")
    inner = model.feature >= 0
    if (model.feature >= len(FEATURES)).any():
        raise ValueError(f"a node asks for a feature above {len(FEATURES) - 1}")
    if not np.isfinite(model.threshold[inner]).all():
        raise ValueError("a threshold must be a finite number")
    own = np.broadcast_to(np.arange(shape[1]), shape)
    for child in (model.left, model.right):
        if ((child <= own) | (child >= shape[1]))[inner].any():
            raise ValueError("a child must come after its node, within the tree")
    if not ((model.probability >= 0) & (model.probability <= 1))[~inner].all():
        raise ValueError("a leaf's probability must be between 0 and 1")
    return model
