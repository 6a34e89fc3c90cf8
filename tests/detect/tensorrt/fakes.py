"""A TensorRT that builds and runs nothing, and remembers what it was asked for."""

import enum
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import onnx

from app.core.errors import EngineNotBuilt
from app.detect.tensorrt.library import Flavour, Library

Shape = tuple[int, ...]


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3


class Logger:
    """What the loggers that TensorRT takes derive from."""

    INTERNAL_ERROR = Severity.INTERNAL_ERROR
    ERROR = Severity.ERROR
    WARNING = Severity.WARNING

    def log(self, severity: Severity, message: str) -> None:
        raise NotImplementedError


def module(flavour: str, version: str, *, flags: Sequence[str] = (), capabilities: Sequence[str] | None = None) -> Any:
    """A module with so much of TensorRT as choosing one needs.

    Args:
        capabilities: names that it builds ahead for; None: it builds for the GPU in the machine alone.
    """
    made: Any = ModuleType(flavour)
    made.__version__ = version
    made.BuilderFlag = SimpleNamespace(**{name: name for name in flags})
    made.ILogger = Logger
    if capabilities is not None:
        made.ComputeCapability = SimpleNamespace(**{name: name for name in (*capabilities, "CURRENT", "NONE")})
    return made


def tensorrt_10() -> Any:
    return module("tensorrt", "10.9.0.34", flags=("FP16", "INT8", "TF32"))


def tensorrt_11() -> Any:
    return module("tensorrt", "11.0.0.1", flags=("TF32",))


def tensorrt_rtx(version: str = "1.2.0.54") -> Any:
    return module("tensorrt_rtx", version, flags=("TF32",), capabilities=("SM75", "SM80", "SM86", "SM89", "SM120"))


def imports(**found: Any) -> Callable[[str], ModuleType]:
    """An import that finds these modules, or raises these errors, and knows no others."""

    def load(name: str) -> ModuleType:
        outcome = found.get(name)
        if outcome is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if isinstance(outcome, Exception):
            raise outcome
        assert isinstance(outcome, ModuleType)
        return outcome

    return load


class FakeTimings:
    def __init__(self, known: bytes) -> None:
        self.known = known

    def serialize(self) -> bytes:
        return self.known + b"+"


class FakeConfig:
    def __init__(self, owner: "FakeBuilding") -> None:
        self.owner = owner
        self.flags: list[str] = []
        self.profiles: list[dict[str, tuple[Shape, Shape, Shape]]] = []
        self.num_compute_capabilities = 0
        self.capability: str | None = None
        self.timings: FakeTimings | None = None

    def set_flag(self, flag: str) -> None:
        self.flags.append(flag)

    def clear_flag(self, flag: str) -> None:
        self.flags.remove(flag)

    def add_optimization_profile(self, profile: "FakeProfile") -> int:
        self.profiles.append(profile.shapes)
        return len(self.profiles) - 1

    def set_compute_capability(self, capability: str, index: int) -> bool:
        assert index < self.num_compute_capabilities
        self.capability = capability
        return True

    def create_timing_cache(self, known: bytes) -> FakeTimings | None:
        return None if self.owner.keeps_no_timings else FakeTimings(known)

    def set_timing_cache(self, timings: FakeTimings, *, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if timings.known.startswith(b"damaged"):
            return False
        self.timings = timings
        return True


class FakeProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Shape, Shape, Shape]] = {}

    def set_shape(self, name: str, least: Shape, usual: Shape, most: Shape) -> None:
        assert len(least) == len(usual) == len(most)
        assert all(a <= b <= c for a, b, c in zip(least, usual, most, strict=True))
        self.shapes[name] = (least, usual, most)


