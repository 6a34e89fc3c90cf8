"""The GPU of this machine, opened when first needed, with the kernels on it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from app.core.errors import BackendFailed, GpuError, GpuFailed, GpuMemoryShort
from app.core.types import Detector, Size
from app.detect.gpu.detector import GpuModel
from app.detect.gpu.kernels import Compile, DetectionKernels
from app.gpu.compiler import compile_kernels
from app.gpu.device import Gpu

_LARGEST_USUAL = Size(1280, 736)
"""Canvas of large frames, for which a session has room from the start."""
_MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class OpenedGpu:
    """A GPU that works."""

    gpu: Gpu
    kernels: DetectionKernels


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
        try:
            return OpenedGpu(gpu, DetectionKernels(gpu, self._compile))
        except GpuError as error:
            gpu.close()
            return error.with_traceback(None)

    def close(self) -> None:
        """Give the GPU back; what was opened on it must have been closed."""
        with self._lock:
            opened, self._opened = self._opened, None
        if isinstance(opened, OpenedGpu):
            opened.kernels.close()
            opened.gpu.close()


class OnGpu:
    """A model on a GPU, of which each user has a part. Any thread may use it."""

    draws = True

    def __init__(self, model: GpuModel, reserve_bytes: int) -> None:
        """
        Args:
            reserve_bytes: GPU memory that must stay free when a user is admitted.
        """
        self._model = model
        self._reserve_bytes = reserve_bytes

    def open(self) -> Detector:
        """A detector with a stream and memory of its own, with room for the largest usual canvas.

        Raises:
            GpuMemoryShort: there is no room for it.
            BackendFailed: the GPU failed.
        """
        detector = self._model.open()
        try:
            detector.reserve(self._largest_usual())
            self._check_room()
        except GpuFailed as error:
            detector.close()
            raise BackendFailed(f"{self._model.name} failed: {error}") from error
        except BaseException:
            detector.close()
            raise
        return detector

    def _check_room(self) -> None:
        memory = self._model.task.gpu.memory()
        if memory.free < self._reserve_bytes:
            raise GpuMemoryShort(
                f"The GPU has no room for another session: {memory.free // _MEGABYTE} of "
                f"{memory.total // _MEGABYTE} MB would stay free, and {self._reserve_bytes // _MEGABYTE} must."
            )

    def _largest_usual(self) -> Size:
        sizes = self._model.input_sizes
        if sizes.fixed:
            return max(sizes.fixed, key=lambda size: size.pixels)
        width, height = _LARGEST_USUAL
        if sizes.largest:
            width, height = min(width, sizes.largest.width), min(height, sizes.largest.height)
        return Size(*(max(1, side // sizes.stride) * sizes.stride for side in (width, height)))

    def close(self) -> None:
        """Give the weights' memory back."""
        self._model.close()
