"""The models that compete, as scikit-learn builds them, and each in the safe form that the service reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import SettingsError
from app.flexpatch.failure import FEATURES, PUBLISHED_FEATURES
from app.flexpatch.failure_forms import CLASSES, with_logarithms
from app.offline.training.samples import Samples

LOG_FEATURES = (
    "min_eigenvalue",
    "detection_age_s",
    "height_px",
    "flow_std",
    "round_trip",
    "speed",
    "shift",
    "worst_flow_std",
    "total_acceleration",
    "total_round_trip",
)
"""Features over several powers of ten: a linear model reads their logarithms."""
_DIGITS = 6
"""Significant digits of numbers in the safe form; thresholds keep all, for they may be the very value of a sample."""
FOREST_TREES, BOOSTING_ROUNDS = 40, 32
"""More, and 50 tracks could not be judged within 0.2 ms. A round of boosting makes a tree for each class."""

Parameters = Mapping[str, float]
Content = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One kind of model, with the settings to be tried."""

    name: str
    make: Callable[[int, Parameters], Any]
    """From a seed and parameters to an estimator not yet fitted."""
    content: Callable[[Any], Content]
    """From a fitted estimator to its part of the safe form."""
    grid: tuple[Parameters, ...] = ({},)
    """Parameters to choose from by log-loss on sequences held out."""
    columns: tuple[str, ...] = FEATURES
    is_balanced: bool = True
    """Classes weigh the same in the fit, however rare, and priorities are weighted for balanced accuracy."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """An estimator that learned from samples."""

    candidate: Candidate
    estimator: Any
    parameters: Parameters

    def probabilities(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 3) in the order of `CLASSES`, for features (N, F)."""
        return np.asarray(self.estimator.predict_proba(features[:, _columns(self.candidate)]), np.float64)

    def content(self) -> Content:
        """Its part of the safe form."""
        return self.candidate.content(self.estimator)


def fit(candidate: Candidate, samples: Samples, seed: int, parameters: Parameters) -> Fitted:
    """Fit on one thread, so that the sums come out the same on any machine.

    Raises:
        SettingsError: the samples lack one of the classes.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # noqa: PLC0415 - training only

    classes = samples.classes
    counts = np.bincount(classes, minlength=len(CLASSES))
    if not counts.all():
        lacking = ", ".join(name for name, count in zip(CLASSES, counts, strict=True) if not count)
        raise SettingsError(
            f"There are too few samples to learn from: none of {lacking} in a part of the sequences. "
            "Give more or longer sequences, or smaller budgets."
        )
    weights = (len(classes) / len(CLASSES) / counts)[classes] if candidate.is_balanced else None
    estimator = candidate.make(seed, parameters)
    with threadpool_limits(1):
        estimator.fit(samples.features[:, _columns(candidate)], classes, sample_weight=weights)
    return Fitted(candidate, estimator, parameters)


def candidates() -> tuple[Candidate, ...]:
    """All that compete, the published recipe first."""
    return (
        Candidate("published tree", _published, _tree_content, columns=PUBLISHED_FEATURES, is_balanced=False),
        Candidate(
            "tuned tree",
            _tree,
            _tree_content,
            tuple({"max_depth": depth, "min_samples_leaf": leaf} for depth in (6, 8) for leaf in (50, 200)),
        ),
        Candidate(
            "random forest",
            _forest,
            _forest_content,
            tuple({"max_depth": depth, "min_samples_leaf": 25} for depth in (7, 9)),
        ),
        Candidate(
            "gradient boosting",
            _boosting,
            _boosting_content,
            tuple({"learning_rate": rate, "min_samples_leaf": leaf} for rate, leaf in ((0.15, 200), (0.25, 100))),
        ),
        Candidate("logistic", _logistic, _logistic_content, tuple({"C": strength} for strength in (0.03, 0.3))),
    )


def by_name(name: str) -> Candidate:
    """The candidate of that name.

    Raises:
        KeyError: there is none.
    """
    return {candidate.name: candidate for candidate in candidates()}[name]


def _columns(candidate: Candidate) -> list[int]:
    return [FEATURES.index(name) for name in candidate.columns]


# --------------------------------------------------------------------------------------------------- estimators


def _published(_seed: int, _parameters: Parameters) -> Any:
    """The recipe that the project started from, word for word; its seed is part of it."""
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415 - training only, an extra

    return DecisionTreeClassifier(max_depth=5, min_samples_split=10, random_state=42)


def _tree(seed: int, parameters: Parameters) -> Any:
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415

    return DecisionTreeClassifier(**parameters, random_state=seed)


def _forest(seed: int, parameters: Parameters) -> Any:
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415

    # Samples of neighbouring frames are much alike: a third of them is as good for a tree, and keeps trees apart.
    return RandomForestClassifier(
        n_estimators=FOREST_TREES, max_features=6, max_samples=0.3, **parameters, random_state=seed
    )


def _boosting(seed: int, parameters: Parameters) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415

    return HistGradientBoostingClassifier(
        **parameters,
        max_iter=BOOSTING_ROUNDS,
        max_depth=6,
        l2_regularization=5.0,
        early_stopping=False,
        random_state=seed,
    )


def _logistic(seed: int, parameters: Parameters) -> Any:
    return LogLinear(seed, parameters["C"])


class LogLinear:
    """Multinomial logistic regression on standardised features, some of them as logarithms."""

    def __init__(self, seed: int, strength: float) -> None:
        """
        Args:
            strength: scikit-learn's `C`; smaller is more regularised.
        """
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

        self._model = LogisticRegression(C=strength, max_iter=500, random_state=seed)
        self._mean = self._deviation = np.zeros(0)

    @property
    def classes_(self) -> NDArray[np.int64]:
        return np.asarray(self._model.classes_)

    def fit(
        self,
        features: NDArray[np.float64],
        classes: NDArray[np.int64],
        sample_weight: NDArray[np.float64] | None = None,
    ) -> "LogLinear":
        """Learn from features (N, F) and classes (N,)."""
        inputs = with_logarithms(features, _is_log())
        self._mean, self._deviation = inputs.mean(axis=0), np.maximum(inputs.std(axis=0), 1e-9)
        self._model.fit((inputs - self._mean) / self._deviation, classes, sample_weight=sample_weight)
        return self

    def predict_proba(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 3) for features (N, F)."""
        inputs = (with_logarithms(features, _is_log()) - self._mean) / self._deviation
        return np.asarray(self._model.predict_proba(inputs))

    @property
    def weights(self) -> NDArray[np.float64]:
        """(3, F) for features as they are, or their logarithms."""
        return np.asarray(self._model.coef_ / self._deviation)

    @property
    def intercepts(self) -> NDArray[np.float64]:
        """(3,)"""
        return np.asarray(self._model.intercept_ - self.weights @ self._mean)


