"""Running TensorRT engines."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.core.errors import BackendFailed, DetectorFailed, EngineUnfit, GpuMemoryShort
from app.core.types import Size
from app.detect.gpu.network import DeviceTensor, Shape
from app.detect.network import Signature, TensorSpec, one_line
from app.detect.tensorrt.builder import messages_of
from app.detect.tensorrt.engine_file import EngineFile, write_whole
from app.detect.tensorrt.library import Library
from app.gpu.device import Gpu, Stream

logger = logging.getLogger(__name__)

_NAMES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "UINT8": "uint8",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
"""TensorRT's element types as NumPy names them."""

_MEMORY_SHORT = ("out of memory", "outofmemory", "could not be allocated")
"""In what TensorRT says where an engine fits the GPU, but not into what is free of its memory."""


class TensorRtNetwork:
    """An engine whose weights are in GPU memory, for all workers of a GPU. Any thread may ask."""

    def __init__(self, file: EngineFile, library: Library, gpu: Gpu) -> None:
        """
        Raises:
            EngineUnfit: TensorRT does not take the engine on this GPU.
            GpuMemoryShort: the GPU has not enough memory for it.
            BackendFailed: TensorRT does not start.
        """
        gpu.make_current()
        self._gpu = gpu
        self._library = library
        self._messages = messages_of(library.module)
        try:
            self._runtime = library.module.Runtime(self._messages)
        except (TypeError, RuntimeError) as error:  # its binding has nothing to return
            raise BackendFailed(f"{library} does not start: {_said(self._messages) or one_line(error)}") from error
        self._engine = self._runtime.deserialize_cuda_engine(file.plan)
        if self._engine is None:
            said = _said(self._messages)
            if any(words in said.lower() for words in _MEMORY_SHORT):
                raise GpuMemoryShort(f"{library} has not enough GPU memory for {file.path}: {said}.")
            raise EngineUnfit(f"{library} does not take {file.path} on this GPU: {said or 'it does not say why'}.")
        self._path = file.path
        self._compiled: _CompiledKernels | None = None
        self._config = self._runtime_config()
        self._names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self._signature = Signature(
            inputs=tuple(self._spec(name) for name in self.input_names),
            outputs=tuple(self._spec(name) for name in self.output_names),
            metadata=file.metadata,
        )
        specs = (*self._signature.inputs, *self._signature.outputs)
        if strange := [str(spec) for spec in specs if spec.dtype not in _NAMES.values()]:
            raise EngineUnfit(f"{file.path} has inputs or outputs of types that are not supported: {strange[0]}.")

    @property
    def backend(self) -> str:
        return self._library.flavour.replace("_", "-")

    @property
    def signature(self) -> Signature:
        return self._signature

    @property
    def input_names(self) -> list[str]:
        mode = self._library.module.TensorIOMode.INPUT
        return [name for name in self._names if self._engine.get_tensor_mode(name) == mode]

    @property
    def output_names(self) -> list[str]:
        return [name for name in self._names if name not in self.input_names]

    @property
    def max_batch(self) -> int | None:
        return self._largest()[0]

    @property
    def max_size(self) -> Size | None:
        _, *sides = self._largest()
        image = next(spec for spec in self._signature.inputs if len(spec.shape) == 4)
        height, width = sides[:2] if image.shape[3] == 3 else sides[1:]
        return Size(width, height)

    def _largest(self) -> Shape:
        """Of the image input: the largest shape that the engine was built for."""
        image = next(spec for spec in self._signature.inputs if len(spec.shape) == 4)
        if None not in image.shape:
            return tuple(side or 0 for side in image.shape)
        _, _, most = self._engine.get_tensor_profile_shape(image.name, 0)
        return tuple(most)

    def prepare(self, shapes: Mapping[str, Shape], stream: Stream) -> "TensorRtContext":
        """Make it ready for inputs of these shapes.

        Raises:
            DetectorFailed: the engine was not built for them.
            BackendFailed: TensorRT cannot run the engine.
            GpuMemoryShort: the GPU has not enough memory for it.
        """
        self._gpu.make_current()
        self._messages.errors.clear()
        context = self._open_context()
        if context is None:
            said = _said(self._messages) or "memory is short"
            raise GpuMemoryShort(f"TensorRT cannot make an execution context: {said}.")
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                sides = "x".join(str(side) for side in shape)
                raise DetectorFailed(f"the engine was not built for an input {name} of {sides}")
        try:
            return self._ready(context, stream)
        except RuntimeError as error:  # what its binding raises
            raise BackendFailed(_said(self._messages) or one_line(error)) from error

    def _ready(self, context: Any, stream: Stream) -> "TensorRtContext":
        """The context, whose input shapes are set, with what comes out of it."""
        missing = context.infer_shapes()
        if missing:
            raise BackendFailed(f"the engine needs {', '.join(missing)}, which is not given")
        outputs = tuple(
            DeviceTensor(name, self._dtype(name), tuple(context.get_tensor_shape(name))) for name in self.output_names
        )
        if unknown := [tensor.name for tensor in outputs if min(tensor.shape, default=0) < 0]:
            raise BackendFailed(f"the size of {', '.join(unknown)} depends on what is in the picture")
        return TensorRtContext(context, outputs, stream, self._messages)

    def _open_context(self) -> Any:
        """An execution context that uses memory of ours, shared by all contexts of a worker."""
        if self._config is not None:
            return self._engine.create_execution_context(self._config)
        return self._engine.create_execution_context(self._by_us)

    @property
    def _by_us(self) -> Any:
        return self._library.module.ExecutionContextAllocationStrategy.USER_MANAGED

    def _runtime_config(self) -> Any:
        """How TensorRT-RTX is to run contexts; None where there is nothing to be said."""
        if not hasattr(self._engine, "create_runtime_config"):
            return None
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(self._by_us)
        strategies = getattr(self._library.module, "DynamicShapesKernelSpecializationStrategy", None)
        if strategies is not None:
            # Otherwise slower kernels serve at first, and it is these that would be recorded.
            config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        self._compiled = _CompiledKernels(config, self._path)
        return config

    def _spec(self, name: str) -> TensorSpec:
        shape = tuple(side if side >= 0 else None for side in self._engine.get_tensor_shape(name))
        return TensorSpec(name, self._dtype(name), shape)

    def _dtype(self, name: str) -> str:
        kind = self._engine.get_tensor_dtype(name).name
        return _NAMES.get(kind, kind.lower())

    def close(self) -> None:
        """Give the weights' memory back, once no worker uses them any more."""
        if self._compiled is not None:
            self._gpu.make_current()
            self._compiled.keep()
        self._compiled = self._config = None
        self._engine = None
        self._runtime = None


