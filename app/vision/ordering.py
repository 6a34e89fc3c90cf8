"""Vision for detectors that draw their canvases themselves."""

from collections.abc import Callable, Sequence
from functools import partial

from app.core.types import Canvas, CanvasOrder, PatchCopy, PreparedFrame, Size
from app.vision.cpu import CpuPixels, cpu_frame


class OrderingVision(CpuPixels):
    """`core.types.Vision` with OpenCV, but canvases are only ordered while the detector draws them itself."""

    def __init__(self, is_ordering: Callable[[], bool]) -> None:
        """
        Args:
            is_ordering: whether the next canvas is drawn by the detector.
        """
        super().__init__()
        self._is_ordering = is_ordering

    def canvas(
        self, frame: PreparedFrame, copies: Sequence[PatchCopy], size: Size, pad_value: tuple[int, int, int]
    ) -> Canvas:
        """What is to be on the canvas, or the canvas itself."""
        draw = partial(self.draw, frame, copies, size, pad_value)
        if not self._is_ordering():
            return draw()
        return CanvasOrder(cpu_frame(frame).scaled.picture, tuple(copies), size, pad_value, draw)
