"""Sessions' detectors on a GPU: canvases drawn there, run there, read there; simulated but for TensorRT itself."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.clock import SystemClock
from app.core.errors import BackendFailed, DetectorFailed, GpuMemoryShort, ModelNotRecognised
from app.core.types import (
    BgrPicture,
    CanvasOrder,
    PatchCopy,
    ResidentPicture,
    Size,
    close_detector,
)
from app.detect.gpu.detector import GpuModel
from app.detect.gpu.kernels import DetectionKernels
from app.detect.gpu.on_gpu import OnGpu
from app.detect.gpu.onnx import OnnxDeviceNetwork
from app.detect.tensorrt.engine_file import EngineFile
from app.detect.tensorrt.library import Library
from app.detect.tensorrt.runtime import TensorRtContext, TensorRtNetwork
from app.gpu.device import Gpu
from app.gpu.frames import stage
from app.gpu.loading import LoadedKernels
from app.vision.cpu import CpuVision
from app.vision.gpu.kernels import VisionKernels
from app.vision.gpu.pixels import GpuPixels
from tests.detect.conftest import canvas_with, on_processor
from tests.detect.graphs import any_sized_detr, constant_model, sized_detr, square_finder
from tests.gpu.driver.build import host_image
from tests.gpu.driver.control import SimulatedDriver
from tests.gpu.looks import LAYOUTS, SIZE, TRUTH, assert_same, order_of, outputs_of, picture_of
from tests.gpu.simulated.fake_tensorrt import FakeTensorRt

BLUE, GREEN, RED = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def module(driver: SimulatedDriver) -> FakeTensorRt:
    return FakeTensorRt(driver)


@pytest.fixture
def make(gpu: Gpu, module: FakeTensorRt) -> Iterator[Callable[[Path], GpuModel]]:
    """Makes a model of an ONNX file, on the simulated GPU."""
    with ExitStack() as stack:
        kernels = DetectionKernels(stack.enter_context(closing(LoadedKernels(gpu, host_image))))

        def make_model(path: Path, *, uses_graphs: bool = True) -> GpuModel:
            file = EngineFile(path, path.read_bytes(), None, {})
            network = TensorRtNetwork(file, Library("tensorrt", module.__version__, module), gpu)
            model = GpuModel(path.stem, network, gpu, kernels, SystemClock(), uses_graphs=uses_graphs)
            return stack.enter_context(closing(model))

        yield make_model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return square_finder(tmp_path / "finder.onnx")


@pytest.fixture
def finder(make: Callable[[Path], GpuModel], path: Path) -> GpuModel:
    return make(path)


def test_it_is_recognised_from_the_engine_alone(finder: GpuModel) -> None:
    with closing(finder.open()) as detector:
        assert (detector.name, detector.backend) == ("finder", "tensorrt")
        assert detector.pad_value == (114, 114, 114)
        assert detector.input_sizes.accepts(Size(1920, 1920))
        assert not detector.input_sizes.accepts(Size(1952, 64))


def test_an_engine_that_is_no_detector_is_refused(make: Callable[[Path], GpuModel], tmp_path: Path) -> None:
    with pytest.raises(ModelNotRecognised):
        make(constant_model(tmp_path / "model.onnx", {"o": np.zeros((1, 10), np.float32)}))


@pytest.mark.parametrize("size", [SIZE, Size(64, 64), Size(320, 192)])
def test_canvases_of_the_processor_give_what_they_give_there(finder: GpuModel, path: Path, size: Size) -> None:
    usual = on_processor(path)
    canvases = np.concatenate([canvas_with(size, {(n % 2, n % 2): (BLUE, GREEN, RED)[n % 3]}) for n in range(7)])
    with closing(finder.open()) as detector:
        assert_same(detector.detect(canvases), usual.detect(canvases))
        assert_same(detector.detect(canvases[:1]), usual.detect(canvases[:1]))
        assert list(detector.detect(canvases[:0])) == []


@pytest.mark.parametrize("kind", ["bgr", "video", "full range"])
def test_orders_give_what_canvases_drawn_on_the_processor_give(finder: GpuModel, path: Path, kind: str) -> None:
    rng = np.random.default_rng(5)
    usual = on_processor(path)
    with closing(finder.open()) as detector:
        for _ in range(6):
            pixels = np.kron(rng.integers(0, 256, (9, 16, 3), np.uint8), np.ones((40, 40, 1), np.uint8))[:355, :635]
            picture = picture_of(pixels, kind)
            copies = [
                PatchCopy((0, 0, 635, 355), (0, 0, 128, 72)),
                PatchCopy((11, 17, 75, 49), (128, 0, 192, 32)),
                PatchCopy((301, 203, 329, 219), (128, 32, 184, 64)),
                PatchCopy((201, 103, 313, 215), (132, 68, 188, 124)),
            ]
            vision = CpuVision()
            canvas = vision.canvas(vision.prepare(picture), copies, SIZE, (1, 2, 3))
            order = order_of(picture, copies, SIZE, (1, 2, 3))
            np.testing.assert_array_equal(order.draw(), canvas)
            assert_same(detector.look([order]), usual.detect(canvas[None]), 0.03)


def test_canvases_are_drawn_of_pictures_that_lie_there(
    finder: GpuModel, path: Path, gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several users together, one of which has its picture elsewhere."""
    usual = on_processor(path)
    copies = [PatchCopy((0, 0, 320, 200), (0, 0, 96, 60)), PatchCopy((33, 20, 129, 84), (96, 0, 192, 64))]
    kinds = ("bgr", "video", "full range", "video")
    pictures = [picture_of(canvas_with(Size(320, 200), {(n, n): RED})[0], kind) for n, kind in enumerate(kinds)]
    orders = [order_of(picture, copies, SIZE, (1, 2, 3)) for picture in pictures]
    with closing(LoadedKernels(gpu, host_image)) as loaded, closing(finder.open()) as detector:
        with closing(GpuPixels(gpu, VisionKernels(loaded))) as pixels:
            frames = [pixels.prepare(picture, 1) for picture in pictures[:3]]
            there = [pixels.resident(frame) for frame in frames]
        del frames
        resident = [replace(order, resident=picture) for order, picture in zip(orders, [*there, None], strict=True)]
        del there
        staged: list[CanvasOrder] = []

        def noted(order: CanvasOrder, *rest: Any) -> NDArray[Any]:
            staged.append(order)
            return stage(order, *rest)

        monkeypatch.setattr("app.detect.gpu.worker.stage", noted)
        drawn = np.stack([order.draw() for order in orders])
        assert_same(detector.look(resident), usual.detect(drawn), 0.03)
        assert staged == [resident[3]]
        del resident


