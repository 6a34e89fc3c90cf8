"""NVIDIA GPUs through CUDA's driver interface: memory, streams, kernels, graphs. No other module calls it.

Every object belongs to the GPU that made it, and is freed by `close` or at the end of a `with` block. Any thread may
use one, but not two at a time.
"""

import ctypes
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from app.core.errors import GpuError, GpuFailed, GpuMemoryShort, GpuMissing

logger = logging.getLogger(__name__)

Capability = tuple[int, int]
"""Compute capability, major and minor."""

_NO_MEMORY = frozenset({"CUDA_ERROR_OUT_OF_MEMORY"})
_NO_GPU = frozenset(
    {
        "CUDA_ERROR_NO_DEVICE",
        "CUDA_ERROR_INVALID_DEVICE",
        "CUDA_ERROR_STUB_LIBRARY",
        "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
    }
)
_MEGABYTE = 1024 * 1024
_EXTRA = "pip install 'flexpatch-service[gpu]'"


def _driver() -> Any:
    """CUDA's driver interface.

    Raises:
        GpuMissing: cuda-python is not installed.
    """
    try:
        from cuda.bindings import driver  # noqa: PLC0415 - only who has a GPU has it
    except ImportError as error:
        raise GpuMissing(f"GPUs are used through cuda-python, which is not installed: {_EXTRA}.") from error
    return driver


def call(function: str, *arguments: Any) -> Any:
    """One call of the driver.

    Returns:
        What it gives besides its error code: nothing, one value, or several.
    Raises:
        GpuMissing: there is no driver, or no GPU.
        GpuMemoryShort: the GPU's memory does not suffice.
        GpuFailed: anything else.
    """
    driver = _driver()
    try:
        code, *values = getattr(driver, function)(*arguments)
    except (RuntimeError, OSError) as error:
        if "LibNotFound" in type(error).__name__:  # whose words are about where it was looked for
            raise GpuMissing("There is no NVIDIA driver.") from error
        raise GpuMissing(f"The NVIDIA driver cannot be used: {' '.join(str(error).split())}") from error
    if code != driver.CUresult.CUDA_SUCCESS:
        name = getattr(code, "name", str(code))
        if name in _NO_MEMORY:
            raise GpuMemoryShort(f"The GPU has too little free memory ({function}).")
        if name in _NO_GPU:
            raise GpuMissing(f"There is no GPU that can be used: {function} says {name}.")
        raise GpuFailed(f"The GPU failed: {function} says {name}.")
    return values[0] if len(values) == 1 else tuple(values) or None


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """Of one GPU, in bytes."""

    free: int
    total: int


class _Owned:
    """Something of the GPU's that is given back once."""

    def __init__(self, gpu: "Gpu", give_back: Callable[[], None]) -> None:
        self._gpu = gpu
        self._give_back: Callable[[], None] | None = give_back

    def close(self) -> None:
        """Give it back; once is enough. A GPU that has failed has nothing to give back to."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            self._gpu.take_back(give_back)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class DeviceMemory(_Owned):
    """Bytes in GPU memory."""

    def __init__(self, gpu: "Gpu", n_bytes: int) -> None:
        self.n_bytes = n_bytes
        self.address = int(call("cuMemAlloc", n_bytes))
        super().__init__(gpu, lambda: call("cuMemFree", self.address))


class PinnedMemory(_Owned):
    """Bytes in the processor's memory that the GPU copies from and to without help of the processor."""

    def __init__(self, gpu: "Gpu", n_bytes: int) -> None:
        self.n_bytes = n_bytes
        self.address = int(call("cuMemHostAlloc", n_bytes, 0))
        block = (ctypes.c_uint8 * n_bytes).from_address(self.address)
        self.bytes: NDArray[np.uint8] = np.ctypeslib.as_array(block)
        """(n_bytes,), of no use any more once closed."""
        super().__init__(gpu, lambda: call("cuMemFreeHost", self.address))


