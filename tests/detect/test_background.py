"""Looks in the background: order, batches, failures, the end."""

import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import wait as wait_for

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.clock import ManualClock
from app.core.errors import DetectorFailed
from app.core.types import Answer, CanvasBoxes, CanvasDetections, InputSizes, Size
from app.detect.background import MOST_AT_ONCE, DetectionQueue

WAIT_S = 5.0
WIDE, SMALL = Size(64, 32), Size(32, 32)


class PacedDetector:
    """Finds one object, whose score tells the canvas's colour; works when it is let."""

    backend = "test"
    class_names = ("thing",)
    input_sizes = InputSizes()
    pad_value = (114, 114, 114)

    def __init__(self, clock: ManualClock, seconds: Callable[[int], float] = lambda n: 0.01 * n, name: str = "a"):
        self.name = name
        self.batches: list[list[int]] = []
        self.gate, self.entered = threading.Event(), threading.Semaphore(0)
        self.gate.set()
        self._clock, self._seconds = clock, seconds

    def detect(self, canvases: NDArray[np.uint8]) -> Sequence[CanvasDetections]:
        self.entered.release()
        assert self.gate.wait(WAIT_S)
        colours = [int(canvas[0, 0, 0]) for canvas in canvases]
        self.batches.append(colours)
        self._clock.advance(self._seconds(len(canvases)))
        if 13 in colours:
            raise DetectorFailed("Thirteen.")
        if 14 in colours:
            raise ValueError("fourteen")
        box = CanvasBoxes(np.array([[0, 0, 8, 8]], np.float32))
        return [
            CanvasDetections(box, np.array([colour / 100], np.float32), np.zeros(1, np.int32)) for colour in colours
        ]


def canvas(colour: int, size: Size = WIDE) -> NDArray[np.uint8]:
    return np.full((size.height, size.width, 3), colour, np.uint8)


def score(answer: "Future[Answer]") -> float:
    return float(answer.result(WAIT_S).seen.scores[0])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def queue(clock: ManualClock) -> Iterator[DetectionQueue]:
    queue = DetectionQueue(clock)
    yield queue
    queue.close()


def asked_while_busy(
    queue: DetectionQueue, detector: PacedDetector, canvases: Sequence[NDArray[np.uint8]]
) -> "list[Future[Answer]]":
    """Ask for all of these while the detector is at the first one."""
    while detector.entered.acquire(blocking=False):
        pass  # of inferences before
    detector.gate.clear()
    first = queue.ask(detector, canvases[0])
    assert detector.entered.acquire(timeout=WAIT_S)
    others = [queue.ask(detector, item) for item in canvases[1:]]
    detector.gate.set()
    return [first, *others]


def test_each_gets_its_own_answer_and_how_long_it_took(queue: DetectionQueue, clock: ManualClock) -> None:
    detector = PacedDetector(clock)
    answers = asked_while_busy(queue, detector, [canvas(1), canvas(2), canvas(3)])
    assert [score(answer) for answer in answers] == pytest.approx([0.01, 0.02, 0.03])
    assert answers[0].result().took_ms == pytest.approx(10)
    assert answers[2].result().took_ms == pytest.approx(30), "with the wait for the first one"


def test_questions_gather_while_the_detector_is_busy(queue: DetectionQueue, clock: ManualClock) -> None:
    detector = PacedDetector(clock, lambda n: 0.01 + 0.001 * n)
    answers = asked_while_busy(queue, detector, [canvas(n) for n in range(1, 8)])
    wait_for(answers, WAIT_S)
    assert detector.batches == [[1], [2, 3, 4, 5], [6, 7]]
    assert max(len(batch) for batch in detector.batches) == MOST_AT_ONCE


