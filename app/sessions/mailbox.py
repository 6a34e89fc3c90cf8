"""What waits for a session's worker: a bounded queue of frames, and errands that go before them."""

import math
import threading
from collections import deque
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from app.core.errors import QueueFull, SessionEnded

Job = TypeVar("Job")

_MAX_ERRANDS = 64
_LATENCY_SHARE = 0.2
"""Weight of the newest frame in the running mean of processing times."""
_FIRST_GUESS_S = 0.05


class Mailbox(Generic[Job]):
    """Frames in order, at most `depth` waiting. Any thread may put; one worker thread takes.

    A full box refuses the newcomer, for a client that pushes can wait and try again; a camera cannot, and its newest
    frame takes the place of the one that waits.
    """

    def __init__(self, depth: int) -> None:
        self._condition = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._errands: deque[Job] = deque()
        self._depth = depth
        self._is_closed = False
        self._recent_s = _FIRST_GUESS_S

    @property
    def depth(self) -> int:
        """How many frames may wait."""
        return self._depth

    def __len__(self) -> int:
        """How many frames wait."""
        return len(self._jobs)

    def resize(self, depth: int) -> None:
        """Let `depth` frames wait from now on; those that wait already stay."""
        with self._condition:
            self._depth = depth

    def put(self, job: Job) -> None:
        """Add a frame.

        Raises:
            QueueFull: `depth` frames wait already.
            SessionEnded: the box is closed.
        """
        with self._condition:
            self.check_open()
            if len(self._jobs) >= self._depth:
                retry_after_s = (len(self._jobs) + 1) * self._recent_s
                raise QueueFull(
                    f"{len(self._jobs)} frames already wait in this session; "
                    f"send the next one in about {math.ceil(retry_after_s * 1000)} ms.",
                    retry_after_s,
                )
            self._jobs.append(job)
            self._condition.notify()

    def put_newest(self, job: Job) -> Job | None:
        """Add a frame in place of the one that waits, if one does; returns that one.

        Raises:
            SessionEnded: the box is closed.
        """
        with self._condition:
            self.check_open()
            replaced = self._jobs.popleft() if self._jobs else None
            self._jobs.append(job)
            self._condition.notify()
            return replaced

    def put_first(self, errand: Job) -> None:
        """Add something to do before the next frame, after other errands.

        Raises:
            QueueFull: too many errands wait already.
            SessionEnded: the box is closed.
        """
        with self._condition:
            self.check_open()
            if len(self._errands) >= _MAX_ERRANDS:
                raise QueueFull(f"{_MAX_ERRANDS} requests already wait for this session.", self._recent_s)
            self._errands.append(errand)
            self._condition.notify()

    def take(self) -> Job | None:
        """Wait for the next thing to do; None once the box is closed. The worker's own."""
        with self._condition:
            while not self._is_closed:
                if self._errands:
                    return self._errands.popleft()
                if self._jobs:
                    return self._jobs.popleft()
                self._condition.wait()
            return None

    def wait_for(self, answer: "Future[Any]", timeout_s: float) -> None:
        """Wait until the answer is there, or there is something to take, or for so long. The worker's own."""
        answer.add_done_callback(self._wake)
        with self._condition:
            self._condition.wait_for(
                lambda: answer.done() or self._jobs or self._errands or self._is_closed, timeout=timeout_s
            )

    def _wake(self, _answer: object) -> None:
        with self._condition:
            self._condition.notify()

    def note_duration(self, seconds: float) -> None:
        """Learn how long a frame took, for the advice given to those who are refused."""
        with self._condition:
            self._recent_s += _LATENCY_SHARE * (seconds - self._recent_s)

    def close(self) -> list[Job]:
        """Refuse everything from now on and wake the worker; returns what nobody will do any more."""
        with self._condition:
            self._is_closed = True
            left = [*self._errands, *self._jobs]
            self._errands.clear()
            self._jobs.clear()
            self._condition.notify_all()
            return left

    def check_open(self) -> None:
        """
        Raises:
            SessionEnded: the box is closed.
        """
        if self._is_closed:
            raise SessionEnded("The session has ended; create another one.")
