"""The decoders' inverse: objects written as the raw outputs that each model family would have for them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.types import Size

FloatArray = NDArray[np.float32]
STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Objects:
    """What is on a canvas."""

    boxes: FloatArray
    """(K, 4) xyxy in pixels."""
    scores: FloatArray
    """(K,)."""
    class_ids: NDArray[np.int32]
    """(K,)."""

    @property
    def centre_size(self) -> FloatArray:
        low, high = self.boxes[:, :2], self.boxes[:, 2:]
        return np.concatenate([(low + high) / 2, high - low], axis=1).astype(np.float32)

    def one_hot(self, n_classes: int, scores: FloatArray | None = None) -> FloatArray:
        """(K, C): each object's score in its class's column."""
        table = np.zeros((len(self.scores), n_classes), np.float32)
        table[np.arange(len(self.scores)), self.class_ids] = self.scores if scores is None else scores
        return table


def cells(size: Size, strides: tuple[int, ...] = STRIDES) -> FloatArray:
    """(N, 3): column, row and stride of every cell."""
    rows = [
        (column, row, stride)
        for stride in strides
        for row in range(-(-size.height // stride))
        for column in range(-(-size.width // stride))
    ]
    return np.array(rows, np.float32)


def _places(objects: Objects, n_places: int) -> NDArray[np.intp]:
    """A different prediction for each object, spread over all levels."""
    return np.linspace(0, n_places - 1, len(objects.scores)).astype(np.intp)


def yolox(objects: Objects, size: Size, n_classes: int, strides: tuple[int, ...] = STRIDES) -> list[FloatArray]:
    grid = cells(size, strides)
    raw = np.zeros((1, len(grid), 5 + n_classes), np.float32)
    at = _places(objects, len(grid))
    raw[0, at, :2] = objects.centre_size[:, :2] / grid[at, 2:] - grid[at, :2]
    raw[0, at, 2:4] = np.log(objects.centre_size[:, 2:] / grid[at, 2:])
    raw[0, at, 4] = np.sqrt(objects.scores)
    raw[0, at, 5:] = objects.one_hot(n_classes, np.sqrt(objects.scores))
    return [raw]


def yolo(objects: Objects, size: Size, n_classes: int, per_cell: int = 3) -> list[FloatArray]:
    grid = cells(size)
    raw = np.zeros((1, per_cell * len(grid), 5 + n_classes), np.float32)
    raw[0, :, :2] = np.tile((grid[:, :2] + 0.5) * grid[:, 2:], (per_cell, 1))
    at = _places(objects, raw.shape[1])
    raw[0, at, :4] = objects.centre_size
    raw[0, at, 4] = np.sqrt(objects.scores)
    raw[0, at, 5:] = objects.one_hot(n_classes, np.sqrt(objects.scores))
    return [raw]


def yolov6(objects: Objects, size: Size, n_classes: int) -> list[FloatArray]:
    (raw,) = yolo(objects, size, n_classes, per_cell=1)
    raw[..., 5:] *= raw[..., 4:5]
    raw[..., 4] = 1
    return [raw]


def yolov8(objects: Objects, size: Size, n_classes: int) -> list[FloatArray]:
    raw = np.zeros((1, 4 + n_classes, len(cells(size))), np.float32)
    at = _places(objects, raw.shape[2])
    raw[0, :4, at] = objects.centre_size
    raw[0, 4:, at] = objects.one_hot(n_classes)
    return [raw]


def end_to_end(objects: Objects, size: Size, n_classes: int) -> list[FloatArray]:
    raw = np.zeros((1, 300, 6), np.float32)
    raw[0, : len(objects.scores)] = np.column_stack([objects.boxes, objects.scores, objects.class_ids])
    return [raw]


def detr_queries(objects: Objects, size: Size, n_classes: int) -> list[FloatArray]:
    logits = np.full((1, 30, n_classes), -9, np.float32)
    boxes = np.full((1, 30, 4), 0.5, np.float32)
    at = _places(objects, 30)
    scores = objects.one_hot(n_classes).clip(1e-4, 1 - 1e-6)
    logits[0, at] = np.log(scores / (1 - scores))
    boxes[0, at] = objects.centre_size / np.array([*size, *size], np.float32)
    return [logits, boxes]


def detr_joined(objects: Objects, size: Size, n_classes: int) -> list[FloatArray]:
    logits, boxes = detr_queries(objects, size, n_classes)
    return [np.concatenate([boxes, 1 / (1 + np.exp(-logits))], axis=2).astype(np.float32)]


def _distance_logits(distances: FloatArray) -> FloatArray:
    """(K, 32) whose softmax over each side's 8 bins has the mean `distances` (K, 4), each 0 to 7."""
    bins = np.arange(8, dtype=np.float32)
    share = np.maximum(0, 1 - np.abs(distances[..., None] - bins))
    logits = np.log(np.maximum(share, 1e-9))
    return logits.reshape(len(distances), 32).astype(np.float32)


