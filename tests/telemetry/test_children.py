"""Memory of child processes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from prometheus_client import CollectorRegistry

from app.telemetry.children import ChildMemoryCollector
from app.telemetry.metrics import Metrics

NAME = "flexpatch_child_processes_memory_bytes"
MIB = 2**20

needs_children = pytest.mark.skipif(
    not list(Path("/proc").glob("self/task/*/children")), reason="the kernel does not tell of child processes"
)


def told(proc: Path) -> float | None:
    registry = CollectorRegistry()
    registry.register(ChildMemoryCollector(proc))
    return registry.get_sample_value(NAME)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_children_of_all_threads_are_added_up_without_files_and_pictures_that_they_share(tmp_path: Path) -> None:
    write(tmp_path / "self/task/1/children", "10 11 ")
    write(tmp_path / "self/task/2/children", "12 ")
    status = "Name:\tpython\nVmRSS:\t   79284 kB\nRssAnon:\t   {} kB\nRssFile:\t   42908 kB\nRssShmem:\t   {} kB\n"
    write(tmp_path / "10/status", status.format(25560, 10816))
    write(tmp_path / "11/status", "Name:\tpython\nState:\tZ (zombie)\n")
    write(tmp_path / "12/status", status.format(1000, 0))
    assert told(tmp_path) == 1024 * (25560 + 1000)


def test_a_child_that_ends_meanwhile_takes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "self/task/1/children", "10 ")
    assert told(tmp_path) == 0


def test_a_child_whose_name_is_no_text_counts(tmp_path: Path) -> None:
    write(tmp_path / "self/task/1/children", "10 ")
    write(tmp_path / "10/status", "")
    (tmp_path / "10/status").write_bytes(b"Name:\t\xff\xfe\nRssAnon:\t   1000 kB\n")
    assert told(tmp_path) == 1024 * 1000


def test_without_children_there_is_a_zero_and_where_the_kernel_does_not_tell_there_is_nothing(tmp_path: Path) -> None:
    assert told(tmp_path / "missing") is None
    write(tmp_path / "self/task/1/stat", "")
    assert told(tmp_path) is None
    write(tmp_path / "self/task/1/children", "")
    assert told(tmp_path) == 0


@contextmanager
def child(n_bytes: int) -> Iterator[int]:
    """The number of a process that holds so much, started by another thread."""
    program = f"held = bytearray({n_bytes})\nprint('ready', flush=True)\ninput()"
    command = [sys.executable, "-c", program]
    started: list[subprocess.Popen[str]] = []
    pipe = subprocess.PIPE

    def start() -> None:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)  # noqa: S603 - a program of ours
        started.append(process)
        assert process.stdout
        process.stdout.readline()

    thread = Thread(target=start)
    thread.start()
    thread.join()
    with started[0] as process:
        try:
            yield process.pid
        finally:
            process.communicate("\n")


@needs_children
def test_what_a_child_really_takes_is_told_whichever_thread_started_it(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to("/proc/self")
    with child(50 * MIB) as pid:
        # Of the children of the process that runs the tests, others come and go: this one alone can be looked at.
        (tmp_path / str(pid)).symlink_to(f"/proc/{pid}")
        taken = told(tmp_path)
    assert taken is not None
    assert 50 * MIB < taken < 80 * MIB
    assert told(tmp_path) == 0


@needs_children
def test_the_service_publishes_it() -> None:
    assert Metrics(CollectorRegistry(), "1.2.3").registry.get_sample_value(NAME) is not None
