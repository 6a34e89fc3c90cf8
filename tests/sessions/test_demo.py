"""The demo camera: a street in real time, which ends with its session and never waits for it."""

import threading
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from app.core.clock import ManualClock, SystemClock
from app.core.errors import QueueFull, SessionEnded
from app.core.types import Size
from app.ingest.street import Street
from app.ingest.street_config import StreetConfig
from app.sessions.demo import DemoCamera
from tests.sessions.fakes import wait_until

STREET = StreetConfig(size=Size(96, 64), fps=50, n_objects=3, seed=2)


class ScriptedSession:
    """Takes frames, and fails as it is told to."""

    id = "demo"

    def __init__(self, *failures: Exception | None) -> None:
        self.pushed: list[bytes] = []
        self._failures = list(failures)

    def submit(self, data: bytes) -> "Future[Any]":
        self.pushed.append(data)
        failure = self._failures.pop(0) if self._failures else None
        if failure:
            raise failure
        return Future()


def camera(session: ScriptedSession) -> DemoCamera:
    return DemoCamera(session, STREET, SystemClock())  # type: ignore[arg-type]


def is_running() -> bool:
    return any(thread.name == "demo-camera" for thread in threading.enumerate())


def test_it_pushes_the_street_and_ends_when_told_to() -> None:
    session = ScriptedSession()
    running = camera(session)
    running.start()
    wait_until(lambda: len(session.pushed) >= 3)
    running.stop()
    assert not is_running()
    seen = simplejpeg.decode_jpeg(session.pushed[0], colorspace="BGR")
    assert np.abs(seen.astype(int) - Street(STREET).render(0)).mean() < 8


def test_a_full_queue_does_not_end_it() -> None:
    session = ScriptedSession(QueueFull("full", retry_after_s=1), QueueFull("full", retry_after_s=1))
    running = camera(session)
    running.start()
    wait_until(lambda: len(session.pushed) >= 4)
    assert is_running()
    running.stop()


def test_it_ends_with_its_session() -> None:
    session = ScriptedSession(None, SessionEnded("deleted"))
    running = camera(session)
    running.start()
    wait_until(lambda: not is_running())
    assert len(session.pushed) == 2
    running.stop()


def test_a_camera_that_cannot_keep_up_leaves_frames_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendering one frame takes as long as five last: stream time and real time stay together."""
    clock = ManualClock()
    rendered: list[int] = []

    class SlowStreet:
        def __init__(self, config: StreetConfig) -> None:
            self.config = config

        def render(self, index: int) -> NDArray[np.uint8]:
            rendered.append(index)
            clock.advance(5 / self.config.fps)
            return np.zeros((64, 96, 3), np.uint8)

    monkeypatch.setattr("app.sessions.demo.Street", SlowStreet)
    session = ScriptedSession()
    running = DemoCamera(session, STREET, clock)  # type: ignore[arg-type]
    running.start()
    wait_until(lambda: len(rendered) >= 4)
    running.stop()
    assert rendered[:4] == [0, 5, 10, 15]


def test_stopping_what_never_started_is_nothing() -> None:
    camera(ScriptedSession()).stop()
    assert not is_running()
