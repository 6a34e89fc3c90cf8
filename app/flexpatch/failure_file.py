"""A trained failure model as a file: JSON of plain arrays, nothing that could run code.

{"format": "flexpatch-failure-model", "version": 2, "features": […], "classes": ["high", "medium", "low"],
 "calibration": {"predicted": […], "real": […]}, "priority_weights": […], "kind": "softmax" or "trees", …}

with `weights`, `intercepts` and `log` (names of features) for a softmax, and `feature`, `threshold`, `left`, `right`,
`value`, `combine` and `baseline` for trees, as `failure_forms` describes them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelNotFound, ModelUnreadable
from app.flexpatch.failure import FEATURES
from app.flexpatch.failure_forms import CLASSES, ClassModel, Combination, SoftmaxClasses, TrainedFailure, TreesClasses

FORMAT = "flexpatch-failure-model"
VERSION = 2

_COMBINATIONS: dict[str, Combination] = {"mean": "mean", "softmax": "softmax"}


def load_failure_model(path: Path) -> TrainedFailure:
    """Read a model from its safe form.

    Raises:
        ModelNotFound: no such file.
        ModelUnreadable: not this format or version, other features or classes, or arrays that make no model.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelNotFound(f"There is no failure model at {path}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelUnreadable(f"{path} is not a failure model in JSON: {error}.") from error
    return parse_failure_model(content, str(path))


def parse_failure_model(content: object, name: str) -> TrainedFailure:
    """A model from the content of its file.

    Args:
        name: of the file, for messages.
    Raises:
        ModelUnreadable: as `load_failure_model`.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelUnreadable(f'{name} is not a failure model: "format" must be "{FORMAT}".')
    if content.get("version") != VERSION:
        raise ModelUnreadable(
            f"{name} has version {content.get('version')!r}; this service reads version {VERSION}. Train it again."
        )
    check_columns(content.get("features"), content.get("classes"), name)
    readers: dict[str, Callable[[dict[str, Any]], ClassModel]] = {"softmax": _softmax, "trees": _trees}
    reader = readers.get(str(content.get("kind")))
    if reader is None:
        raise ModelUnreadable(f"{name} has kind {content.get('kind')!r}; known are {', '.join(readers)}.")
    try:
        return _calibrated(reader(content), content)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelUnreadable(f"{name} makes no {content['kind']} model: {error}.") from error


def check_columns(features: object, classes: object, name: str) -> None:
    """Was a model made for what this service computes?

    Raises:
        ModelUnreadable: it was trained on other features, or tells other classes.
    """
    if features != list(FEATURES):
        raise ModelUnreadable(
            f"{name} was trained on the features {features}; this service computes {list(FEATURES)}. Train it again."
        )
    if classes != list(CLASSES):
        raise ModelUnreadable(
            f"{name} tells the classes {classes}; this service knows {list(CLASSES)}. Train it again."
        )


def _calibrated(classes: ClassModel, content: dict[str, Any]) -> TrainedFailure:
    model = TrainedFailure(
        classes=classes,
        predicted=np.array(content["calibration"]["predicted"], np.float64),
        real=np.array(content["calibration"]["real"], np.float64),
        priority_weights=np.array(content["priority_weights"], np.float64),
    )
    knots = (model.predicted, model.real)
    if model.predicted.ndim != 1 or len(model.predicted) < 2 or model.real.shape != model.predicted.shape:
        raise ValueError("calibration must have at least two predicted probabilities, and as many real ones")
    if not all((knot >= 0).all() and (knot <= 1).all() for knot in knots):
        raise ValueError("calibration must be of probabilities, 0 to 1")
    if not (np.diff(model.predicted) > 0).all():
        raise ValueError("the predicted probabilities of the calibration must increase")
    weights = model.priority_weights
    if weights.shape != (len(CLASSES),) or not (np.isfinite(weights) & (weights > 0)).all():
        raise ValueError(f"priority_weights must be {len(CLASSES)} numbers above 0")
    return model


def _softmax(content: dict[str, Any]) -> ClassModel:
    model = SoftmaxClasses(
        weights=np.array(content["weights"], np.float64),
        intercepts=np.array(content["intercepts"], np.float64),
        is_log=np.isin(FEATURES, content["log"]),
    )
    _check(model.weights, (len(CLASSES), len(FEATURES)), "weights")
    _check(model.intercepts, (len(CLASSES),), "intercepts")
    return model


def _check(numbers: NDArray[np.float64], shape: tuple[int, ...], name: str) -> None:
    if numbers.shape != shape or not np.isfinite(numbers).all():
        raise ValueError(f"{name} must be {' by '.join(map(str, shape))} finite numbers")


def _trees(content: dict[str, Any]) -> ClassModel:
    combine = _COMBINATIONS[content["combine"]]
    tables = {name: np.array(content[name], np.int32) for name in ("feature", "left", "right")}
    threshold, value = np.array(content["threshold"], np.float64), np.array(content["value"], np.float64)
    baseline = np.array(content["baseline"], np.float64)
    feature, left, right = tables["feature"], tables["left"], tables["right"]
    shape = feature.shape
    is_table = len(shape) == 2 and 0 not in shape
    if not is_table or any(array.shape != shape for array in (threshold, left, right)):
        raise ValueError("feature, threshold, left and right must be equal tables (trees, nodes)")
    _check(value, (*shape, len(CLASSES)), "value")
    _check(baseline, (len(CLASSES),), "baseline")
    _check_nodes(feature, threshold, left, right)
    if combine == "mean":
        _check_shares(value[_is_reached(feature, left, right)])
    return TreesClasses(feature, threshold, left, right, value, combine, baseline)


def _check_nodes(
    feature: NDArray[np.int32], threshold: NDArray[np.float64], left: NDArray[np.int32], right: NDArray[np.int32]
) -> None:
    inner = feature >= 0
    if (feature >= len(FEATURES)).any():
        raise ValueError(f"a node asks for a feature above {len(FEATURES) - 1}")
    if not np.isfinite(threshold[inner]).all():
        raise ValueError("a threshold must be a finite number")
    n_nodes = feature.shape[1]
    own = np.broadcast_to(np.arange(n_nodes), feature.shape)
    for child in (left, right):
        if ((child <= own) | (child >= n_nodes))[inner].any():
            raise ValueError("a child must come after its node, within the tree")
        if ((child < 0) | (child >= n_nodes)).any():
            raise ValueError("a leaf's children must be within the tree, too: write 0")


def _is_reached(feature: NDArray[np.int32], left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(T, M) leaves that a walk can end at; the others are padding."""
    reached = np.zeros(feature.shape, bool)
    reached[:, 0] = True
    every = np.arange(len(feature))
    for node in range(feature.shape[1]):
        goes_on = every[reached[:, node] & (feature[:, node] >= 0)]
        reached[goes_on, left[goes_on, node]] = True
        reached[goes_on, right[goes_on, node]] = True
    return reached & (feature < 0)


def _check_shares(leaves: NDArray[np.float64]) -> None:
    if (leaves < 0).any() or not np.allclose(leaves.sum(axis=1), 1, atol=1e-3):
        raise ValueError("a leaf's value must be probabilities that sum to 1")
