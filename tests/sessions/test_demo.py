"""The demo camera: a street in real time, which ends with its session and never waits for it."""

import threading
from concurrent.futures import Future
from typing import Any

import numpy as np
import simplejpeg

from app.core.clock import SystemClock
from app.core.errors import QueueFull, SessionEnded
from app.core.types import Size
from app.ingest.street import Street
from app.ingest.street_config import StreetConfig
from app.sessions.demo import DemoCamera
from tests.sessions.fakes import WAIT_S, wait_until

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
    running.stop()


def test_it_ends_with_its_session() -> None:
    session = ScriptedSession(None, SessionEnded("deleted"))
    running = camera(session)
    running.start()
    wait_until(lambda: not is_running())
    assert len(session.pushed) == 2
    running.stop()


def test_frames_keep_to_the_clock() -> None:
    """A machine that is too slow for every frame leaves some out: stream time and real time stay together."""
    session = ScriptedSession()
    running = camera(session)
    clock = SystemClock()
    started_s = clock.now_s()
    running.start()
    wait_until(lambda: clock.now_s() - started_s > 0.5)
    running.stop()
    lasted_s = clock.now_s() - started_s
    assert 1 <= len(session.pushed) <= lasted_s * STREET.fps + 2
    assert lasted_s < WAIT_S
