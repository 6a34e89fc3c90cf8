"""`flexpatch models` from outside."""

import json
import shutil
from pathlib import Path

import pytest

from app.cli import main
from app.core.manifest import INSTALLED
from tests.detect.graphs import square_finder
from tests.offline.clips import clear_environment

STREET = "synthetic:320x180@25?objects=4&frames=2"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clear_environment(monkeypatch)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirror")
    square_finder(folder / "finder.onnx")
    return folder


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    capsys.readouterr()
    assert main(["models", "list", "--json"]) == 0
    return {model["name"]: model["state"] for model in json.loads(capsys.readouterr().out)["models"]}


def test_a_model_is_pulled_listed_run_and_verified(mirror: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "finder", "--mirror", str(mirror)]) == 0
    assert "flexpatch serve --detector finder" in capsys.readouterr().err
    assert listed(capsys)["finder"] == "installed"
    assert listed(capsys)["yolox-nano"] == "known"
    assert main(["run", STREET, "--detector", "finder", "--json"]) == 0
    capsys.readouterr()
    assert main(["models", "verify", "finder", "--json"]) == 0
    assert [model["state"] for model in json.loads(capsys.readouterr().out)["models"]] == ["ok"]


def test_what_is_shipped_is_known_wherever_the_models_folder_is(
    mirror: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert listed(capsys)["flexpatch-nano"] == "installed"
    assert main(["models", "verify"]) == 0
    assert "flexpatch-nano" in capsys.readouterr().out
    assert main(["models", "add", str(mirror / "finder.onnx"), "--name", "flexpatch-nano"]) == 2
    assert "flexpatch-nano is a model that comes with this version" in capsys.readouterr().err


def test_a_file_of_the_models_folder_hides_the_shipped_one_of_its_name(
    mirror: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("models").mkdir()
    shutil.copyfile(mirror / "finder.onnx", "models/flexpatch-nano.onnx")
    assert listed(capsys)["flexpatch-nano"] == "unrecorded"
    assert main(["models", "verify", "flexpatch-nano"]) == 2
    assert "Nothing is recorded of flexpatch-nano" in capsys.readouterr().err


def test_the_mirror_may_come_from_the_environment(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEXPATCH_MODELS_MIRROR", str(mirror))
    monkeypatch.setenv("FLEXPATCH_MODELS_DIR", "elsewhere")
    assert main(["models", "pull", "finder"]) == 0
    assert {path.name for path in Path("elsewhere").iterdir()} == {"finder.onnx", INSTALLED, ".lock"}


def test_an_altered_model_fails_verify_and_is_not_run(mirror: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "add", str(mirror / "finder.onnx"), "--name", "mine", "--licence", "MIT"]) == 0
    shutil.copyfile(square_finder(mirror / "other.onnx", metadata={"version": "2"}), "models/mine.onnx")
    assert main(["models", "verify"]) == 1
    captured = capsys.readouterr()
    assert "ALTERED" in captured.out
    assert "mine is altered" in captured.err
    assert main(["run", STREET, "--detector", "mine"]) == 2
    assert "is not the model that was installed" in capsys.readouterr().err


def test_words_in_brackets_are_shown_as_they_are(mirror: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "add", str(mirror / "finder.onnx"), "--licence", "[/red] ours"]) == 0
    assert main(["models", "list"]) == 0
    assert "[/red] ours" in capsys.readouterr().out


def test_the_list_is_a_table_that_a_pipe_gets_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("nanodet-plus-m-416", "rtdetr-v2-r18", "Apache-2.0", "AGPL-3.0"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing command"),
        (["pull"], "NAME"),
        (["pull", "nix"], "Known: yolox-nano"),
        (["pull", "finder", "--mirror", "no-such-folder"], "neither a folder nor an address"),
        (["pull", "nix", "--mirror", "MIRROR"], "has no nix.onnx"),
        (["add", "no-such.onnx"], "no-such.onnx"),
        (["add", "MIRROR/finder.onnx", "--name", "a/b"], "is no name for a model"),
        (["verify", "nix"], "Nothing is recorded of nix"),
        (["remove", "x"], "No such command"),
    ],
    ids=" ".join,
)
def test_wrong_use_is_one_sentence_and_status_2(
    arguments: list[str], words: str, mirror: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", *(argument.replace("MIRROR", str(mirror)) for argument in arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Error: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err
