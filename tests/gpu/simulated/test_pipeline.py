"""FlexPatch with vision and detector on a simulated GPU: the same tracks as on the processor, whatever fails."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.boxes import iou
from app.core.clock import SystemClock
from app.core.types import Detector, Frame, FrameBoxes, FrameResult, Vision
from app.detect.backends import Candidate, DetectorModel, ModelFacts, OnProcessor
from app.detect.gpu.detector import GpuModel
from app.detect.gpu.kernels import DetectionKernels
from app.detect.gpu.on_gpu import OnGpu
from app.detect.tensorrt.engine_file import EngineFile
from app.detect.tensorrt.library import Library
from app.detect.tensorrt.runtime import TensorRtNetwork
from app.flexpatch.config import PipelineConfig
from app.flexpatch.failure import hand_set_model
from app.flexpatch.pipeline import Pipeline
from app.gpu.device import Gpu
from app.gpu.machine import GpuMachine
from app.ingest.source import open_source
from app.vision.cpu import CpuVision
from app.vision.opening import VisionOpener
from tests.detect.conftest import on_processor
from tests.gpu.driver.build import host_image
from tests.gpu.driver.control import SimulatedDriver
from tests.gpu.engines import SHIPPED
from tests.gpu.simulated.fake_tensorrt import FakeTensorRt

N_FRAMES = 24
STREET = f"synthetic:640x360@10?objects=8&seed=5&frames={N_FRAMES}"


@dataclass
class Rig:
    """The shipped detector on the simulated GPU, with the processor to fall back to; and frames."""

    frames: Sequence[Frame]
    detector: Detector
    vision: Vision
    failures: list[str]

    def run(self, before: Callable[[int], None] = lambda _: None) -> list[FrameResult]:
        """All frames.

        Args:
            before: called before each frame, with its index.
        """
        results = []
        with closing(Pipeline(self.vision, self.detector, PipelineConfig(), hand_set_model(), SystemClock())) as one:
            for index, frame in enumerate(self.frames):
                before(index)
                results.append(one.step(frame))
        return results


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    with closing(open_source(STREET)) as source:
        return list(source)


@pytest.fixture
def rig(driver: SimulatedDriver, frames: list[Frame]) -> Iterator[Rig]:
    usual = on_processor(SHIPPED)
    facts = ModelFacts("nano", usual.class_names, usual.input_sizes, usual.pad_value)
    failures: list[str] = []
    with ExitStack() as stack:
        machine = stack.enter_context(closing(GpuMachine(0, Gpu, host_image)))
        opened = machine.opened()
        module = FakeTensorRt(driver)
        file = EngineFile(SHIPPED, SHIPPED.read_bytes(), None, {})
        network = TensorRtNetwork(file, Library("tensorrt", module.__version__, module), opened.gpu)
        model = GpuModel("nano", network, opened.gpu, DetectionKernels(opened.kernels), SystemClock())
        candidates = [
            Candidate("tensorrt", lambda: OnGpu(model, 0)),
            Candidate("onnxruntime-cpu", lambda: OnProcessor(usual)),
        ]
        shared = stack.enter_context(closing(DetectorModel(facts, candidates)))
        detector = stack.enter_context(closing(shared.open()))
        opener = VisionOpener("auto", machine, lambda: True, lambda error: failures.append(type(error).__name__))
        yield Rig(frames, detector, opener.open(detector), failures)


class WholeFrameCorners(CpuVision):
    """Looks at all pixels round a corner, as the GPU does; usually those beyond the box do not count."""

    def _eigenvalues_in(self, luma: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        whole = np.array([[0, 0, luma.shape[1], luma.shape[0]]], np.float32)
        return super()._eigenvalues_in(luma, np.concatenate([boxes, whole]))


@pytest.fixture(scope="module")
def expected(frames: list[Frame]) -> list[FrameResult]:
    """On the processor."""
    pipeline = Pipeline(WholeFrameCorners(), on_processor(SHIPPED), PipelineConfig(), hand_set_model(), SystemClock())
    return [pipeline.step(frame) for frame in frames]


def assert_same_tracks(mine: Sequence[FrameResult], theirs: Sequence[FrameResult]) -> None:
    assert sum(len(result.objects) for result in theirs) > 3 * N_FRAMES
    for one, other in zip(mine, theirs, strict=True):
        assert [item.track_id for item in one.objects] == [item.track_id for item in other.objects]
        assert one.work.canvas == other.work.canvas
        boxes = [FrameBoxes(np.array([item.box for item in result.objects], np.float32)) for result in (one, other)]
        assert np.diagonal(iou(*boxes)).min(initial=1) > 0.9


def test_the_tracks_are_those_of_the_processor(rig: Rig, expected: list[FrameResult]) -> None:
    results = rig.run()
    assert_same_tracks(results, expected)
    assert {(result.work.backend, result.work.vision) for result in results} == {("tensorrt", "gpu")}
    assert rig.failures == []


def test_no_row_of_a_picture_goes_to_the_gpu_twice(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Canvases are drawn from the picture that lies there for the flow."""

    def refuse(*_: object) -> None:
        raise AssertionError("a picture was staged again")

    monkeypatch.setattr("app.detect.gpu.worker.stage", refuse)
    assert any(result.work.canvas for result in rig.run())


@pytest.mark.parametrize("at", [0, 1, 13])
def test_tracking_goes_on_when_the_gpu_is_lost(
    rig: Rig, driver: SimulatedDriver, expected: list[FrameResult], at: int
) -> None:
    rig.vision._cpu = WholeFrameCorners()  # type: ignore[attr-defined]

    def lose(index: int) -> None:
        if index == at:
            driver.lose_device()

    results = rig.run(lose)
    assert_same_tracks(results, expected)
    assert results[-1].work.backend == "onnxruntime-cpu"
    assert rig.failures == ["GpuFailed"]
    assert [result.work.vision for result in results] == ["gpu"] * at + ["cpu"] * (N_FRAMES - at)
