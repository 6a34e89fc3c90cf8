"""`flexpatch engine` from outside."""

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.cli import engine, main
from app.core.errors import GpuMissing
from app.detect.tensorrt.engine_file import read_engine, write_engine
from app.detect.tensorrt.library import Capability, Library, Search
from app.detect.tensorrt.options import EngineOptions
from app.gpu.device import Gpu
from tests.detect import encoders
from tests.detect.graphs import constant_model, square_finder
from tests.detect.tensorrt.conftest import ADA, KEY, library_that_builds_ahead
from tests.detect.tensorrt.fakes import tensorrt_rtx
from tests.detect.test_recognise import SIZE, TRUTH
from tests.offline.clips import clear_environment

STREET = "synthetic:320x180@25?objects=4&frames=3"
FOR_ADA = ("--compute-capability", "8.9")
NO_GPU = "There is no GPU that can be used."
SETTINGS = (
    "ENGINE_DIR", "ENGINE_PRECISION", "ENGINE_CALIBRATION", "ENGINE_MAX_SIDE_PX", "GPU", "GPU_SHARING", "BACKEND",
    "MODELS_DIR", "STATE_FILE", "CONFIG",
)  # fmt: skip


class GpuAtHand:
    """A machine's GPU, as far as the command looks at it."""

    capability: Capability | None = None

    def __init__(self, ordinal: int) -> None:
        if self.capability is None:
            raise GpuMissing(NO_GPU)

    def close(self) -> None:
        """Nothing to give back."""


@pytest.fixture(autouse=True)
def _in_an_empty_folder_of_a_machine_without_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clear_environment(monkeypatch)
    for name in SETTINGS:
        monkeypatch.delenv(f"FLEXPATCH_{name}", raising=False)
    monkeypatch.setenv("FLEXPATCH_ENGINE_DIR", str(tmp_path / "engines"))
    monkeypatch.setattr(engine, "Gpu", GpuAtHand)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def rtx() -> Library:
    return library_that_builds_ahead()


@pytest.fixture
def detector(tmp_path: Path) -> str:
    return str(square_finder(tmp_path / "finder.onnx", metadata={"names": "{0: 'ant', 1: 'bee', 2: 'cat'}"}))


