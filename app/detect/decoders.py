"""Decoders: from the raw outputs of one model family to detections in canvas pixels.

A decoder gets only the outputs it asked for, none in half precision, for a batch of canvases of one size. It
keeps no state, and works out boxes only for the few predictions that reach the score floor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.types import CanvasDetections, Size
from app.detect.grid import locate
from app.detect.selection import (
    FloatArray,
    Thresholds,
    by_class,
    by_listed_class,
    by_objectness,
    settle,
    sigmoid,
)

Outputs = Sequence[NDArray[Any]]

_MAX_LOG_SIZE = 12.0
"""exp(12) cells is wider than any canvas; beyond, float32 would overflow."""

_DISTANCE_BINS = 8


class Decoder(Protocol):
    """Turns the raw outputs of a batch into detections, canvas by canvas."""

    @property
    def n_classes(self) -> int: ...

    def __call__(self, outputs: Outputs, size: Size, thresholds: Thresholds) -> list[CanvasDetections]:
        """Decode a batch of canvases, all of one `size`."""
        ...


def corners(centre_size: FloatArray) -> FloatArray:
    """Boxes xyxy (K, 4) from centre x, centre y, width, height (K, 4)."""
    half = centre_size[:, 2:] * np.float32(0.5)
    return np.concatenate([centre_size[:, :2] - half, centre_size[:, :2] + half], axis=1)


@dataclass(frozen=True, slots=True)
class YoloxDecoder:
    """YOLOX: (B, N, 5 + C), offsets from the cell, log sizes in cells, objectness and classes in [0, 1].

    Source: Ge et al., YOLOX (2021), 2.1: anchor-free head with decoupled objectness.
    """

    n_classes: int
    strides: tuple[int, ...] = (8, 16, 32)

    def __call__(self, outputs: Outputs, size: Size, thresholds: Thresholds) -> list[CanvasDetections]:
        found = []
        for rows in outputs[0]:
            candidates = by_objectness(rows[:, 4], rows[:, 5:], thresholds)
            cells, stride = locate(candidates.indices, size, self.strides)
            raw = rows[candidates.indices, :4]
            centre = (raw[:, :2] + cells) * stride
            extent = np.exp(np.minimum(raw[:, 2:], np.float32(_MAX_LOG_SIZE))) * stride
            boxes = corners(np.concatenate([centre, extent], axis=1))
            found.append(settle(candidates, boxes, size, thresholds))
        return found


@dataclass(frozen=True, slots=True)
class YoloDecoder:
    """YOLOv5, v6, v7: (B, N, 5 + C), decoded in the graph: centre and size in pixels, objectness, classes."""

    n_classes: int

    def __call__(self, outputs: Outputs, size: Size, thresholds: Thresholds) -> list[CanvasDetections]:
        found = []
        for rows in outputs[0]:
            candidates = by_objectness(rows[:, 4], rows[:, 5:], thresholds)
            boxes = corners(rows[candidates.indices, :4])
            found.append(settle(candidates, boxes, size, thresholds))
        return found


@dataclass(frozen=True, slots=True)
class YoloV8Decoder:
    """YOLOv8, v9, 11: (B, 4 + C, N), centre and size in pixels, then class scores; no objectness."""

    n_classes: int

    def __call__(self, outputs: Outputs, size: Size, thresholds: Thresholds) -> list[CanvasDetections]:
        found = []
        for channels in outputs[0]:
            candidates = by_class(channels[4:].T, thresholds)
            boxes = corners(channels[:4, candidates.indices].T)
            found.append(settle(candidates, boxes, size, thresholds))
        return found


@dataclass(frozen=True, slots=True)
class EndToEndDecoder:
    """YOLOv10, YOLO26 and exports with suppression in the graph: (B, N, 6), xyxy in pixels, score, class."""

    n_classes: int

    def __call__(self, outputs: Outputs, size: Size, thresholds: Thresholds) -> list[CanvasDetections]:
        found = []
        for rows in outputs[0]:
            candidates = by_listed_class(rows[:, 4], rows[:, 5], self.n_classes, thresholds)
            found.append(settle(candidates, rows[candidates.indices, :4], size, thresholds))
        return found


@dataclass(frozen=True, slots=True)
class DetrResultsDecoder:
    """RT-DETR, D-FINE, DEIM with their post-processing: labels (B, Q), boxes (B, Q, 4) xyxy, scores (B, Q).

    The boxes are in pixels of the size that the graph was told, which is the canvas's.
    """

    n_classes: int

    def __call__(self, outputs: Outputs, size: Size, thresholds: Thresholds) -> list[CanvasDetections]:
        found = []
        for labels, boxes, scores in zip(*outputs, strict=True):
            candidates = by_listed_class(scores, labels, self.n_classes, thresholds)
            found.append(settle(candidates, boxes[candidates.indices], size, thresholds))
        return found


QueryScores = Literal["sigmoid", "softmax", "ready"]


@dataclass(frozen=True, slots=True)
class DetrQueriesDecoder:
    """Raw DETR heads: class logits (B, Q, C or more) and boxes (B, Q, 4).

    A box is its centre and size as shares of the canvas. The two may come as one output (B, Q, 4 + C), boxes
    first.
    """

    n_classes: int
    """Class columns that mean something; a "no object" column may follow them."""
    scores: QueryScores = "sigmoid"
    """What turns logits into scores; `ready` if the graph did it."""

    def __call__(self, outputs: Outputs, size: Size, thresholds: Thresholds) -> list[CanvasDetections]:
        joined = outputs[0]
        pair = outputs if len(outputs) == 2 else (joined[..., 4:], joined[..., :4])
        unit = np.array([size.width, size.height] * 2, np.float32)
        found = []
        for logits, boxes in zip(*pair, strict=True):
            if self.scores == "softmax":
                candidates = by_class(softmax(logits)[:, : self.n_classes], thresholds)
            else:
                activation = sigmoid if self.scores == "sigmoid" else None
                candidates = by_class(logits[:, : self.n_classes], thresholds, activation)
            found.append(settle(candidates, corners(boxes[candidates.indices]) * unit, size, thresholds))
        return found


@dataclass(frozen=True, slots=True)
class NanodetDecoder:
    """NanoDet: for each stride class scores (N, C), and distances (N, 32) to the four sides as 8 bins each.

    The levels' scores, then their distances; or all in one output (B, N, C + 32) as NanoDet-Plus has it.

    Source: Li et al., Generalized Focal Loss (2020): a distance is the mean of a distribution.
    """

    n_classes: int
    strides: tuple[int, ...] = (8, 16, 32)
    centre: float = 0.5
    """Where in its cell a prediction's anchor point lies: 0.5, or 0 (the corner) in NanoDet-Plus."""

    def __call__(self, outputs: Outputs, size: Size, thresholds: Thresholds) -> list[CanvasDetections]:
        if len(outputs) == 1:
            scores, bins = outputs[0][..., : self.n_classes], outputs[0][..., self.n_classes :]
        else:
            levels = [level if level.ndim == 3 else level[None] for level in outputs]
            scores = np.concatenate(levels[: len(levels) // 2], axis=1)
            bins = np.concatenate(levels[len(levels) // 2 :], axis=1)
        return [self._decode_one(*canvas, size, thresholds) for canvas in zip(scores, bins, strict=True)]

    def _decode_one(self, scores: FloatArray, bins: FloatArray, size: Size, thresholds: Thresholds) -> CanvasDetections:
        candidates = by_class(scores, thresholds)
        cells, stride = locate(candidates.indices, size, self.strides)
        share = softmax(bins[candidates.indices].reshape(-1, 4, _DISTANCE_BINS))
        distances = (share @ np.arange(_DISTANCE_BINS, dtype=np.float32)) * stride
        centres = (cells + np.float32(self.centre)) * stride
        boxes = np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1)
        return settle(candidates, boxes, size, thresholds)


@dataclass(frozen=True, slots=True)
class FastestDetDecoder:
    """FastestDet: one map (B, 5 + C, rows, columns): objectness, offset, size, classes.

    Centre = cell + tanh(offset), size = sigmoid as a share of the canvas; score = objectness^0.6 · class^0.4.
    """

    n_classes: int

    def __call__(self, outputs: Outputs, size: Size, thresholds: Thresholds) -> list[CanvasDetections]:
        found = []
        n_columns = outputs[0].shape[3]
        cell = np.array([size.width / n_columns, size.height / outputs[0].shape[2]], np.float32)
        for channels in outputs[0]:
            rows = channels.reshape(len(channels), -1).T
            candidates = by_objectness(rows[:, 0], rows[:, 5:], thresholds, powers=(0.6, 0.4))
            row, column = np.divmod(candidates.indices, n_columns)
            raw = rows[candidates.indices, 1:5]
            centre = (np.tanh(raw[:, :2]) + np.stack([column, row], axis=1).astype(np.float32)) * cell
            extent = sigmoid(raw[:, 2:]) * np.array(size, np.float32)
            boxes = corners(np.concatenate([centre, extent], axis=1))
            found.append(settle(candidates, boxes, size, thresholds))
        return found


def softmax(logits: FloatArray) -> FloatArray:
    """Shares along the last axis, summing to 1."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: FloatArray = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32, copy=False)
    return shares
