"""Pictures on a simulated GPU while a detector takes its time with them, or fails."""

import gc
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial

import pytest

from app.core.clock import SystemClock
from app.core.errors import DetectorFailed
from app.core.types import CanvasDetections, CanvasOrder, Frame, Size
from app.detect.background import DetectionQueue
from app.flexpatch.config import PipelineConfig
from app.flexpatch.failure import hand_set_model
from app.flexpatch.pipeline import Pipeline
from app.gpu.device import Gpu
from app.gpu.machine import GpuMachine
from app.vision.moving import MovingVision
from tests.gpu.driver.build import host_image
from tests.gpu.driver.control import SimulatedDriver
from tests.gpu.seeing import ON_GPU, pair
from tests.sessions.fakes import WAIT_S, BlindDetector, nothing_seen
from tests.vision.pictures import yuv

PICTURES = pair(Size(640, 360), yuv)
FRAMES_HELD = 5
"""Of a stream at most: the present one, the one before, the one that is looked at, what was free."""


class SlowDetector(BlindDetector):
    """Draws canvases of pictures on the GPU, in its own time."""

    draws = True

    def __init__(self) -> None:
        self.is_failing = False
        self.may_answer = threading.Event()

    def look(self, orders: Sequence[CanvasOrder]) -> Sequence[CanvasDetections]:
        assert self.may_answer.wait(WAIT_S)
        assert all(order.resident for order in orders)
        if self.is_failing:
            raise DetectorFailed("it has no answer")
        return [nothing_seen()] * len(orders)


@pytest.fixture
def machine(driver: SimulatedDriver) -> Iterator[GpuMachine]:
    del driver
    with closing(GpuMachine(0, Gpu, host_image)) as machine:
        yield machine


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    """What is let go of must not have to be searched for."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def frame(number: int) -> Frame:
    return Frame(number, number / 10, PICTURES[number % 2])


def pipeline(machine: GpuMachine, detector: SlowDetector) -> Pipeline:
    vision = MovingVision(machine, ON_GPU, lambda _: None)
    return Pipeline(vision, detector, PipelineConfig(), hand_set_model(), SystemClock())


def test_a_picture_outlives_its_stream_until_the_detector_has_looked(
    machine: GpuMachine, driver: SimulatedDriver
) -> None:
    detector = SlowDetector()
    with closing(DetectionQueue(SystemClock(), 1)) as queue:
        stream = pipeline(machine, detector)
        answers = []
        for number in range(1, 9):
            answers.append(stream.begin(frame(number), partial(queue.ask, detector)))
            stream.finish()
        assert driver.live()["memory"] <= FRAMES_HELD
        stream.close()
        del stream
        assert driver.live()["memory"] == 1
        detector.may_answer.set()
        assert answers[0] is not None
        answers[0].result(WAIT_S)
        del answers
    assert "memory" not in driver.live()


def test_a_detector_that_fails_again_and_again_keeps_no_pictures(machine: GpuMachine, driver: SimulatedDriver) -> None:
    detector = SlowDetector()
    detector.is_failing = True
    detector.may_answer.set()
    n_failed = 0
    with closing(DetectionQueue(SystemClock(), 1)) as queue:
        stream = pipeline(machine, detector)
        for number in range(1, 40):
            try:
                answer = stream.begin(frame(number), partial(queue.ask, detector))
                if answer:
                    assert isinstance(answer.exception(WAIT_S), DetectorFailed)
                stream.finish()
            except DetectorFailed:
                n_failed += 1
            answer = None
        assert n_failed > 5
        assert driver.live()["memory"] <= FRAMES_HELD
        stream.close()
        del stream
    assert "memory" not in driver.live()
