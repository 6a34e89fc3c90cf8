"""The two kernels of detection, ready on one GPU, and the arguments that they take."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.types import CanvasBoxes, CanvasDetections, Size
from app.detect.decoders import (
    Decoder,
    FastestDetDecoder,
    NanodetDecoder,
    YoloDecoder,
    YoloV8Decoder,
    YoloxDecoder,
)
from app.detect.gpu.network import DeviceTensor
from app.detect.preprocess import Preprocessing
from app.detect.recognise import ImageInput
from app.detect.selection import Thresholds
from app.gpu.device import Stream
from app.gpu.loading import LoadedKernels
from app.gpu.structures import (
    DRAW_BLOCK,
    FIND_BLOCK,
    INPUT_LAYOUT,
    MAX_CLASSES,
    MAX_DETECTIONS,
    MAX_OUTPUTS,
    MAX_PREDICTIONS,
    MAX_STRIDES,
    PREDICTION_SET,
    TILE_HEIGHT_PX,
    TILE_WIDTH_PX,
    Family,
    TensorType,
)

_TENSOR_TYPES = {"uint8": TensorType.UINT8, "float32": TensorType.FLOAT32, "float16": TensorType.FLOAT16}
_POWER_OF_OBJECTNESS = 0.6
"""FastestDet's."""


class DetectionKernels:
    """Both kernels on one GPU. Any thread may use them."""

    def __init__(self, loaded: LoadedKernels) -> None:
        """
        Raises:
            KernelsNotCompiled: NVRTC is missing or fails.
            GpuFailed: the GPU does not take what was compiled.
        """
        self._draw = loaded.kernel("canvas", "draw_canvas")
        self._find = loaded.kernel("detections", "find_detections")

    def draw(
        self, stream: Stream, *, jobs: int, copies: int, tensor: int, size: Size, batch: int, layout: NDArray[Any]
    ) -> None:
        """Draw a batch of canvases into a network's input.

        Args:
            jobs: address of CANVAS_JOBs.
            copies: address of PATCH_COPYs.
            tensor: address of the input.
            layout: one INPUT_LAYOUT.
        """
        grid = (-(-size.width // TILE_WIDTH_PX), -(-size.height // TILE_HEIGHT_PX), batch)
        arguments: list[NDArray[Any]] = [
            *(np.array(address, np.uint64) for address in (jobs, copies, tensor)),
            np.array(size.width, np.int32),
            np.array(size.height, np.int32),
            layout,
        ]
        stream.launch(self._draw, grid, DRAW_BLOCK, arguments)

    def find(self, stream: Stream, predictions: NDArray[Any], *, scratch: int, found: int, batch: int) -> None:
        """Make detections of a network's outputs.

        Args:
            predictions: one PREDICTION_SET.
            scratch: address of `n_predictions` 64-bit numbers for each canvas.
            found: address of FOUND_DETECTIONS for each canvas.
        """
        arguments: list[NDArray[Any]] = [predictions, *(np.array(address, np.uint64) for address in (scratch, found))]
        stream.launch(self._find, (batch, 1, 1), FIND_BLOCK, arguments)


def input_layout(image: ImageInput, preprocessing: Preprocessing) -> NDArray[Any]:
    """How canvases become the input, as the kernel takes it: one INPUT_LAYOUT."""
    layout = np.zeros((), INPUT_LAYOUT)
    layout["dtype"] = _TENSOR_TYPES[image.dtype]
    layout["is_channels_last"] = image.is_channels_last
    layout["is_rgb"] = preprocessing.is_rgb
    layout["scale"] = preprocessing.scale
    layout["offset"] = preprocessing.offset
    return layout


def prediction_set(
    decoder: Decoder, outputs: Sequence[DeviceTensor], size: Size, thresholds: Thresholds
) -> NDArray[Any] | None:
    """What the kernel has to know of a network's outputs, but for their addresses: one PREDICTION_SET.

    Returns:
        None if the kernel cannot read them, and the decoder has to.
    """
    family = _family(decoder, outputs)
    is_half = [tensor.dtype == "float16" for tensor in outputs]
    if family is None or any(tensor.dtype not in {"float32", "float16"} for tensor in outputs):
        return None
    n_predictions = _n_predictions(family, outputs)
    strides = getattr(decoder, "strides", ())
    fits = (
        len(outputs) <= MAX_OUTPUTS
        and len(strides) <= MAX_STRIDES
        and decoder.n_classes <= MAX_CLASSES
        and n_predictions <= MAX_PREDICTIONS
        and thresholds.max_candidates <= MAX_DETECTIONS
        and len(set(is_half)) == 1
    )
    if not fits:
        return None
    found = np.zeros((), PREDICTION_SET)
    found["family"] = family
    found["n_classes"] = decoder.n_classes
    found["n_predictions"] = n_predictions
    found["width"], found["height"] = size
    found["n_columns"] = outputs[0].shape[-1] if family is Family.FASTESTDET else 0
    found["n_strides"] = len(strides)
    found["strides"][: len(strides)] = strides
    found["max_candidates"] = thresholds.max_candidates
    found["is_half"] = is_half[0]
    found["score_floor"] = thresholds.score_floor
    power = 1 / _POWER_OF_OBJECTNESS if family is Family.FASTESTDET else 1
    found["objectness_floor"] = thresholds.score_floor**power
    found["nms_iou"] = -1 if thresholds.nms_iou is None else thresholds.nms_iou
    found["centre"] = getattr(decoder, "centre", 0.0)
    return found


def with_addresses(predictions: NDArray[Any], addresses: Sequence[int]) -> NDArray[Any]:
    """The same PREDICTION_SET with the outputs' addresses in it."""
    bound = predictions.copy()
    bound["outputs"][: len(addresses)] = addresses
    return bound


def _family(decoder: Decoder, outputs: Sequence[DeviceTensor]) -> Family | None:
    known: Mapping[type, Family] = {
        YoloxDecoder: Family.YOLOX,
        YoloDecoder: Family.YOLO,
        YoloV8Decoder: Family.YOLOV8,
        NanodetDecoder: Family.NANODET if len(outputs) > 1 else Family.NANODET_PLUS,
        FastestDetDecoder: Family.FASTESTDET,
    }
    return known.get(type(decoder))


def _n_predictions(family: Family, outputs: Sequence[DeviceTensor]) -> int:
    """For each canvas."""
    shape = outputs[0].shape
    match family:
        case Family.YOLOV8:
            return shape[2]
        case Family.FASTESTDET:
            return shape[2] * shape[3]
        case Family.NANODET:
            return sum(tensor.shape[-2] for tensor in outputs[: len(outputs) // 2])
        case _:
            return shape[1]


def detections(found: NDArray[Any]) -> CanvasDetections:
    """What one element of FOUND_DETECTIONS says, copied out of it."""
    n = int(found["n"])
    return CanvasDetections(
        CanvasBoxes(found["boxes"][:n].copy()), found["scores"][:n].copy(), found["class_ids"][:n].copy()
    )
