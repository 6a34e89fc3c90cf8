"""Public weights on real frames: recognition, accuracy, agreement. Skipped where they are not at hand."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.core import boxes as box_geometry
from app.core.types import CanvasDetections, Size
from app.detect.class_names import COCO_80
from app.detect.detector import NetworkDetector
from tests.detect.conftest import on_processor

Frames = dict[int, NDArray[np.uint8]]
PERSON = 0


def letterbox(
    picture: NDArray[np.uint8], size: Size, pad_value: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], float]:
    """The whole picture at the top left of a canvas (1, H, W, 3), and canvas pixels per picture pixel."""
    height, width = picture.shape[:2]
    scale = min(size.width / width, size.height / height)
    canvas = np.empty((1, size.height, size.width, 3), np.uint8)
    canvas[:] = pad_value
    inner = (round(width * scale), round(height * scale))
    canvas[0, : inner[1], : inner[0]] = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA)
    return canvas, scale


def recall_of(
    detector: NetworkDetector, size: Size, street: Frames, people: NDArray[np.float32]
) -> tuple[float, float]:
    """Share of people found with an overlap of at least a half, and mean overlap of those."""
    overlaps = []
    for number, picture in street.items():
        canvas, scale = letterbox(picture, size, detector.pad_value)
        (found,) = detector.detect(canvas)
        boxes = found.boxes[found.class_ids == PERSON] / np.float32(scale)
        truth = people[people[:, 0] == number, 1:]
        overlaps += box_geometry.iou(truth, boxes).max(axis=1, initial=0).tolist()
    hits = [overlap for overlap in overlaps if overlap >= 0.5]
    return len(hits) / len(overlaps), float(np.mean(hits))


def agree(a: CanvasDetections, b: CanvasDetections, atol_px: float) -> None:
    assert a.class_ids.tolist() == b.class_ids.tolist()
    np.testing.assert_allclose(a.boxes, b.boxes, atol=atol_px)
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-3)


class Case(NamedTuple):
    file: str
    family: str
    size: Size
    recall: float
    """Measured on these frames, less two people of 34."""


CASES = [
    Case("yolox_nano_dynamic", "yolox", Size(640, 384), 0.79),
    Case("yolox_nano_dynamic", "yolox", Size(960, 544), 0.79),
    Case("yolox_nano_416", "yolox", Size(416, 416), 0.79),
    Case("nanodet_m_320", "nanodet", Size(320, 320), 0.79),
    Case("nanodet_m_416", "nanodet", Size(416, 416), 0.76),
    Case("fastestdet_352", "fastestdet", Size(352, 352), 0.64),
    Case("yolov8n_int8_320", "yolov8", Size(320, 320), 0.76),
    Case("yolo11n_int8_320", "yolov8", Size(320, 320), 0.73),
    Case("yolov8n_int8_640", "yolov8", Size(640, 640), 0.79),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.file}-{case.size}")
def test_people_are_found_where_they_are(
    case: Case, weights: Path, street: Frames, people: NDArray[np.float32]
) -> None:
    detector = on_processor(weights / f"{case.file}.onnx")
    assert detector.family == case.family
    assert detector.class_names == COCO_80
    assert detector.input_sizes.accepts(case.size)
    recall, overlap = recall_of(detector, case.size, street, people)
    assert recall >= case.recall
    assert overlap >= 0.7


@pytest.fixture(scope="module")
def yolox(weights: Path) -> NetworkDetector:
    return on_processor(weights / "yolox_nano_dynamic.onnx")


def test_dynamic_and_fixed_exports_agree(yolox: NetworkDetector, weights: Path, street: Frames) -> None:
    fixed = on_processor(weights / "yolox_nano_416.onnx")
    for picture in street.values():
        canvas, _ = letterbox(picture, Size(416, 416), yolox.pad_value)
        agree(yolox.detect(canvas)[0], fixed.detect(canvas)[0], atol_px=0.5)


def test_a_batch_agrees_with_its_canvases_alone(yolox: NetworkDetector, street: Frames) -> None:
    canvases = [letterbox(picture, Size(416, 256), yolox.pad_value)[0] for picture in street.values()]
    together = yolox.detect(np.concatenate(canvases))
    for canvas, found in zip(canvases, together, strict=True):
        agree(yolox.detect(canvas)[0], found, atol_px=0.1)


def test_results_repeat_and_threads_do_not_change_them(yolox: NetworkDetector, street: Frames) -> None:
    canvases = [
        letterbox(picture, size, yolox.pad_value)[0]
        for picture in street.values()
        for size in (Size(320, 192), Size(416, 256))
    ]
    alone = [yolox.detect(canvas)[0] for canvas in canvases]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(yolox.detect, canvases))
    for a, (b,) in zip(alone, together, strict=True):
        assert np.array_equal(a.boxes, b.boxes)
        assert np.array_equal(a.scores, b.scores)


def test_a_grey_canvas_is_empty(yolox: NetworkDetector) -> None:
    canvas = np.full((1, 384, 640, 3), yolox.pad_value, np.uint8)
    assert len(yolox.detect(canvas)[0]) == 0
