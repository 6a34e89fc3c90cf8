"""Reading trained models: what was written comes back, and what is no model is told in a sentence."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import ModelNotFound, ModelUnreadable
from app.flexpatch.failure import FEATURES
from app.flexpatch.failure_file import FORMAT, VERSION, load_failure_model
from app.flexpatch.failure_forms import CLASSES, Combination, SoftmaxClasses, TrainedFailure
from tests.flexpatch.test_failure_forms import random_features, random_trees

N_FEATURES = len(FEATURES)
Content = dict[str, object]


def any_content() -> Content:
    return {
        "format": FORMAT,
        "version": VERSION,
        "features": list(FEATURES),
        "classes": list(CLASSES),
        "calibration": {"predicted": [0.0, 0.4, 1.0], "real": [0.01, 0.3, 0.99]},
        "priority_weights": [2.0, 1.0, 1.0],
    }


def softmax_content() -> Content:
    return any_content() | {
        "kind": "softmax",
        "weights": [[0.1 * index * sign for index in range(N_FEATURES)] for sign in (1, -1, 0)],
        "intercepts": [-0.5, 0, 0.5],
        "log": ["min_eigenvalue", "height_px"],
    }


def trees_content() -> Content:
    return any_content() | {
        "kind": "trees",
        "combine": "mean",
        "baseline": [0, 0, 0],
        "feature": [[2, -1, -1]],
        "threshold": [[0.5, 0, 0]],
        "left": [[1, 0, 0]],
        "right": [[2, 0, 0]],
        "value": [[[0, 0, 0], [0.25, 0.25, 0.5], [0.5, 0.5, 0]]],
    }


def written(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_written_softmax_predicts_the_same(tmp_path: Path) -> None:
    content = softmax_content()
    is_log = np.array([name in {"min_eigenvalue", "height_px"} for name in FEATURES])
    classes = SoftmaxClasses(np.array(content["weights"]), np.array([-0.5, 0, 0.5]), is_log)
    model = TrainedFailure(classes, np.array([0, 0.4, 1]), np.array([0.01, 0.3, 0.99]), np.array([2.0, 1, 1]))
    features = random_features(5)
    read = load_failure_model(written(tmp_path / "model.json", content))
    assert np.array_equal(read.predict(features), model.predict(features))
    assert np.array_equal(read.priorities(features), model.priorities(features))


@pytest.mark.parametrize("combine", ["mean", "softmax"])
@pytest.mark.parametrize("seed", range(3))
def test_written_trees_predict_the_same(tmp_path: Path, seed: int, combine: Combination) -> None:
    trees, features = random_trees(seed, combine=combine), random_features(seed)
    tables = ("feature", "threshold", "left", "right", "value", "baseline")
    content = trees_content() | {"combine": combine} | {name: getattr(trees, name).tolist() for name in tables}
    read = load_failure_model(written(tmp_path / "model.json", content))
    assert np.array_equal(read.classes.probabilities(features), trees.probabilities(features))


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
        ("version", 1, r"version 1; this service reads version 2\. Train it again"),
        ("version", None, "version"),
        ("features", [*FEATURES[1:], "colour"], "features.*colour.*Train it again"),
        ("features", [*FEATURES, "colour"], "features"),
        ("features", list(reversed(FEATURES)), "features"),
        ("features", None, "features"),
        ("classes", ["failed", "sound"], r"classes \['failed', 'sound'\]; this service knows"),
        ("classes", list(reversed(CLASSES)), "classes"),
        ("classes", None, "classes"),
        ("kind", "forest", "kind"),
        ("kind", None, "kind"),
    ],
)
def test_a_model_of_another_make_is_unreadable(tmp_path: Path, key: str, value: object, complaint: str) -> None:
    with pytest.raises(ModelUnreadable, match=complaint):
        load_failure_model(written(tmp_path / "model.json", softmax_content() | {key: value}))


@pytest.mark.parametrize("key", ["weights", "intercepts", "log", "calibration", "priority_weights"])
def test_a_softmax_without_a_part_is_unreadable(tmp_path: Path, key: str) -> None:
    content = softmax_content()
    del content[key]
    with pytest.raises(ModelUnreadable, match=f"softmax model.*{key}"):
        load_failure_model(written(tmp_path / "model.json", content))


@pytest.mark.parametrize("key", ["feature", "threshold", "left", "right", "value", "combine", "baseline"])
def test_trees_without_a_table_are_unreadable(tmp_path: Path, key: str) -> None:
    content = trees_content()
    del content[key]
    with pytest.raises(ModelUnreadable, match=f"trees model.*{key}"):
        load_failure_model(written(tmp_path / "model.json", content))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weights", [[1.0] * N_FEATURES] * 2),
        ("weights", [1.0] * N_FEATURES),
        ("weights", [[math.nan] * N_FEATURES] * 3),
        ("weights", [["heavy"] * N_FEATURES] * 3),
        ("weights", None),
        ("intercepts", [0, math.inf, 0]),
        ("intercepts", "low"),
        ("calibration", {"predicted": [0.0, 1.0], "real": [0.0]}),
        ("calibration", {"predicted": [0.5], "real": [0.5]}),
        ("calibration", {"predicted": [0.0, 0.0, 1.0], "real": [0.0, 0.5, 1.0]}),
        ("calibration", {"predicted": [0.0, 1.0], "real": [0.0, 1.5]}),
        ("calibration", {"predicted": [math.nan, 1.0], "real": [0.0, 1.0]}),
        ("calibration", [0, 1]),
        ("priority_weights", [1, 1]),
        ("priority_weights", [1, 0, 1]),
        ("priority_weights", [1, math.nan, 1]),
    ],
)
def test_a_softmax_of_wrong_numbers_is_unreadable(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(ModelUnreadable, match="softmax model"):
        load_failure_model(written(tmp_path / "model.json", softmax_content() | {key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("combine", "median"),
        ("combine", ["mean"]),
        ("baseline", [0, 0]),
        ("feature", [2, -1, -1]),
        ("feature", [[]]),
        ("feature", [[2, -1]]),
        ("feature", [[N_FEATURES, -1, -1]]),
        ("feature", [[2, -1], [2]]),
        ("feature", [[99999999999, -1, -1]]),
        ("threshold", [[0.5, 0]]),
        ("threshold", [[math.nan, 0, 0]]),
        ("left", [[0, 0, 0]]),
        ("left", [[-1, 0, 0]]),
        ("left", [[1, 0, 9]]),
        ("right", [[3, 0, 0]]),
        ("value", [[0, 0.25, 1.5]]),
        ("value", 3),
        ("value", [[[0, 0, 0], [0.2, 0.2, 0.2], [0, 0, 1]]]),
        ("value", [[[0, 0, 0], [-0.1, 0.6, 0.5], [0, 0, 1]]]),
        ("value", [[[0, 0, 0], [math.nan, 0, 1], [0, 0, 1]]]),
        ("value", [[["likely"] * 3] * 3]),
    ],
)
def test_tables_that_make_no_trees_are_unreadable(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(ModelUnreadable, match="trees model"):
        load_failure_model(written(tmp_path / "model.json", trees_content() | {key: value}))


def test_a_bottomless_file_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text("[" * 100_000)
    with pytest.raises(ModelUnreadable):
        load_failure_model(path)
