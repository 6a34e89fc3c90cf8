import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.errors import ModelNotFound, ModelUnreadable
from app.flexpatch.failure import (
    FEATURES,
    FORMAT,
    VERSION,
    LogisticFailure,
    TreesFailure,
    correlation,
    failure_features,
    hand_set_model,
    load_failure_model,
)
from tests.core.strategies import REPEATABLE
from tests.flexpatch.builders import frame_boxes, tracks_at

N_FEATURES = len(FEATURES)
SEEDS = st.integers(0, 100_000)

Content = dict[str, object]
Spoil = Callable[[Content], object]


def random_features(seed: int, n: int = 20) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(0, 3, (n, N_FEATURES))


# ---------------------------------------------------------------------------------------------- features


def test_every_feature_has_a_column_of_its_own() -> None:
    tracks = tracks_at(frame_boxes((10, 10, 40, 90), (200, 20, 260, 140)))
    assert failure_features(tracks, 1.0).shape == (2, N_FEATURES)


def test_age_and_height_are_told_in_seconds_and_pixels() -> None:
    features = failure_features(tracks_at(frame_boxes((10, 10, 40, 90))), 1.5)
    assert features[0, FEATURES.index("detection_age_s")] == 1.5
    assert features[0, FEATURES.index("height_px")] == 80


# ------------------------------------------------------------------------------------------- correlation


@REPEATABLE
@given(SEEDS, st.floats(-1, 1))
def test_correlation_agrees_with_numpy(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    a = random.uniform(0, 255, (4, 16, 16)).astype(np.float32)
    b = (share * a + random.uniform(0, 100, a.shape)).astype(np.float32)
    expected = [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b, strict=True)]
    assert correlation(a, b) == pytest.approx(np.array(expected), abs=1e-4)


def test_a_flat_template_correlates_with_nothing() -> None:
    flat = np.full((1, 16, 16), 90, np.float32)
    textured = np.random.default_rng(1).uniform(0, 255, (1, 16, 16)).astype(np.float32)
    assert correlation(flat, textured).tolist() == [0]
    assert correlation(flat, flat).tolist() == [0]


def test_exposure_does_not_change_the_correlation() -> None:
    a = np.random.default_rng(1).uniform(0, 100, (1, 16, 16)).astype(np.float32)
    assert correlation(a, a * np.float32(1.7) + np.float32(20)) == pytest.approx([1])


def test_no_templates_have_no_correlation() -> None:
    none = np.zeros((0, 16, 16), np.float32)
    assert correlation(none, none).shape == (0,)


# ---------------------------------------------------------------------------------------------- logistic


@REPEATABLE
@given(SEEDS)
def test_the_logistic_model_is_its_formula(seed: int) -> None:
    random = np.random.default_rng(seed)
    weights, intercept = random.normal(0, 1, N_FEATURES), float(random.normal())
    is_log = random.random(N_FEATURES) < 0.5
    features = random_features(seed)
    expected = []
    for row in features:
        inputs = [math.log10(max(x, 1e-6)) if log else x for x, log in zip(row, is_log, strict=True)]
        expected.append(1 / (1 + math.exp(-(sum(w * x for w, x in zip(weights, inputs, strict=True)) + intercept))))
    assert LogisticFailure(weights, intercept, is_log).predict(features) == pytest.approx(np.array(expected), abs=1e-5)


@REPEATABLE
@given(SEEDS, st.sampled_from([1e-9, 1.0, 1e9]))
def test_any_features_give_a_probability(seed: int, magnitude: float) -> None:
    failure = hand_set_model().predict(random_features(seed) * magnitude)
    assert ((failure >= 0) & (failure <= 1)).all()


@pytest.mark.parametrize(
    ("feature", "better", "worse"),
    [("ncc", 0.95, 0.2), ("detection_age_s", 0.1, 2.0), ("inlier_ratio", 1.0, 0.2), ("confidence", 0.9, 0.1)],
)
def test_the_hand_set_model_fears_what_a_person_would(feature: str, better: float, worse: float) -> None:
    usual = np.array([[0.01, 0.9, 0.02, 0.01, 0.7, 0.01, 0.9, 0.3, 120.0]])
    calm, worried = usual.copy(), usual.copy()
    calm[0, FEATURES.index(feature)], worried[0, FEATURES.index(feature)] = better, worse
    assert hand_set_model().predict(calm)[0] < hand_set_model().predict(worried)[0]


