"""From a model file to the best backend, with a simulated GPU and a TensorRT that is none."""

import gc
import hashlib
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.core.clock import SystemClock
from app.core.errors import BackendFailed, EngineUnfit, GpuMissing, ModelUnreadable
from app.core.types import Size, close_detector
from app.detect.backends import Backend, DetectorModel, ModelDetector
from app.detect.detector import DetectorChoices
from app.detect.opening import BackendChoices, ModelOpener
from app.detect.tensorrt.engine_file import EngineKey, write_engine
from app.detect.tensorrt.on_demand import EngineBuilds, OnDone
from app.detect.tensorrt.options import EngineOptions
from app.gpu.device import Gpu
from app.gpu.machine import GpuMachine
from tests.detect.conftest import canvas_with, on_processor
from tests.detect.graphs import square_finder
from tests.gpu.driver.build import CAPABILITY, host_image
from tests.gpu.driver.control import SimulatedDriver
from tests.gpu.simulated.fake_tensorrt import FakeTensorRt

RED = (0, 0, 255)
SIZE = Size(192, 128)
OPTIONS = EngineOptions("half", 4, 1280)
NAME = "finder.sm_89.tensorrt.half.b4.s1280.engine"


class Builds(EngineBuilds):
    """Builds at the test's command."""

    def __init__(self) -> None:
        super().__init__(lambda _model, _family: ())
        self.work: Callable[[Path], str] = lambda _: "nothing was planned"
        self.waiting: list[tuple[Path, OnDone]] = []
        self.families: list[str | None] = []
        self.n_built = 0

    def build(self, model: Path, family: str | None) -> str:
        self.families.append(family)
        self.n_built += 1
        return self.work(model)

    def is_under_way(self, model: Path) -> bool:
        return any(path == model for path, _ in self.waiting)

    def start(self, model: Path, family: str | None, on_done: OnDone) -> None:
        self.families.append(family)
        self.waiting.append((model, on_done))

    def finish(self) -> None:
        """What is being built in the background comes to its end."""
        waiting, self.waiting = self.waiting, []
        failure = self.build(waiting[0][0], None)
        for _, on_done in waiting:
            on_done(failure)


class Events:
    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def backend_failed(self, model: str, backend: str, successor: str, reason: str) -> None:
        self.told.append(("failed", model, backend, successor, reason))

    def backend_ready(self, model: str, backend: str) -> None:
        self.told.append(("ready", model, backend))


class Bench:
    """A machine with a GPU, and a model."""

    def __init__(self, folder: Path, driver: SimulatedDriver) -> None:
        self.module = FakeTensorRt(driver)
        self.model = square_finder(folder / "finder.onnx")
        self.engines = folder / "engines"
        self.builds = Builds()
        self.builds.work = lambda _: self.write_engine()
        self.events = Events()
        self.machine = GpuMachine(0, Gpu, host_image)
        self.opened: list[DetectorModel] = []

    def write_engine(self, path: Path | None = None, plan: bytes | None = None, **changes: Any) -> str:
        """An engine file that the fake TensorRT can read, but for what a test wants otherwise."""
        values: dict[str, Any] = {
            "capability": CAPABILITY,
            "flavour": "tensorrt",
            "library_version": self.module.__version__,
            "model_sha256": hashlib.sha256(self.model.read_bytes()).hexdigest(),
            "options": OPTIONS,
        }
        key = EngineKey(**(values | changes))
        data = self.model.read_bytes() if plan is None else plan
        write_engine(path or self.engines / NAME, data, key, "finder", {"names": '["blue", "green", "red"]'})
        return ""

    def opener(self, backend: Backend = "auto", *, waits: bool = False) -> ModelOpener:
        choices = BackendChoices(self.engines, OPTIONS, backend, threads=1, waits_for_engines=waits)
        return ModelOpener(choices, self.machine, self.builds, SystemClock(), self.events)

    def open(self, path: Path | None = None, backend: Backend = "auto", *, waits: bool = False) -> DetectorModel:
        self.opened.append(self.opener(backend, waits=waits).open(path or self.model))
        return self.opened[-1]

    def close(self) -> None:
        for model in self.opened:
            model.close()
        self.machine.close()


