"""The command line from outside: what it prints, what it writes, how it ends."""

import errno
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from app.api.schemas import FrameResultModel
from app.cli import main
from app.core.types import Size
from tests.detect.graphs import square_finder
from tests.offline.clips import clear_environment, image_folder

STREET = "synthetic:320x180@25?objects=4&frames=6"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    clear_environment(monkeypatch)
    # Services that run at the same time have records of their own.
    monkeypatch.setenv("FLEXPATCH_STATE_FILE", str(tmp_path_factory.mktemp("state") / "sessions.db"))


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model file: finds bright squares, of classes 0, 1 and 2."""
    return str(square_finder(tmp_path_factory.mktemp("models") / "finder.onnx"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(image_folder(tmp_path_factory.mktemp("clip") / "squares", 6))


def threads() -> list[str]:
    """Those that the commands start; libraries may take a moment longer to end theirs."""
    own = ("prefetch", "bench-server", "session-")
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(own)]


def lines(text: str | bytes) -> list[FrameResultModel]:
    return [FrameResultModel.model_validate_json(line) for line in text.splitlines()]


# ----------------------------------------------------------------------------------------------------- general


def test_the_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("flexpatch 0.")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in ("serve", "run", "train", "train-detector", "bench", "models"))


@pytest.mark.parametrize("command", ["serve", "run", "train", "bench"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert "--detector" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu"], "No such command"),
        (["run"], "SOURCE"),
        (["run", STREET, "--bogus"], "--bogus"),
        (["run", STREET, "--max-frames", "many"], "--max-frames"),
        (["run", "no-such-file.mp4", "--detector", "DETECTOR"], "no file or folder 'no-such-file.mp4'"),
        (["run", "synthetic:12", "--detector", "DETECTOR"], "WIDTHxHEIGHT"),
        (["run", STREET, "--detector", "no-such.onnx"], "no-such.onnx"),
        (["run", STREET, "--detector", "DETECTOR", "--detector-family", "yolo99"], "yolo99"),
        (["run", STREET, "--detector", "DETECTOR", "--canvas", "640"], "--canvas '640'"),
        (["run", STREET, "--detector", "DETECTOR", "--canvas", "-1x32"], "--canvas"),
        (["run", STREET, "--detector", "DETECTOR", "--canvas", "321x192"], "multiples of 32"),
        (["run", STREET, "--detector", "DETECTOR", "--megapixels-per-frame", "0"], "megapixels_per_frame"),
        (["run", STREET, "--detector", "DETECTOR", "--classes", "zebra"], "zebra"),
        (["run", STREET, "--detector", "DETECTOR", "--min-score", "2"], "between 0 and 1"),
        (["run", STREET, "--detector", "DETECTOR", "--max-frames", "0"], "at least 1"),
        (["run", STREET, "--detector", "DETECTOR", "--output", "x.gif"], ".ndjson"),
        (["run", STREET, "--detector", "DETECTOR", "--output", "nowhere/x.mp4"], "make the folder"),
        (["run", "synthetic:320x180", "--detector", "DETECTOR", "--output", "x.mp4"], "--max-frames"),
        (["serve", "--port", "99999"], "port"),
        (["serve", "--config", "no-such.yaml"], "no-such.yaml"),
        (["serve", "--host", "192.0.2.1", "--port", "0"], "--host"),
        (["serve", "--detector", "no-such.onnx", "--port", "0"], "no-such.onnx"),
        (["train", "--detector", "DETECTOR"], "--output"),
        (["train", STREET, "--output", "x", "--detector", "DETECTOR"], "at least 3"),
        (["train", "--output", "x", "--detector", "DETECTOR", "--ground-truth", "guess"], "auto, mot or pseudo"),
        (["train", "--output", "x", "--detector", "DETECTOR", "--classes", "zebra"], "zebra"),
        (["train", "--output", "x", "--detector", "DETECTOR", "--budgets", "much"], "--budgets 'much'"),
        (["train", "--output", "x", "--detector", "DETECTOR", "--budgets", "0"], "--budgets '0'"),
        (["train", "a.mp4", "b.mp4", "c.mp4", "--output", "x", "--detector", "DETECTOR"], "a.mp4"),
        (["train-detector"], "--output"),
        (["train-detector", "--output", "x", "--teacher", "no-such.onnx"], "no-such.onnx"),
        (["train-detector", "--output", "x", "--people", "."], "does not hold MakeHuman's assets"),
        (["train-detector", "--output", "x", "--clip", "a.mp4"], "--teacher"),
        (["train-detector", "--output", "x", "--backgrounds", "no-such"], "no-such"),
        (["train-detector", "--output", "x", "--steps", "0"], "--steps"),
        (["train-detector", "--output", "x", "--seed", "-1"], "--seed"),
        (["bench", "--resolution", "big"], "--resolution 'big'"),
        (["bench", "--resolution", "8x8"], "8x8"),
        (["bench", "--tracks", "0"], "1 to 500"),
        (["bench", "--frames", "1"], "2 to 10000"),
        (["bench", "--detector", "no-such.onnx"], "no-such.onnx"),
    ],
    ids=" ".join,
)
def test_wrong_use_is_one_sentence_and_status_2(
    *,
    arguments: list[str],
    words: str,
    detector: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([detector if argument == "DETECTOR" else argument for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Error: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------------------------- run


def test_results_are_written_a_line_a_frame(folder: str, detector: str, tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    assert main(["run", folder, "--detector", detector, "--output", str(path)]) == 0
    results = lines(path.read_bytes())
    assert [result.seq for result in results] == [1, 2, 3, 4, 5, 6]
    assert {result.session for result in results} == {"squares"}
    assert {result.work.backend for result in results} == {"onnxruntime-cpu"}
    assert any(result.objects for result in results)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.ndjson"]


@pytest.mark.parametrize("form", [["--json"], ["--output", "-"], ["--json", "--output", "-"]], ids=" ".join)
def test_results_go_to_standard_output_and_the_summary_elsewhere(
    form: list[str], detector: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["run", STREET, "--detector", detector, *form]) == 0
    captured = capsysbinary.readouterr()
    assert [result.seq for result in lines(captured.out)] == [1, 2, 3, 4, 5, 6]
    assert b"6 frames" in captured.err
    assert b"megapixels" in captured.err


def test_the_detector_may_come_from_the_environment(
    detector: str, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setenv("FLEXPATCH_DETECTOR", detector)
    assert main(["run", STREET, "--max-frames", "2", "--json"]) == 0
    assert len(lines(capsysbinary.readouterr().out)) == 2


def test_a_smaller_canvas_and_budget_are_kept_to(detector: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    limits = ["--canvas", "192x128", "--megapixels-per-frame", "0.01"]
    assert main(["run", STREET, "--detector", detector, "--json", *limits]) == 0
    results = lines(capsysbinary.readouterr().out)
    assert max(result.work.detector_pixels for result in results) == 192 * 128


def test_frames_of_a_folder_are_as_far_apart_as_told(
    folder: str, detector: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    ages = []
    for fps in ("10", "50"):
        assert main(["run", folder, "--detector", detector, "--json", "--fps", fps]) == 0
        results = lines(capsysbinary.readouterr().out)
        ages.append(max((item.detection_age_s for result in results for item in result.objects), default=0.0))
    assert all(age * fps == pytest.approx(round(age * fps), abs=0.01) for age, fps in zip(ages, (10, 50), strict=True))


@pytest.mark.parametrize("size", ["320x180", "321x181"])
def test_video_shows_every_frame(size: str, detector: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.mp4"
    source = f"synthetic:{size}@25?objects=4"
    assert main(["run", source, "--max-frames", "7", "--detector", detector, "--output", str(path), "--patches"]) == 0
    with av.open(str(path)) as container:
        times_s = [frame.time for frame in container.decode(video=0)]
    assert times_s == pytest.approx([index / 25 for index in range(7)], abs=1e-3)
    assert f"Written    {path}" in capsys.readouterr().err


def test_a_source_that_breaks_half_way_leaves_no_output(
    detector: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = image_folder(tmp_path / "clip", 4)
    (clip / "0005.png").write_bytes(_small_png(tmp_path))
    path = tmp_path / "out.ndjson"
    assert main(["run", str(clip), "--detector", detector, "--output", str(path)]) == 2
    assert "0005.png" in capsys.readouterr().err
    assert not list(tmp_path.glob("*out*")) + list(tmp_path.glob(".*"))
    assert threads() == []


def _small_png(folder: Path) -> bytes:
    return (image_folder(folder / "small", 1, Size(300, 150)) / "0001.png").read_bytes()


def test_a_full_disk_is_a_failure_and_leaves_no_output(
    detector: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("app.offline.output.write_line", refuse)
    assert main(["run", STREET, "--detector", detector, "--output", str(tmp_path / "out.ndjson")]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_ends_with_status_130_and_leaves_no_output(
    detector: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.offline.output.write_line", interrupt)
    path = tmp_path / "out.ndjson"
    assert main(["run", STREET, "--detector", detector, "--output", str(path)]) == 130
    assert capsys.readouterr().err == f"Interrupted; {path} is not written.\n"
    assert list(tmp_path.iterdir()) == []
    assert threads() == []


# ------------------------------------------------------------------------------------------------------- train


def test_a_pickled_model_is_refused_by_every_command(
    detector: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLEXPATCH_FAILURE_MODEL", "flexpatch_model.joblib")
    for command in (["run", STREET, "--detector", detector, "--json"], ["bench"], ["serve", "--port", "0"]):
        assert main(command) == 2
        assert "allow_pickled_models" in capsys.readouterr().err


def test_training_without_samples_says_so_and_leaves_nothing(
    tmp_path: Path, detector: str, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = [str(image_folder(tmp_path / f"clip{index}", 4)) for index in range(3)]
    arguments = ["--output", str(tmp_path / "out"), "--classes", "class_0,class_1", "--detector", detector]
    assert main(["train", *clips, *arguments]) == 2
    assert "too few" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip0", "clip1", "clip2"]


# --------------------------------------------------------------------------------------------------- processes


@contextmanager
def process(arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "app.cli", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:  # noqa: S603 - our own
        try:
            yield running
        finally:
            running.kill()


def read_line(running: subprocess.Popen[bytes]) -> str:
    assert running.stdout is not None
    return running.stdout.readline().decode()


def test_a_reader_that_leaves_ends_the_run_quietly(detector: str) -> None:
    with process(["run", "synthetic:320x180", "--detector", detector, "--json"]) as running:
        assert json.loads(read_line(running))["seq"] == 1
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(10) == 0


@pytest.fixture
def _hangups_count() -> Iterator[None]:
    """Also where these tests are run by something like `nohup`, whose children take no notice of them."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("_hangups_count")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_told_to_end_leaves_nothing_unfinished(
    detector: str, tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "out.ndjson"
    endless = ["run", "synthetic:320x180", "--max-frames", "100000", "--detector", detector]
    with process([*endless, "--json", "--output", str(path)]) as running:
        assert json.loads(read_line(running))["seq"] == 1
        running.send_signal(number)
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.read()
        assert running.stderr.read().decode() == f"Interrupted; {path} is not written.\n"
        assert running.wait(10) == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_a_closed_standard_output_is_an_empty_one(detector: str, tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    code = "import os, sys; os.close(1); sys.stdout = None; from app.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["run", STREET, "--detector", detector, "--json", "--output", str(path)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert len(lines(path.read_text())) == 6


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_service_says_where_it_is_and_ends_when_told_to(number: signal.Signals) -> None:
    with process(["serve", "--port", "0"]) as running:
        url = read_line(running).split()[-1]
        assert read_line(running).split()[-1] == f"{url}/docs"
        assert httpx.get(f"{url}/livez").status_code == 200
        assert "flexpatch-nano" in httpx.get(f"{url}/readyz").text
        running.send_signal(number)
        assert running.wait(10) == 0


def test_where_it_is_is_in_the_log_if_that_is_for_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEXPATCH_LOG_FORMAT", "json")
    with process(["serve", "--port", "0"]) as running:
        assert running.stderr is not None
        told = (json.loads(line) for line in running.stderr)
        ready = next(line for line in told if line["event"] == "the service is ready")
        assert httpx.get(f"{ready['url']}/livez").status_code == 200
        running.send_signal(signal.SIGTERM)
        assert [json.loads(line)["event"] for line in running.stderr]
        assert running.stdout is not None
        assert running.stdout.read() == b""


def test_a_port_in_use_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert capsys.readouterr().err.startswith("Error: The service cannot listen on 127.0.0.1:")


# ------------------------------------------------------------------------------------------------------- bench


def test_the_benchmark_reports_every_number_with_its_unit(
    detector: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bench.json"
    tiny = ["--resolution", "320x180", "--tracks", "3", "--frames", "4"]
    assert main(["bench", *tiny, "--detector", detector, "--json", str(path)]) == 0
    report: dict[str, Any] = json.loads(path.read_text())
    assert report["resolution"] == [320, 180]
    assert report["tracks_mean"] > 0
    assert report["n_cores"] >= 1
    stages = {"decode", "prepare", "flow", "plan", "canvas", "detect", "merge", "own", "total"}
    assert set(report["stages"]) == stages
    assert report["stages"]["total"]["n"] == report["n_repetitions"] * 4
    times = [
        *report["stages"].values(),
        *(item["wall"] for item in report["detector"]["canvases"]),
        report["http"]["direct"],
        *(report["http"]["bodies"][body]["round_trip"] for body in ("raw", "multipart")),
    ]
    assert all(set(item) == {"median_ms", "p99_ms", "mean_ms", "n"} for item in times)
    assert all(0 <= item["median_ms"] <= item["p99_ms"] for item in times)
    for body in report["http"]["bodies"].values():
        assert body["added"]["median_ms"] < body["round_trip"]["median_ms"]
        assert (
            body["added"]["n"]
            == body["round_trip"]["n"]
            == report["http"]["direct"]["n"]
            == 4 * report["n_repetitions"]
        )
    assert report["detector"]["name"] == "finder"
    assert report["sustained"]["fps"] == 30
    assert report["sustained"]["streams"] > 0
    assert "streams sustained" in capsys.readouterr().out.lower()


def test_the_benchmark_takes_the_shipped_detector_and_leaves_no_thread(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--resolution", "320x180", "--tracks", "2", "--frames", "2"]) == 0
    assert "flexpatch-nano on onnxruntime-cpu" in " ".join(capsys.readouterr().out.split())
    assert threads() == []
