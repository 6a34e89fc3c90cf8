"""How urgently a tracked box should be looked at: the paper's five features and its decision tree.

The tree is stored as JSON of plain arrays, nothing that could run code.
"""

import json
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelNotFound, ModelUnreadable

FEATURES = ("min_eigenvalue", "ncc", "acceleration", "flow_std", "confidence")
FORMAT = "flexpatch-published-priority"
VERSION = 1
_ARRAYS = ("feature", "threshold", "left", "right", "priority")


class Priority(IntEnum):
    """What the overlap (IoU) of the tracked box with its object is expected to be."""

    LOW = 0
    """Above a half: the box is right."""
    MEDIUM = 1
    """Above nothing, at most a half."""
    HIGH = 2
    """Nothing: the object is lost."""


def priority_label(overlap: NDArray[np.float32]) -> NDArray[np.int32]:
    """What the tree should have answered (N,), by the IoU (N,) of box and object."""
    return np.select([overlap <= 0, overlap <= 0.5], [Priority.HIGH, Priority.MEDIUM], Priority.LOW).astype(np.int32)


@dataclass(frozen=True, slots=True)
class PriorityTree:
    """A decision tree of M nodes; the first is the root.

    A node whose `feature` is −1 is a leaf; other nodes go left where the feature is at most the threshold, as
    scikit-learn's do.

    Raises:
        ValueError: the arrays make no tree.
    """

    feature: NDArray[np.int32]
    """(M,) index into `FEATURES`."""
    threshold: NDArray[np.float64]
    """(M,)"""
    left: NDArray[np.int32]
    """(M,) index of the child; greater than the node's own."""
    right: NDArray[np.int32]
    """(M,)"""
    priority: NDArray[np.int32]
    """(M,) a `Priority`, at leaves."""

    def __post_init__(self) -> None:
        shape = self.feature.shape
        arrays = (self.threshold, self.left, self.right, self.priority)
        if len(shape) != 1 or shape == (0,) or any(array.shape != shape for array in arrays):
            raise ValueError(f"{', '.join(_ARRAYS)} must be lists of one length, at least 1")
        inner = self.feature >= 0
        if (self.feature >= len(FEATURES)).any():
            raise ValueError(f"a node asks for a feature above {len(FEATURES) - 1}")
        if not np.isfinite(self.threshold[inner]).all():
            raise ValueError("a threshold must be a finite number")
        own = np.arange(shape[0])
        for child in (self.left, self.right):
            if ((child <= own) | (child >= shape[0]))[inner].any():
                raise ValueError("a child must come after its node")
        if not np.isin(self.priority[~inner], list(Priority)).all():
            raise ValueError(f"a leaf's priority must be one of {', '.join(str(int(item)) for item in Priority)}")

    @classmethod
    def constant(cls, priority: Priority) -> "PriorityTree":
        """A tree that gives every box the same priority."""
        nothing = np.array([-1], np.int32)
        return cls(nothing, np.zeros(1), nothing, nothing, np.array([priority], np.int32))

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.int32]:
        """Priorities (N,) for features (N, 5) in the order of `FEATURES`: all rows walk down together."""
        inputs = features.astype(np.float32)  # as scikit-learn compares them
        node = np.zeros(len(inputs), np.int32)
        rows = np.arange(len(inputs))
        while True:
            feature = self.feature[node]
            is_inner = feature >= 0
            if not is_inner.any():
                return self.priority[node]
            goes_left = inputs[rows, np.maximum(feature, 0)] <= self.threshold[node]
            child = np.where(goes_left, self.left[node], self.right[node])
            node = np.where(is_inner, child, node)


def save_priority_tree(tree: PriorityTree, path: Path) -> None:
    """Write a tree as `load_priority_tree` reads it."""
    content = {"format": FORMAT, "version": VERSION, "features": FEATURES}
    arrays = {name: getattr(tree, name).tolist() for name in _ARRAYS}
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in (content | arrays).items()]
    path.write_text("{\n " + ",\n ".join(lines) + "\n}\n", encoding="utf-8")


def load_priority_tree(path: Path) -> PriorityTree:
    """Read a tree.

    Raises:
        ModelNotFound: no such file.
        ModelUnreadable: not this format or version, other features, or arrays that make no tree.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelNotFound(f"There is no priority tree at {path}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelUnreadable(f"{path} is not a priority tree in JSON: {error}.") from error
    if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FORMAT, VERSION):
        raise ModelUnreadable(f'{path} is not a priority tree: "format" must be "{FORMAT}", "version" {VERSION}.')
    if content.get("features") != list(FEATURES):
        raise ModelUnreadable(f"{path} reads the features {content.get('features')}, not {list(FEATURES)}.")
    try:
        return _tree(content)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelUnreadable(f"{path} makes no priority tree: {error}.") from error


def _tree(content: dict[str, Any]) -> PriorityTree:
    return PriorityTree(
        feature=np.array(content["feature"], np.int32),
        threshold=np.array(content["threshold"], np.float64),
        left=np.array(content["left"], np.int32),
        right=np.array(content["right"], np.int32),
        priority=np.array(content["priority"], np.int32),
    )
