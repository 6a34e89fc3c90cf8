import json
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import ModelNotFound, ModelUnreadable
from app.offline.evaluation.published.fit import (
    MAX_DEPTH,
    MIN_SAMPLES_SPLIT,
    RANDOM_STATE,
    Samples,
    cross_validated,
    fit,
)
from app.offline.evaluation.published.priority import (
    FEATURES,
    Priority,
    PriorityTree,
    load_priority_tree,
    priority_label,
    save_priority_tree,
)

COMMITTED = Path(__file__).parents[4] / "models" / "published_priority.json"


def samples_of(n: int, seed: int) -> Samples:
    """Priority follows from two of the features, with some noise."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(n, len(FEATURES)))
    doubt = features[:, 3] - features[:, 1] + random.normal(scale=0.3, size=n)
    return Samples(features, np.digitize(doubt, [-0.5, 0.8]).astype(np.int32), np.arange(n) % 3)


def small_tree() -> PriorityTree:
    """High where the correlation is at most a half, else low."""
    return PriorityTree(
        feature=np.array([1, -1, -1], np.int32),
        threshold=np.array([0.5, 0, 0]),
        left=np.array([1, -1, -1], np.int32),
        right=np.array([2, -1, -1], np.int32),
        priority=np.array([0, Priority.HIGH, Priority.LOW], np.int32),
    )


def test_labels_follow_the_papers_limits() -> None:
    labels = priority_label(np.array([0, 0.01, 0.5, 0.51, 1], np.float32))
    assert labels.tolist() == [Priority.HIGH, Priority.MEDIUM, Priority.MEDIUM, Priority.LOW, Priority.LOW]


def test_a_value_at_the_threshold_goes_left() -> None:
    features = np.zeros((3, 5))
    features[:, 1] = 0.4, 0.5, 0.6
    assert small_tree().predict(features).tolist() == [Priority.HIGH, Priority.HIGH, Priority.LOW]


def test_no_boxes_have_no_priorities() -> None:
    assert small_tree().predict(np.zeros((0, 5))).shape == (0,)


@pytest.mark.parametrize("seed", range(3))
def test_a_fitted_tree_predicts_as_scikit_learn_does(seed: int) -> None:
    tree = pytest.importorskip("sklearn.tree")
    samples = samples_of(400, seed)
    recipe = tree.DecisionTreeClassifier(
        max_depth=MAX_DEPTH, min_samples_split=MIN_SAMPLES_SPLIT, random_state=RANDOM_STATE
    ).fit(samples.features, samples.priority)
    others = samples_of(1000, seed + 100).features
    assert np.array_equal(fit(samples.features, samples.priority).predict(others), recipe.predict(others))


def test_a_tree_of_samples_without_one_priority_keeps_the_meaning_of_the_others() -> None:
    pytest.importorskip("sklearn")
    features = np.tile(np.linspace(-1, 1, 40)[:, None], 5)
    priority = np.where(features[:, 0] > 0, Priority.HIGH, Priority.LOW).astype(np.int32)
    assert np.array_equal(fit(features, priority).predict(features), priority)


def test_mistake_11_no_street_is_judged_by_a_tree_that_saw_it() -> None:
    pytest.importorskip("sklearn")
    samples = samples_of(300, 1)
    flipped = np.where(samples.street == 2, 2 - samples.priority, samples.priority).astype(np.int32)
    own = samples.street == 2
    predicted = cross_validated(Samples(samples.features, flipped, samples.street))
    assert np.mean(predicted[own] == samples.priority[own]) > np.mean(predicted[own] == flipped[own])


def test_a_stored_tree_is_read_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "tree.json"
    save_priority_tree(small_tree(), path)
    features = np.random.default_rng(3).random((50, 5))
    assert np.array_equal(load_priority_tree(path).predict(features), small_tree().predict(features))


def test_the_tree_that_is_shipped_can_be_read() -> None:
    predicted = load_priority_tree(COMMITTED).predict(np.random.default_rng(4).random((500, 5)))
    assert set(predicted.tolist()) <= set(Priority)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"version": 2},
        {"features": ["ncc"]},
        {"feature": [5, -1, -1]},
        {"feature": [1, -1]},
        {"feature": []},
        {"threshold": [float("nan"), 0, 0]},
        {"threshold": ["high", 0, 0]},
        {"left": [0, -1, -1]},
        {"right": [3, -1, -1]},
        {"priority": [0, 3, 0]},
        {"priority": None},
    ],
)
def test_what_is_no_tree_is_refused_with_its_name(change: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "tree.json"
    save_priority_tree(small_tree(), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelUnreadable, match=r"tree\.json"):
        load_priority_tree(path)


def test_a_missing_or_damaged_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        load_priority_tree(tmp_path / "none.json")
    damaged = tmp_path / "tree.json"
    damaged.write_text("[")
    with pytest.raises(ModelUnreadable):
        load_priority_tree(damaged)
