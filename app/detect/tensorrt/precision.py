"""Half and eight-bit precision: the graph is converted, since newer TensorRT takes types from the graph alone.

Inputs and outputs keep their types. `onnx` and ONNX Runtime's own conversion tools do the work.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from app.core.boxes import iou
from app.core.errors import EngineNotBuilt, GpuMissing
from app.core.types import CanvasDetections, FrameBoxes
from app.detect.detector import DetectorChoices, NetworkDetector
from app.detect.network import one_line
from app.detect.onnx import load_on_processor
from app.detect.tensorrt.options import Precision

_IR_WITH_FIXED_WEIGHTS = 4
_OPSET_WITH_CHANNELS = 13
_SAME_OBJECT_IOU = 0.5
_SURE = 0.3
"""Score from which on an object is expected to be found again."""


def converted(
    path: Path, precision: Precision, canvases: Sequence[NDArray[np.uint8]] = (), family: str | None = None
) -> bytes:
    """The ONNX file's graph in another precision.

    Args:
        canvases: (H, W, 3) uint8 BGR, of which int8 learns the ranges of values; half does without.
        family: of the detector, if it is not recognised.
    Raises:
        GpuMissing: the package `onnx` is not installed.
        EngineNotBuilt: the graph cannot be converted, or there is nothing to learn ranges from.
    """
    if precision == "float":
        return path.read_bytes()
    try:
        import onnx  # noqa: PLC0415 - only who builds engines has it
    except ImportError as error:
        raise GpuMissing(
            f"Converting to {precision} precision needs the package onnx: pip install 'flexpatch-service[gpu]'."
        ) from error
    try:
        with _quiet():
            graph = _half(path) if precision == "half" else _int8(path, canvases, DetectorChoices(family))
            onnx.checker.check_model(graph)
    except EngineNotBuilt:
        raise
    except Exception as error:  # the converters raise whatever comes
        raise EngineNotBuilt(f"{path} cannot be converted to {precision} precision: {one_line(error)}") from error
    return graph.SerializeToString()


def _half(path: Path) -> Any:
    from onnx import load  # noqa: PLC0415
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415
    from onnxruntime.transformers.onnx_model import OnnxModel  # noqa: PLC0415

    graph = OnnxModel(convert_float_to_float16(_with_fixed_weights(load(path)), keep_io_types=True))
    # The casts at the inputs are appended at the end, where nothing that needs them may come before.
    graph.topological_sort()
    return graph.model


def _with_fixed_weights(graph: Any) -> Any:
    """The graph without weights among its inputs, as old exporters have them, which would keep their type as such."""
    weights = {weight.name for weight in graph.graph.initializer}
    for value in [value for value in graph.graph.input if value.name in weights]:
        graph.graph.input.remove(value)
    graph.ir_version = max(graph.ir_version, _IR_WITH_FIXED_WEIGHTS)
    return graph


def _int8(path: Path, canvases: Sequence[NDArray[np.uint8]], choices: DetectorChoices) -> Any:
    from onnx import load, save  # noqa: PLC0415
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static  # noqa: PLC0415

    if not len(canvases):
        raise EngineNotBuilt(
            f"{path} cannot be converted to int8 without pictures of what it will see: name a folder of them."
        )
    detector = load_on_processor(path, choices)
    graph = _with_ranges_by_channel(load(path))
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        save(graph, source)
        quantize_static(
            str(source),
            str(target),
            _Pictures(detector, canvases),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            # They hold few of the multiplications, and the ranges of their channels differ too much for eight bits.
            nodes_to_exclude=[node.name for node in graph.graph.node if _is_depthwise(node)],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            # TensorRT wants ranges round zero, and sums that stay as they are.
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )
        return load(target)


def _with_ranges_by_channel(graph: Any) -> Any:
    """The graph in a version of ONNX that knows a range of values for each channel, and with a name for each node."""
    from onnx import version_converter  # noqa: PLC0415

    if any(item.domain in {"", "ai.onnx"} and item.version < _OPSET_WITH_CHANNELS for item in graph.opset_import):
        graph = version_converter.convert_version(graph, _OPSET_WITH_CHANNELS)
    for index, node in enumerate(graph.graph.node):
        node.name = node.name or f"node {index}"
        if node.op_type == "Resize" and len(node.input) == 4:
            node.input[2] = ""  # sizes are given; earlier versions had an empty list of scales beside them
    return graph


def _is_depthwise(node: Any) -> bool:
    return node.op_type == "Conv" and any(item.name == "group" and item.i > 1 for item in node.attribute)


class _Pictures:
    """Canvases as ONNX Runtime's calibration reads them, one after the other."""

    def __init__(self, detector: NetworkDetector, canvases: Sequence[NDArray[np.uint8]]) -> None:
        self._feeds = (detector.feeds(canvas[np.newaxis]) for canvas in canvases)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Inputs by name; None at the end."""
        return next(self._feeds, None)

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        return self._feeds

    def __next__(self) -> dict[str, NDArray[Any]]:
        return next(self._feeds)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Asked of readers that can begin anywhere; this one is read once."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the converters' advice to whoever calls them."""
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(max(level, logging.ERROR))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far what a converted model finds is what the model itself finds."""

    n_objects: int
    """That the model is sure of."""
    n_found: int
    """Of these, found by the converted one too."""
    n_new: int
    """That only the converted one is sure of."""
    score_difference: float
    """On average over those that both find; 0 if there are none."""
    box_difference_px: float
    """Mean distance of the boxes' sides."""


def compare(
    original: Path, graph: bytes, canvases: Sequence[NDArray[np.uint8]], family: str | None = None
) -> Agreement:
    """Run a model and a converted one on the same canvases (H, W, 3), on the processor.

    Args:
        family: of the detector, if it is not recognised.
    Raises:
        ModelError: the converted graph is no detector any more.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / original.name
        path.write_bytes(graph)
        first, second = (load_on_processor(file, DetectorChoices(family)) for file in (original, path))
        pairs = [(first.detect(canvas[None])[0], second.detect(canvas[None])[0]) for canvas in canvases]
    scores, boxes = [np.zeros(0, np.float32)], [np.zeros((0, 4), np.float32)]
    n_objects = n_new = 0
    for before, after in pairs:
        rows, partners = _same(before, after)
        n_objects += int((before.scores >= _SURE).sum())
        n_new += int((after.scores >= _SURE).sum()) - int((after.scores[partners] >= _SURE).sum())
        scores.append(np.abs(before.scores[rows] - after.scores[partners]))
        boxes.append(np.abs(before.boxes[rows] - after.boxes[partners]))
    score, box = np.concatenate(scores), np.concatenate(boxes)
    return Agreement(
        n_objects,
        n_found=len(score),
        n_new=n_new,
        score_difference=float(score.mean()) if len(score) else 0.0,
        box_difference_px=float(box.mean()) if len(box) else 0.0,
    )


def _same(before: CanvasDetections, after: CanvasDetections) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which sure detections have a partner of their class, and which one that is; none is partner of two."""
    if not (len(before) and len(after)):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    overlap = iou(FrameBoxes(before.boxes), FrameBoxes(after.boxes))
    overlap[before.class_ids[:, None] != after.class_ids[None, :]] = 0
    overlap[before.scores < _SURE] = 0
    rows, partners = linear_sum_assignment(overlap, maximize=True)
    is_same = overlap[rows, partners] >= _SAME_OBJECT_IOU
    return rows[is_same], partners[is_same]
