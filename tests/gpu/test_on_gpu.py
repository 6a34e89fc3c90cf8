"""On an NVIDIA GPU: TensorRT where it runs, ONNX Runtime's CUDA on the same memory, sessions, memory, failures."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.clock import SystemClock
from app.core.types import CanvasBoxes, CanvasDetections, PatchCopy, Size
from app.detect.gpu.detector import GpuModel
from app.detect.gpu.kernels import DetectionKernels
from app.detect.tensorrt.options import EngineOptions
from app.gpu.device import Gpu
from tests.detect.conftest import on_processor
from tests.detect.graphs import constant_model
from tests.gpu.conftest import MakeNetwork
from tests.gpu.engines import SHIPPED
from tests.gpu.looks import LAYOUTS, assert_same, n_found_again, order_of, outputs_of, picture_of

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]

N_SESSIONS = 32
N_LOOKS = 10_000
_MEGABYTE = 1024 * 1024


def assert_alike(mine: list[CanvasDetections], theirs: list[CanvasDetections], share: float) -> None:
    """Nearly all that one is sure of, the other finds in the same place."""
    n_sure = n_found = 0
    for one, other in zip(mine, theirs, strict=True):
        n_sure += int((other.scores >= 0.3).sum())
        n_found += n_found_again(other, one)
    assert n_sure > 0
    assert n_found >= share * n_sure


def test_real_canvases_give_what_the_processor_gives(model: GpuModel, canvases: NDArray[np.uint8]) -> None:
    usual = on_processor(SHIPPED)
    with closing(model.open()) as detector:
        for canvas in canvases:
            mine, theirs = detector.detect(canvas[None]), usual.detect(canvas[None])
            assert_alike(list(mine), list(theirs), 1.0)
            strong = [_above(found, 0.2) for found in (*mine, *theirs)]
            assert_same(strong[:1], strong[1:], 0.5)


def _above(found: CanvasDetections, score: float) -> CanvasDetections:
    rows = found.scores >= score
    order = np.lexsort((found.boxes[rows, 0], found.class_ids[rows]))
    boxes = CanvasBoxes(found.boxes[rows][order])
    return CanvasDetections(boxes, found.scores[rows][order], found.class_ids[rows][order])


def test_half_precision_finds_nearly_the_same(
    make_engine: MakeNetwork,
    real_gpu: Gpu,
    gpu_kernels: DetectionKernels,
    canvases: NDArray[np.uint8],
) -> None:
    network = make_engine(SHIPPED, EngineOptions("half", 4, 1280))
    usual = on_processor(SHIPPED)
    with (
        closing(GpuModel("nano", network, real_gpu, gpu_kernels, SystemClock())) as model,
        closing(model.open()) as one,
    ):
        assert_alike([*one.detect(canvases)], [*usual.detect(canvases)], 0.97)


@pytest.mark.parametrize("kind", ["bgr", "video", "full range"])
def test_canvases_drawn_on_the_gpu_give_what_drawn_ones_give(
    model: GpuModel, canvases: NDArray[np.uint8], kind: str
) -> None:
    copies = [PatchCopy((0, 0, 640, 384), (0, 0, 320, 192)), PatchCopy((100, 50, 400, 300), (320, 0, 640, 267))]
    with closing(model.open()) as detector:
        for pixels in canvases[:4]:
            order = order_of(picture_of(pixels, kind), copies, Size(640, 288), (114, 114, 114))
            assert_same(list(detector.look([order])), list(detector.detect(order.draw()[None])), 1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_family_is_read_as_on_the_processor(
    make_network: MakeNetwork, real_gpu: Gpu, gpu_kernels: DetectionKernels, layout: str, tmp_path: Path
) -> None:
    path = constant_model(tmp_path / "model.onnx", outputs_of(layout))
    blank = np.zeros((2, 128, 192, 3), np.uint8)
    model = GpuModel("constant", make_network(path), real_gpu, gpu_kernels, SystemClock())
    with closing(model), closing(model.open()) as detector:
        assert_same(list(detector.detect(blank)), list(on_processor(path).detect(blank)), 0.02)


def test_batches_give_what_their_canvases_give_alone(model: GpuModel, canvases: NDArray[np.uint8]) -> None:
    with closing(model.open()) as detector:
        alone = [detector.detect(canvas[None])[0] for canvas in canvases[:4]]
        assert_alike(list(detector.detect(canvases[:4])), alone, 1.0)


def test_replayed_looks_give_the_same(
    make_engine: MakeNetwork,
    real_gpu: Gpu,
    gpu_kernels: DetectionKernels,
    canvases: NDArray[np.uint8],
) -> None:
    network = make_engine(SHIPPED)
    plain = GpuModel("nano", network, real_gpu, gpu_kernels, SystemClock(), uses_graphs=False)
    model = GpuModel("nano", network, real_gpu, gpu_kernels, SystemClock())
    with closing(model), closing(model.open()) as recorded, closing(plain.open()) as direct:
        for n in range(40):
            canvas = canvases[n % len(canvases)][None]
            if n % 3 == 2:
                canvas = np.ascontiguousarray(canvas[:, :192, :320])
            assert_same(list(recorded.detect(canvas)), list(direct.detect(canvas)), 1e-3)
        assert recorded.n_recorded == 2


def test_many_sessions_come_work_and_go(model: GpuModel, real_gpu: Gpu, canvases: NDArray[np.uint8]) -> None:
    usual = on_processor(SHIPPED).detect(canvases)
    together = threading.Barrier(N_SESSIONS)

    def live(number: int) -> None:
        with closing(model.open()) as detector:
            together.wait(60)
            for n in range(10):
                index = (number + n) % len(canvases)
                assert_alike([*detector.detect(canvases[index][None])], [usual[index]], 0.99)

    free = []
    for _ in range(2):  # what libraries keep from the first round is no leak
        with ThreadPoolExecutor(N_SESSIONS) as pool:
            list(pool.map(live, range(N_SESSIONS)))
        free.append(real_gpu.memory().free)
    assert free[0] - free[1] < 64 * _MEGABYTE


def test_memory_stays_flat_over_many_frames(model: GpuModel, real_gpu: Gpu, canvases: NDArray[np.uint8]) -> None:
    sizes = [(384, 640), (192, 320), (288, 480)]
    with closing(model.open()) as detector:
        cut = [np.ascontiguousarray(canvases[:1, :height, :width]) for height, width in sizes]
        for n in range(300):
            detector.detect(cut[n % len(cut)])
        before, held = real_gpu.memory().free, detector.device_bytes
        resident = _resident_bytes()
        for n in range(N_LOOKS):
            detector.detect(cut[n % len(cut)])
        assert detector.device_bytes == held
        assert before - real_gpu.memory().free < 8 * _MEGABYTE
        assert _resident_bytes() - resident < 32 * _MEGABYTE


def _resident_bytes() -> int:
    """Of this process, in the processor's memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_a_gpu_that_fails_is_followed_by_the_processor(model: GpuModel, tmp_path: Path) -> None:
    """In a process of its own, as nothing works on the GPU any more afterwards."""
    done = subprocess.run(  # noqa: S603 - a fixed command
        [sys.executable, "-m", "tests.gpu.failing", model.network.backend, str(tmp_path)],
        cwd=SHIPPED.parents[1],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [model.network.backend, "onnxruntime-cpu"]