def _is_log() -> NDArray[np.bool_]:
    return np.isin(FEATURES, LOG_FEATURES)


# ---------------------------------------------------------------------------------------------------- safe form


@dataclass(frozen=True, slots=True)
class _Nodes:
    """One tree of M nodes."""

    feature: list[int]
    """−1 for leaves."""
    threshold: list[float]
    left: list[int]
    right: list[int]
    value: NDArray[np.float64]
    """(M, 3)"""


def rounded(values: NDArray[np.floating]) -> list[Any]:
    """Nested lists of numbers with 6 significant digits: the same text on every machine."""
    text = np.vectorize(lambda value: float(f"{value:.{_DIGITS}g}"), otypes=[np.float64])
    return text(values).tolist() if values.size else values.tolist()


def _trees_content(trees: list[_Nodes], combine: str, baseline: NDArray[np.float64]) -> Content:
    """Trees padded to the same number of nodes; leaves say nothing but their value."""
    most = max(len(tree.feature) for tree in trees)

    def padded(rows: list[list[Any]], fill: int) -> list[list[Any]]:
        return [[*row, *[fill] * (most - len(row))] for row in rows]

    values = [np.concatenate([tree.value, np.zeros((most - len(tree.value), len(CLASSES)))]) for tree in trees]
    return {
        "kind": "trees",
        "combine": combine,
        "baseline": rounded(baseline),
        "feature": padded([tree.feature for tree in trees], -1),
        "threshold": padded([tree.threshold for tree in trees], 0),
        "left": padded([tree.left for tree in trees], 0),
        "right": padded([tree.right for tree in trees], 0),
        "value": rounded(np.array(values)),
    }


def _tree_nodes(tree: Any) -> _Nodes:
    """One of scikit-learn's classification trees; it must have learned from the first of `FEATURES`, or all."""
    inner = tree.children_left >= 0
    value = np.where(inner[:, None], 0, tree.value[:, 0, :] / tree.value[:, 0, :].sum(axis=1, keepdims=True))
    return _Nodes(
        feature=np.where(inner, tree.feature, -1).tolist(),
        threshold=np.where(inner, tree.threshold, 0).tolist(),
        left=np.where(inner, tree.children_left, 0).tolist(),
        right=np.where(inner, tree.children_right, 0).tolist(),
        value=value,
    )


def _tree_content(estimator: Any) -> Content:
    return _trees_content([_tree_nodes(estimator.tree_)], "mean", np.zeros(len(CLASSES)))


def _forest_content(estimator: Any) -> Content:
    return _trees_content([_tree_nodes(tree.tree_) for tree in estimator.estimators_], "mean", np.zeros(len(CLASSES)))


def _boosting_content(estimator: Any) -> Content:
    # There is no public way to the trees; the library's version is pinned and checked for that reason.
    stages = estimator._predictors  # noqa: SLF001
    baseline = np.asarray(estimator._baseline_prediction, np.float64).reshape(-1)  # noqa: SLF001
    trees = [_boosted_nodes(tree.nodes, index) for stage in stages for index, tree in enumerate(stage)]
    return _trees_content(trees, "softmax", baseline)


def _boosted_nodes(nodes: Any, class_index: int) -> _Nodes:
    inner = nodes["is_leaf"] == 0
    value = np.zeros((len(nodes), len(CLASSES)))
    value[:, class_index] = np.where(inner, 0, nodes["value"])
    return _Nodes(
        feature=np.where(inner, nodes["feature_idx"], -1).tolist(),
        threshold=np.where(inner, nodes["num_threshold"], 0).tolist(),
        left=np.where(inner, nodes["left"], 0).tolist(),
        right=np.where(inner, nodes["right"], 0).tolist(),
        value=value,
    )


def _logistic_content(estimator: Any) -> Content:
    return {
        "kind": "softmax",
        "log": list(LOG_FEATURES),
        "weights": rounded(estimator.weights),
        "intercepts": rounded(estimator.intercepts),
    }
