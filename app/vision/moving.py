"""Vision that works on the GPU when it can: not before the session's detector is there, nor once the GPU has failed."""

import logging
import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.core.errors import GpuError
from app.core.types import (
    Alignment,
    Canvas,
    CanvasOrder,
    FrameBoxes,
    PatchCopy,
    Picture,
    PointFlow,
    PreparedFrame,
    Size,
    VisionPlace,
)
from app.gpu.machine import GpuMachine
from app.vision.alignment import NO_SHIFT
from app.vision.cpu import CpuVision, cpu_frame
from app.vision.drawing import Drawer, ScaledPicture
from app.vision.gpu.frames import GpuFrame
from app.vision.gpu.kernels import VisionKernels
from app.vision.gpu.pixels import GpuPixels, can_take
from app.vision.luma import CELL_LUMA_PX, divisor_of

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a stream is to be worked on, asked again at every frame: it hangs on where its detector is."""

    is_on_gpu: Callable[[], bool]
    """Whether on the GPU, if that works."""
    may_be_on_gpu: Callable[[], bool]
    """Whether that is so, or may become so."""
    is_ordering: Callable[[], bool]
    """Whether the next canvas is drawn by the detector."""


class MovingVision:
    """`core.types.Vision` on a GPU, and on the processor while that cannot be.

    One instance per stream; not thread-safe. Frames of either are understood by both: what was prepared on the one is
    prepared on the other when needed there.
    """

    def __init__(self, machine: GpuMachine, wishes: Wishes, on_failure: Callable[[GpuError], None]) -> None:
        """
        Args:
            on_failure: is told once why the GPU is not used any more.
        """
        self._machine = machine
        self._wishes = wishes
        self._on_failure = on_failure
        self._cpu = CpuVision()
        self._drawer = Drawer()
        self._gpu: GpuPixels | None = None
        self._is_given_up = False
        self._is_too_small = False
        self._sent: tuple[weakref.ref[PreparedFrame], GpuFrame] | None = None
        """The last frame of the processor's that was needed on the GPU."""
        self._divisor = 0

    @property
    def place(self) -> VisionPlace:
        return "gpu" if self._gpu else "cpu"

    @property
    def may_move(self) -> bool:
        """Whether it does not work on the GPU now, but may later."""
        return not (self._gpu or self._is_given_up or self._is_too_small) and self._wishes.may_be_on_gpu()

    @property
    def device_bytes(self) -> int:
        """GPU memory that it holds."""
        return self._gpu.device_bytes if self._gpu else 0

    @property
    def cell_px(self) -> int:
        return CELL_LUMA_PX * max(1, self._divisor)

    def prepare(self, picture: Picture) -> PreparedFrame:
        if not self._divisor:
            self._divisor = divisor_of(picture.size)
            self._is_too_small = not can_take(picture, self._divisor)
        if self._sent and self._sent[0]() is None:
            self._sent = None
        self._move()
        return self._worked(lambda gpu: gpu.prepare(picture, self._divisor), lambda cpu: cpu.prepare(picture))

    def flow(
        self,
        earlier: PreparedFrame,
        later: PreparedFrame,
        points: NDArray[np.float32],
        guess: NDArray[np.float32],
        reach_px: float = math.inf,
    ) -> PointFlow:
        return self._worked(
            lambda gpu: gpu.flow(self._there(gpu, earlier), self._there(gpu, later), points, guess, reach_px),
            lambda cpu: cpu.flow(self._here(earlier), self._here(later), points, guess, reach_px),
        )

    def corners(self, frame: PreparedFrame, boxes: FrameBoxes, grid: tuple[int, int]) -> NDArray[np.float32]:
        return self._worked(
            lambda gpu: gpu.corners(self._there(gpu, frame), boxes, grid),
            lambda cpu: cpu.corners(self._here(frame), boxes, grid),
        )

    def templates(self, frame: PreparedFrame, boxes: FrameBoxes) -> NDArray[np.float32]:
        return self._worked(
            lambda gpu: gpu.templates(self._there(gpu, frame), boxes),
            lambda cpu: cpu.templates(self._here(frame), boxes),
        )

    def edge_map(self, frame: PreparedFrame) -> NDArray[np.float32]:
        return self._worked(
            lambda gpu: gpu.edge_map(self._there(gpu, frame)), lambda cpu: cpu.edge_map(self._here(frame))
        )

    def motion_map(
        self, earlier: PreparedFrame, later: PreparedFrame, camera: NDArray[np.float64] | None
    ) -> NDArray[np.float32]:
        return self._worked(
            lambda gpu: gpu.motion_map(self._there(gpu, earlier), self._there(gpu, later), camera),
            lambda cpu: cpu.motion_map(self._here(earlier), self._here(later), camera),
        )

    def alignment(
        self, earlier: PreparedFrame, later: PreparedFrame, expected_px: NDArray[np.floating] = NO_SHIFT
    ) -> Alignment:
        return self._worked(
            lambda gpu: gpu.alignment(self._there(gpu, earlier), self._there(gpu, later), expected_px),
            lambda cpu: cpu.alignment(self._here(earlier), self._here(later), expected_px),
        )

    def canvas(
        self, frame: PreparedFrame, copies: Sequence[PatchCopy], size: Size, pad_value: tuple[int, int, int]
    ) -> Canvas:
        """What is to be on the canvas, or the canvas itself."""
        scaled = _scaled(frame)
        draw = partial(self._drawer.draw, scaled, copies, size, pad_value)
        if not self._wishes.is_ordering():
            return draw()
        resident = self._worked(lambda gpu: gpu.resident(self._there(gpu, frame)), lambda _: None)
        return CanvasOrder(scaled.picture, tuple(copies), size, pad_value, draw, resident)

    def close(self) -> None:
        self._is_given_up = True
        self._leave()

    def _leave(self) -> None:
        gpu, self._gpu, self._sent = self._gpu, None, None
        if gpu:
            gpu.close()

    def _move(self) -> None:
        """Work on the GPU from now on, or no more, as is wanted now."""
        is_wanted = not (self._is_given_up or self._is_too_small) and self._wishes.is_on_gpu()
        if self._gpu and not is_wanted:
            self._leave()
        if self._gpu or not is_wanted:
            return
        try:
            opened = self._machine.opened()
            self._gpu = GpuPixels(opened.gpu, VisionKernels(opened.kernels))
        except GpuError as error:
            self._give_up(error)
            return
        logger.info("vision works on the GPU")

    def _worked(self, on_gpu: Callable[[GpuPixels], T], on_cpu: Callable[[CpuVision], T]) -> T:
        """On the GPU; on the processor if that fails, from now on."""
        if self._gpu:
            try:
                return on_gpu(self._gpu)
            except GpuError as error:
                self._give_up(error)
        return on_cpu(self._cpu)

    def _give_up(self, error: GpuError) -> None:
        self.close()
        logger.error("vision goes on without the GPU", extra={"reason": str(error)})
        self._on_failure(error)

    def _there(self, gpu: GpuPixels, frame: PreparedFrame) -> GpuFrame:
        if isinstance(frame, GpuFrame):
            return frame
        if self._sent is None or self._sent[0]() is not frame:
            self._sent = weakref.ref(frame), gpu.prepare(cpu_frame(frame).scaled.picture, self._divisor)
        return self._sent[1]

    def _here(self, frame: PreparedFrame) -> PreparedFrame:
        if not isinstance(frame, GpuFrame):
            return frame
        if frame.on_processor is None:
            frame.on_processor = self._cpu.prepare(frame.picture)
        return frame.on_processor


def _scaled(frame: PreparedFrame) -> ScaledPicture:
    return frame.scaled if isinstance(frame, GpuFrame) else cpu_frame(frame).scaled
