"""The GPU of this machine, opened when first needed."""

from collections.abc import Callable
from dataclasses import dataclass

from app.core.errors import GpuError, GpuMissing
from app.gpu.compiler import KernelFile, compile_kernels
from app.gpu.device import Gpu
from app.gpu.loading import Compile, LoadedKernels
from app.gpu.remembered import Remembered

_TRIAL: tuple[KernelFile, str] = ("canvas", "draw_canvas")
"""A GPU for which that cannot be compiled is of no use."""


@dataclass(frozen=True, slots=True)
class OpenedGpu:
    """A GPU that works."""

    gpu: Gpu
    kernels: LoadedKernels


class GpuMachine:
    """One GPU, opened at most once. Any thread may ask."""

    def __init__(
        self, ordinal: int = 0, open_gpu: Callable[[int], Gpu] = Gpu, compile_file: Compile = compile_kernels
    ) -> None:
        """
        Args:
            ordinal: CUDA's number of the GPU.
        """
        self._ordinal = ordinal
        self._open_gpu = open_gpu
        self._compile = compile_file
        self._opened = Remembered(self._open)
        self._is_closed = False

    def opened(self) -> OpenedGpu:
        """The GPU.

        Raises:
            GpuError: there is none, or it cannot be used; the same each time, but for GpuMemoryShort.
        """
        if self._is_closed:
            raise GpuMissing("The GPU was given back: the service ends.")
        return self._opened.get()

    def _open(self) -> OpenedGpu:
        gpu = self._open_gpu(self._ordinal)
        kernels = LoadedKernels(gpu, self._compile)
        try:
            kernels.kernel(*_TRIAL)
        except GpuError:
            gpu.close()
            raise
        return OpenedGpu(gpu, kernels)

    def close(self) -> None:
        """Give the GPU back; what was opened on it must have been closed."""
        self._is_closed = True
        opened = self._opened.take()
        if opened:
            opened.kernels.close()
            opened.gpu.close()