@pytest.fixture
def bench(driver: SimulatedDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(tmp_path, driver)
    monkeypatch.setitem(sys.modules, "tensorrt", bench.module)
    yield bench
    bench.close()


def look(detector: ModelDetector) -> str:
    """Have it look at a canvas with a red square; gives the backend that answered."""
    (found,) = detector.detect(canvas_with(SIZE, {(2, 1): RED}))
    assert found.class_ids.tolist() == [2]
    np.testing.assert_allclose(found.boxes, [[64, 32, 96, 64]], atol=1e-3)
    return detector.backend


def test_an_engine_that_fits_runs_the_model(bench: Bench) -> None:
    bench.write_engine()
    with closing(bench.open().open()) as detector:
        assert look(detector) == "tensorrt"
        assert detector.draws
        assert detector.class_names == on_processor(bench.model).class_names
        assert detector.input_sizes.largest == Size(1280, 1280)
    assert bench.builds.n_built == 0
    assert bench.builds.waiting == []


def test_without_an_engine_another_backend_serves_until_it_is_built(bench: Bench) -> None:
    model = bench.open()
    with closing(model.open()) as detector:
        assert look(detector) == "onnxruntime-cpu"
        assert [path for path, _ in bench.builds.waiting] == [bench.model]
        bench.builds.finish()
        assert look(detector) == "tensorrt"
    assert bench.events.told == [("ready", "finder", "tensorrt")]


@pytest.mark.parametrize(
    "changes",
    [
        {"library_version": "10.1.0"},
        {"model_sha256": "0" * 64},
        {"options": EngineOptions("float", 4, 1280)},
        {"capability": (9, 0)},
    ],
)
def test_a_stale_or_foreign_engine_is_built_anew(bench: Bench, changes: dict[str, Any]) -> None:
    bench.write_engine(**changes)
    with closing(bench.open().open()) as detector:
        assert look(detector) == "onnxruntime-cpu"
        bench.builds.finish()
        assert look(detector) == "tensorrt"


def test_a_damaged_engine_is_built_anew(bench: Bench) -> None:
    bench.write_engine()
    path = bench.engines / NAME
    path.write_bytes(path.read_bytes()[:-10])
    with closing(bench.open().open()) as detector:
        assert look(detector) == "onnxruntime-cpu"
        bench.builds.finish()
        assert look(detector) == "tensorrt"


def test_an_engine_that_tensorrt_does_not_take_is_built_anew_once(bench: Bench) -> None:
    bench.write_engine(plan=b"for another machine")
    model = bench.open()
    with closing(model.open()) as detector:
        assert look(detector) == "onnxruntime-cpu"
        assert not (bench.engines / NAME).exists()
        bench.builds.work = lambda _: bench.write_engine(plan=b"still none")
        bench.builds.finish()
        assert look(detector) == "onnxruntime-cpu"
        assert bench.builds.waiting == []
    assert "does not take" in model.refusals()["tensorrt"]


def test_an_engine_that_tensorrt_does_not_take_is_built_and_used_by_who_waits(bench: Bench) -> None:
    bench.write_engine(plan=b"for another machine")
    with closing(bench.open(waits=True).open()) as detector:
        assert look(detector) == "tensorrt"
    assert bench.builds.n_built == 1


def test_models_of_one_file_wait_for_the_same_build(bench: Bench) -> None:
    opener = bench.opener()
    models = [opener.open(bench.model, DetectorChoices("yolox")) for _ in range(2)]
    bench.opened += models
    with closing(models[0].open()) as one, closing(models[1].open()) as other:
        assert (look(one), look(other)) == ("onnxruntime-cpu", "onnxruntime-cpu")
        assert bench.builds.families == ["yolox", "yolox"]
        bench.builds.finish()
        assert (look(one), look(other)) == ("tensorrt", "tensorrt")


def test_a_build_that_failed_is_not_tried_again_and_its_reason_stays(bench: Bench) -> None:
    opener = bench.opener()
    bench.builds.work = lambda _: "it does not know Foo as used there"
    first = opener.open(bench.model)
    bench.builds.finish()
    second = opener.open(bench.model)
    bench.opened += [first, second]
    assert second.refusals()["tensorrt"] == "it does not know Foo as used there"
    assert (bench.builds.n_built, bench.builds.waiting) == (1, [])


def test_models_are_let_go_where_there_is_no_gpu(bench: Bench, driver: SimulatedDriver) -> None:
    driver.set_devices(0)
    gone = []
    for _ in range(3):
        model = bench.opener().open(bench.model)
        gone.append(weakref.ref(model))
        del model
    gc.collect()
    assert [reference() for reference in gone] == [None, None, None]


def test_a_model_that_cannot_be_built_stays_where_it_is(bench: Bench) -> None:
    bench.builds.work = lambda _: "it does not know Foo as used there"
    model = bench.open()
    with closing(model.open()) as detector:
        bench.builds.finish()
        assert look(detector) == "onnxruntime-cpu"
    assert model.refusals()["tensorrt"] == "it does not know Foo as used there"


def test_who_waits_for_the_engine_has_it_from_the_start(bench: Bench) -> None:
    with closing(bench.open(waits=True).open()) as detector:
        assert look(detector) == "tensorrt"
    assert bench.builds.n_built == 1


def test_a_failure_at_run_time_is_followed_by_the_processor(bench: Bench, driver: SimulatedDriver) -> None:
    bench.write_engine()
    model = bench.open()
    detectors = [model.open(), model.open()]
    for detector in detectors:
        assert look(detector) == "tensorrt"
    driver.lose_device()
    for detector in detectors:
        assert look(detector) == "onnxruntime-cpu"
        close_detector(detector)
    assert look(model.open()) == "onnxruntime-cpu"
    assert bench.events.told == [("failed", "finder", "tensorrt", "onnxruntime-cpu", "BackendFailed")] * 2


def test_a_machine_without_a_gpu_uses_its_processor(bench: Bench, driver: SimulatedDriver) -> None:
    driver.set_devices(0)
    model = bench.open()
    with closing(model.open()) as detector:
        assert look(detector) == "onnxruntime-cpu"
        assert detector.input_sizes.largest is None
    assert set(model.refusals()) >= {"tensorrt", "onnxruntime-cuda"}


def test_a_backend_that_is_demanded_and_absent_is_an_error(bench: Bench, driver: SimulatedDriver) -> None:
    driver.set_devices(0)
    with pytest.raises(BackendFailed, match="The backend tensorrt cannot be used: There is no GPU"):
        bench.open(backend="tensorrt")
    with pytest.raises(BackendFailed, match="The backend onnxruntime-cuda cannot be used"):
        bench.open(backend="onnxruntime-cuda")


def test_a_backend_that_is_demanded_comes_first(bench: Bench) -> None:
    bench.write_engine()
    with closing(bench.open(backend="onnxruntime-cpu").open()) as detector:
        assert look(detector) == "onnxruntime-cpu"


def test_openvino_is_used_on_demand(bench: Bench) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    with closing(bench.open(backend="openvino").open()) as detector:
        (found,) = detector.detect(canvas_with(SIZE, {(2, 1): RED}))
        assert detector.backend == "openvino"
        assert found.class_ids.tolist() == [2]


def test_engine_files_are_accepted_if_they_fit(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "mine.engine"
    bench.write_engine(path)
    with closing(bench.open(path).open()) as detector:
        assert (look(detector), detector.name) == ("tensorrt", "finder")
        assert detector.class_names == ("blue", "green", "red")


def test_plans_without_a_description_are_accepted_if_tensorrt_takes_them(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "plain.plan").write_bytes(bench.model.read_bytes())
    (tmp_path / "bad.trt").write_bytes(b"this is nothing that any TensorRT wrote")
    with closing(bench.open(tmp_path / "plain.plan").open()) as detector:
        assert (look(detector), detector.name) == ("tensorrt", "plain")
    with pytest.raises(EngineUnfit, match=r"does not take .*bad\.trt on this GPU: the plan is not understood"):
        bench.open(tmp_path / "bad.trt")


def test_engine_files_that_do_not_fit_are_refused_with_the_reason(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "mine.engine"
    bench.write_engine(path, library_version="11.2.0")
    with pytest.raises(EngineUnfit, match=r"was built by tensorrt 11\.2\.0, and here is tensorrt 10\.99\.0"):
        bench.open(path)
    bench.write_engine(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelUnreadable, match="is damaged"):
        bench.open(path)


def test_engine_files_need_a_gpu(bench: Bench, driver: SimulatedDriver, tmp_path: Path) -> None:
    driver.set_devices(0)
    bench.write_engine(tmp_path / "mine.engine")
    with pytest.raises(GpuMissing):
        bench.open(tmp_path / "mine.engine")