def _nanodet(
    objects: Objects, size: Size, n_classes: int, strides: tuple[int, ...], centre: float
) -> tuple[FloatArray, FloatArray]:
    grid = cells(size, strides)
    scores = np.zeros((len(grid), n_classes), np.float32)
    bins = np.zeros((len(grid), 32), np.float32)
    anchors = (grid[:, :2] + centre) * grid[:, 2:]
    for box, score, class_id in zip(objects.boxes, objects.scores, objects.class_ids, strict=True):
        sides = np.concatenate([anchors - box[:2], box[2:] - anchors], axis=1) / grid[:, 2:]
        can_reach = (sides >= 0).all(axis=1) & (sides <= 7).all(axis=1) & (scores.max(axis=1) == 0)
        index = int(np.flatnonzero(can_reach)[0])
        scores[index, class_id] = score
        bins[index] = _distance_logits(sides[None, index].astype(np.float32))[0]
    return scores, bins


def nanodet(objects: Objects, size: Size, n_classes: int) -> list[FloatArray]:
    scores, bins = _nanodet(objects, size, n_classes, STRIDES, 0.5)
    levels = [cells(size)[:, 2] == stride for stride in STRIDES]
    return [scores[level] for level in levels] + [bins[level] for level in levels]


def nanodet_plus(objects: Objects, size: Size, n_classes: int) -> list[FloatArray]:
    scores, bins = _nanodet(objects, size, n_classes, (8, 16, 32, 64), 0.0)
    return [np.concatenate([scores, bins], axis=1)[None]]


def fastestdet(objects: Objects, size: Size, n_classes: int) -> list[FloatArray]:
    raw = np.zeros((1, 5 + n_classes, size.height // 16, size.width // 16), np.float32)
    raw[0, 3:5] = -3
    for (x, y, width, height), score, class_id in zip(
        objects.centre_size, objects.scores, objects.class_ids, strict=True
    ):
        # An offset reaches one cell to either side, so that a taken cell can be avoided.
        column, row = next(
            (c, r)
            for c in (int(x // 16), int(x // 16) + 1)
            for r in (int(y // 16), int(y // 16) + 1)
            if r < raw.shape[2] and c < raw.shape[3] and raw[0, 0, r, c] == 0
        )
        raw[0, 0, row, column] = score
        offset = np.clip(np.array([x / 16 - column, y / 16 - row]), -0.99999, 0.99999)
        raw[0, 1:3, row, column] = np.arctanh(offset)
        share = np.array([width / size.width, height / size.height]).clip(1e-6, 1 - 1e-6)
        raw[0, 3:5, row, column] = np.log(share / (1 - share))
        raw[0, 5 + class_id, row, column] = score
    return [raw]


Encoder = Callable[[Objects, Size, int], list[FloatArray]]