class FakeBuilding:
    """A TensorRT whose builder gives `plan`, and what it was last asked for."""

    def __init__(
        self,
        made: Any,
        *,
        plan: bytes | None = b"plan",
        errors: Sequence[str] = (),
        starts: bool = True,
        keeps_no_timings: bool = False,
    ) -> None:
        """
        Args:
            made: module to complete.
            plan: what is built; None: it fails.
            errors: what it reports meanwhile.
            starts: whether there is a CUDA that works.
        """
        self.module = made
        self.graph = b""
        self.cannot_with: str | None = None
        """A flag with which nothing can be built."""
        self.config = FakeConfig(self)
        self.keeps_no_timings = keeps_no_timings
        made.Builder = self._builder
        made.OnnxParser = self._parser
        self._plan = plan
        self._errors = errors
        self._starts = starts

    @property
    def library(self) -> Library:
        flavour: Flavour = "tensorrt_rtx" if self.module.__name__ == "tensorrt_rtx" else "tensorrt"
        return Library(flavour, self.module.__version__, self.module)

    def _builder(self, messages: Any) -> Any:
        if not self._starts:
            messages.log(Severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

        def build(network: Any, config: FakeConfig) -> bytes | None:
            messages.log(Severity.WARNING, "some layers are slow")
            for error in self._errors:
                messages.log(Severity.ERROR, error)
            return None if self.cannot_with in config.flags else self._plan

        def config() -> FakeConfig:
            self.config = FakeConfig(self)
            return self.config

        return SimpleNamespace(
            create_network=lambda flags: SimpleNamespace(num_inputs=0, get_input=None),
            create_builder_config=config,
            create_optimization_profile=FakeProfile,
            build_serialized_network=build,
        )

    def _parser(self, network: Any, messages: Any) -> Any:
        def parse(graph: bytes) -> bool:
            self.graph = graph
            inputs = [
                SimpleNamespace(
                    name=value.name,
                    shape=tuple(
                        side.dim_value if side.HasField("dim_value") else -1
                        for side in value.type.tensor_type.shape.dim
                    ),
                )
                for value in onnx.load_model_from_string(graph).graph.input
            ]
            network.num_inputs, network.get_input = len(inputs), inputs.__getitem__
            return True

        return SimpleNamespace(parse=parse, num_errors=0)


class FakeGpu:
    """Counts how often it was made the thread's own."""

    def __init__(self) -> None:
        self.n_made_current = 0

    def make_current(self) -> None:
        self.n_made_current += 1


class FakeContext:
    """An execution context of an engine that puts out what `shape_of` says."""

    def __init__(self, engine: "FakeEngine") -> None:
        self.engine = engine
        self.shapes: dict[str, Shape] = {}
        self.addresses: dict[str, int] = {}
        self.memory: tuple[int, int] | None = None
        self.enqueued: list[int] = []

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        least, _, most = self.engine.profile
        if not all(low <= side <= high for low, side, high in zip(least, shape, most, strict=True)):
            return False
        self.shapes[name] = shape
        return True

    def infer_shapes(self) -> list[str]:
        return [name for name in self.engine.inputs if name not in self.shapes]

    def get_tensor_shape(self, name: str) -> Shape:
        return self.engine.shape_of(self.shapes, name)

    def update_device_memory_size_for_shapes(self) -> int:
        return self.engine.scratch_bytes

    def set_device_memory(self, address: int, n_bytes: int) -> None:
        self.memory = (address, n_bytes)

    def set_tensor_address(self, name: str, address: int) -> bool:
        if address % 256:
            return False
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        for error in self.engine.errors:
            self.engine.say(error)
        self.enqueued.append(stream)
        return self.engine.works


class CapturableContext(FakeContext):
    """One that says whether it may be recorded, as TensorRT-RTX's."""

    def is_stream_capturable(self, stream: int) -> bool:
        return stream == 1


class FakeEngine:
    """An engine with its inputs and outputs."""

    def __init__(
        self,
        inputs: Mapping[str, tuple[str, Shape]],
        outputs: Mapping[str, tuple[str, Shape]],
        profile: tuple[Shape, Shape, Shape] = ((1, 3, 32, 32), (1, 3, 384, 640), (4, 3, 1088, 1920)),
        context: Callable[["FakeEngine"], FakeContext | None] = FakeContext,
    ) -> None:
        """
        Args:
            inputs: name to element type and declared shape, -1 where it is open; outputs likewise.
        """
        self.inputs, self.outputs = dict(inputs), dict(outputs)
        self.tensors = {**inputs, **outputs}
        self.num_io_tensors = len(self.tensors)
        self.profile = profile
        self.scratch_bytes = 4096
        self.works = True
        self.errors: list[str] = []
        self.say: Callable[[str], None] = lambda message: None
        self.shape_of: Callable[[Mapping[str, Shape], str], Shape] = lambda shapes, name: self.tensors[name][1]
        self.asked_for: object = None
        self.make_context = context

    def get_tensor_name(self, index: int) -> str:
        return [*self.tensors][index]

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name in self.inputs else "OUTPUT"

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=self.tensors[name][0])

    def get_tensor_shape(self, name: str) -> Shape:
        return self.tensors[name][1]

    def get_tensor_profile_shape(self, name: str, index: int) -> tuple[Shape, Shape, Shape]:
        assert name in self.inputs
        assert index == 0
        return self.profile

    def create_execution_context(self, how: object) -> FakeContext | None:
        for error in self.errors:
            self.say(error)
        self.asked_for = how
        return self.make_context(self)


class CompiledKernels:
    """What TensorRT-RTX compiled as it ran."""

    def __init__(self) -> None:
        self.content = b""

    def deserialize(self, content: bytes) -> bool:
        self.content = content
        return True

    def serialize(self) -> bytes:
        return self.content


class RtxConfig:
    """How TensorRT-RTX is told about contexts."""

    def __init__(self) -> None:
        self.strategy: object = None
        self.dynamic_shapes_kernel_specialization_strategy = "LAZY"
        self.compiled = CompiledKernels()

    def create_runtime_cache(self) -> CompiledKernels:
        return CompiledKernels()

    def set_runtime_cache(self, cache: CompiledKernels) -> bool:
        self.compiled = cache
        return True

    def set_execution_context_allocation_strategy(self, strategy: object) -> None:
        self.strategy = strategy


class RtxEngine(FakeEngine):
    def create_runtime_config(self) -> RtxConfig:
        return RtxConfig()


def running(made: Any, engine: FakeEngine | None, errors: Sequence[str] = (), *, starts: bool = True) -> Library:
    """A TensorRT that takes every plan for this engine.

    Args:
        engine: None: it takes none.
        errors: what it reports when it is given one.
    """

    def runtime(messages: Any) -> Any:
        if not starts:
            raise TypeError("pybind11::init(): factory function returned nullptr")

        def deserialise(plan: bytes) -> FakeEngine | None:
            for error in errors:
                messages.log(Severity.ERROR, error)
            return engine

        if engine is not None:
            engine.say = lambda message: messages.log(Severity.ERROR, message)
        return SimpleNamespace(deserialize_cuda_engine=deserialise)

    made.Runtime = runtime
    made.TensorIOMode = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
    made.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(LAZY="LAZY", EAGER="EAGER")
    made.ExecutionContextAllocationStrategy = SimpleNamespace(STATIC="STATIC", USER_MANAGED="USER_MANAGED")
    return FakeBuilding(made).library


def refuse(*arguments: object) -> bytes:
    """A build that must not happen."""
    raise EngineNotBuilt("nothing was to be built")