# ------------------------------------------------------------------------------------------------- trees


def random_trees(seed: int, n_trees: int = 4, n_nodes: int = 15) -> TreesFailure:
    """Trees grown node by node: the children of a node are always the next two free ones."""
    random = np.random.default_rng(seed)
    shape = (n_trees, n_nodes)
    feature, left, right = np.full(shape, -1, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for tree in range(n_trees):
        n_used = 1
        for node in range(n_nodes):
            if node < n_used and n_used + 2 <= n_nodes and random.random() < 0.7:
                feature[tree, node] = random.integers(0, N_FEATURES)
                left[tree, node], right[tree, node] = n_used, n_used + 1
                n_used += 2
    return TreesFailure(feature, random.uniform(0, 3, shape), left, right, random.uniform(0, 1, shape))


def walk(trees: TreesFailure, row: NDArray[np.float64]) -> float:
    """The mean leaf of one row, one node at a time."""
    leaves = []
    for tree in range(len(trees.feature)):
        node = 0
        while (feature := int(trees.feature[tree, node])) >= 0:
            goes_left = row[feature] <= trees.threshold[tree, node]
            node = int(trees.left[tree, node] if goes_left else trees.right[tree, node])
        leaves.append(float(trees.probability[tree, node]))
    return sum(leaves) / len(leaves)


@REPEATABLE
@given(SEEDS)
def test_trees_agree_with_a_walk_node_by_node(seed: int) -> None:
    trees, features = random_trees(seed), random_features(seed)
    assert trees.predict(features) == pytest.approx(np.array([walk(trees, row) for row in features]), abs=1e-6)


def test_a_value_on_the_threshold_goes_left() -> None:
    trees = TreesFailure(
        feature=np.array([[0, -1, -1]], np.int32),
        threshold=np.array([[0.5, 0, 0]]),
        left=np.array([[1, 0, 0]], np.int32),
        right=np.array([[2, 0, 0]], np.int32),
        probability=np.array([[0, 0.25, 0.75]]),
    )
    features = np.zeros((2, N_FEATURES))
    features[:, 0] = [0.5, 0.500001]
    assert trees.predict(features).tolist() == [0.25, 0.75]


def test_no_tracks_have_no_predictions() -> None:
    none = np.zeros((0, N_FEATURES))
    assert random_trees(1).predict(none).shape == (0,)
    assert hand_set_model().predict(none).shape == (0,)


# ------------------------------------------------------------------------------------------------ reading


def logistic_content() -> Content:
    return {
        "format": FORMAT,
        "version": VERSION,
        "features": list(FEATURES),
        "kind": "logistic",
        "weights": [0.1 * index for index in range(N_FEATURES)],
        "intercept": -0.5,
        "log": ["min_eigenvalue", "height_px"],
    }


def trees_content() -> Content:
    return {
        "format": FORMAT,
        "version": VERSION,
        "features": list(FEATURES),
        "kind": "trees",
        "feature": [[2, -1, -1]],
        "threshold": [[0.5, 0, 0]],
        "left": [[1, 0, 0]],
        "right": [[2, 0, 0]],
        "probability": [[0, 0.25, 0.75]],
    }


def written(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_written_logistic_model_predicts_the_same(tmp_path: Path) -> None:
    content = logistic_content()
    is_log = np.array([name in {"min_eigenvalue", "height_px"} for name in FEATURES])
    model = LogisticFailure(np.array(content["weights"]), -0.5, is_log)
    features = random_features(5)
    read = load_failure_model(written(tmp_path / "model.json", content))
    assert np.array_equal(read.predict(features), model.predict(features))


@pytest.mark.parametrize("seed", range(3))
def test_written_trees_predict_the_same(tmp_path: Path, seed: int) -> None:
    trees, features = random_trees(seed), random_features(seed)
    tables = ("feature", "threshold", "left", "right", "probability")
    content = trees_content() | {name: getattr(trees, name).tolist() for name in tables}
    read = load_failure_model(written(tmp_path / "model.json", content))
    assert np.array_equal(read.predict(features), trees.predict(features))


def test_a_missing_model_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"nowhere\.json"):
        load_failure_model(tmp_path / "nowhere.json")


@pytest.mark.parametrize("content", [b"", b"{", b"joblib\x80\x04", b"\xff\xfe\x00"])
def test_what_is_not_json_is_unreadable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(content)
    with pytest.raises(ModelUnreadable, match="not a failure model in JSON"):
        load_failure_model(path)


def test_a_folder_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ModelUnreadable):
        load_failure_model(tmp_path)


