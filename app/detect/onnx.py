"""Detectors in ONNX format, run by ONNX Runtime on the processor."""

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_state

from app.core.errors import DetectorFailed, ModelUnreadable, SettingsError
from app.core.types import CanvasDetections, InputSizes, Size
from app.detect.cores import available_cores
from app.detect.decoders import Decoder
from app.detect.families import FamilyName
from app.detect.preprocess import InputBuffer
from app.detect.recognise import Signature, TensorSpec, recognise
from app.detect.selection import Thresholds

logger = logging.getLogger(__name__)

_RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    runtime_state.Fail,
    runtime_state.InvalidArgument,
    runtime_state.InvalidGraph,
    runtime_state.InvalidProtobuf,
    runtime_state.NoModel,
    runtime_state.NoSuchFile,
    runtime_state.NotImplemented,
    runtime_state.RuntimeException,
    runtime_state.EPFail,
    RuntimeError,
    ValueError,
    TypeError,
)
"""ONNX Runtime's own, which share no ancestor, and those of its binding."""

_NUMPY_TYPES = {"float": "float32", "double": "float64"}
"""Element types that ONNX Runtime and NumPy name differently."""


_SPIN_US = 50
"""On a free machine as quick as spinning without end, on a crowded one nearly as quick as none."""


class OnnxDetector:
    """A detector that ONNX Runtime runs on the processor.

    Any number of threads may call it. As many inferences run at once as there are cores for; further callers
    wait, since inferences that share cores are each slower than one after the other.
    """

    def __init__(
        self,
        path: Path,
        *,
        family: str | None = None,
        threads: int | None = None,
        score_floor: float = 0.05,
        nms_iou: float | None = None,
    ) -> None:
        """Load and recognise a model; runs it once or twice on a small canvas.

        Args:
            family: of FAMILIES, where recognition fails or errs.
            threads: for one inference; None: all available cores.
            score_floor: lowest score put out.
            nms_iou: overlap above which boxes are duplicates; None: as usual in the family.
        Raises:
            ModelUnreadable: ONNX Runtime cannot read the file.
            ModelNotRecognised: it is no detector of a known family.
            SettingsError: an argument is outside its range.
        """
        cores = available_cores()
        if threads is None:
            threads = cores
        if threads < 1:
            raise SettingsError(f"threads is {threads}; a detector needs at least 1.")
        Thresholds(score_floor, nms_iou)
        self._name = path.stem
        self._session = _open(path, threads)
        self._recipe = recognise(_signature(self._session), self._run_all, family)
        self._thresholds = Thresholds(score_floor, self._recipe.nms_iou if nms_iou is None else nms_iou)
        self._slots = threading.BoundedSemaphore(max(1, cores // threads))
        self._buffers = threading.local()

    @property
    def name(self) -> str:
        return self._name

    @property
    def backend(self) -> str:
        return "onnxruntime-cpu"

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
            DetectorFailed: shape, type or size cannot be taken, or ONNX Runtime reported an error.
        """
        size = self._check(canvases)
        step = self._recipe.image.batch or max(1, len(canvases))
        found: list[CanvasDetections] = []
        for first in range(0, len(canvases), step):
            outputs = self._infer(canvases[first : first + step], size)
            found += self._recipe.decoder(outputs, size, self._thresholds)
        return found[: len(canvases)]

    def predictions(self, canvases: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """What the decoder gets for canvases (B, H, W, 3), of a model that takes so many at once.

        Raises:
            DetectorFailed: as `detect`.
        """
        return self._infer(canvases, self._check(canvases))

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
        accepted = self.input_sizes
        if not accepted.accepts(size):
            sizes = ", ".join(str(fixed) for fixed in accepted.fixed) or f"multiples of {accepted.stride}"
            raise DetectorFailed(f"{self._name} cannot take a {size} canvas; it takes {sizes}.")
        return size

    def _infer(self, canvases: NDArray[np.uint8], size: Size) -> list[NDArray[Any]]:
        recipe = self._recipe
        batch = recipe.image.batch or len(canvases)
        with self._slots:
            feeds: dict[str, NDArray[Any]] = {recipe.image.name: self._buffer().fill(canvases, batch)}
            if recipe.size_input is not None:
                feeds[recipe.size_input.name] = np.tile(np.array(size, recipe.size_input.dtype), (batch, 1))
            return self._run(list(recipe.output_names), feeds)

    def _buffer(self) -> InputBuffer:
        """The calling thread's own."""
        buffer: InputBuffer | None = getattr(self._buffers, "input", None)
        if buffer is None:
            image = self._recipe.image
            buffer = InputBuffer(self._recipe.preprocessing, image.dtype, is_channels_last=image.is_channels_last)
            self._buffers.input = buffer
        return buffer

    def _run_all(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return self._run(None, feeds)

    def _run(self, output_names: list[str] | None, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        try:
            outputs = cast("list[NDArray[Any]]", self._session.run(output_names, dict(feeds)))
        except _RUNTIME_ERRORS as error:
            raise DetectorFailed(f"{self._name} failed: {one_line(error)}") from error
        return [value.astype(np.float32) if value.dtype == np.float16 else value for value in outputs]


def _open(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Sleeping between layers costs a small model a third of its time, so its threads spin. Only as long as such a
    # gap lasts, though: on a busy machine long spinning doubles the time, and after the run it is of no use.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN_US))
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Errors come as exceptions; warnings are for whoever exported the model.
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _RUNTIME_ERRORS as error:
        raise ModelUnreadable(f"{path} cannot be read as an ONNX model: {one_line(error)}") from error


def _signature(session: onnxruntime.InferenceSession) -> Signature:
    return Signature(
        inputs=tuple(_spec(value) for value in session.get_inputs()),
        outputs=tuple(_spec(value) for value in session.get_outputs()),
        metadata=dict(session.get_modelmeta().custom_metadata_map),
    )


def _spec(value: onnxruntime.NodeArg) -> TensorSpec:
    element = value.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in value.shape or ())
    return TensorSpec(value.name, _NUMPY_TYPES.get(element, element), shape)


def one_line(error: Exception) -> str:
    """The error's message without line breaks, shortened."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:299]}…"
