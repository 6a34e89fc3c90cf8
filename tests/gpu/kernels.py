"""The kernels as tests run them: on the processor or on a GPU."""

import ctypes
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.gpu.compiler import ENTRY_POINTS, KernelFile, compile_kernels
from app.gpu.device import Capability, DeviceMemory, Gpu, Kernel, Module, PinnedMemory, Stream
from app.gpu.structures import (
    CORNER_BLOCK,
    DRAW_BLOCK,
    FIND_BLOCK,
    FOLLOW_BLOCK,
    PIXEL_BLOCK,
    TEMPLATE_BLOCK,
)

Dimensions = tuple[int, int, int]
ALONE: Dimensions = (1, 1, 1)
_USUAL_BLOCKS = {
    "draw_canvas": DRAW_BLOCK,
    "find_detections": FIND_BLOCK,
    "follow_points": FOLLOW_BLOCK,
    "find_corners": CORNER_BLOCK,
    "sample_templates": TEMPLATE_BLOCK,
}
"""Of all others: PIXEL_BLOCK."""

Place = Callable[[NDArray[Any]], NDArray[np.uint64]]
"""Puts an array where the kernel reaches it; gives the pointer as the kernel's argument."""


class Kernels(Protocol):
    """All kernels, somewhere."""

    def run(
        self,
        name: str,
        grid: Dimensions,
        block: Dimensions,
        arguments: Callable[[Place], Sequence[NDArray[Any]]],
        results: Sequence[NDArray[Any]],
    ) -> None:
        """Run a kernel.

        Args:
            block: ALONE stands for whatever is usual there.
            arguments: given a place for arrays, the kernel's arguments.
            results: contiguous arrays among those that were placed, which hold what the kernel wrote afterwards.
        """
        ...


class GpuKernels:
    """All kernels on a GPU."""

    def __init__(self, gpu: Gpu, compile_file: Callable[[Any, Capability], bytes] = compile_kernels) -> None:
        self._gpu = gpu
        self._modules: dict[KernelFile, Module] = {}
        self._compile = compile_file

    def close(self) -> None:
        """Give the GPU's memory back."""
        for module in self._modules.values():
            module.close()

    def _kernel(self, name: str) -> Kernel:
        file = next(file for file, kernels in ENTRY_POINTS.items() if name in kernels)
        if file not in self._modules:
            self._modules[file] = self._gpu.load(self._compile(file, self._gpu.capability))
        return self._modules[file].kernel(name)

    def run(
        self,
        name: str,
        grid: Dimensions,
        block: Dimensions,
        arguments: Callable[[Place], Sequence[NDArray[Any]]],
        results: Sequence[NDArray[Any]],
    ) -> None:
        self._gpu.make_current()
        usual = _USUAL_BLOCKS.get(name, PIXEL_BLOCK)
        with ExitStack() as stack:
            placed = _Placed(self._gpu, stack)
            given = arguments(placed.place)
            placed.stream.launch(self._kernel(name), grid, usual if block == ALONE else block, given)
            placed.fetch(results)


class _Placed:
    """Arrays that were copied to a GPU, and come back from there."""

    def __init__(self, gpu: Gpu, stack: ExitStack) -> None:
        self._gpu, self._stack = gpu, stack
        self.stream: Stream = stack.enter_context(gpu.open_stream())
        self._memory: dict[int, tuple[DeviceMemory, PinnedMemory]] = {}

    def place(self, array: NDArray[Any]) -> NDArray[np.uint64]:
        """Copies all bytes from the array's first to its last, those between its rows too."""
        last = sum((side - 1) * stride for side, stride in zip(array.shape, array.strides, strict=True))
        n_bytes = max(1, last + array.itemsize if array.size else 0)
        memory = self._stack.enter_context(self._gpu.allocate(n_bytes))
        staged = self._stack.enter_context(self._gpu.allocate_pinned(n_bytes))
        if array.size:
            staged.bytes[:] = np.ctypeslib.as_array((ctypes.c_uint8 * n_bytes).from_address(array.ctypes.data))
            self.stream.upload(staged, memory.address, n_bytes)
        self._memory[array.ctypes.data] = memory, staged
        return np.array(memory.address, np.uint64)

    def fetch(self, results: Sequence[NDArray[Any]]) -> None:
        for array in results:
            memory, staged = self._memory[array.ctypes.data]
            self.stream.download(memory.address, staged, array.nbytes)
        self.stream.wait()
        for array in results:
            array.reshape(-1).view(np.uint8)[:] = self._memory[array.ctypes.data][1].bytes[: array.nbytes]
