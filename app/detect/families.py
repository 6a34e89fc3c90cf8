"""Model families: what each one's outputs look like, and how it wants its input.

A family's `match` looks at the outputs of one trial inference and says how to decode them, or None.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from app.core.types import Size
from app.detect.class_names import COCO_80
from app.detect.decoders import (
    Decoder,
    DetrQueriesDecoder,
    DetrResultsDecoder,
    EndToEndDecoder,
    FastestDetDecoder,
    NanodetDecoder,
    QueryScores,
    YoloDecoder,
    YoloV8Decoder,
    YoloxDecoder,
)
from app.detect.grid import locate, n_cells
from app.detect.preprocess import Preprocessing, from_mean_and_deviation

FamilyName = Literal["yolox", "yolo", "yolov8", "yolo-end2end", "detr", "nanodet", "fastestdet"]

PYRAMIDS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
"""Strides of the feature maps in use: the usual, with P6, with P2."""

_RGB_UNIT = Preprocessing(is_rgb=True, scale=(1 / 255, 1 / 255, 1 / 255))
_BGR_UNIT = Preprocessing(scale=(1 / 255, 1 / 255, 1 / 255))
_IMAGENET = from_mean_and_deviation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), is_rgb=True)
_NANODET = from_mean_and_deviation((103.53, 116.28, 123.675), (57.375, 57.12, 58.395), is_rgb=False)

_BOX_BINS = 32
"""NanoDet's distances: 4 sides of 8 bins."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one trial inference on a plain grey canvas showed."""

    outputs: Mapping[str, NDArray[Any]]
    """Every output by name, in the graph's order."""
    size: Size
    """Of the trial canvas."""
    names: tuple[str, ...] | None
    """Class names from the metadata."""
    is_end_to_end: bool
    """The metadata say that suppression is done in the graph."""
    has_size_input: bool
    """The graph is told the picture's size and puts out pixels of that size."""
    is_forced: bool
    """The user named the family: where shapes leave a choice, it is this one."""

    def fits(self, n_classes: int) -> bool:
        """The number of classes is possible, and no other than the metadata name."""
        return n_classes >= 1 and (self.names is None or len(self.names) == n_classes)


@dataclass(frozen=True, slots=True)
class Match:
    """How to decode a model's outputs."""

    decoder: Decoder
    output_names: tuple[str, ...]
    """The outputs that the decoder takes, in its order."""
    strides: tuple[int, ...] = (32,)
    preprocessing: Preprocessing | None = None
    """Where a variant differs from its family."""
    pad_value: tuple[int, int, int] | None = None
    """Where a variant differs from its family."""


@dataclass(frozen=True, slots=True)
class Family:
    """One family of models: all that is known of it without looking at a file."""

    layout: str
    """Its outputs in words, for messages."""
    match: Callable[[Evidence], Match | None]
    preprocessing: Preprocessing
    pad_value: tuple[int, int, int]
    """BGR."""
    nms_iou: float | None
    """None: its predictions are free of duplicates already."""


def _single(evidence: Evidence, rank: int) -> tuple[str, NDArray[Any]] | None:
    """The only output of that rank, unless others than raw feature maps (rank 5) stand beside it."""
    matching = [(name, value) for name, value in evidence.outputs.items() if value.ndim == rank]
    if len(matching) != 1 or any(value.ndim not in {rank, 5} for value in evidence.outputs.values()):
        return None
    return matching[0]


def _pyramid(n_predictions: int, size: Size, per_cell: int = 1) -> tuple[int, ...] | None:
    """Strides whose cells make up that many predictions."""
    return next((s for s in PYRAMIDS if per_cell * n_cells(size, s) == n_predictions), None)


def is_decoded(rows: NDArray[Any], size: Size, strides: tuple[int, ...]) -> bool:
    """Do boxes (N, 4 or more) lie around their own cells, in pixels, rather than hold offsets from them?"""
    cells, stride = locate(np.arange(len(rows)), size, strides)
    distance = np.abs(rows[:, :2] / stride - cells - np.float32(0.5))
    offset = np.abs(rows[:, :2] - np.float32(0.5))
    return bool(np.median(distance) < np.median(offset))


def _match_yolox(evidence: Evidence) -> Match | None:
    single = _single(evidence, 3)
    if single is None:
        return None
    name, value = single
    n_classes = value.shape[2] - 5
    strides = _pyramid(value.shape[1], evidence.size)
    if strides is None or not evidence.fits(n_classes):
        return None
    rows = value[0]
    if is_decoded(rows, evidence.size, strides):
        if not evidence.is_forced and np.all(rows[:, 4] == 1):
            return None
        return Match(YoloDecoder(n_classes), (name,), strides)
    return Match(YoloxDecoder(n_classes, strides), (name,), strides)


