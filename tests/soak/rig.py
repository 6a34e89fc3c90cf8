"""A real service in a process of its own, cameras to watch, and what the service holds."""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import yaml

from app.core.clock import SystemClock
from app.ingest.camera.feed import FileFeed
from app.ingest.camera.server import Camera, CameraOptions
from app.ingest.camera.thread import CameraThread


@dataclass(slots=True)
class Holdings:
    """What the service's process holds."""

    rss_mb: float
    descriptors: int
    threads: int
    children: int
    shared_maps: int


def at_least_one(text: str) -> int:
    """An argument of the command line."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def quantiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    low, middle, high, top = np.quantile(values, [0.05, 0.5, 0.95, 0.99]).round(3).tolist()
    return {"n": len(values), "p5": low, "p50": middle, "p95": high, "p99": top, "max": round(max(values), 3)}


def holdings(pid: int) -> Holdings:
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in process.joinpath("status").read_text().splitlines())
    return Holdings(
        int(status["VmRSS"].split()[0]) / 1024,
        len(list(process.joinpath("fd").iterdir())),
        int(status["Threads"]),
        len(children(pid)),
        process.joinpath("maps").read_text().count("flexpatch-planes"),
    )


def children(pid: int) -> list[str]:
    """Process ids of a process's children."""
    found = []
    for path in Path(f"/proc/{pid}").glob("task/*/children"):
        with suppress(FileNotFoundError):
            found += path.read_text().split()
    return found


def cpu_s(pid: int) -> float:
    """Processor time that a process and its children have taken, living and dead, in seconds."""
    found = 0.0
    for path in [Path(f"/proc/{pid}"), *(Path(f"/proc/{child}") for child in children(pid))]:
        with suppress(FileNotFoundError):
            numbers = path.joinpath("stat").read_text().rsplit(")", 1)[1].split()
            found += sum(map(int, numbers[11:15] if path.name == str(pid) else numbers[11:13]))
    return found / os.sysconf("SC_CLK_TCK")


class RunningCamera(CameraThread):
    url: str


@contextmanager
def camera(recording: Path) -> Iterator[RunningCamera]:
    clock = SystemClock()
    start_s = clock.now_s()
    thread = RunningCamera(
        lambda folder: Camera(FileFeed(recording, clock, start_s), clock, start_s, CameraOptions(port=0), folder)
    )
    thread.url = thread.start().url
    try:
        yield thread
    finally:
        thread.stop()


@contextmanager
def service(folder: Path, **settings: object) -> Iterator[tuple[int, httpx.Client]]:
    config = folder / "service.yml"
    document = {"port": 0, "source_allow": ["127.0.0.1"], "state_file": str(folder / "state.db"), **settings}
    config.write_text(yaml.safe_dump(document))
    command = [sys.executable, "-m", "app.cli", "serve", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:  # noqa: S603
        assert process.stdout
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found, "the service did not start"
        try:
            with httpx.Client(base_url=found[0], timeout=30) as api:
                yield process.pid, api
        finally:
            process.terminate()
            process.wait(30)
