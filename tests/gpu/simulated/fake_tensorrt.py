"""A TensorRT whose plans are ONNX files, run by ONNX Runtime in the order of a simulated stream."""

import ctypes
from collections.abc import Sequence
from enum import Enum, IntEnum
from math import prod
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from app.detect.onnx import RUNTIME_ERRORS, signature_of
from app.gpu.device import Stream
from tests.gpu.driver.control import SimulatedDriver

SCRATCH_BYTES = 1000
_CANARY = 0x5A
_KINDS = {"float32": "FLOAT", "float16": "HALF", "uint8": "UINT8", "int64": "INT64", "int32": "INT32"}


class FakeTensorRt:
    """Stands in for the module `tensorrt`."""

    __version__ = "10.99.0"
    TensorIOMode = Enum("TensorIOMode", ["INPUT", "OUTPUT"])
    ExecutionContextAllocationStrategy = Enum("ExecutionContextAllocationStrategy", ["USER_MANAGED"])
    BuilderFlag = Enum("BuilderFlag", ["FP16", "INT8"])

    class ILogger:
        ERROR = 1

        class Severity(IntEnum):
            ERROR = 1
            INFO = 3

    def __init__(self, driver: SimulatedDriver, *, max_batch: int = 4, max_side: int = 1920) -> None:
        self.driver = driver
        self.max_batch = max_batch
        self.max_side = max_side
        self.fails_to_execute = False
        self.fails_to_open = False
        self.n_contexts = 0
        """That live."""
        self.n_executed = 0

    def Runtime(self, logger: Any) -> "FakeRuntime":  # noqa: N802 - the library's own name
        return FakeRuntime(self, logger)


class FakeRuntime:
    def __init__(self, module: FakeTensorRt, logger: Any) -> None:
        self._module, self._logger = module, logger

    def deserialize_cuda_engine(self, plan: bytes) -> "FakeEngine | None":
        try:
            session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        except RUNTIME_ERRORS:
            self._logger.log(self._module.ILogger.Severity.ERROR, "the plan is not understood")
            return None
        return FakeEngine(self._module, self._logger, session)


class FakeEngine:
    def __init__(self, module: FakeTensorRt, logger: Any, session: onnxruntime.InferenceSession) -> None:
        self.module, self.logger, self.session = module, logger, session
        signature = signature_of(session)
        self.inputs = {spec.name: spec for spec in signature.inputs}
        self.outputs = {spec.name: spec for spec in signature.outputs}
        self.specs = self.inputs | self.outputs

    @property
    def num_io_tensors(self) -> int:
        return len(self.specs)

    def get_tensor_name(self, index: int) -> str:
        return list(self.specs)[index]

    def get_tensor_mode(self, name: str) -> Any:
        mode = self.module.TensorIOMode
        return mode["INPUT"] if name in self.inputs else mode["OUTPUT"]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(-1 if side is None else side for side in self.specs[name].shape)

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=_KINDS[self.specs[name].dtype])

    def get_tensor_profile_shape(self, name: str, _profile: int) -> tuple[tuple[int, ...], ...]:
        most = (self.module.max_batch, 3, self.module.max_side, self.module.max_side)
        shape = self.get_tensor_shape(name)
        largest = tuple(big if side < 0 else side for side, big in zip(shape, most, strict=False))
        return (largest, largest, largest)

    def create_execution_context(self, strategy: Any) -> "FakeContext | None":
        assert strategy.name == "USER_MANAGED"
        if self.module.fails_to_open:
            self.logger.log(self.module.ILogger.Severity.ERROR, "out of memory")
            return None
        return FakeContext(self)


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._module = engine.module
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._output_shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._scratch = (0, 0)
        self._module.n_contexts += 1

    def __del__(self) -> None:
        self._module.n_contexts -= 1

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        declared = self._engine.get_tensor_shape(name)
        largest = self._engine.get_tensor_profile_shape(name, 0)[2]
        fits = all(
            side == own or (own < 0 and side <= most) for side, own, most in zip(shape, declared, largest, strict=False)
        )
        self._shapes[name] = tuple(shape)
        return fits

    def infer_shapes(self) -> list[str]:
        missing = [name for name in self._engine.inputs if name not in self._shapes]
        if not missing:
            feeds = {name: np.zeros(shape, self._engine.specs[name].dtype) for name, shape in self._shapes.items()}
            results = self._engine.session.run(None, feeds)
            self._output_shapes = {name: value.shape for name, value in zip(self._engine.outputs, results, strict=True)}
        return missing

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._output_shapes[name]

    def update_device_memory_size_for_shapes(self) -> int:
        return SCRATCH_BYTES

    def set_device_memory(self, address: int, n_bytes: int) -> None:
        assert address % 256 == 0
        assert n_bytes >= SCRATCH_BYTES
        self._scratch = (address, n_bytes)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, handle: int) -> bool:
        if self._module.fails_to_execute:
            self._engine.logger.log(self._module.ILogger.Severity.ERROR, "an illegal address")
            return False
        shapes, addresses, scratch = dict(self._shapes), dict(self._addresses), self._scratch
        # The driver keeps what it is given, and contexts are counted.
        module, engine = self._module, self._engine

        def run() -> None:
            module.n_executed += 1
            # All of it is this network's own while it runs.
            _array(scratch[0], (scratch[1],), "uint8")[:] = _CANARY
            specs = engine.specs
            feeds = {name: _array(addresses[name], shape, specs[name].dtype) for name, shape in shapes.items()}
            results = engine.session.run(None, feeds)
            for name, value in zip(engine.outputs, results, strict=True):
                _array(addresses[name], value.shape, specs[name].dtype)[...] = value

        self._module.driver.enqueue(cast("Stream", SimpleNamespace(handle=handle)), run)
        return True


def _array(address: int, shape: Sequence[int], dtype: str) -> NDArray[Any]:
    """What lies in simulated GPU memory, which is the processor's."""
    n_bytes = prod(shape) * np.dtype(dtype).itemsize
    block = (ctypes.c_uint8 * n_bytes).from_address(address)
    return np.ctypeslib.as_array(block).view(dtype).reshape(shape)
