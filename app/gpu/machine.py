"""The GPU of this machine, opened when first needed."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from app.core.errors import GpuError, GpuMemoryShort, GpuMissing
from app.gpu.compiler import KernelFile, compile_kernels
from app.gpu.device import Gpu
from app.gpu.loading import Compile, LoadedKernels

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
        self._lock = threading.Lock()
        self._opened: OpenedGpu | GpuError | None = None
        self._is_closed = False

    def opened(self) -> OpenedGpu:
        """The GPU.

        Raises:
            GpuError: there is none, or it cannot be used; the same each time, but for GpuMemoryShort.
        """
        with self._lock:
            if self._is_closed:
                raise GpuMissing("The GPU was given back: the service ends.")
            if self._opened is None:
                self._opened = self._open()
            if isinstance(self._opened, GpuError):
                # A new one each time: an error that is raised keeps alive whatever it passed through.
                raise type(self._opened)(*self._opened.args)
            return self._opened

    def _open(self) -> OpenedGpu | GpuError:
        try:
            gpu = self._open_gpu(self._ordinal)
        except GpuMemoryShort:
            raise
        except GpuError as error:
            return error.with_traceback(None)
        kernels = LoadedKernels(gpu, self._compile)
        try:
            kernels.kernel(*_TRIAL)
        except GpuError as error:
            gpu.close()
            if isinstance(error, GpuMemoryShort):
                raise
            return error.with_traceback(None)
        return OpenedGpu(gpu, kernels)

    def close(self) -> None:
        """Give the GPU back; what was opened on it must have been closed."""
        with self._lock:
            self._is_closed = True
            opened, self._opened = self._opened, None
        if isinstance(opened, OpenedGpu):
            opened.kernels.close()
            opened.gpu.close()
