"""Looks of many sessions, made one after the other in the background; several at once where that is quicker."""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from app.core.clock import Clock
from app.core.errors import DetectorFailed
from app.core.types import Answer, Canvas, Detector, look_at

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 4
"""Canvases in a batch: none waits for more than so many others to be done with its own."""
_NEWEST_SHARE = 0.2
"""Weight of the newest time in what a canvas usually takes."""
_TRY_AGAIN = 50
"""Batches that were possible but slower, before another one is tried."""


@dataclass(frozen=True, slots=True)
class _Question:
    detector: Detector
    canvas: Canvas
    asked_s: float
    future: "Future[Answer]" = field(default_factory=Future)

    @property
    def kind(self) -> tuple[int, tuple[int, ...]]:
        """Questions of one kind can be put together."""
        return id(self.detector), self.canvas.shape


class DetectionQueue:
    """Asks detectors in the order in which it is told to. Any thread may ask.

    Each session has one question at most, so that first come, first served is fair. While a detector is busy,
    questions of one kind gather; these are put as a batch where batches were found to take less time a canvas.
    Nothing waits for company.
    """

    def __init__(self, clock: Clock, n_workers: int = 1) -> None:
        """
        Args:
            n_workers: inferences at a time.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: deque[_Question] = deque()
        self._costs: dict[tuple[str, tuple[int, ...]], _Costs] = {}
        self._pool = ThreadPoolExecutor(n_workers, thread_name_prefix="detection")

    def ask(self, detector: Detector, canvas: Canvas) -> "Future[Answer]":
        """Have a detector look at a canvas, which must not change until the future is done.

        The future raises DetectorFailed.

        Raises:
            DetectorFailed: the queue is closed.
        """
        question = _Question(detector, canvas, self._clock.now_s())
        with self._lock:
            self._waiting.append(question)
        try:
            self._pool.submit(self._serve)
        except RuntimeError as error:
            raise DetectorFailed("The service is shutting down.") from error
        return question.future

    def close(self) -> None:
        """End the threads, after the inference in hand. What still waits is cancelled."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            left = [*self._waiting]
            self._waiting.clear()
        for question in left:
            question.future.cancel()

    def _serve(self) -> None:
        questions = self._next()
        if not questions:
            return  # answered in a batch with an earlier one
        try:
            self._put(questions)
        except Exception as error:  # noqa: BLE001 - whoever waits for the future gets it
            if len(questions) == 1:
                _fail(questions[0], error)
            else:
                self._put_singly(questions)

    def _next(self) -> list[_Question]:
        """The oldest question, and those that go with it."""
        with self._lock:
            if not self._waiting:
                return []
            first = self._waiting[0]
            alike = [question for question in self._waiting if question.kind == first.kind][:MOST_AT_ONCE]
            if len(alike) > 1 and not self._costs_of(first).is_batch_worth_it():
                alike = alike[:1]
            for question in alike:
                self._waiting.remove(question)
            return alike

    def _put(self, questions: Sequence[_Question]) -> None:
        """Put questions of one kind together, and give the answers."""
        first = questions[0]
        began_s = self._clock.now_s()
        seen = look_at(first.detector, [question.canvas for question in questions])
        done_s = self._clock.now_s()
        with self._lock:
            self._costs_of(first).note(len(questions), done_s - began_s)
        for question, found in zip(questions, seen, strict=True):
            with suppress(InvalidStateError):
                question.future.set_result(Answer(found, (done_s - question.asked_s) * 1e3))

    def _put_singly(self, questions: Sequence[_Question]) -> None:
        """One of them may be to blame for a batch that failed: the others are none the worse for it."""
        for question in questions:
            try:
                self._put([question])
            except Exception as error:  # noqa: BLE001 - whoever waits for the future gets it
                _fail(question, error)

    def _costs_of(self, question: _Question) -> "_Costs":
        return self._costs.setdefault((question.detector.name, question.canvas.shape), _Costs())


def _fail(question: _Question, error: Exception) -> None:
    if not isinstance(error, DetectorFailed):
        logger.error("a detector failed unexpectedly", exc_info=error)
    with suppress(InvalidStateError):
        # Its traceback would keep canvas and frame alive in a circle.
        question.future.set_exception(error.with_traceback(None))


@dataclass(slots=True)
class _Costs:
    """What a canvas of one kind takes, alone and in a batch."""

    alone_s: float | None = None
    together_s: float | None = None
    n_declined: int = 0

    def note(self, n_canvases: int, took_s: float) -> None:
        if n_canvases == 1:
            self.alone_s = _newer(self.alone_s, took_s)
        else:
            self.together_s = _newer(self.together_s, took_s / n_canvases)

    def is_batch_worth_it(self) -> bool:
        """Whether several should be put together; now and then it is tried though it was slower."""
        if self.alone_s is None or self.together_s is None or self.together_s < self.alone_s:
            return True
        self.n_declined = (self.n_declined + 1) % _TRY_AGAIN
        return self.n_declined == 0


def _newer(usual: float | None, newest: float) -> float:
    return newest if usual is None else usual + _NEWEST_SHARE * (newest - usual)