@pytest.mark.parametrize("content", [[], 3, "model", None])
def test_json_that_is_no_object_is_unreadable(tmp_path: Path, content: object) -> None:
    with pytest.raises(ModelUnreadable, match="format"):
        load_failure_model(written(tmp_path / "model.json", content))


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("format", "onnx", "format"),
        ("version", VERSION + 1, "version"),
        ("version", None, "version"),
        ("features", [*FEATURES[1:], "speed"], "features"),
        ("features", [*FEATURES, "speed"], "features"),
        ("features", list(reversed(FEATURES)), "features"),
        ("kind", "forest", "kind"),
        ("kind", None, "kind"),
    ],
)
def test_a_model_of_another_make_is_unreadable(tmp_path: Path, key: str, value: object, complaint: str) -> None:
    with pytest.raises(ModelUnreadable, match=complaint):
        load_failure_model(written(tmp_path / "model.json", logistic_content() | {key: value}))


@pytest.mark.parametrize("key", ["weights", "intercept", "log"])
def test_a_logistic_model_without_a_part_is_unreadable(tmp_path: Path, key: str) -> None:
    content = logistic_content()
    del content[key]
    with pytest.raises(ModelUnreadable, match=f"logistic model.*{key}"):
        load_failure_model(written(tmp_path / "model.json", content))


@pytest.mark.parametrize("key", ["feature", "threshold", "left", "right", "probability"])
def test_trees_without_a_table_are_unreadable(tmp_path: Path, key: str) -> None:
    content = trees_content()
    del content[key]
    with pytest.raises(ModelUnreadable, match=f"trees model.*{key}"):
        load_failure_model(written(tmp_path / "model.json", content))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weights", [1.0] * (N_FEATURES - 1)),
        ("weights", [[1.0] * N_FEATURES]),
        ("weights", [math.nan] * N_FEATURES),
        ("weights", [math.inf] * N_FEATURES),
        ("weights", ["heavy"] * N_FEATURES),
        ("weights", None),
        ("intercept", "low"),
        ("intercept", None),
        ("intercept", [1.0, 2.0]),
    ],
)
def test_a_logistic_model_of_wrong_numbers_is_unreadable(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(ModelUnreadable, match="logistic model"):
        load_failure_model(written(tmp_path / "model.json", logistic_content() | {key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("feature", [2, -1, -1]),
        ("feature", [[]]),
        ("feature", [[2, -1]]),
        ("feature", [[N_FEATURES, -1, -1]]),
        ("feature", [[2, -1], [2]]),
        ("threshold", [[0.5, 0]]),
        ("left", [[0, 0, 0]]),
        ("left", [[-1, 0, 0]]),
        ("right", [[3, 0, 0]]),
        ("probability", [[0, 0.25, 1.5]]),
        ("probability", [[0, -0.1, 0.75]]),
        ("probability", [[0, math.nan, 0.75]]),
        ("probability", [["likely"] * 3]),
    ],
)
def test_tables_that_make_no_trees_are_unreadable(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(ModelUnreadable, match="trees model"):
        load_failure_model(written(tmp_path / "model.json", trees_content() | {key: value}))


@pytest.mark.parametrize(
    "content",
    [
        logistic_content() | {"features": 5},
        logistic_content() | {"features": None},
        logistic_content() | {"intercept": float("nan")},
        trees_content() | {"threshold": [[float("nan"), 0, 0]]},
        trees_content() | {"feature": [[99999999999, -1, -1]]},
    ],
    ids=["features a number", "no features", "intercept nan", "threshold nan", "feature beyond int32"],
)
def test_a_model_of_nonsense_is_unreadable(tmp_path: Path, content: Content) -> None:
    with pytest.raises(ModelUnreadable):
        load_failure_model(written(tmp_path / "model.json", content))


def test_a_bottomless_file_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text("[" * 100_000)
    with pytest.raises(ModelUnreadable):
        load_failure_model(path)
