"""Detectors: a network, and all that it takes to put canvases in and to read boxes from what comes out."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import BackendFailed, DetectorFailed
from app.core.types import CanvasDetections, InputSizes, Size
from app.detect.decoders import Decoder
from app.detect.families import FamilyName
from app.detect.network import Feeds, Network, Signature
from app.detect.preprocess import InputBuffer
from app.detect.recognise import recognise
from app.detect.selection import Thresholds


@dataclass(frozen=True, slots=True)
class DetectorChoices:
    """What a user may say about a model, whatever runs it.

    Raises:
        SettingsError: a value is outside its range.
    """

    family: str | None = None
    """Of `app.detect.families.FAMILIES`; None: recognised from the outputs."""
    score_floor: float = 0.05
    """Lowest score put out, 0 to 1."""
    nms_iou: float | None = None
    """Overlap above which two boxes of a class are duplicates; None: as usual in the family."""

    def __post_init__(self) -> None:
        self.thresholds(None)

    def thresholds(self, usual_iou: float | None) -> Thresholds:
        """With what is usual in the family where the user says nothing."""
        return Thresholds(self.score_floor, usual_iou if self.nms_iou is None else self.nms_iou)


class NetworkDetector:
    """A detector that gives canvases from the processor's memory to a network, whichever runtime has loaded it.

    Any number of threads may call it. Inferences that share cores are each slower than one after the other, so only
    so many run at once.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        choices: DetectorChoices | None = None,
        *,
        n_parallel: int = 1,
    ) -> None:
        """Recognise a model; runs it once or twice on a small canvas.

        Args:
            n_parallel: inferences at a time; further callers wait.
        Raises:
            ModelNotRecognised: it is no detector of a known family.
            SettingsError: there is no family of that name.
        """
        choices = choices or DetectorChoices()
        self._name = name
        self._network = network
        self._recipe = recognise(network.signature, self._run_all, choices.family)
        self._thresholds = choices.thresholds(self._recipe.nms_iou)
        self._slots = threading.BoundedSemaphore(n_parallel)
        self._buffers = threading.local()

    @property
    def name(self) -> str:
        return self._name

    @property
    def backend(self) -> str:
        return self._network.backend

    @property
    def signature(self) -> Signature:
        """What the network declares."""
        return self._network.signature

    @property
    def family(self) -> FamilyName:
        """The model family whose decoder is in use."""
        return self._recipe.family

    @property
    def decoder(self) -> Decoder:
        """What reads its predictions."""
        return self._recipe.decoder

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._recipe.class_names

    @property
    def input_sizes(self) -> InputSizes:
        return self._recipe.input_sizes

    @property
    def pad_value(self) -> tuple[int, int, int]:
        return self._recipe.pad_value

    def detect(self, canvases: NDArray[np.uint8]) -> Sequence[CanvasDetections]:
        """Run on canvases (B, H, W, 3) uint8 BGR of one accepted size.

        A model of fixed batch runs as often as it takes.

        Raises:
            DetectorFailed: shape, type or size cannot be taken, or the runtime reported an error.
        """
        size = self._check(canvases)
        step = self._recipe.image.batch or max(1, len(canvases))
        found: list[CanvasDetections] = []
        for first in range(0, len(canvases), step):
            outputs = self.predictions(canvases[first : first + step])
            found += self._recipe.decoder(outputs, size, self._thresholds)
        return found[: len(canvases)]

    def predictions(self, canvases: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """What the decoder gets for canvases (B, H, W, 3), of a model that takes so many at once.

        Raises:
            DetectorFailed: as `detect`.
        """
        with self._slots:
            return self._run(self._recipe.output_names, self.feeds(canvases))

    def warm_up(self, sizes: Sequence[Size] = ()) -> None:
        """Run on an empty canvas of each size (or of the model's own), so that the first frame is not slow.

        Raises:
            DetectorFailed: as `detect`.
        """
        for size in sizes or self.input_sizes.fixed:
            self.detect(np.full((1, size.height, size.width, 3), self.pad_value, np.uint8))

    def _check(self, canvases: NDArray[np.uint8]) -> Size:
        if canvases.dtype != np.uint8 or canvases.ndim != 4 or canvases.shape[3] != 3:
            raise DetectorFailed(
                f"{self._name} takes uint8 canvases (B, H, W, 3), not {canvases.dtype} {canvases.shape}."
            )
        size = Size(canvases.shape[2], canvases.shape[1])
        if not self.input_sizes.accepts(size):
            raise DetectorFailed(f"{self._name} cannot take a {size} canvas; it takes {self.input_sizes}.")
        return size

    def feeds(self, canvases: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """The network's inputs by name for canvases (B, H, W, 3), borrowed until the thread's next call.

        Raises:
            DetectorFailed: as `detect`.
        """
        size = self._check(canvases)
        recipe = self._recipe
        batch = recipe.image.batch or len(canvases)
        feeds: dict[str, NDArray[Any]] = {recipe.image.name: self._buffer().fill(canvases, batch)}
        if recipe.size_input is not None:
            feeds[recipe.size_input.name] = np.tile(np.array(size, recipe.size_input.dtype), (batch, 1))
        return feeds

    def _buffer(self) -> InputBuffer:
        """The calling thread's own."""
        buffer: InputBuffer | None = getattr(self._buffers, "input", None)
        if buffer is None:
            image = self._recipe.image
            buffer = InputBuffer(self._recipe.preprocessing, image.dtype, is_channels_last=image.is_channels_last)
            self._buffers.input = buffer
        return buffer

    def _run_all(self, feeds: Feeds) -> list[NDArray[Any]]:
        return self._run(None, feeds)

    def _run(self, output_names: Sequence[str] | None, feeds: Feeds) -> list[NDArray[Any]]:
        try:
            return self._network.run(output_names, feeds)
        except BackendFailed as error:
            raise BackendFailed(f"{self._name} failed: {error}") from error
