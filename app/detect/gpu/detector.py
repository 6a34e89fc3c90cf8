"""Detectors on a GPU: a model that sessions share, and each session's own part of it."""

import threading
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from app.core.clock import Clock
from app.core.errors import BackendFailed, DetectorFailed, GpuFailed
from app.core.types import CanvasDetections, CanvasOrder, InputSizes, Size
from app.detect.detector import DetectorChoices
from app.detect.gpu.kernels import DetectionKernels
from app.detect.gpu.network import DeviceNetwork
from app.detect.gpu.trial import run_on_arrays
from app.detect.gpu.worker import GpuWorker, Task, order_of
from app.detect.recognise import recognise
from app.gpu.device import Gpu


class GpuModel:
    """A network on a GPU, recognised: what all its workers share. Any thread may use it."""

    def __init__(
        self,
        name: str,
        network: DeviceNetwork,
        gpu: Gpu,
        kernels: DetectionKernels,
        clock: Clock,
        *,
        choices: DetectorChoices | None = None,
        uses_graphs: bool = True,
    ) -> None:
        """Recognise a model; runs it once or twice on a small canvas.

        Raises:
            ModelNotRecognised: it is no detector of a known family.
            SettingsError: there is no family of that name.
        """
        choices = choices or DetectorChoices()
        recipe = recognise(network.signature, partial(run_on_arrays, gpu, network), choices.family)
        self.name = name
        self.network = network
        self.task = Task(
            gpu, network, kernels, recipe, choices.thresholds(recipe.nms_iou), clock, uses_graphs=uses_graphs
        )
        sizes = recipe.input_sizes
        largest = None if sizes.fixed else network.max_size
        self.input_sizes = InputSizes(sizes.fixed, sizes.stride, largest)
        self.max_batch = recipe.image.batch or network.max_batch

    def open(self) -> "GpuDetector":
        """A detector with a stream and memory of its own.

        Raises:
            GpuMemoryShort: there is not enough memory.
            BackendFailed: the GPU failed.
        """
        return GpuDetector(self)

    def close(self) -> None:
        """Give the weights' memory back; all detectors must have been closed."""
        self.network.close()


class GpuDetector:
    """One user's part of a model on a GPU. Any thread may call; one look at a time is made."""

    def __init__(self, model: GpuModel) -> None:
        """
        Raises:
            GpuMemoryShort: there is not enough memory.
            BackendFailed: the GPU failed.
        """
        self._model = model
        self._lock = threading.Lock()
        try:
            self._worker: GpuWorker | None = GpuWorker(model.task)
        except GpuFailed as error:
            raise BackendFailed(f"{model.name} failed: {error}") from error

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def backend(self) -> str:
        return self._model.network.backend

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._model.task.recipe.class_names

    @property
    def input_sizes(self) -> InputSizes:
        return self._model.input_sizes

    @property
    def pad_value(self) -> tuple[int, int, int]:
        return self._model.task.recipe.pad_value

    @property
    def device_bytes(self) -> int:
        """GPU memory that it holds."""
        worker = self._worker
        return worker.device_bytes if worker else 0

    @property
    def n_recorded(self) -> int:
        """Sizes of canvases whose looks are recorded as graphs."""
        worker = self._worker
        return worker.n_recorded if worker else 0

    def detect(self, canvases: NDArray[np.uint8]) -> Sequence[CanvasDetections]:
        """Run on canvases (B, H, W, 3) uint8 BGR of one accepted size.

        Raises:
            DetectorFailed: shape, type or size cannot be taken, or the GPU or the runtime failed.
            GpuMemoryShort: there is not enough memory.
        """
        if canvases.dtype != np.uint8 or canvases.ndim != 4 or canvases.shape[3] != 3:
            raise DetectorFailed(
                f"{self.name} takes uint8 canvases (B, H, W, 3), not {canvases.dtype} {canvases.shape}."
            )
        return self.look([order_of(canvas, self.pad_value) for canvas in canvases])

    def look(self, orders: Sequence[CanvasOrder]) -> Sequence[CanvasDetections]:
        """Draw canvases of one size on the GPU, and run on them.

        Raises:
            DetectorFailed, GpuMemoryShort: as `detect`.
        """
        for order in orders:
            self._check(order.size)
        step = self._model.max_batch or max(1, len(orders))
        found: list[CanvasDetections] = []
        with self._lock:
            if self._worker is None:
                raise DetectorFailed(f"{self.name} is closed.")
            for first in range(0, len(orders), step):
                found += self._looked(self._worker, orders[first : first + step])
        return found

    def reserve(self, size: Size) -> None:
        """Hold from now on what canvases of that size need.

        Raises:
            DetectorFailed, GpuMemoryShort: as `detect`.
        """
        self._check(size)
        with self._lock:
            if self._worker is None:
                raise DetectorFailed(f"{self.name} is closed.")
            try:
                self._worker.reserve(size)
            except (BackendFailed, GpuFailed) as error:
                raise BackendFailed(f"{self.name} failed: {error}") from error

    def close(self) -> None:
        """Give all its memory back, once the look in hand is done."""
        with self._lock:
            worker, self._worker = self._worker, None
        if worker:
            worker.close()

    def _looked(self, worker: GpuWorker, orders: Sequence[CanvasOrder]) -> list[CanvasDetections]:
        try:
            return worker.look(orders)
        except (BackendFailed, GpuFailed) as error:
            raise BackendFailed(f"{self.name} failed: {error}") from error

    def _check(self, size: Size) -> None:
        if not self.input_sizes.accepts(size):
            raise DetectorFailed(f"{self.name} cannot take a {size} canvas; it takes {self.input_sizes}.")
