"""Running an engine, against one that is not there: what is asked of TensorRT, and what becomes of its refusals."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.core.errors import BackendFailed, DetectorFailed, EngineUnfit, GpuMemoryShort
from app.core.types import Size
from app.detect.gpu.network import BoundNetwork, DeviceNetwork, DeviceTensor, Shape
from app.detect.network import Signature, TensorSpec
from app.detect.tensorrt.engine_file import EngineFile
from app.detect.tensorrt.runtime import TensorRtNetwork
from tests.detect.tensorrt.fakes import (
    CapturableContext,
    FakeContext,
    FakeEngine,
    FakeGpu,
    RtxConfig,
    RtxEngine,
    running,
    tensorrt_10,
    tensorrt_rtx,
)

FILE = EngineFile(Path("yolo.engine"), b"plan", None, {"stride": "32"})
Tensors = dict[str, tuple[str, Shape]]
OPEN: Tensors = {"images": ("FLOAT", (-1, 3, -1, -1))}
ROWS: Tensors = {"output": ("FLOAT", (-1, -1, 85))}
TOLD_SIZE: Tensors = {"orig_target_sizes": ("INT64", (-1, 2))}
SHAPES: dict[str, Shape] = {"images": (1, 3, 384, 640)}


def stream(handle: int = 1) -> Any:
    return SimpleNamespace(handle=handle)


def rows(shapes: Any, name: str) -> Shape:
    batch, _, height, width = shapes["images"]
    return (batch, height * width // 64, 85)


def yolo(**changes: Any) -> FakeEngine:
    engine = FakeEngine(OPEN, ROWS, **changes)
    engine.shape_of = rows
    return engine


def network(engine: FakeEngine, made: Any = None, gpu: FakeGpu | None = None) -> TensorRtNetwork:
    fake_gpu: Any = gpu or FakeGpu()
    return TensorRtNetwork(FILE, running(made or tensorrt_10(), engine), fake_gpu)


def test_it_is_a_network_of_a_gpu() -> None:
    gpu = FakeGpu()
    loaded: DeviceNetwork = network(yolo(), gpu=gpu)
    bound: BoundNetwork = loaded.prepare(SHAPES, stream())
    assert loaded.backend == "tensorrt"
    assert network(yolo(), tensorrt_rtx()).backend == "tensorrt-rtx"
    assert bound.scratch_bytes == 4096
    assert gpu.n_made_current == 2


def test_its_signature_is_the_engines_with_what_the_file_says_of_the_model() -> None:
    engine = FakeEngine(
        OPEN | TOLD_SIZE,
        {
            "scores": ("HALF", (1, 300)),
            "labels": ("INT32", (1, 300)),
            "is_there": ("BOOL", (1, 300)),
            "mask": ("UINT8", (1, 300)),
            "small": ("INT8", (1,)),
        },
    )
    loaded = network(engine)
    assert loaded.input_names == ["images", "orig_target_sizes"]
    assert loaded.output_names == ["scores", "labels", "is_there", "mask", "small"]
    assert loaded.signature == Signature(
        (TensorSpec("images", "float32", (None, 3, None, None)), TensorSpec("orig_target_sizes", "int64", (None, 2))),
        (
            TensorSpec("scores", "float16", (1, 300)),
            TensorSpec("labels", "int32", (1, 300)),
            TensorSpec("is_there", "bool", (1, 300)),
            TensorSpec("mask", "uint8", (1, 300)),
            TensorSpec("small", "int8", (1,)),
        ),
        FILE.metadata,
    )


@pytest.mark.parametrize(
    ("shape", "most", "max_batch", "max_size"),
    [
        ((-1, 3, -1, -1), (4, 3, 1088, 1920), 4, Size(1920, 1088)),
        ((-1, -1, -1, 3), (4, 1088, 1920, 3), 4, Size(1920, 1088)),
        ((-1, 3, 416, 640), (8, 3, 416, 640), 8, Size(640, 416)),
        ((1, 3, 416, 640), None, 1, Size(640, 416)),
        ((2, 416, 640, 3), None, 2, Size(640, 416)),
    ],
    ids=str,
)
def test_the_largest_that_it_takes_is_what_it_was_built_for(
    shape: Shape, most: Shape | None, max_batch: int, max_size: Size
) -> None:
    engine = FakeEngine({"images": ("FLOAT", shape)}, ROWS, profile=(shape, shape, most or (99, 99, 99, 99)))
    loaded = network(engine)
    assert loaded.max_batch == max_batch
    assert loaded.max_size == max_size


def test_other_inputs_say_nothing_of_the_size() -> None:
    engine = FakeEngine(TOLD_SIZE | OPEN, ROWS)
    assert network(engine).max_size == Size(1920, 1088)


# ----------------------------------------------------------------------------------------------------- loading


def refused(errors: list[str], *, starts: bool = True) -> Exception:
    gpu: Any = FakeGpu()
    with pytest.raises((EngineUnfit, GpuMemoryShort, BackendFailed)) as caught:
        TensorRtNetwork(FILE, running(tensorrt_10(), None, errors, starts=starts), gpu)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        (["Error Code 6:\nversion tag mismatch.", "failed."], "Error Code 6: version tag mismatch; failed"),
        (["an illegal memory access was encountered"], "an illegal memory access was encountered"),
        ([], "it does not say why"),
    ],
)
def test_an_engine_that_tensorrt_does_not_take_does_not_fit(errors: list[str], words: str) -> None:
    error = refused(errors)
    assert isinstance(error, EngineUnfit)
    assert str(error) == f"TensorRT 10.9.0.34 does not take yolo.engine on this GPU: {words}."


@pytest.mark.parametrize(
    "said",
    [
        "[defaultAllocator.cpp::allocate::48] Error Code 1: Cuda Runtime (out of memory)",
        "Requested amount of GPU memory (8589934592 bytes) could not be allocated.",
        "Error Code 2: OutOfMemory",
    ],
)
def test_an_engine_for_which_memory_is_short_fits_all_the_same(said: str) -> None:
    error = refused([said])
    assert isinstance(error, GpuMemoryShort)
    assert said.removesuffix(".") in str(error)


def test_a_tensorrt_that_does_not_start_says_nothing_of_the_engine() -> None:
    error = refused([], starts=False)
    assert isinstance(error, BackendFailed)
    assert str(error).startswith("TensorRT 10.9.0.34 does not start: ")


# --------------------------------------------------------------------------------------------------- preparing


def test_memory_is_the_callers_however_a_context_is_asked_for() -> None:
    plain, rtx = yolo(), RtxEngine(OPEN, ROWS)
    rtx.shape_of = rows
    network(plain).prepare(SHAPES, stream())
    assert plain.asked_for == "USER_MANAGED"
    network(rtx, tensorrt_rtx()).prepare(SHAPES, stream())
    assert isinstance(rtx.asked_for, RtxConfig)
    assert rtx.asked_for.strategy == "USER_MANAGED"


def test_outputs_are_sized_for_the_inputs() -> None:
    loaded = network(yolo())
    for batch, height, width in ((1, 384, 640), (4, 1088, 1920)):
        bound = loaded.prepare({"images": (batch, 3, height, width)}, stream())
        assert bound.outputs == (DeviceTensor("output", "float32", (batch, height * width // 64, 85)),)
        assert bound.outputs[0].n_bytes == batch * (height * width // 64) * 85 * 4


def test_shapes_that_it_was_not_built_for_are_refused() -> None:
    with pytest.raises(DetectorFailed, match=r"was not built for an input images of 5x3x384x640$") as caught:
        network(yolo()).prepare({"images": (5, 3, 384, 640)}, stream())
    assert not isinstance(caught.value, BackendFailed), "no other backend need be asked"


def test_types_that_numpy_does_not_know_are_refused() -> None:
    with pytest.raises(EngineUnfit, match=r"types that are not supported: boxes fp8\[1,4\]"):
        network(FakeEngine(OPEN, {"boxes": ("FP8", (1, 4))}))


def test_what_its_binding_raises_is_the_backends_failure() -> None:
    class Broken(FakeContext):
        def infer_shapes(self) -> list[str]:
            raise RuntimeError("shape inference failed")

    with pytest.raises(BackendFailed, match="shape inference failed"):
        network(yolo(context=Broken)).prepare(SHAPES, stream())


def rtx_network(folder: Path) -> TensorRtNetwork:
    engine = RtxEngine(OPEN, ROWS)
    engine.shape_of = rows
    fake_gpu: Any = FakeGpu()
    file = EngineFile(folder / "yolo.engine", b"plan", None, {})
    return TensorRtNetwork(file, running(tensorrt_rtx(), engine), fake_gpu)


def test_kernels_that_were_compiled_while_running_are_kept_beside_the_engine(tmp_path: Path) -> None:
    first = rtx_network(tmp_path)
    config = first._config
    assert config.compiled.content == b""
    assert config.dynamic_shapes_kernel_specialization_strategy == "EAGER"
    first.prepare(SHAPES, stream())
    config.compiled.content = b"compiled"
    first.close()
    assert (tmp_path / "yolo.engine.kernels").read_bytes() == b"compiled"
    assert rtx_network(tmp_path)._config.compiled.content == b"compiled"


def test_kernels_that_cannot_be_kept_are_no_error(tmp_path: Path) -> None:
    loaded = rtx_network(tmp_path / "nowhere" / "file")
    (tmp_path / "nowhere").write_text("a file")
    loaded.close()
    assert [path.name for path in tmp_path.iterdir()] == ["nowhere"]


def test_an_input_that_is_not_given_is_named() -> None:
    engine = FakeEngine(OPEN | TOLD_SIZE, ROWS)
    with pytest.raises(BackendFailed, match="needs orig_target_sizes, which is not given"):
        network(engine).prepare(SHAPES, stream())


def test_an_error_of_the_binding_is_tensorrts() -> None:
    engine = yolo()

    def fail(shapes: Any, name: str) -> Shape:
        raise RuntimeError("a shape that is\nnot known")

    engine.shape_of = fail
    with pytest.raises(BackendFailed, match=r"^a shape that is not known$"):
        network(engine).prepare(SHAPES, stream())


def test_outputs_whose_size_nobody_knows_before_are_refused() -> None:
    engine = FakeEngine(OPEN, {"boxes": ("FLOAT", (-1, 4)), "count": ("INT32", ())})
    with pytest.raises(BackendFailed, match="the size of boxes depends on what is in the picture"):
        network(engine).prepare(SHAPES, stream())


@pytest.mark.parametrize(
    ("errors", "words"),
    [(["Cuda Runtime (out of memory)."], "Cuda Runtime (out of memory)"), ([], "memory is short")],
)
@pytest.mark.parametrize("kind", [FakeEngine, RtxEngine])
def test_no_context_means_that_memory_is_short(kind: type[FakeEngine], errors: list[str], words: str) -> None:
    engine = kind(OPEN, ROWS, context=lambda owner: None)
    engine.errors = errors
    loaded = network(engine)
    for _ in range(2):
        with pytest.raises(GpuMemoryShort) as caught:
            loaded.prepare(SHAPES, stream())
        assert str(caught.value) == f"TensorRT cannot make an execution context: {words}."


# ----------------------------------------------------------------------------------------------------- running


def prepared(engine: FakeEngine, handle: int = 1) -> tuple[BoundNetwork, FakeContext]:
    contexts: list[FakeContext] = []
    make = engine.make_context

    def remember(owner: FakeEngine) -> FakeContext | None:
        made = make(owner)
        assert made
        contexts.append(made)
        return made

    engine.make_context = remember
    return network(engine).prepare(SHAPES, stream(handle)), contexts[0]


def test_it_runs_on_its_stream_with_the_memory_that_it_was_given() -> None:
    bound, context = prepared(yolo(), handle=7)
    bound.bind({"images": 0x1000, "output": 0x2000}, 0x3000)
    bound.enqueue()
    bound.enqueue()
    assert context.shapes == SHAPES
    assert context.addresses == {"images": 0x1000, "output": 0x2000}
    assert context.memory == (0x3000, bound.scratch_bytes)
    assert context.enqueued == [7, 7]
    bound.close()


def test_memory_that_it_does_not_take_is_named() -> None:
    bound, _ = prepared(yolo())
    with pytest.raises(BackendFailed, match="does not take the memory of output"):
        bound.bind({"images": 0x1000, "output": 0x2001}, 0x3000)


def test_a_failed_run_says_what_tensorrt_said_of_this_run() -> None:
    engine = yolo()
    bound, _ = prepared(engine)
    engine.works = False
    for errors, words in (
        (["Cuda Runtime\n(unspecified launch failure)."], "Cuda Runtime (unspecified launch failure)"),
        (["another."], "another"),
        ([], "TensorRT does not say why"),
    ):
        engine.errors = errors
        with pytest.raises(BackendFailed) as caught:
            bound.enqueue()
        assert str(caught.value) == words
    engine.works, engine.errors = True, ["a complaint that had no consequences"]
    bound.enqueue()


def test_whether_it_may_be_recorded_is_the_contexts_to_say() -> None:
    assert prepared(yolo())[0].is_recordable
    assert prepared(yolo(context=CapturableContext), handle=1)[0].is_recordable
    assert not prepared(yolo(context=CapturableContext), handle=2)[0].is_recordable


def test_what_the_file_said_of_the_model_stays_when_the_network_is_closed() -> None:
    loaded = network(yolo())
    loaded.close()
    assert loaded.signature.metadata == FILE.metadata
