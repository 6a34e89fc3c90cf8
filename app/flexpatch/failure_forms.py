"""The forms that a trained failure model may take: plain arrays, read by NumPy alone.

A form gives the probabilities of the three classes; `TrainedFailure` makes of them the calibrated probability that
the pipeline works with.
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

CLASSES = ("high", "medium", "low")
"""How urgently a track needs a look, by the IoU of its box with its object: 0, up to 0.5, above."""
LOW = CLASSES.index("low")
LEAST_LOGARITHM = 1e-6
"""Features that enter as logarithms are at least this."""

Combination = Literal["mean", "softmax"]


class ClassModel(Protocol):
    """Tells the classes of tracks."""

    def probabilities(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 3) in the order of `CLASSES`, for features (N, F) in the order of `failure.FEATURES`."""
        ...


@dataclass(frozen=True, slots=True)
class TrainedFailure:
    """A trained model: implements `failure.FailureModel`."""

    classes: ClassModel
    predicted: NDArray[np.float64]
    """(K,) raw probabilities of failure (high or medium), increasing..."""
    real: NDArray[np.float64]
    """(K,) ...and the share that really failed, on sequences held out; in between, straight lines."""
    priority_weights: NDArray[np.float64]
    """(3,) what the classes' probabilities are multiplied with before the greatest of them is the priority."""

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float32]:
        """Probability (N,) that the box overlaps its object by an IoU of 0.5 or less."""
        raw = 1 - self.classes.probabilities(features)[:, LOW]
        return np.interp(raw, self.predicted, self.real).astype(np.float32)

    def priorities(self, features: NDArray[np.float64]) -> NDArray[np.intp]:
        """Indices (N,) into `CLASSES`."""
        return np.asarray((self.classes.probabilities(features) * self.priority_weights).argmax(axis=1))


@dataclass(frozen=True, slots=True)
class SoftmaxClasses:
    """Multinomial logistic regression; features named in `is_log` enter as log10(max(x, 1e-6))."""

    weights: NDArray[np.float64]
    """(3, F)"""
    intercepts: NDArray[np.float64]
    """(3,)"""
    is_log: NDArray[np.bool_]
    """(F,)"""

    def probabilities(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        inputs = with_logarithms(features, self.is_log)
        return softmax(inputs @ self.weights.T + self.intercepts)


@dataclass(frozen=True, slots=True, eq=False)
class TreesClasses:
    """Decision trees, all walked at once: T trees, padded to M nodes.

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
    value: NDArray[np.float64]
    """(T, M, 3) at leaves: probabilities of the classes (mean), or what is added to their logarithms (softmax)."""
    combine: Combination = "mean"
    """How trees are put together: a forest's are averaged, boosted ones summed and made probabilities."""
    baseline: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    """(3,) added to the sum of boosted trees."""
    _walk: "_Walk" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_walk", _Walk.of(self))

    def probabilities(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        leaves = self._walk.leaves(features)
        summed = self._walk.value.take(leaves, axis=0).sum(axis=0)
        if self.combine == "mean":
            return np.asarray(summed / len(self.feature))
        return softmax(summed + self.baseline)


@dataclass(frozen=True, slots=True)
class _Walk:
    """The same trees as one list of nodes, laid out for speed: a leaf's children are the leaf itself."""

    roots: NDArray[np.intp]
    """(T, 1)"""
    feature: NDArray[np.intp]
    """(T·M,)"""
    threshold: NDArray[np.float64]
    """(T·M,)"""
    children: NDArray[np.intp]
    """(2·T·M,) left and right of each node in turn."""
    value: NDArray[np.float64]
    """(T·M, 3)"""
    depth: int
    """Steps from a root to the farthest leaf."""

    @classmethod
    def of(cls, trees: TreesClasses) -> "_Walk":
        n_trees, n_nodes = trees.feature.shape
        roots = np.arange(n_trees, dtype=np.intp)[:, None] * n_nodes
        own = roots + np.arange(n_nodes)
        is_leaf = trees.feature < 0
        children = np.stack([trees.left, trees.right], axis=2) + roots[:, :, None]
        return cls(
            roots=roots,
            feature=np.where(is_leaf, 0, trees.feature).astype(np.intp).ravel(),
            threshold=np.where(is_leaf, np.inf, trees.threshold).ravel(),
            children=np.where(is_leaf[:, :, None], own[:, :, None], children).astype(np.intp).ravel(),
            value=np.ascontiguousarray(trees.value.reshape(-1, len(CLASSES))),
            depth=_depth(trees),
        )

    def leaves(self, features: NDArray[np.float64]) -> NDArray[np.intp]:
        """(T, N) the node that each row ends at in each tree."""
        n_rows, n_features = features.shape
        flat = np.ascontiguousarray(features).ravel()
        row = np.arange(n_rows, dtype=np.intp) * n_features
        node = np.repeat(self.roots, n_rows, axis=1)
        for _ in range(self.depth):
            goes_right = flat.take(self.feature.take(node) + row) > self.threshold.take(node)
            node = self.children.take(node * 2 + goes_right)
        return node


def _depth(trees: TreesClasses) -> int:
    """Children come after their node, so one pass from the last node to the first tells how deep each tree is."""
    n_trees, n_nodes = trees.feature.shape
    below = np.zeros((n_trees, n_nodes), np.intp)
    every = np.arange(n_trees)
    for node in range(n_nodes - 1, -1, -1):
        deepest = np.maximum(below[every, trees.left[:, node]], below[every, trees.right[:, node]])
        below[:, node] = np.where(trees.feature[:, node] < 0, 0, deepest + 1)
    return int(below[:, 0].max())


def with_logarithms(features: NDArray[np.float64], is_log: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Features (N, F), those marked in `is_log` (F,) as log10(max(x, 1e-6))."""
    return np.where(is_log, np.log10(np.maximum(features, LEAST_LOGARITHM)), features)


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores (N, C) as probabilities (N, C)."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
