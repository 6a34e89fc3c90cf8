"""Which vision a stream gets."""

import logging
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Literal

from app.core.errors import GpuError, GpuMemoryShort
from app.core.types import Detector, Vision, draws_canvases, may_draw_canvases
from app.gpu.machine import GpuMachine
from app.vision.cpu import CpuVision
from app.vision.gpu.kernels import VisionKernels
from app.vision.gpu.pixels import usual_stream_bytes
from app.vision.moving import MovingVision, Wishes

logger = logging.getLogger(__name__)

VisionChoice = Literal["auto", "gpu", "cpu"]


class VisionOpener:
    """Makes visions, as an operator wants them. Any thread may ask."""

    def __init__(
        self,
        choice: VisionChoice,
        machine: GpuMachine,
        may_use_gpu: Callable[[], bool],
        on_failure: Callable[[GpuError], None],
        reserve_bytes: int = 0,
    ) -> None:
        """
        Args:
            choice: auto: on the GPU where, and as soon as, the detector is.
            may_use_gpu: whether detectors may come to draw canvases on the GPU.
            on_failure: is told why a stream's vision does not use the GPU any more.
            reserve_bytes: GPU memory that must stay free when a stream is admitted.
        Raises:
            GpuError: the GPU is demanded, and cannot be used.
        """
        self._choice = choice
        if choice == "gpu" or (choice == "auto" and may_use_gpu()):
            self._compile(machine)
        self._machine = machine
        self._may_use_gpu = may_use_gpu
        self._on_failure = on_failure
        self._reserve_bytes = reserve_bytes
        self._lock = threading.Lock()
        self._opened: weakref.WeakSet[MovingVision] = weakref.WeakSet()

    def _may_want(self, detector: Detector) -> bool:
        """Whether a stream with that detector is to be followed on the GPU, now or later."""
        if self._choice == "auto":
            return self._may_use_gpu() and may_draw_canvases(detector)
        return self._choice == "gpu"

    def _compile(self, machine: GpuMachine) -> None:
        """Have the kernels ready before the first stream needs them: that takes a second.

        Raises:
            GpuError: as `__init__`.
        """
        try:
            VisionKernels(machine.opened().kernels)
        except GpuError as error:
            if self._choice == "gpu":
                raise type(error)(f"vision is gpu, and cannot be: {error} Set it to auto or cpu.") from error
            logger.warning("vision works without the GPU", extra={"reason": str(error)})

    def open(self, detector: Detector) -> Vision:
        """The vision of a stream that has this detector."""
        if self._choice != "gpu" and not self._may_use_gpu():
            return CpuVision()
        is_ordering = partial(draws_canvases, detector)
        wanted: dict[VisionChoice, Callable[[], bool]] = {
            "auto": is_ordering,
            "gpu": lambda: True,
            "cpu": lambda: False,
        }
        wishes = Wishes(wanted[self._choice], partial(self._may_want, detector), is_ordering)
        vision = MovingVision(self._machine, wishes, self._on_failure)
        with self._lock:
            self._opened.add(vision)
        return vision

    def check_room(self, detector: Detector) -> None:
        """Whether another stream can be admitted, with those that have not taken their memory yet.

        Raises:
            GpuMemoryShort: it cannot.
        """
        if not self._may_want(detector):
            return
        with self._lock:
            n_expected = 1 + sum(vision.may_move for vision in self._opened)
        try:
            self._machine.opened().gpu.check_room(self._reserve_bytes + n_expected * usual_stream_bytes())
        except GpuMemoryShort:
            raise
        except GpuError as error:
            logger.debug("nobody needs room on a GPU that cannot be used", extra={"reason": str(error)})
