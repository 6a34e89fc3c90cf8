"""What scores are worth."""

import numpy as np
import pytest

from app.core.types import CanvasBoxes, CanvasDetections
from app.offline.detector.calibration import Curve, calibrate_on
from app.offline.detector.labels import CLASSES
from app.offline.detector.scenes import Scene

SLOPE, OFFSET = 3.0, 1.5


class Overrated:
    """Says of each box how likely it is right, distorted; boxes that are right lie on an object."""

    class_names = CLASSES

    def __init__(self, scenes: list[Scene], n_wrong: int) -> None:
        self._random = np.random.default_rng(3)
        self._scenes, self._n_wrong = iter(scenes), n_wrong

    def detect(self, canvases: np.ndarray) -> list[CanvasDetections]:
        boxes = next(self._scenes).boxes
        chance = self._random.uniform(0.02, 0.98, len(boxes))
        is_right = self._random.random(len(boxes)) < chance
        placed = np.where(is_right[:, None], boxes, boxes + 500)
        raw = (np.log(chance / (1 - chance)) - OFFSET) / SLOPE
        scores = 1 / (1 + np.exp(-raw))
        order = np.argsort(-scores)[: None if self._n_wrong else 5]
        return [
            CanvasDetections(
                CanvasBoxes(placed[order].astype(np.float32)),
                scores[order].astype(np.float32),
                np.zeros(len(order), np.int32),
            )
        ]


def scenes(n: int, n_objects: int = 60) -> list[Scene]:
    x = np.arange(n_objects) % 10 * 60.0
    y = np.arange(n_objects) // 10 * 60.0
    boxes = np.stack([x, y, x + 40, y + 50], axis=1).astype(np.float32)
    pixels = np.zeros((1000, 1200, 3), np.uint8)
    return [Scene(pixels, boxes, np.zeros(n_objects, np.int64), np.zeros((0, 4), np.float32)) for _ in range(n)]


def test_distorted_chances_are_put_right() -> None:
    given = scenes(60)
    people, vehicles = calibrate_on(Overrated(given, 1), given)  # type: ignore[arg-type]
    assert people.slope == pytest.approx(SLOPE, rel=0.08)
    assert people.offset == pytest.approx(OFFSET, abs=0.15)
    assert vehicles == Curve(), "none was seen"


def test_of_too_few_boxes_nothing_is_learned() -> None:
    given = scenes(2)
    assert calibrate_on(Overrated(given, 0), given) == (Curve(), Curve())  # type: ignore[arg-type]
