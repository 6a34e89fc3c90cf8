"""The whole training, small: what it writes, that it writes it twice the same, and nothing where it fails."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from app.core.errors import SettingsError
from app.flexpatch.failure_file import load_failure_model
from app.flexpatch.failure_forms import CLASSES
from app.offline.training.candidates import by_name
from app.offline.training.report import HAND_SET, TrainingReport
from app.offline.training.train import TrainOptions, train
from tests.flexpatch.world import ScriptedDetector
from tests.offline.training.scenes import hectic_world, write_sequence

N_FRAMES = 40
FILES = {
    "calibration.png",
    "failure_model.json",
    "flexpatch_model.joblib",
    "importances.png",
    "report.json",
    "report.md",
    "roc.png",
    "timings.json",
    "training_data.csv",
}
COMPETING = (by_name("published tree"), by_name("logistic"))


def quiet(_stage: str, _n_done: int, _n_all: int) -> None:
    """Nobody watches."""


def options(sequences: list[Path], output: Path) -> TrainOptions:
    names = tuple(str(path) for path in sequences)
    return TrainOptions(names, output, "auto", ("person",), N_FRAMES, (0.008,), (0.01,))


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three recordings with annotations."""
    root = tmp_path_factory.mktemp("sequences")
    return [write_sequence(hectic_world(seed), root / f"hectic-{seed}", N_FRAMES) for seed in range(3)]


@pytest.fixture(scope="module")
def trained(sequences: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingReport]:
    """The output folder, made by all candidates that matter here, and the report."""
    output = tmp_path_factory.mktemp("trained") / "new" / "model"
    return output, train(options(sequences, output), ScriptedDetector(), quiet, COMPETING)


def test_everything_is_written_and_nothing_else(trained: tuple[Path, TrainingReport]) -> None:
    output, _ = trained
    assert {path.name for path in output.iterdir()} == FILES
    assert [path.name for path in output.parent.iterdir()] == ["model"]
    for name in ("calibration.png", "importances.png", "roc.png"):
        assert (output / name).read_bytes().startswith(b"\x89PNG")


def test_the_written_model_is_the_chosen_one(trained: tuple[Path, TrainingReport]) -> None:
    output, report = trained
    assert (load_failure_model(output / "failure_model.json").priority_weights > 0).all()
    assert json.loads((output / "failure_model.json").read_text())["name"] == report.chosen
    assert report.chosen in {candidate.name for candidate in COMPETING}


def test_the_report_tells_all_that_was_promised(trained: tuple[Path, TrainingReport]) -> None:
    output, report = trained
    content = json.loads((output / "report.json").read_text())
    assert content["classes"] == list(CLASSES)
    assert [item["name"] for item in content["candidates"]] == ["published tree", "logistic", HAND_SET]
    for item in content["candidates"]:
        assert sum(map(sum, item["scores"]["confusion"])) == sum(content["class_counts"])
        assert len(item["scores"]["recalls"]) == 3
        assert {"balanced_accuracy", "roc_auc", "brier", "calibration_error", "calibration"} <= set(item["scores"])
        assert 0 < item["mean_ap50"] <= 1
        assert len(item["runs"]) == 3
    assert len(content["importances"]) == len(content["features"])
    text = (output / "report.md").read_text()
    for words in ("published tree", HAND_SET, "balanced accuracy", "ROC AUC", "really failed", "shuffled", "annotated"):
        assert words in text
    assert "agreement" not in text
    assert set(json.loads((output / "timings.json").read_text())["predict_50_tracks_ms"]) == {
        item.name for item in report.candidates
    }


@dataclass(slots=True)
class Again:
    """A second training of the same, into a folder in use."""

    output: Path
    told: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """What the progress was, by stage."""

    def watch(self, stage: str, n_done: int, n_all: int) -> None:
        self.told.setdefault(stage, []).append((n_done, n_all))


@pytest.fixture(scope="module")
def again(sequences: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Again:
    found = Again(tmp_path_factory.mktemp("again"))
    (found.output / "failure_model.json").write_text("the old one")
    (found.output / "notes.txt").write_text("mine")
    train(options(sequences, found.output), ScriptedDetector(), found.watch, COMPETING)
    return found


def test_the_same_input_gives_the_same_bytes(trained: tuple[Path, TrainingReport], again: Again) -> None:
    for name in ("training_data.csv", "failure_model.json", "report.json"):
        assert (again.output / name).read_bytes() == (trained[0] / name).read_bytes()


def test_results_replace_older_ones_and_leave_other_files(again: Again) -> None:
    assert {path.name for path in again.output.iterdir()} == FILES | {"notes.txt"}


def test_progress_is_told_from_beginning_to_end(again: Again) -> None:
    assert list(again.told) == ["Collecting samples", "Fitting candidates", "Running the pipeline"]
    for steps in again.told.values():
        assert steps[-1][0] == steps[-1][1]
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)


def test_pseudo_truth_is_called_agreement(sequences: list[Path], tmp_path: Path) -> None:
    pseudo = replace(options(sequences, tmp_path / "pseudo"), ground_truth="pseudo", budgets=(0.012,))
    train(pseudo, ScriptedDetector(), quiet, COMPETING)
    assert "agreement with that detector, not accuracy" in (tmp_path / "pseudo" / "report.md").read_text()


@pytest.mark.parametrize("stage", ["Collecting samples", "Fitting candidates", "Running the pipeline"])
def test_an_interrupt_leaves_nothing_and_touches_nothing(stage: str, sequences: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "model"
    output.mkdir()
    (output / "failure_model.json").write_text("the old one")

    def interrupt(what: str, n_done: int, _n_all: int) -> None:
        if what == stage and n_done > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(options(sequences, output), ScriptedDetector(), interrupt, COMPETING)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert [path.name for path in output.iterdir()] == ["failure_model.json"]
    assert (output / "failure_model.json").read_text() == "the old one"


def refuses(message: str, act: Callable[[], object]) -> None:
    with pytest.raises(SettingsError, match=message):
        act()


def test_what_makes_no_sense_is_refused_before_any_work(sequences: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    detector = ScriptedDetector()
    refuses("at least 3", lambda: train(options(sequences[:2], tmp_path / "x"), detector, quiet))
    refuses("is a file", lambda: train(options(sequences, tmp_path / "file"), detector, quiet))
    refuses("can be written", lambda: train(options(sequences, tmp_path / "file" / "x"), detector, quiet))
    refuses("named twice", lambda: options([*sequences, sequences[0]], tmp_path))
    refuses("at least 2", lambda: TrainOptions(("a",), tmp_path, n_frames=1))
    refuses("megapixels_per_frame", lambda: TrainOptions(("a",), tmp_path, budgets=(0.0,)))
    refuses("budget", lambda: TrainOptions(("a",), tmp_path, budgets=()))
    refuses("class", lambda: TrainOptions(("a",), tmp_path, labels=()))
    refuses("seed", lambda: TrainOptions(("a",), tmp_path, seed=-1))
    assert detector.canvases == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_missing_packages_are_named_with_what_to_install(
    sequences: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.offline.training.extras.find_spec", lambda name: None if name == "sklearn" else name)
    refuses(
        re.escape("needs scikit-learn: install the extra with pip install 'flexpatch-service[train]'"),
        lambda: train(options(sequences, tmp_path / "model"), ScriptedDetector(), quiet),
    )