def build(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Build an engine; what is printed in JSON."""
    capsys.readouterr()
    assert main(["engine", "build", *arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return document


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["engine", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return document


def failure(capsys: pytest.CaptureFixture[str], status: int, *arguments: str) -> str:
    """The last line of a command that fails, after those that tell what it does."""
    capsys.readouterr()
    assert main(["engine", "build", *arguments]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    *before, last = captured.err.splitlines()
    assert all(line.startswith("Building ") for line in before if line.strip())
    assert last.startswith("Error: ")
    assert last.endswith(".")
    assert ".." not in last
    return last


# ---------------------------------------------------------------------------------------------------- building


def test_an_engine_is_built_ahead_and_compared_and_said_so(
    rtx: Library, detector: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["engine", "build", detector, *FOR_ADA]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    building, ready, compared = (line for line in captured.err.splitlines() if line.strip())
    assert building == f"Building   finder.onnx for compute capability 8.9 with {rtx}"
    path = Path("engines", "finder.sm_89.tensorrt_rtx.half.b1.s1920.engine").absolute()
    assert ready.startswith(f"Ready      {path} (0.")
    assert compared.startswith("Compared   ")
    assert "objects are found again, 0 are new" in compared
    file = read_engine(path)
    assert file.description
    assert file.description.model == "finder"
    assert file.metadata["names"] == "{0: 'ant', 1: 'bee', 2: 'cat'}"


def test_in_json_it_says_what_was_built_and_how_well_it_agrees(
    rtx: Library, detector: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    document = build(capsys, detector, *FOR_ADA, "--max-batch", "2", "--max-side", "1280", "--folder", str(folder))
    agreement = document.pop("agreement")
    assert document.pop("seconds") >= 0
    assert document == {
        "path": str(folder / "finder.sm_89.tensorrt_rtx.half.b2.s1280.engine"),
        "compute_capability": "8.9",
        "library": str(rtx),
        "precision": "half",
        "max_batch": 2,
        "max_side_px": 1280,
    }
    assert agreement.keys() == {"n_objects", "n_found", "n_new", "score_difference", "box_difference_px"}
    assert agreement["n_objects"] == agreement["n_found"] > 0


def test_int8_learns_from_the_pictures_that_are_named(
    rtx: Library, detector: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = build(capsys, detector, *FOR_ADA, "--precision", "int8", "--calibration", STREET)
    assert document["precision"] == "int8"
    assert document["agreement"]["n_objects"] > 0
    monkeypatch.setenv("FLEXPATCH_ENGINE_PRECISION", "int8")
    monkeypatch.setenv("FLEXPATCH_ENGINE_CALIBRATION", STREET)
    again = build(capsys, detector, *FOR_ADA)
    assert again["path"] == document["path"]
    assert again["agreement"] == document["agreement"]


def test_float_is_not_compared(rtx: Library, detector: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "agreement" not in build(capsys, detector, *FOR_ADA, "--precision", "float")


def test_settings_say_what_it_is_for_unless_the_command_does(
    rtx: Library, detector: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("PRECISION", "float"), ("MAX_SIDE_PX", "1280")):
        monkeypatch.setenv(f"FLEXPATCH_ENGINE_{name}", value)
    names = ("precision", "max_side_px")
    assert [build(capsys, detector, *FOR_ADA)[name] for name in names] == ["float", 1280]
    document = build(capsys, detector, *FOR_ADA, "--precision", "half", "--max-side", "640")
    assert [document[name] for name in names] == ["half", 640]


def test_an_engine_that_is_there_is_built_again_only_if_asked(
    rtx: Library, detector: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (detector, *FOR_ADA, "--precision", "float")
    path = Path(build(capsys, *arguments)["path"])
    first = path.stat().st_ino
    build(capsys, *arguments)
    assert path.stat().st_ino == first
    build(capsys, *arguments, "--anew")
    assert path.stat().st_ino != first


def test_the_shipped_detector_is_known_by_its_name(rtx: Library, capsys: pytest.CaptureFixture[str]) -> None:
    document = build(capsys, "flexpatch-nano", *FOR_ADA, "--calibration", STREET)
    assert Path(document["path"]).name.startswith("flexpatch-nano.sm_89.")
    assert document["agreement"]["n_new"] == 0


def test_a_detector_that_is_not_recognised_is_built_as_the_family_that_is_named(
    rtx: Library, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (raw,) = encoders.yolo(TRUTH, SIZE, 80, per_cell=1)
    path = str(constant_model(tmp_path / "model.onnx", {"output": raw[:, 5:]}))
    assert "fit no known detector" in failure(capsys, 2, path, *FOR_ADA)
    document = build(capsys, path, *FOR_ADA, "--detector-family", "yolo", "--calibration", STREET)
    assert document["agreement"]["n_objects"] == document["agreement"]["n_found"] > 0
    named = ("--detector-family", "yolo", "--calibration", STREET, "--precision", "int8")
    assert build(capsys, path, *FOR_ADA, *named)["precision"] == "int8"


def test_without_a_name_it_is_for_the_gpu_at_hand(
    rtx: Library, detector: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GpuAtHand, "capability", (12, 0))
    document = build(capsys, detector, *FOR_ADA, "--precision", "float")
    assert document["compute_capability"] == "8.9"
    monkeypatch.setattr(engine, "build_engine", lambda *arguments, **options: arguments)
    monkeypatch.setattr(engine, "_tell", lambda console, report, as_json: print(report[4], as_json))  # noqa: T201
    capsys.readouterr()
    assert main(["engine", "build", detector]) == 0
    assert capsys.readouterr().out == "(12, 0) False\n"


# ------------------------------------------------------------------------------------------------ what is wrong


def test_without_a_gpu_it_must_be_said_which_one_it_is_for(detector: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = failure(capsys, 1, detector)
    assert said == f"Error: {NO_GPU} Say which GPU the engine is for, as --compute-capability 8.9."


def test_this_machine_says_why_it_has_no_gpu(
    detector: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        Gpu().close()
    except GpuMissing as error:
        reason = str(error)
    else:
        pytest.skip("there is a GPU")
    monkeypatch.setattr(engine, "Gpu", Gpu)
    assert failure(capsys, 1, detector) == (
        f"Error: {reason} Say which GPU the engine is for, as --compute-capability 8.9."
    )


def test_without_any_tensorrt_it_says_how_to_get_one(
    detector: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    said = failure(capsys, 1, detector, *FOR_ADA)
    assert said.startswith("Error: There is no TensorRT: TensorRT is not installed; TensorRT-RTX is not installed.")
    assert said.endswith("pip install 'flexpatch-service[gpu]'.")


@pytest.mark.parametrize("text", ["89", "8.9.1", "sm_89", "", "8.", "-8.9", "eight"])
def test_a_compute_capability_is_two_numbers(text: str, detector: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = failure(capsys, 2, detector, f"--compute-capability={text}")
    assert said == f"Error: --compute-capability {text!r} is none: write it as 8.9."


def test_a_gpu_for_which_nothing_is_built_ahead_is_refused(
    rtx: Library, detector: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = failure(capsys, 1, detector, "--compute-capability", "9.0")
    assert f"{rtx} does not support compute capability 9.0" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["FINDER", "--precision", "int8"], "int8 needs pictures like those that the detector will see"),
        (["FINDER", "--precision", "int8", "--calibration", "no-such-folder"], "no-such-folder"),
        (["FINDER", "--calibration", "synthetic:12"], "WIDTHxHEIGHT"),
        (["FINDER", "--precision", "fp16"], "--precision"),
        (["FINDER", "--max-batch", "0"], "max_batch is 0; it must be 1 to 64"),
        (["FINDER", "--max-batch", "65"], "max_batch is 65"),
        (["FINDER", "--max-side", "0"], "max_side_px is 0"),
        (["FINDER", "--max-side", "639"], "max_side_px is 639"),
        (["FINDER", "--gpu", "-1"], "gpu"),
        (["FINDER", "--detector-family", "yolo99"], "yolo99"),
        (["FINDER", "--folder", "finder.onnx/engines"], "No engine can be written to finder.onnx/engines"),
        (["CLASSIFIER"], "fit no known detector"),
        (["TEXT"], "cannot be read as an ONNX model"),
        (["EMPTY"], "is empty"),
        (["no-such.onnx"], "There is no model 'no-such.onnx'"),
        (["no-such-name"], "There is no model 'no-such-name'"),
        (["."], "is a folder"),
        ([], "FILE.onnx|NAME"),
    ],
    ids=" ".join,
)
def test_wrong_use_ends_with_a_sentence_and_status_2(
    arguments: list[str],
    words: str,
    *,
    rtx: Library,
    detector: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "text.onnx").write_text("no graph")
    (tmp_path / "empty.onnx").touch()
    constant_model(tmp_path / "classifier.onnx", {"logits": np.zeros((1, 1000), np.float32)})
    files = {name.upper(): f"{name}.onnx" for name in ("finder", "text", "empty", "classifier")}
    assert words in failure(capsys, 2, *(files.get(argument, argument) for argument in arguments), *FOR_ADA)
    assert list(tmp_path.rglob("*.engine")) == []


def test_weights_that_no_engine_can_be_made_of_say_which_operators(
    rtx: Library, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = failure(capsys, 2, str(weights / "yolo11n_int8_320.onnx"), *FOR_ADA, "--precision", "float")
    assert "does not know ConvInteger, DynamicQuantizeLinear as used there" in said


# ----------------------------------------------------------------------------------------------------- listing


def test_where_there_are_no_engines_the_list_is_empty(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "find_library", lambda capability: Search(None, ("TensorRT is not installed",)))
    assert listed(capsys) == {
        "library": None,
        "refusals": ["TensorRT is not installed"],
        "compute_capability": None,
        "folder": str(Path("engines").absolute()),
        "engines": [],
    }
    assert main(["engine", "list"]) == 0
    out = capsys.readouterr().out
    for line in ("Not taken  TensorRT is not installed", "Library    none", f"GPU        {NO_GPU}"):
        assert line in out.splitlines()


def folder_of_all_kinds() -> dict[str, str]:
    """Engines of every kind in the folder, with their states where TensorRT-RTX 1.2 and compute capability 8.9 are."""
    folder = Path("engines").absolute()
    ours = replace(KEY, library_version="1.2.0.54")
    for name, key in (
        ("fits", ours),
        ("foreign", replace(ours, capability=(8, 6))),
        ("stale", replace(ours, library_version="1.1")),
        ("other", replace(ours, flavour="tensorrt", options=EngineOptions("int8", 4, 640))),
        ("damaged", ours),
    ):
        write_engine(folder / f"{name}.engine", b"plan", key, name, {})
    (folder / "damaged.engine").write_bytes((folder / "damaged.engine").read_bytes()[:-1])
    (folder / "plan.engine").write_bytes(b"a plan of somebody's, with [/red] in it")
    (folder / "empty.engine").touch()
    (folder / "gone.engine").symlink_to("nowhere")
    (folder / "notes.txt").touch()
    return {
        "damaged.engine": f"{folder}/damaged.engine is damaged: what is in it is not what was written.",
        "empty.engine": f"{folder}/empty.engine is no TensorRT engine: it has 0 bytes.",
        "fits.engine": "runs here",
        "gone.engine": "it cannot be read: No such file or directory",
        "foreign.engine": f"{folder}/foreign.engine was built for a GPU of compute capability 8.6, not 8.9.",
        "other.engine": f"{folder}/other.engine was built by tensorrt 1.2.0.54, and here is tensorrt_rtx 1.2.0.54.",
        "plan.engine": "does not say what it was built from",
        "stale.engine": f"{folder}/stale.engine was built by tensorrt_rtx 1.1, and here is tensorrt_rtx 1.2.0.54.",
    }


def states(document: Mapping[str, Any]) -> dict[str, str]:
    return {row["file"]: row["state"] for row in document["engines"]}


def test_the_list_says_of_every_engine_whether_it_runs_here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library("tensorrt_rtx", "1.2.0.54", tensorrt_rtx())
    monkeypatch.setattr(engine, "find_library", lambda capability: Search(library, ()))
    expected = folder_of_all_kinds()
    monkeypatch.setattr(GpuAtHand, "capability", ADA)
    document = listed(capsys)
    assert states(document) == expected
    assert document["library"] == "TensorRT-RTX 1.2.0.54"
    assert document["compute_capability"] == "8.9"
    rows = {row["file"]: row for row in document["engines"]}
    assert rows["other.engine"] | {"state": "", "megabytes": 0} == {
        "file": "other.engine",
        "compute_capability": "8.9",
        "library": "TensorRT 1.2.0.54",
        "precision": "int8",
        "max_batch": 4,
        "max_side_px": 640,
        "megabytes": 0,
        "state": "",
    }
    assert rows["damaged.engine"]["library"] is None
    assert rows["plan.engine"]["precision"] is None


def test_without_a_gpu_the_list_says_only_what_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    expected = folder_of_all_kinds()
    found = states(listed(capsys))
    assert found.keys() == expected.keys()
    whole = {name for name, state in found.items() if state == "whole"}
    assert whole == {"fits.engine", "foreign.engine", "other.engine", "stale.engine"}
    assert all(found[name] == expected[name] for name in found.keys() - whole)


def test_the_list_is_a_table_that_a_pipe_gets_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of_all_kinds()
    monkeypatch.setattr(GpuAtHand, "capability", ADA)
    capsys.readouterr()
    assert main(["engine", "list"]) == 0
    out = capsys.readouterr().out
    assert "GPU        compute capability 8.9" in out
    assert all(name in out for name in ("fits.engine", "foreign.engine", "int8", "TensorRT-RTX 1.2.0.54"))


def test_an_engine_that_was_built_is_listed(
    rtx: Library, detector: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(build(capsys, detector, *FOR_ADA, "--precision", "float")["path"])
    shutil.copyfile(path, path.with_name("copy.engine"))
    assert states(listed(capsys)) == {"copy.engine": "whole", path.name: "whole"}
    monkeypatch.setattr(GpuAtHand, "capability", (12, 0))
    found = states(listed(capsys))
    assert found[path.name] == f"{path} was built for a GPU of compute capability 8.9, not 12.0."


@pytest.mark.parametrize("command", ["build", "list"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engine", command, "--help"]) == 0
    assert "--json" in capsys.readouterr().out
