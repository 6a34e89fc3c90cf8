"""A model that could run code is read only where it is allowed and pinned, and only if it fits."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from app.chosen_models import FAILURE_MODEL, SHIPPED_MODELS, failure_model
from app.config import load_settings
from app.core.errors import ModelError, ModelNotFound, ModelUnreadable
from app.core.manifest import sha256_of
from app.flexpatch.failure_file import load_failure_model
from app.flexpatch.failure_forms import CLASSES, TrainedFailure
from app.offline.training.candidates import by_name, fit
from app.offline.training.pickled import TASK, write_pickled_model
from app.offline.training.validation import Trained
from tests.offline.training.scenes import made_up_samples

SAMPLES = made_up_samples(600)
KNOTS = np.array([0.0, 0.4, 1.0])


@pytest.fixture(scope="module", params=["published tree", "logistic"])
def trained(request: pytest.FixtureRequest) -> Trained:
    candidate = by_name(request.param)
    fitted = fit(candidate, SAMPLES, 1, candidate.grid[0])
    return Trained(fitted, KNOTS, KNOTS / 2 + 0.1, np.ones(len(CLASSES)))


@pytest.fixture(scope="module")
def tree() -> Trained:
    return Trained(fit(by_name("published tree"), SAMPLES, 1, {}), KNOTS, KNOTS, np.ones(len(CLASSES)))


def pin(folder: Path, data: bytes, **changes: str) -> None:
    entry = {"file": "flexpatch_model.joblib", "sha256": sha256_of(data), "task": TASK} | changes
    (folder / "manifest.json").write_text(json.dumps([entry]))


def load(path: Path, models_dir: Path, *, is_allowed: bool = True) -> Any:
    values = {"failure_model": path, "models_dir": models_dir, "allow_pickled_models": is_allowed}
    return failure_model(load_settings(None, values, {}))


def test_a_pinned_model_predicts_as_its_safe_form(trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "flexpatch_model.joblib"
    write_pickled_model(trained, path)
    pin(tmp_path, path.read_bytes())
    read = load(path, tmp_path)
    assert np.array_equal(read.predict(SAMPLES.features), trained.model().predict(SAMPLES.features))
    assert np.array_equal(read.priorities(SAMPLES.features), trained.model().priorities(SAMPLES.features))


@pytest.mark.parametrize("name", ["model.joblib", "model.PKL", "model.pickle"])
def test_a_pickled_model_is_refused_unless_allowed(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelUnreadable, match=r"can run any code.*failure_model\.json.*allow_pickled_models"):
        load(tmp_path / name, tmp_path, is_allowed=False)


class Trap:
    """Runs when it is read from a pickle."""

    sprung: list[str] = []  # noqa: RUF012 - shared on purpose: the trap is another object once unpickled

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return (Trap.sprung.append, ("caught",))


@pytest.mark.parametrize("manifest", [None, {"sha256": "0" * 64}, {"task": "detection"}], ids=str)
def test_what_is_not_pinned_is_never_interpreted(tmp_path: Path, manifest: dict[str, str] | None) -> None:
    path = tmp_path / "model.joblib"
    path.write_bytes(pickle.dumps(Trap()))
    if manifest is not None:
        pin(tmp_path, path.read_bytes(), **manifest)
    with pytest.raises(ModelUnreadable, match=rf"not pinned.*{sha256_of(path.read_bytes())}"):
        load(path, tmp_path)
    assert Trap.sprung == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": ["speed"]}, r"features \['speed'\].*Train it again"),
        ({"classes": ["sound", "failed"]}, r"classes \['sound', 'failed'\]"),
        ({"scikit_learn": "0.1"}, r"scikit-learn 0\.1 and this is .*failure_model\.json"),
        ({"format": "other"}, "format"),
        ({"name": "oracle"}, "makes no model"),
        ({"estimator": None}, "makes no model"),
        ({"calibration": {}}, "makes no model"),
        ({"priority_weights": "none"}, "model"),
    ],
    ids=str,
)
def test_a_model_that_does_not_fit_is_told_in_a_sentence(
    tree: Trained, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = tmp_path / "model.joblib"
    write_pickled_model(tree, path)
    joblib.dump(joblib.load(path) | changes, path)
    pin(tmp_path, path.read_bytes())
    with pytest.raises(ModelUnreadable, match=message) as caught:
        load(path, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"nonsense", pickle.dumps([1, 2])[:-3]])
def test_a_damaged_file_is_unreadable_though_pinned(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.joblib"
    path.write_bytes(data)
    pin(tmp_path, data)
    with pytest.raises(ModelUnreadable, match="Train it again"):
        load(path, tmp_path)


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        load(tmp_path / "none.joblib", tmp_path)


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"file": "x"}]', "3"])
def test_a_manifest_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.joblib").write_bytes(b"x")
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ModelError, match="manifest"):
        load(tmp_path / "model.joblib", tmp_path)


# ------------------------------------------------------------------------------------------------ the default


def test_without_a_setting_the_models_folder_decides(tree: Trained, tmp_path: Path) -> None:
    settings = load_settings(None, {"models_dir": tmp_path}, {})
    shipped, expected = failure_model(settings), load_failure_model(SHIPPED_MODELS / FAILURE_MODEL)
    assert np.array_equal(shipped.predict(SAMPLES.features), expected.predict(SAMPLES.features))
    (tmp_path / "failure_model.json").write_text(json.dumps(tree.content()))
    own = failure_model(settings)
    assert isinstance(own, TrainedFailure)
    assert np.array_equal(own.predict(SAMPLES.features), tree.model().predict(SAMPLES.features))


def test_a_setting_goes_before_the_models_folder(tree: Trained, tmp_path: Path) -> None:
    (tmp_path / "failure_model.json").write_text("damaged")
    own = tmp_path / "own.json"
    own.write_text(json.dumps(tree.content()))
    found = load(own, tmp_path, is_allowed=False)
    assert np.array_equal(found.predict(SAMPLES.features), load_failure_model(own).predict(SAMPLES.features))