def test_pictures_on_another_gpu_are_sent_to_this_one(finder: GpuModel, path: Path) -> None:
    picture = picture_of(canvas_with(SIZE, {(1, 2): RED})[0], "bgr")
    whole = [PatchCopy((0, 0, 192, 128), (0, 0, 192, 128))]
    order = replace(order_of(picture, whole, SIZE, (1, 2, 3)), resident=ResidentPicture(7, (16,), None))
    with closing(finder.open()) as detector:
        assert_same(detector.look([order]), on_processor(path).detect(order.draw()[None]))


def test_frames_of_several_users_go_together(finder: GpuModel, path: Path) -> None:
    pictures = [canvas_with(SIZE, {(n, n % 4): RED})[0] for n in range(3)]
    whole = (PatchCopy((0, 0, 192, 128), (0, 0, 192, 128)),)
    orders = [
        CanvasOrder(BgrPicture(pixels), whole, SIZE, (114, 114, 114), partial(np.copy, pixels)) for pixels in pictures
    ]
    with closing(finder.open()) as detector:
        assert_same(detector.look(orders), on_processor(path).detect(np.stack(pictures)))


def test_more_patches_than_the_table_holds_are_drawn_on_the_processor(finder: GpuModel, path: Path) -> None:
    pixels = canvas_with(SIZE, {(1, 1): RED})[0]
    copies = [PatchCopy((x, y, x + 8, y + 8), (x, y, x + 8, y + 8)) for x in range(0, 192, 8) for y in range(0, 128, 8)]
    order = order_of(BgrPicture(pixels), copies, SIZE, (0, 0, 0))
    assert len(copies) > 256
    with closing(finder.open()) as detector:
        assert_same(detector.look([order]), on_processor(path).detect(pixels[None]))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_family_is_read_as_on_the_processor(
    make: Callable[[Path], GpuModel], layout: str, tmp_path: Path
) -> None:
    path = constant_model(tmp_path / "model.onnx", outputs_of(layout))
    canvases = np.zeros((2, 128, 192, 3), np.uint8)
    with closing(make(path).open()) as detector:
        assert_same(detector.detect(canvases), on_processor(path).detect(canvases), 0.02)