def _match_yolo(evidence: Evidence) -> Match | None:
    single = _single(evidence, 3)
    if single is None:
        return None
    name, value = single
    n_classes = value.shape[2] - 5
    if not evidence.fits(n_classes):
        return None
    anchored = _pyramid(value.shape[1], evidence.size, per_cell=3)
    plain = _pyramid(value.shape[1], evidence.size)
    # YOLOv6 has one prediction for each cell, as YOLOX, but no objectness: it writes 1 there.
    is_v6 = plain is not None and bool(np.all(value[0, :, 4] == 1))
    if anchored is None and not is_v6 and not evidence.is_forced:
        return None
    return Match(YoloDecoder(n_classes), (name,), anchored or plain or (32,))


def _match_yolov8(evidence: Evidence) -> Match | None:
    single = _single(evidence, 3)
    if single is None:
        return None
    name, value = single
    n_classes = value.shape[1] - 4
    strides = _pyramid(value.shape[2], evidence.size)
    if not evidence.fits(n_classes) or (strides is None and not evidence.is_forced):
        return None
    return Match(YoloV8Decoder(n_classes), (name,), strides or (32,))


def _match_end_to_end(evidence: Evidence) -> Match | None:
    single = _single(evidence, 3)
    if single is None:
        return None
    name, value = single
    if value.shape[2] != 6:
        return None
    # One class more and the grid families have 6 columns too; only here is the last a whole number.
    is_listed = value.shape[1] > 0 and bool(np.all(value[..., 5] == np.floor(value[..., 5])))
    if not (evidence.is_end_to_end or evidence.is_forced):
        is_grid = any(_pyramid(value.shape[1], evidence.size, per_cell) for per_cell in (1, 3))
        if is_grid or not (is_listed or value.shape[1] == 0):
            return None
    return Match(EndToEndDecoder(len(evidence.names or COCO_80)), (name,))


def _match_detr(evidence: Evidence) -> Match | None:
    return _match_detr_results(evidence) or _match_detr_queries(evidence) or _match_detr_joined(evidence)


def _match_detr_results(evidence: Evidence) -> Match | None:
    """Labels, boxes and scores, boxes in pixels of the size given."""
    boxes = [name for name, value in evidence.outputs.items() if value.ndim == 3 and value.shape[2] == 4]
    lists = {name: value for name, value in evidence.outputs.items() if value.ndim == 2}
    if not evidence.has_size_input or len(boxes) != 1 or len(lists) != 2:
        return None
    labels = [n for n, value in lists.items() if np.issubdtype(value.dtype, np.integer) or "label" in n.lower()]
    if len(labels) != 1:
        return None
    scores = next(name for name in lists if name != labels[0])
    return Match(DetrResultsDecoder(len(evidence.names or COCO_80)), (labels[0], boxes[0], scores))


def _match_detr_queries(evidence: Evidence) -> Match | None:
    """Class logits and boxes, boxes as shares of the canvas."""
    rank_3 = {name: value for name, value in evidence.outputs.items() if value.ndim == 3}
    if len(rank_3) != 2 or any(value.ndim < 3 for value in evidence.outputs.values()):
        return None
    # Names first: with four classes the shapes are the same.
    named = [name for name in rank_3 if "box" in name.lower() or "det" in name.lower()]
    shaped = [name for name, value in rank_3.items() if value.shape[2] == 4]
    boxes = next(iter(named if len(named) == 1 else shaped), None)
    if boxes is None or rank_3[boxes].shape[2] != 4 or not _is_share(rank_3[boxes]):
        return None
    logits = next(name for name in rank_3 if name != boxes)
    n_columns = rank_3[logits].shape[2]
    if rank_3[logits].shape[1] != rank_3[boxes].shape[1]:
        return None
    has_no_object = n_columns == 92 or (evidence.names is not None and n_columns == len(evidence.names) + 1)
    if not evidence.fits(n_columns - has_no_object):
        return None
    # RF-DETR calls its boxes `dets`; it and the first DETR normalise as ImageNet does, RT-DETR does not.
    is_rf_detr = boxes == "dets"
    scores: QueryScores = "softmax" if has_no_object and not is_rf_detr else "sigmoid"
    if _is_share(rank_3[logits]):
        scores = "ready"
    decoder = DetrQueriesDecoder(n_columns - has_no_object, scores)
    if is_rf_detr or scores == "softmax":
        return Match(decoder, (logits, boxes), (32,), _IMAGENET, (104, 116, 124))
    return Match(decoder, (logits, boxes))