def _said(messages: Any) -> str:
    """What TensorRT reported as errors, without a full stop."""
    return one_line("; ".join(error.strip().rstrip(".") for error in messages.errors))


class _CompiledKernels:
    """The kernels that TensorRT-RTX compiles as it runs, kept beside the engine, so that it need not do so again."""

    def __init__(self, config: Any, engine: Path) -> None:
        self._file = engine.with_name(f"{engine.name}.kernels")
        self._cache = config.create_runtime_cache() if hasattr(config, "create_runtime_cache") else None
        if self._cache is None:
            return
        with suppress(OSError):
            self._cache.deserialize(self._file.read_bytes())
        config.set_runtime_cache(self._cache)

    def keep(self) -> None:
        """Write down what was compiled."""
        if self._cache is None:
            return
        try:
            write_whole(self._file, bytes(self._cache.serialize()))
        except (OSError, RuntimeError, TypeError) as error:  # what its binding raises where there is nothing
            logger.debug("compiled kernels are not kept", extra={"reason": one_line(error)})


class TensorRtContext:
    """An engine made ready for inputs of certain shapes, on one stream."""

    def __init__(self, context: Any, outputs: tuple[DeviceTensor, ...], stream: Stream, messages: Any) -> None:
        self._context = context
        self._outputs = outputs
        self._stream = stream
        self._messages = messages
        self._scratch_bytes = int(context.update_device_memory_size_for_shapes())

    @property
    def outputs(self) -> tuple[DeviceTensor, ...]:
        return self._outputs

    @property
    def scratch_bytes(self) -> int:
        return self._scratch_bytes

    @property
    def is_recordable(self) -> bool:
        """TensorRT-RTX says so itself; others are, once they ran."""
        says = getattr(self._context, "is_stream_capturable", None)
        return bool(says(self._stream.handle)) if says else True

    def bind(self, addresses: Mapping[str, int], scratch: int) -> None:
        """Say where inputs and outputs lie.

        Raises:
            BackendFailed: TensorRT does not take them.
        """
        self._context.set_device_memory(scratch, self._scratch_bytes)
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise BackendFailed(f"TensorRT does not take the memory of {name}")

    def enqueue(self) -> None:
        """Have the stream run it once.

        Raises:
            BackendFailed: TensorRT reported an error.
        """
        self._messages.errors.clear()
        if not self._context.execute_async_v3(self._stream.handle):
            raise BackendFailed(_said(self._messages) or "TensorRT does not say why")

    def close(self) -> None:
        self._context = None
