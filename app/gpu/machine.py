"""The GPU of this machine, opened when first needed."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from app.core.errors import GpuError
from app.gpu.compiler import compile_kernels
from app.gpu.device import Gpu
from app.gpu.loading import Compile, LoadedKernels


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

    def opened(self) -> OpenedGpu:
        """The GPU.

        Raises:
            GpuError: there is none, or it cannot be used; the same each time.
        """
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
            if isinstance(self._opened, GpuError):
                # A new one each time: an error that is raised keeps alive whatever it passed through.
                raise type(self._opened)(*self._opened.args)
            return self._opened

    def _open(self) -> OpenedGpu | GpuError:
        try:
            gpu = self._open_gpu(self._ordinal)
        except GpuError as error:
            return error.with_traceback(None)
        return OpenedGpu(gpu, LoadedKernels(gpu, self._compile))

    def close(self) -> None:
        """Give the GPU back; what was opened on it must have been closed."""
        with self._lock:
            opened, self._opened = self._opened, None
        if isinstance(opened, OpenedGpu):
            opened.kernels.close()
            opened.gpu.close()