def test_models_that_ask_for_the_canvas_size_are_told(make: Callable[[Path], GpuModel], tmp_path: Path) -> None:
    share = (TRUTH.boxes[None] / np.array([192, 128, 192, 128])).astype(np.float32)
    path = sized_detr(tmp_path / "model.onnx", np.array([[2, 0]]), share, TRUTH.scores[None])
    with closing(make(path).open()) as detector:
        (found,) = detector.detect(np.zeros((1, 128, 192, 3), np.uint8))
    np.testing.assert_allclose(found.boxes, TRUTH.boxes, atol=0.01)


def test_canvas_sizes_are_told_anew_when_they_change(make: Callable[[Path], GpuModel], tmp_path: Path) -> None:
    path = any_sized_detr(tmp_path / "model.onnx")
    usual = on_processor(path)
    sizes = [Size(320, 192), SIZE] * 4
    with closing(make(path).open()) as detector:
        for size in sizes:
            canvases = np.zeros((2, size.height, size.width, 3), np.uint8)
            assert_same(list(detector.detect(canvases)), list(usual.detect(canvases)))
            assert len(usual.detect(canvases)[0]) == 1


def test_looks_are_recorded_and_replayed_with_the_same_results(
    finder: GpuModel, driver: SimulatedDriver, path: Path
) -> None:
    usual = on_processor(path)
    with closing(finder.open()) as detector:
        for n in range(30):
            size = (SIZE, Size(64, 64))[n % 2]
            canvas = canvas_with(size, {(n % 2, n % 2): (BLUE, GREEN, RED)[n % 3]})
            assert_same(detector.detect(canvas), usual.detect(canvas))
        assert driver.live()["graph"] == 2
        assert driver.n_replays >= 2


def test_without_graphs_nothing_is_recorded(make: Callable[..., GpuModel], path: Path, driver: SimulatedDriver) -> None:
    with closing(make(path, uses_graphs=False).open()) as detector:
        for _ in range(5):
            detector.detect(canvas_with(SIZE, {}))
    assert driver.n_replays == 0


@pytest.mark.parametrize("error", ["CUDA_ERROR_NOT_SUPPORTED", "CUDA_ERROR_OUT_OF_MEMORY"])
def test_a_recording_that_fails_is_done_without_and_tried_again(
    finder: GpuModel, driver: SimulatedDriver, path: Path, error: str
) -> None:
    canvas = canvas_with(SIZE, {(1, 1): RED})
    with closing(finder.open()) as detector:
        detector.detect(canvas)
        driver.fail("cuGraphInstantiate", error)
        for n in range(6):
            assert_same(detector.detect(canvas), on_processor(path).detect(canvas))
            assert detector.n_recorded == (n > 0)


def test_a_network_that_is_never_recordable_is_asked_a_few_times_only(
    finder: GpuModel, driver: SimulatedDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def is_recordable(_: TensorRtContext) -> bool:
        asked.append(1)
        return False

    monkeypatch.setattr(TensorRtContext, "is_recordable", property(is_recordable))
    with closing(finder.open()) as detector:
        for _ in range(8):
            detector.detect(canvas_with(SIZE, {}))
    assert (len(asked), driver.n_replays) == (3, 0)


def test_memory_grows_to_the_largest_canvas_and_stays(finder: GpuModel, driver: SimulatedDriver) -> None:
    with closing(finder.open()) as detector:
        sizes = [Size(64, 64), Size(320, 192), SIZE, Size(640, 384)]
        for size in sizes:
            detector.detect(canvas_with(size, {}))
        for size in sizes:
            for _ in range(3):
                detector.detect(canvas_with(size, {}))
        used, live = driver.used_bytes, driver.live()
        for n in range(200):
            detector.detect(canvas_with(sizes[n % 4], {}))
        assert (driver.used_bytes, driver.live()) == (used, live)
        assert detector.device_bytes <= used


def test_closing_gives_everything_back_and_ends_looks(
    finder: GpuModel, driver: SimulatedDriver, module: FakeTensorRt
) -> None:
    before = driver.live()
    detector = finder.open()
    detector.detect(canvas_with(SIZE, {}))
    detector.close()
    detector.close()
    assert driver.live() == before
    assert module.n_contexts == 0
    with pytest.raises(DetectorFailed, match="finder is closed"):
        detector.detect(canvas_with(SIZE, {}))


def test_many_sessions_come_work_and_go(finder: GpuModel, path: Path, driver: SimulatedDriver) -> None:
    usual = on_processor(path)
    before = driver.live()
    together = threading.Barrier(8)

    def live(number: int) -> None:
        with closing(finder.open()) as detector:
            together.wait(30)
            for n in range(4):
                canvas = canvas_with(SIZE, {((number + n) % 6, n): (BLUE, GREEN, RED)[number % 3]})
                assert_same(detector.detect(canvas), usual.detect(canvas))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(live, range(32)))
    assert driver.live() == before


