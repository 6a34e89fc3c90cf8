"""Vision on an NVIDIA GPU: what it says beside the processor's, whole streams, memory, and a GPU that fails."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import numpy as np
import pytest

from app.core.boxes import iou
from app.core.clock import SystemClock
from app.core.types import CanvasOrder, Detector, Frame, FrameBoxes, FrameResult, PatchCopy, Picture, Size, Vision
from app.detect.background import DetectionQueue
from app.detect.gpu.detector import GpuModel
from app.flexpatch.config import PipelineConfig
from app.flexpatch.failure import hand_set_model
from app.flexpatch.pipeline import Pipeline
from app.gpu.machine import GpuMachine
from app.ingest.source import open_source
from app.vision.cpu import CpuVision
from app.vision.moving import MovingVision
from tests.detect.conftest import on_processor
from tests.gpu.engines import SHIPPED
from tests.gpu.looks import picture_of
from tests.gpu.seeing import ON_GPU, MakePicture, assert_alike, pair, seen
from tests.vision.pictures import bgr, yuv

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]

STREET = "synthetic:1920x1080@30?objects=15&seed=61&frames=60"
N_STREAMS = 32
N_FRAMES = 10_000
_MEGABYTE = 1024 * 1024

Open = Callable[[], MovingVision]


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest) -> Iterator[GpuMachine]:
    request.getfixturevalue("real_gpu")
    with closing(GpuMachine()) as machine:
        yield machine


@pytest.fixture
def open_vision(machine: GpuMachine) -> Iterator[Open]:
    """Opens visions that must stay on the GPU."""
    failures: list[str] = []
    yield lambda: MovingVision(machine, ON_GPU, lambda error: failures.append(str(error)))
    assert failures == []


@pytest.mark.parametrize("make", [bgr, yuv], ids=["bgr", "planes"])
@pytest.mark.parametrize("size", [Size(331, 187), Size(1919, 1079), Size(1920, 1080), Size(3840, 2160)], ids=str)
def test_it_says_what_the_processor_says(open_vision: Open, size: Size, make: MakePicture) -> None:
    pictures = pair(size, make)
    usual = CpuVision()
    with closing(open_vision()) as vision:
        mine = seen(vision, *map(vision.prepare, pictures))
        assert vision.place == "gpu"
    assert_alike(mine, seen(usual, *map(usual.prepare, pictures)))


def frames() -> list[Frame]:
    """A street as video planes."""
    with closing(open_source(STREET)) as source:
        return [
            Frame(frame.seq, frame.pts_s, picture_of(frame.picture.pixels, "video"))  # type: ignore[union-attr]
            for frame in source
        ]


def tracked(vision: Vision, detector: Detector, pictures: Sequence[Frame]) -> list[FrameResult]:
    with closing(Pipeline(vision, detector, PipelineConfig(), hand_set_model(), SystemClock())) as pipeline:
        return [pipeline.step(frame) for frame in pictures]


def test_streams_have_nearly_the_tracks_that_they_have_on_the_processor(open_vision: Open, model: GpuModel) -> None:
    """Corners at the edge of a box are others, and networks round otherwise: weak objects may differ."""
    street = frames()
    theirs = tracked(CpuVision(), on_processor(SHIPPED), street)
    with closing(model.open()) as detector:
        mine = tracked(open_vision(), detector, street)
    n_sure = n_found = 0
    for one, other in zip(mine, theirs, strict=True):
        sure = np.array([item.box for item in other.objects if item.score >= 0.4], np.float32).reshape(-1, 4)
        boxes = np.array([item.box for item in one.objects], np.float32).reshape(-1, 4)
        n_sure += len(sure)
        n_found += int((iou(FrameBoxes(sure), FrameBoxes(boxes)).max(axis=1, initial=0) >= 0.5).sum())
    assert n_sure > 100
    assert n_found >= 0.9 * n_sure


def test_answers_may_come_late_and_after_the_end(open_vision: Open, model: GpuModel) -> None:
    """Canvases are drawn on the detector's own stream, from pictures of which vision has newer ones already."""
    street = frames()
    n_seen = n_busy = 0
    with closing(DetectionQueue(SystemClock())) as queue, closing(model.open()) as detector:
        pipeline = Pipeline(open_vision(), detector, PipelineConfig(), hand_set_model(), SystemClock())
        answer = None
        for frame in street:
            answer = pipeline.begin(frame, partial(queue.ask, detector))
            n_busy += answer is not None
            n_seen += len(pipeline.finish().objects)
        pipeline.close()
        if answer:
            assert answer.exception(60) is None
    assert n_busy > 5
    assert n_seen > 100


def test_many_streams_are_followed_at_once(open_vision: Open, model: GpuModel, machine: GpuMachine) -> None:
    street = frames()[:12]
    expected = [_in_short(result) for result in _alone(open_vision, model, street)]
    together = threading.Barrier(N_STREAMS)

    def live(_: int) -> None:
        with closing(model.open()) as detector:
            together.wait(60)
            assert [_in_short(result) for result in tracked(open_vision(), detector, street)] == expected

    free = []
    for _ in range(2):  # what libraries keep from the first round is no leak
        with ThreadPoolExecutor(N_STREAMS) as pool:
            list(pool.map(live, range(N_STREAMS)))
        free.append(machine.opened().gpu.memory().free)
    assert free[0] - free[1] < 64 * _MEGABYTE


def _alone(open_vision: Open, model: GpuModel, street: Sequence[Frame]) -> list[FrameResult]:
    with closing(model.open()) as detector:
        return tracked(open_vision(), detector, street)


def _in_short(result: FrameResult) -> list[tuple[int, tuple[float, ...]]]:
    return [(item.track_id, tuple(round(side, 1) for side in item.box)) for item in result.objects]


def test_memory_stays_flat_over_many_frames(open_vision: Open, model: GpuModel, machine: GpuMachine) -> None:
    pictures: list[Picture] = [frame.picture for frame in frames()[:8]]
    gpu, size = machine.opened().gpu, Size(640, 384)
    copies = [PatchCopy((0, 0, 1920, 1080), (0, 0, 640, 360))]
    points = np.random.default_rng(1).uniform((0, 0), (1920, 1080), (200, 2)).astype(np.float32)
    with closing(open_vision()) as vision, closing(model.open()) as detector:
        earlier = vision.prepare(pictures[0])
        before = held = 0
        for n in range(N_FRAMES):
            later = vision.prepare(pictures[n % len(pictures)])
            vision.flow(earlier, later, points, points)
            vision.motion_map(earlier, later, None)
            if n % 10 == 0:
                order = vision.canvas(later, copies, size, detector.pad_value)
                assert isinstance(order, CanvasOrder)
                detector.look([order])
                vision.edge_map(later)
            earlier = later
            if n == 100:
                before, held = gpu.memory().free, vision.device_bytes
        assert vision.device_bytes == held
        assert before - gpu.memory().free < 8 * _MEGABYTE


@pytest.mark.usefixtures("real_gpu")
def test_a_gpu_that_fails_is_followed_by_the_processor() -> None:
    """In a process of its own, as nothing works on the GPU any more afterwards."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu.failing_vision"],
        cwd=SHIPPED.parents[1],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["GpuFrame", "CpuFrame", "GpuFailed"]
