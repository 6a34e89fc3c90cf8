"""Detectors that move from backend to backend."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.errors import BackendFailed, DetectorFailed, EngineNotBuilt, GpuMemoryShort, GpuMissing
from app.core.types import (
    BgrPicture,
    CanvasBoxes,
    CanvasDetections,
    CanvasOrder,
    Detector,
    DetectorSource,
    InputSizes,
    PatchCopy,
    Size,
    close_detector,
)
from app.detect.backends import BackendName, Candidate, DetectorModel, Loaded, ModelDetector, ModelFacts, NotYet

FACTS = ModelFacts("eye", ("person",), InputSizes(), (114, 114, 114))
CANVASES = np.zeros((1, 32, 32, 3), np.uint8)


class ScriptedDetector:
    """Answers with its number as a score, or fails."""

    name = "eye"
    class_names = ("person",)
    input_sizes = InputSizes()
    pad_value = (114, 114, 114)

    def __init__(self, backend: str, number: int = 0) -> None:
        self.backend = backend
        self.number = number
        self.error: Exception | None = None
        self.is_closed = False
        self.n_asked = 0

    def detect(self, canvases: NDArray[np.uint8]) -> Sequence[CanvasDetections]:
        self.n_asked += 1
        if self.error is not None:
            raise self.error
        boxes = CanvasBoxes(np.array([[0, 0, 4, 4]], np.float32))
        score = np.array([self.number / 100], np.float32)
        return [CanvasDetections(boxes, score, np.zeros(1, np.int32)) for _ in canvases]

    def close(self) -> None:
        self.is_closed = True


class ScriptedBackend:
    """Opens detectors of its own, and remembers them."""

    def __init__(self, backend: str, *, draws: bool = False) -> None:
        self.backend = backend
        self.draws = draws
        self.opened: list[ScriptedDetector] = []
        self.error: Exception | None = None
        self.is_closed = False

    def open(self) -> Detector:
        if self.error is not None:
            raise self.error
        self.opened.append(ScriptedDetector(self.backend, len(self.opened)))
        return self.opened[-1]

    def close(self) -> None:
        self.is_closed = True


class Events:
    def __init__(self) -> None:
        self.failed: list[tuple[str, ...]] = []
        self.ready: list[tuple[str, ...]] = []

    def backend_failed(self, model: str, backend: str, successor: str, reason: str) -> None:
        self.failed.append((model, backend, successor, reason))

    def backend_ready(self, model: str, backend: str) -> None:
        self.ready.append((model, backend))


class Later:
    """A backend that is not ready until told."""

    def __init__(self, backend: ScriptedBackend) -> None:
        self.backend = backend
        self.is_ready = False
        self.done: Callable[[str], None] = lambda _: None

    def load(self) -> Loaded:
        if self.is_ready:
            return self.backend
        raise NotYet("it is being built", self._begin)

    def _begin(self, done: Callable[[str], None]) -> None:
        self.done = done

    def finish(self, refusal: str = "") -> None:
        self.is_ready = not refusal
        self.done(refusal)


def refusing(error: Exception) -> Callable[[], Loaded]:
    def load() -> Loaded:
        raise error

    return load


def model_of(*backends: tuple[BackendName, Callable[[], Loaded]], shared: bool = False) -> tuple[DetectorModel, Events]:
    events = Events()
    return DetectorModel(FACTS, [Candidate(*backend) for backend in backends], events, is_shared=shared), events


@pytest.fixture
def gpu() -> ScriptedBackend:
    return ScriptedBackend("tensorrt", draws=True)


@pytest.fixture
def cpu() -> ScriptedBackend:
    return ScriptedBackend("onnxruntime-cpu")


def test_the_first_backend_that_can_runs_the_model(gpu: ScriptedBackend, cpu: ScriptedBackend) -> None:
    model, events = model_of(
        ("tensorrt", refusing(GpuMissing("There is no GPU."))),
        ("openvino", lambda: gpu),
        ("onnxruntime-cpu", lambda: cpu),
    )
    detector = model.open()
    assert isinstance(model, DetectorSource)
    assert (model.backend, detector.backend) == ("openvino", "tensorrt")
    assert model.refusals() == {"tensorrt": "There is no GPU."}
    assert len(detector.detect(CANVASES)[0]) == 1
    assert (events.failed, events.ready, cpu.opened) == ([], [], [])


def test_facts_are_the_models_whatever_runs_it(cpu: ScriptedBackend) -> None:
    detector = model_of(("onnxruntime-cpu", lambda: cpu))[0].open()
    assert (detector.name, detector.class_names, detector.pad_value) == ("eye", ("person",), (114, 114, 114))
    assert detector.input_sizes is FACTS.input_sizes


def test_a_backend_that_fails_is_followed_by_the_next_and_the_answer_still_comes(
    gpu: ScriptedBackend, cpu: ScriptedBackend
) -> None:
    model, events = model_of(("tensorrt", lambda: gpu), ("onnxruntime-cpu", lambda: cpu))
    detector = model.open()
    gpu.opened[0].error = BackendFailed("device lost")
    assert len(detector.detect(CANVASES)[0]) == 1
    assert detector.backend == "onnxruntime-cpu"
    assert gpu.opened[0].is_closed
    assert events.failed == [("eye", "tensorrt", "onnxruntime-cpu", "BackendFailed")]
    detector.detect(CANVASES)
    assert gpu.opened[0].n_asked == 1


def test_new_users_do_not_begin_where_it_failed(gpu: ScriptedBackend, cpu: ScriptedBackend) -> None:
    model, _ = model_of(("tensorrt", lambda: gpu), ("onnxruntime-cpu", lambda: cpu))
    first = model.open()
    gpu.opened[0].error = BackendFailed("device lost")
    first.detect(CANVASES)
    assert model.open().backend == "onnxruntime-cpu"
    assert model.refusals() == {"tensorrt": "device lost"}


def test_users_of_a_backend_that_failed_elsewhere_move_when_it_fails_them(
    gpu: ScriptedBackend, cpu: ScriptedBackend
) -> None:
    model, events = model_of(("tensorrt", lambda: gpu), ("onnxruntime-cpu", lambda: cpu))
    detectors = [model.open(), model.open()]
    for opened in gpu.opened:
        opened.error = BackendFailed("device lost")
    for detector in detectors:
        detector.detect(CANVASES)
    assert [detector.backend for detector in detectors] == ["onnxruntime-cpu"] * 2
    assert len(events.failed) == 2


def test_short_memory_sends_one_user_on_and_leaves_the_others(gpu: ScriptedBackend, cpu: ScriptedBackend) -> None:
    model, events = model_of(("tensorrt", lambda: gpu), ("onnxruntime-cpu", lambda: cpu))
    one, other = model.open(), model.open()
    gpu.opened[0].error = GpuMemoryShort("full")
    one.detect(CANVASES)
    other.detect(CANVASES)
    assert (one.backend, other.backend, model.open().backend) == ("onnxruntime-cpu", "tensorrt", "tensorrt")
    assert events.failed == [("eye", "tensorrt", "onnxruntime-cpu", "GpuMemoryShort")]


def test_a_new_user_without_room_is_refused_and_not_sent_on(gpu: ScriptedBackend, cpu: ScriptedBackend) -> None:
    model, _ = model_of(("tensorrt", lambda: gpu), ("onnxruntime-cpu", lambda: cpu))
    gpu.error = GpuMemoryShort("full")
    with pytest.raises(GpuMemoryShort):
        model.open()
    assert cpu.opened == []


def test_who_moves_passes_by_a_backend_without_room(gpu: ScriptedBackend, cpu: ScriptedBackend) -> None:
    cuda = ScriptedBackend("onnxruntime-cuda", draws=True)
    cuda.error = GpuMemoryShort("full")
    model, _ = model_of(("tensorrt", lambda: gpu), ("onnxruntime-cuda", lambda: cuda), ("onnxruntime-cpu", lambda: cpu))
    detector = model.open()
    gpu.opened[0].error = BackendFailed("lost")
    detector.detect(CANVASES)
    assert detector.backend == "onnxruntime-cpu"


def test_a_backend_that_cannot_even_open_is_given_up(gpu: ScriptedBackend, cpu: ScriptedBackend) -> None:
    gpu.error = BackendFailed("device lost")
    model, _ = model_of(("tensorrt", lambda: gpu), ("onnxruntime-cpu", lambda: cpu))
    assert model.open().backend == "onnxruntime-cpu"
    gpu.error = None
    assert model.open().backend == "onnxruntime-cpu"


def test_the_last_backends_error_is_told_and_it_may_be_asked_again(cpu: ScriptedBackend) -> None:
    model, events = model_of(("onnxruntime-cpu", lambda: cpu))
    detector = model.open()
    cpu.opened[0].error = BackendFailed("out of ideas")
    with pytest.raises(BackendFailed, match="out of ideas"):
        detector.detect(CANVASES)
    cpu.opened[0].error = None
    assert len(detector.detect(CANVASES)) == 1
    assert events.failed == []


def test_what_no_backend_can_take_moves_nobody(gpu: ScriptedBackend, cpu: ScriptedBackend) -> None:
    model, _ = model_of(("tensorrt", lambda: gpu), ("onnxruntime-cpu", lambda: cpu))
    detector = model.open()
    gpu.opened[0].error = DetectorFailed("cannot take a 65x64 canvas")
    with pytest.raises(DetectorFailed, match="65x64"):
        detector.detect(CANVASES)
    assert detector.backend == "tensorrt"


def test_without_any_backend_the_reasons_are_told() -> None:
    model, _ = model_of(("tensorrt", refusing(GpuMissing("no GPU"))), ("openvino", refusing(BackendFailed("absent"))))
    with pytest.raises(BackendFailed, match="eye cannot be run: tensorrt: no GPU; openvino: absent"):
        model.open()


def test_a_backend_that_becomes_ready_is_moved_to(gpu: ScriptedBackend, cpu: ScriptedBackend) -> None:
    later = Later(gpu)
    model, events = model_of(("tensorrt", later.load), ("onnxruntime-cpu", lambda: cpu))
    detector = model.open()
    detector.detect(CANVASES)
    assert (detector.backend, detector.draws) == ("onnxruntime-cpu", False)
    later.finish()
    detector.detect(CANVASES)
    assert (detector.backend, detector.draws) == ("tensorrt", True)
    assert events.ready == [("eye", "tensorrt")]
    assert cpu.opened[0].is_closed
    assert model.open().backend == "tensorrt"


def test_a_backend_that_never_gets_ready_changes_nothing(gpu: ScriptedBackend, cpu: ScriptedBackend) -> None:
    later = Later(gpu)
    model, events = model_of(("tensorrt", later.load), ("onnxruntime-cpu", lambda: cpu))
    detector = model.open()
    later.finish("the operator Foo is unknown")
    detector.detect(CANVASES)
    assert detector.backend == "onnxruntime-cpu"
    assert model.refusals() == {"tensorrt": "the operator Foo is unknown"}
    assert events.ready == []


def test_a_backend_that_is_ready_but_fails_to_load_changes_nothing(cpu: ScriptedBackend) -> None:
    states: list[Exception] = []
    done: list[Callable[[str], None]] = []

    def load() -> Loaded:
        raise states[-1]

    states.append(NotYet("building", done.append))
    model, _ = model_of(("tensorrt", load), ("onnxruntime-cpu", lambda: cpu))
    detector = model.open()
    states.append(EngineNotBuilt("it was built, but is damaged"))
    done[0]("")
    detector.detect(CANVASES)
    assert detector.backend == "onnxruntime-cpu"
    assert model.refusals() == {"tensorrt": "it was built, but is damaged"}


def test_a_better_backend_without_room_is_not_moved_to(gpu: ScriptedBackend, cpu: ScriptedBackend) -> None:
    later = Later(gpu)
    model, events = model_of(("tensorrt", later.load), ("onnxruntime-cpu", lambda: cpu))
    detector = model.open()
    gpu.error = GpuMemoryShort("full")
    later.finish()
    detector.detect(CANVASES)
    assert (detector.backend, events.ready) == ("onnxruntime-cpu", [])


def test_asking_which_backend_there_is_loads_nothing(gpu: ScriptedBackend, cpu: ScriptedBackend) -> None:
    loads: list[str] = []

    def load() -> Loaded:
        loads.append("tensorrt")
        return gpu

    model, _ = model_of(("tensorrt", load), ("onnxruntime-cpu", lambda: cpu))
    assert (model.backend, loads) == ("none", [])
    model.open()
    assert (model.backend, loads) == ("tensorrt", ["tensorrt"])


def test_who_was_ready_is_loaded_before_anybody_moves(gpu: ScriptedBackend, cpu: ScriptedBackend) -> None:
    later = Later(gpu)
    model, _ = model_of(("tensorrt", later.load), ("onnxruntime-cpu", lambda: cpu))
    model.open()
    later.finish()
    assert model.backend == "tensorrt"


def test_an_only_backend_that_failed_is_tried_by_the_next_user_too(gpu: ScriptedBackend) -> None:
    model, _ = model_of(("tensorrt", lambda: gpu))
    one = model.open()
    gpu.opened[0].error = BackendFailed("once")
    with pytest.raises(BackendFailed, match="once"):
        one.detect(CANVASES)
    assert len(model.open().detect(CANVASES)[0]) == 1
    gpu.error = BackendFailed("cannot open")
    with pytest.raises(BackendFailed, match="cannot open"):
        model.open()
    gpu.error = None
    assert model.open().backend == "tensorrt"


def test_short_memory_while_loading_is_no_reason_for_ever(gpu: ScriptedBackend, cpu: ScriptedBackend) -> None:
    outcomes: list[Loaded | Exception] = [GpuMemoryShort("full"), gpu]

    def load() -> Loaded:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    model, _ = model_of(("tensorrt", load), ("onnxruntime-cpu", lambda: cpu))
    assert [model.open().backend, model.open().backend] == ["onnxruntime-cpu", "tensorrt"]


def test_a_look_that_fails_while_it_is_closed_opens_nothing(gpu: ScriptedBackend, cpu: ScriptedBackend) -> None:
    model, _ = model_of(("tensorrt", lambda: gpu), ("onnxruntime-cpu", lambda: cpu))
    detector = model.open()

    class ClosedMeanwhile(ScriptedDetector):
        def detect(self, canvases: NDArray[np.uint8]) -> Sequence[CanvasDetections]:
            detector.close()
            raise BackendFailed("the context is gone")

    detector._place.detector = ClosedMeanwhile("tensorrt")
    with pytest.raises(DetectorFailed, match="eye is closed"):
        detector.detect(CANVASES)
    assert cpu.opened == []


def test_a_look_whose_backend_is_closed_by_a_move_is_made_again(gpu: ScriptedBackend, cpu: ScriptedBackend) -> None:
    model, _ = model_of(("tensorrt", lambda: gpu), ("onnxruntime-cpu", lambda: cpu))
    detector = model.open()
    first = gpu.opened[0]

    class ClosedMeanwhile(ScriptedDetector):
        def detect(self, canvases: NDArray[np.uint8]) -> Sequence[CanvasDetections]:
            if not self.is_closed:
                self.is_closed = True
                first.error = BackendFailed("lost")
                detector._place.detector = first
                detector.detect(canvases)  # another caller, who moves on
            raise DetectorFailed("eye is closed.")

    detector._place.detector = ClosedMeanwhile("tensorrt")
    assert len(detector.detect(CANVASES)[0]) == 1
    assert detector.backend == "onnxruntime-cpu"


def test_orders_are_drawn_where_the_backend_does_not_draw(cpu: ScriptedBackend) -> None:
    detector = model_of(("onnxruntime-cpu", lambda: cpu))[0].open()
    drawn: list[int] = []

    def draw() -> NDArray[np.uint8]:
        drawn.append(1)
        return np.zeros((32, 32, 3), np.uint8)

    picture = BgrPicture(np.zeros((32, 32, 3), np.uint8))
    order = CanvasOrder(picture, (PatchCopy((0, 0, 32, 32), (0, 0, 32, 32)),), Size(32, 32), (0, 0, 0), draw)
    assert len(detector.look([order, order])) == 2
    assert len(drawn) == 2


def test_closing_gives_back_the_users_own_part_only(gpu: ScriptedBackend) -> None:
    model, _ = model_of(("tensorrt", lambda: gpu))
    one, _other = model.open(), model.open()
    close_detector(one)
    assert [opened.is_closed for opened in gpu.opened] == [True, False]
    model.close()
    assert gpu.is_closed


def test_users_who_share_have_one_detector_until_the_last_closes_it(gpu: ScriptedBackend) -> None:
    model, _ = model_of(("tensorrt", lambda: gpu), shared=True)
    one, other = model.open(), model.open()
    assert one is other
    one.close()
    assert [opened.is_closed for opened in gpu.opened] == [False]
    other.close()
    fresh: Detector = model.open()
    assert fresh is not one
    assert [opened.is_closed for opened in gpu.opened] == [True, False]


def test_callers_at_once_move_together_and_each_gets_an_answer(gpu: ScriptedBackend, cpu: ScriptedBackend) -> None:
    model, events = model_of(("tensorrt", lambda: gpu), ("onnxruntime-cpu", lambda: cpu))
    detector = model.open()
    barrier = threading.Barrier(4)

    class Failing(ScriptedDetector):
        def detect(self, canvases: NDArray[np.uint8]) -> Sequence[CanvasDetections]:
            barrier.wait(10)
            raise BackendFailed("lost")

    assert isinstance(detector, ModelDetector)
    detector._place.detector = Failing("tensorrt")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: detector.detect(CANVASES), range(4)))
    assert [len(answer[0]) for answer in answers] == [1, 1, 1, 1]
    assert len(events.failed) == len(cpu.opened) == 1