class Kernel:
    """A function that runs on the GPU."""

    def __init__(self, module: "Module", handle: Any) -> None:
        self._module = module  # which must not be unloaded before
        self.handle = handle


class Module(_Owned):
    """Machine code for one kind of GPU."""

    def __init__(self, gpu: "Gpu", image: bytes) -> None:
        handle = call("cuModuleLoadData", image)
        self._handle = handle
        super().__init__(gpu, lambda: call("cuModuleUnload", handle))

    def kernel(self, name: str) -> Kernel:
        """The kernel of that name.

        Raises:
            GpuFailed: there is none.
        """
        return Kernel(self, call("cuModuleGetFunction", self._handle, name.encode()))


class Graph(_Owned):
    """Work that was recorded on a stream, to be started as a whole."""

    def __init__(self, gpu: "Gpu", recorded: Any) -> None:
        try:
            handle = call("cuGraphInstantiate", recorded, 0)
        finally:
            call("cuGraphDestroy", recorded)
        self.handle = handle
        super().__init__(gpu, lambda: call("cuGraphExecDestroy", handle))


Dim3 = tuple[int, int, int]


class Stream(_Owned):
    """Work for the GPU, done in the order in which it is given."""

    def __init__(self, gpu: "Gpu") -> None:
        handle = call("cuStreamCreate", 1)  # not in step with the default stream
        self._handle = handle
        super().__init__(gpu, lambda: call("cuStreamDestroy", handle))

    @property
    def handle(self) -> int:
        """As other libraries take it."""
        return int(self._handle)

    def upload(self, source: PinnedMemory, target: int, n_bytes: int, offset: int = 0) -> None:
        """Copy from the processor's to the GPU's memory.

        Args:
            target: address on the GPU.
            offset: in the source.
        """
        call("cuMemcpyHtoDAsync", target, source.address + offset, n_bytes, self._handle)

    def download(self, source: int, target: PinnedMemory, n_bytes: int, offset: int = 0) -> None:
        """Copy from the GPU's to the processor's memory; there once `wait` returns.

        Args:
            source: address on the GPU.
            offset: in the target.
        """
        call("cuMemcpyDtoHAsync", target.address + offset, source, n_bytes, self._handle)

    def copy(self, source: int, target: int, n_bytes: int) -> None:
        """Copy within the GPU's memory, from address to address."""
        call("cuMemcpyDtoDAsync", target, source, n_bytes, self._handle)

    def launch(self, kernel: Kernel, grid: Dim3, block: Dim3, arguments: Sequence[NDArray[Any]]) -> None:
        """Run a kernel.

        Args:
            arguments: 0-dimensional arrays, of just the types that the kernel takes.
        """
        pointers = np.array([argument.ctypes.data for argument in arguments], np.uint64)
        call("cuLaunchKernel", kernel.handle, *grid, *block, 0, self._handle, pointers.ctypes.data, 0)

    @contextmanager
    def record(self) -> "Iterator[list[Graph]]":
        """Record what the block gives to this stream, instead of doing it; the list then holds the graph.

        If the block raises, nothing is kept.
        """
        mode = _driver().CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        graphs: list[Graph] = []
        with self._gpu.holding_back():
            call("cuStreamBeginCapture", self._handle, mode)
            try:
                yield graphs
            except BaseException:
                self._abandon_recording()
                raise
            graphs.append(Graph(self._gpu, call("cuStreamEndCapture", self._handle)))

    def _abandon_recording(self) -> None:
        try:
            recorded = call("cuStreamEndCapture", self._handle)
            if int(recorded):
                call("cuGraphDestroy", recorded)
        except GpuError:
            pass  # what spoilt the recording is told by whoever raised

    def replay(self, graph: Graph) -> None:
        """Do what was recorded."""
        call("cuGraphLaunch", graph.handle, self._handle)

    def wait(self) -> None:
        """Until all that was given is done.

        Raises:
            GpuFailed: some of it failed.
        """
        call("cuStreamSynchronize", self._handle)