def test_batches_that_do_not_pay_are_given_up(queue: DetectionQueue, clock: ManualClock) -> None:
    detector = PacedDetector(clock, lambda n: 0.01 * n * (1.5 if n > 1 else 1))
    answers = asked_while_busy(queue, detector, [canvas(n) for n in range(1, 9)])
    wait_for(answers, WAIT_S)
    assert detector.batches == [[1], [2, 3, 4, 5], [6], [7], [8]]


def test_what_did_not_pay_is_tried_again_after_a_while(queue: DetectionQueue, clock: ManualClock) -> None:
    pays = threading.Event()
    detector = PacedDetector(clock, lambda n: 0.01 * n * (1.0 if n == 1 else 0.2 if pays.is_set() else 2.0))
    wait_for(asked_while_busy(queue, detector, [canvas(1), canvas(2), canvas(3)]), WAIT_S)
    pays.set()
    for _ in range(10):
        wait_for(asked_while_busy(queue, detector, [canvas(n % 13) for n in range(40)]), WAIT_S)
    assert [len(batch) for batch in detector.batches[-10:]] == [4] * 9 + [3], "39 that gathered behind the first"


def test_other_sizes_and_other_detectors_are_not_put_together(queue: DetectionQueue, clock: ManualClock) -> None:
    one, other = PacedDetector(clock), PacedDetector(clock, name="b")
    one.gate.clear()
    answers = [queue.ask(one, canvas(1))]
    assert one.entered.acquire(timeout=WAIT_S)
    answers += [queue.ask(one, canvas(2, SMALL)), queue.ask(other, canvas(3)), queue.ask(one, canvas(4))]
    one.gate.set()
    assert [score(answer) for answer in answers] == pytest.approx([0.01, 0.02, 0.03, 0.04])
    assert one.batches == [[1], [2], [4]], "in the order of asking"
    assert other.batches == [[3]]


@pytest.mark.parametrize(("colour", "error"), [(13, DetectorFailed), (14, ValueError)])
def test_one_that_fails_spoils_no_other(
    queue: DetectionQueue, clock: ManualClock, colour: int, error: type[Exception]
) -> None:
    detector = PacedDetector(clock)
    answers = asked_while_busy(queue, detector, [canvas(1), canvas(2), canvas(colour), canvas(4)])
    with pytest.raises(error):
        answers[2].result(WAIT_S)
    assert [score(answers[place]) for place in (0, 1, 3)] == pytest.approx([0.01, 0.02, 0.04])
    assert score(queue.ask(detector, canvas(5))) == pytest.approx(0.05)


def test_an_answer_that_nobody_wants_any_more_does_no_harm(queue: DetectionQueue, clock: ManualClock) -> None:
    detector = PacedDetector(clock)
    answers = asked_while_busy(queue, detector, [canvas(1), canvas(2), canvas(3)])
    answers[1].cancel()
    assert score(answers[2]) == pytest.approx(0.03)
    assert score(queue.ask(detector, canvas(4))) == pytest.approx(0.04)


def test_after_the_end_nothing_waits_and_no_thread_is_left(clock: ManualClock) -> None:
    queue, detector = DetectionQueue(clock), PacedDetector(clock)
    detector.gate.clear()
    answers = [queue.ask(detector, canvas(n)) for n in range(3)]
    assert detector.entered.acquire(timeout=WAIT_S)
    closing = threading.Thread(target=queue.close)
    closing.start()
    detector.gate.set()
    closing.join(WAIT_S)
    for answer in answers[1:]:
        with pytest.raises(CancelledError):
            answer.result(WAIT_S)
    with pytest.raises(DetectorFailed, match="shutting down"):
        queue.ask(detector, canvas(1))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("detection")]


def test_a_queue_that_nobody_holds_ends_its_thread(clock: ManualClock) -> None:
    queue = DetectionQueue(clock)
    score(queue.ask(PacedDetector(clock), canvas(1)))
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("detection")]
    assert len(threads) == 1
    del queue
    gc.collect()
    threads[0].join(WAIT_S)
    assert not threads[0].is_alive()
