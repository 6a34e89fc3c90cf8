"""A model on a GPU, and who is admitted to it."""

from app.core.errors import BackendFailed, GpuFailed
from app.core.types import Detector, Size
from app.detect.gpu.detector import GpuModel

_LARGEST_USUAL = Size(1280, 736)
"""Canvas of large frames, for which a session has room from the start."""


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
            self._model.task.gpu.check_room(self._reserve_bytes)
        except GpuFailed as error:
            detector.close()
            raise BackendFailed(f"{self._model.name} failed: {error}") from error
        except BaseException:
            detector.close()
            raise
        return detector

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
