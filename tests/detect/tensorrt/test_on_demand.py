"""Engines that are built by processes of their own: how each ends, and what is said of it."""

import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest

from app.detect.tensorrt import on_demand
from app.detect.tensorrt.on_demand import EngineBuilds

MODEL = Path("yolo.onnx")
PATIENCE_S = 20
CLOSING = "the service is shutting down"


class Scripts:
    """A build command that runs a script, with the model as its argument, and remembers what was asked for."""

    def __init__(self, script: str) -> None:
        self.script = script
        self.models: list[Path] = []
        self.families: list[str | None] = []

    def __call__(self, model: Path, family: str | None) -> Sequence[str]:
        self.models.append(model)
        self.families.append(family)
        return [sys.executable, "-c", self.script, str(model)]


def after(script: str) -> str:
    """Why there is no engine after a build by this script."""
    builds = EngineBuilds(Scripts(script))
    try:
        return builds.build(MODEL, None)
    finally:
        builds.close()


def test_a_build_that_ends_well_says_nothing() -> None:
    assert after("import sys; print('Ready', file=sys.stderr); print('{}')") == ""


def test_it_is_the_models_engine_that_is_built(tmp_path: Path) -> None:
    commands = Scripts("import sys, pathlib; pathlib.Path(sys.argv[1]).write_text('built')")
    assert EngineBuilds(commands).build(tmp_path / "a.onnx", "yolox") == ""
    assert commands.models == [tmp_path / "a.onnx"]
    assert commands.families == ["yolox"]
    assert (tmp_path / "a.onnx").read_text() == "built"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import sys; sys.exit('Building\\nError: yolo.onnx is damaged.\\n\\n')", "status 1: yolo.onnx is damaged."),
        ("import sys; print('Error: no GPU.', file=sys.stderr); sys.exit(2)", "status 2: no GPU."),
        ("import sys; sys.stderr.buffer.write(b'\\xff\\xfe lost'); sys.exit(3)", "status 3: \ufffd\ufffd lost"),
        ("raise MemoryError('x' * 1000)", "status 1: MemoryError: xxx"),
        ("import os; os._exit(4)", "status 4: it says nothing"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "status -9: it says nothing"),
    ],
    ids=["last line", "status", "no text", "long", "silent", "crash"],
)
def test_a_build_that_fails_gives_its_last_line_as_the_reason(script: str, reason: str) -> None:
    said = after(script)
    assert said.startswith(f"building it ended with {reason}")
    assert len(said) <= 300
    assert "\n" not in said


def test_much_that_is_said_does_not_hold_a_build_up() -> None:
    said = after("import sys; print('out' * 100000); sys.exit('err' * 100000 + chr(10) + 'Error: the end')")
    assert said == "building it ended with status 1: the end"


def test_a_process_reads_nothing_of_what_the_service_is_given() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"for the service")
    os.close(writer)
    before = os.dup(0)
    try:
        os.dup2(reader, 0)
        assert after("import sys; sys.exit(sys.stdin.read() or 0)") == ""
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(reader)


def test_a_process_that_cannot_be_started_says_why() -> None:
    builds = EngineBuilds(lambda model, _: ["/nowhere/flexpatch", str(model)])
    assert builds.build(MODEL, None).startswith("the process that builds it cannot be started: ")
    assert "No such file" in builds.build(MODEL, None)


@pytest.mark.parametrize(("script", "reason"), [("", ""), ("import sys; sys.exit('Error: no')", "status 1: no")])
def test_one_that_is_started_tells_from_a_thread_of_its_own(
    script: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    done: Future[tuple[str, str]] = Future()
    builds = EngineBuilds(Scripts(script))
    builds.start(MODEL, None, lambda said: done.set_result((said, threading.current_thread().name)))
    said, thread = done.result(PATIENCE_S)
    assert said.endswith(reason)
    assert thread == "engine-build"
    assert ("no engine was built" in [record.getMessage() for record in caplog.records]) == bool(reason)


# ----------------------------------------------------------------------------------------------------- closing


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


class Begun:
    """A pipe through which processes tell that they have begun; they would then go on for long."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._path = path
        self._reader = os.open(path, os.O_RDWR)

    def script(self, first: str = "") -> str:
        """
        Args:
            first: what a process does before it tells.
        """
        return (
            f"import pathlib, signal, time; {first}\n"
            f"pathlib.Path({str(self._path)!r}).write_text('x'); time.sleep({2 * PATIENCE_S})"
        )

    def wait(self, n_processes: int = 1) -> None:
        for _ in range(n_processes):
            assert os.read(self._reader, 1) == b"x"

    def close(self) -> None:
        os.close(self._reader)


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Begun]:
    made = Begun(tmp_path / "begun")
    yield made
    made.close()


def test_closing_ends_every_build_even_several_of_one_model(pool: ThreadPoolExecutor, begun: Begun) -> None:
    builds = EngineBuilds(Scripts(begun.script()))
    running = [pool.submit(builds.build, model, None) for model in (MODEL, MODEL, Path("other.onnx"))]
    begun.wait(3)
    began_s = monotonic()
    builds.close()
    assert [build.result(PATIENCE_S) for build in running] == [CLOSING] * 3
    assert monotonic() - began_s < on_demand._PATIENCE_S


def test_closing_is_told_to_who_waits_but_is_no_error(begun: Begun, caplog: pytest.LogCaptureFixture) -> None:
    done: Future[str] = Future()
    builds = EngineBuilds(Scripts(begun.script()))
    builds.start(MODEL, None, done.set_result)
    begun.wait()
    builds.close()
    assert done.result(PATIENCE_S) == CLOSING
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_build_that_does_not_want_to_end_is_ended(
    pool: ThreadPoolExecutor, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_demand, "_PATIENCE_S", 0.05)
    builds = EngineBuilds(Scripts(begun.script("signal.signal(signal.SIGTERM, signal.SIG_IGN)")))
    running = pool.submit(builds.build, MODEL, None)
    begun.wait()
    began_s = monotonic()
    builds.close()
    assert running.result(PATIENCE_S) == CLOSING
    assert monotonic() - began_s < PATIENCE_S / 2


def test_after_closing_nothing_is_started() -> None:
    commands = Scripts("")
    builds = EngineBuilds(commands)
    builds.close()
    builds.close()
    assert builds.build(MODEL, None) == CLOSING
    done: Future[str] = Future()
    builds.start(MODEL, None, done.set_result)
    assert done.result(PATIENCE_S) == CLOSING
    assert commands.models == []


def test_who_wants_a_build_that_is_under_way_waits_for_it(begun: Begun) -> None:
    commands = Scripts(begun.script())
    builds = EngineBuilds(commands)
    done: list[Future[str]] = [Future(), Future()]
    builds.start(MODEL, None, done[0].set_result)
    begun.wait()
    assert builds.is_under_way(MODEL)
    builds.start(MODEL, None, done[1].set_result)
    builds.close()
    assert [one.result(PATIENCE_S) for one in done] == [CLOSING, CLOSING]
    assert len(commands.models) == 1
    assert not builds.is_under_way(MODEL)