@pytest.mark.parametrize(
    ("canvases", "words"),
    [
        (np.zeros((1, 64, 64, 3), np.float32), "uint8"),
        (np.zeros((64, 64, 3), np.uint8), "canvases"),
        (np.zeros((1, 64, 65, 3), np.uint8), "65x64 canvas; it takes multiples of 32 up to 1920x1920"),
    ],
)
def test_canvases_that_do_not_fit_are_refused(finder: GpuModel, canvases: NDArray[np.uint8], words: str) -> None:
    with closing(finder.open()) as detector, pytest.raises(DetectorFailed, match=words) as caught:
        detector.detect(canvases)
    assert not isinstance(caught.value, BackendFailed)


def test_short_memory_is_told_and_smaller_canvases_still_work(
    finder: GpuModel, driver: SimulatedDriver, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canvas = canvas_with(Size(64, 64), {(1, 1): RED})
    with closing(finder.open()) as detector:
        detector.detect(canvas)
        monkeypatch.setenv("FLEXPATCH_SIMULATED_MEMORY", str(driver.used_bytes + 200_000))
        with pytest.raises(GpuMemoryShort):
            detector.detect(canvas_with(Size(1280, 736), {}))
        assert_same(detector.detect(canvas), on_processor(path).detect(canvas))


@pytest.mark.parametrize("function", ["cuLaunchKernel", "cuMemcpyHtoDAsync", "cuStreamSynchronize"])
def test_calls_that_fail_are_the_backends_failure(finder: GpuModel, driver: SimulatedDriver, function: str) -> None:
    with closing(finder.open()) as detector:
        driver.fail(function, "CUDA_ERROR_ILLEGAL_ADDRESS")
        with pytest.raises(BackendFailed, match=f"finder failed: .*{function} says CUDA_ERROR_ILLEGAL_ADDRESS"):
            detector.detect(canvas_with(SIZE, {}))


def test_the_runtimes_failure_is_told_in_its_words(finder: GpuModel, module: FakeTensorRt) -> None:
    with closing(finder.open()) as detector:
        module.fails_to_execute = True
        with pytest.raises(BackendFailed, match="finder failed: an illegal address"):
            detector.detect(canvas_with(SIZE, {}))


def test_a_lost_device_fails_looks_and_closing_does_not_raise(finder: GpuModel, driver: SimulatedDriver) -> None:
    detector = finder.open()
    detector.detect(canvas_with(SIZE, {}))
    driver.lose_device()
    for _ in range(2):
        with pytest.raises(BackendFailed):
            detector.detect(canvas_with(SIZE, {}))
    detector.close()
    with pytest.raises(BackendFailed):
        finder.open()


def test_sessions_are_admitted_while_memory_stays_free(
    finder: GpuModel, driver: SimulatedDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = OnGpu(finder, 0).open()
    each = driver.used_bytes
    monkeypatch.setenv("FLEXPATCH_SIMULATED_MEMORY", str(each * 3 + each // 2))
    second = OnGpu(finder, each).open()
    used = driver.used_bytes
    with pytest.raises(GpuMemoryShort, match="no room for another session"):
        OnGpu(finder, each).open()
    assert driver.used_bytes == used
    for detector in (first, second):
        close_detector(detector)


def test_onnx_runtime_works_on_the_same_memory(gpu: Gpu, path: Path) -> None:
    usual = on_processor(path)
    with closing(LoadedKernels(gpu, host_image)) as loaded:
        kernels = DetectionKernels(loaded)
        model = GpuModel("finder", OnnxDeviceNetwork(path, device="cpu"), gpu, kernels, SystemClock())
        with closing(model.open()) as detector:
            assert detector.backend == "onnxruntime-cpu"
            for n in range(6):
                size = (SIZE, Size(64, 64))[n % 2]
                canvases = np.concatenate([canvas_with(size, {(n % 2, 1): RED}), canvas_with(size, {})])
                assert_same(detector.detect(canvases), usual.detect(canvases))


def test_an_onnx_runtime_without_cuda_is_told(path: Path) -> None:
    with pytest.raises(BackendFailed, match="no CUDA"):
        OnnxDeviceNetwork(path)