class Gpu:
    """One GPU, with the context that all libraries of this process share. Any thread may use it."""

    def __init__(self, ordinal: int = 0) -> None:
        """
        Args:
            ordinal: CUDA's number of the GPU.
        Raises:
            GpuMissing: there is no such GPU, or no driver.
        """
        call("cuInit", 0)
        n_gpus = int(call("cuDeviceGetCount"))
        if not 0 <= ordinal < n_gpus:
            raise GpuMissing(f"There is no GPU number {ordinal}; the driver knows {n_gpus}.")
        device = call("cuDeviceGet", ordinal)
        self.ordinal = ordinal
        self.name = call("cuDeviceGetName", 256, device).split(b"\0", 1)[0].decode(errors="replace")
        self._device = device
        self.capability: Capability = (
            self.attribute("COMPUTE_CAPABILITY_MAJOR"),
            self.attribute("COMPUTE_CAPABILITY_MINOR"),
        )
        self._context = call("cuDevicePrimaryCtxRetain", device)
        self._is_closed = False
        self._here = threading.local()
        self.exclusive = threading.RLock()
        """Held by who records a stream, and by who has libraries wait for the whole GPU, which spoils recordings."""

    def close(self) -> None:
        """Give the context back; whatever was made of it must have been closed before. Once is enough."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            call("cuDevicePrimaryCtxRelease", self._device)
        except GpuError as error:
            logger.debug("not given back", extra={"reason": str(error)})

    @contextmanager
    def holding_back(self) -> Iterator[None]:
        """Nothing is given back by this thread meanwhile, but afterwards: what it frees would spoil what it records."""
        postponed: list[Callable[[], None]] = []
        self._here.postponed = postponed
        try:
            yield
        finally:
            self._here.postponed = None
            for give_back in postponed:
                self.take_back(give_back)

    def take_back(self, give_back: Callable[[], None]) -> None:
        """Have something given back: soon, if this thread is recording; not at all, if the whole context was."""
        postponed = getattr(self._here, "postponed", None)
        if postponed is not None:
            postponed.append(give_back)
            return
        if self._is_closed:
            return
        try:
            self.make_current()
            give_back()
        except GpuError as error:
            logger.debug("not given back", extra={"reason": str(error)})

    def make_current(self) -> None:
        """Have the calling thread use this GPU. Needed before anything else in a new thread."""
        call("cuCtxSetCurrent", self._context)

    def attribute(self, name: str) -> int:
        """What CUDA says of the GPU, as `CU_DEVICE_ATTRIBUTE_<name>`."""
        attribute = getattr(_driver().CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(call("cuDeviceGetAttribute", attribute, self._device))

    def memory(self) -> GpuMemory:
        """What there is, and what is free now."""
        self.make_current()
        free, total = call("cuMemGetInfo")
        return GpuMemory(int(free), int(total))

    def check_room(self, reserve_bytes: int) -> None:
        """Raises GpuMemoryShort unless so much is free for others."""
        memory = self.memory()
        if memory.free < reserve_bytes:
            raise GpuMemoryShort(
                f"The GPU has no room for another session: {memory.free // _MEGABYTE} of "
                f"{memory.total // _MEGABYTE} MB would stay free, and {reserve_bytes // _MEGABYTE} must."
            )

    def allocate(self, n_bytes: int) -> DeviceMemory:
        """Raises GpuMemoryShort if there is not so much."""
        self.make_current()
        return DeviceMemory(self, n_bytes)

    def allocate_pinned(self, n_bytes: int) -> PinnedMemory:
        """Raises GpuMemoryShort if there is not so much."""
        self.make_current()
        return PinnedMemory(self, n_bytes)

    def open_stream(self) -> Stream:
        """A stream of its own."""
        self.make_current()
        return Stream(self)

    def load(self, image: bytes) -> Module:
        """Make machine code ready.

        Raises:
            GpuFailed: it is for another kind of GPU.
        """
        self.make_current()
        return Module(self, image)