def _match_detr_joined(evidence: Evidence) -> Match | None:
    """Boxes and scores side by side in one output, as Ultralytics exports RT-DETR."""
    single = _single(evidence, 3)
    if single is None:
        return None
    name, value = single
    n_classes = value.shape[2] - 4
    is_expected = evidence.is_forced or n_classes == len(evidence.names or COCO_80)
    if not is_expected or not evidence.fits(n_classes) or not _is_share(value):
        return None
    return Match(DetrQueriesDecoder(n_classes, "ready"), (name,))


def _is_share(values: NDArray[Any]) -> bool:
    """All values lie in [0, 1], give or take rounding."""
    return bool(np.all((values >= -0.01) & (values <= 1.01)))


def _match_nanodet(evidence: Evidence) -> Match | None:
    single = _single(evidence, 3)
    if single is not None:
        return _match_nanodet_plus(evidence, *single)
    levels = list(evidence.outputs.items())
    strides = next((s for s in PYRAMIDS if 2 * len(s) == len(levels)), None)
    if strides is None or any(value.ndim not in {2, 3} for _, value in levels):
        return None
    levels.sort(key=lambda level: -level[1].shape[-2])
    bins = [(name, value) for name, value in levels if value.shape[-1] == _BOX_BINS]
    scores = [(name, value) for name, value in levels if value.shape[-1] != _BOX_BINS]
    expected = [n_cells(evidence.size, (stride,)) for stride in strides]
    if any([value.shape[-2] for _, value in part] != expected for part in (scores, bins)):
        return None
    n_classes = scores[0][1].shape[-1]
    if any(value.shape[-1] != n_classes for _, value in scores) or not evidence.fits(n_classes):
        return None
    return Match(NanodetDecoder(n_classes, strides), tuple(name for name, _ in (*scores, *bins)), strides)


def _match_nanodet_plus(evidence: Evidence, name: str, value: NDArray[Any]) -> Match | None:
    strides = (8, 16, 32, 64)
    n_classes = value.shape[2] - _BOX_BINS
    is_expected = evidence.is_forced or n_classes == len(evidence.names or COCO_80)
    if not is_expected or value.shape[1] != n_cells(evidence.size, strides) or not evidence.fits(n_classes):
        return None
    return Match(NanodetDecoder(n_classes, strides, centre=0.0), (name,), strides)


def _match_fastestdet(evidence: Evidence) -> Match | None:
    single = _single(evidence, 4)
    if single is None:
        return None
    name, value = single
    n_classes = value.shape[1] - 5
    stride = next((s for s in (8, 16, 32) if value.shape[2:] == _map_shape(evidence.size, s)), None)
    if stride is None or not evidence.fits(n_classes):
        return None
    # A segmentation model's logits have this shape too, but are no probabilities.
    if not _is_share(value[:, 0]) or not _is_share(value[:, 5:]):
        return None
    return Match(FastestDetDecoder(n_classes), (name,), (stride,))


def _map_shape(size: Size, stride: int) -> tuple[int, int]:
    return -(-size.height // stride), -(-size.width // stride)


_GREY = (114, 114, 114)

FAMILIES: Mapping[FamilyName, Family] = {
    "detr": Family(
        "labels [b,Q], boxes [b,Q,4] and scores [b,Q] with an `orig_target_sizes` input; or logits [b,Q,C] "
        "and boxes [b,Q,4]",
        _match_detr,
        _RGB_UNIT,
        _GREY,
        None,
    ),
    "nanodet": Family(
        "scores [N,C] and distances [N,32] for strides 8, 16, 32; or [b,N,C+32] for strides 8 to 64",
        _match_nanodet,
        _NANODET,
        (0, 0, 0),
        0.6,
    ),
    "fastestdet": Family("[b,5+C,h,w]", _match_fastestdet, _BGR_UNIT, _GREY, 0.45),
    "yolo-end2end": Family("[b,N,6]", _match_end_to_end, _RGB_UNIT, _GREY, None),
    "yolov8": Family("[b,4+C,N], N cells of strides 8, 16, 32", _match_yolov8, _RGB_UNIT, _GREY, 0.6),
    "yolo": Family("[b,N,5+C], N three for each cell", _match_yolo, _RGB_UNIT, _GREY, 0.6),
    "yolox": Family("[b,N,5+C], N cells of strides 8, 16, 32", _match_yolox, Preprocessing(), _GREY, 0.6),
}
"""In the order in which they are tried."""
