"""Each decoder against its inverse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.types import Size
from app.detect.decoders import (
    Decoder,
    DetrQueriesDecoder,
    DetrResultsDecoder,
    EndToEndDecoder,
    FastestDetDecoder,
    NanodetDecoder,
    YoloDecoder,
    YoloV8Decoder,
    YoloxDecoder,
    softmax,
)
from app.detect.selection import Thresholds
from tests.detect import encoders
from tests.detect.encoders import Encoder, Objects

N_CLASSES = 4
SIZE = Size(192, 128)

PAIRS: dict[str, tuple[Encoder, Decoder]] = {
    "yolox": (encoders.yolox, YoloxDecoder(N_CLASSES)),
    "yolo": (encoders.yolo, YoloDecoder(N_CLASSES)),
    "yolov8": (encoders.yolov8, YoloV8Decoder(N_CLASSES)),
    "end to end": (encoders.end_to_end, EndToEndDecoder(N_CLASSES)),
    "detr queries": (encoders.detr_queries, DetrQueriesDecoder(N_CLASSES)),
    "detr joined": (encoders.detr_joined, DetrQueriesDecoder(N_CLASSES, "ready")),
    "nanodet": (encoders.nanodet, NanodetDecoder(N_CLASSES)),
    "nanodet plus": (encoders.nanodet_plus, NanodetDecoder(N_CLASSES, (8, 16, 32, 64), centre=0.0)),
    "fastestdet": (encoders.fastestdet, FastestDetDecoder(N_CLASSES)),
}


@st.composite
def objects(draw: st.DrawFn) -> Objects:
    """Up to four objects of different classes and scores, each at least 64 pixels wide and high."""
    n = draw(st.integers(0, N_CLASSES))
    boxes = []
    for _ in range(n):
        x1 = draw(st.integers(0, SIZE.width - 66))
        y1 = draw(st.integers(0, SIZE.height - 66))
        boxes.append((x1, y1, draw(st.integers(x1 + 65, SIZE.width)), draw(st.integers(y1 + 65, SIZE.height))))
    return Objects(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.2, n, dtype=np.float32),
        np.array(draw(st.permutations(range(N_CLASSES)))[:n], np.int32),
    )


@pytest.mark.parametrize("family", PAIRS)
@given(truth=objects())
def test_decoding_recovers_what_was_encoded(family: str, truth: Objects) -> None:
    encode, decode = PAIRS[family]
    (found,) = decode(encode(truth, SIZE, N_CLASSES), SIZE, Thresholds())
    assert found.class_ids.tolist() == truth.class_ids.tolist()
    np.testing.assert_allclose(found.scores, truth.scores, atol=1e-3)
    np.testing.assert_allclose(found.boxes, truth.boxes, atol=0.05)
    assert found.boxes.dtype == found.scores.dtype == np.dtype(np.float32)
    assert found.class_ids.dtype == np.dtype(np.int32)


@pytest.mark.parametrize("family", PAIRS)
def test_canvases_of_a_batch_are_decoded_each_by_itself(family: str) -> None:
    encode, decode = PAIRS[family]
    first = Objects(np.array([[10, 10, 90, 100]], np.float32), np.array([0.8], np.float32), np.array([1], np.int32))
    second = Objects(np.array([[90, 20, 180, 110]], np.float32), np.array([0.6], np.float32), np.array([3], np.int32))
    outputs = [
        np.concatenate([a if a.ndim > 2 else a[None], b if b.ndim > 2 else b[None]])
        for a, b in zip(encode(first, SIZE, N_CLASSES), encode(second, SIZE, N_CLASSES), strict=True)
    ]
    found = decode(outputs, SIZE, Thresholds())
    for one, truth in zip(found, (first, second), strict=True):
        assert one.class_ids.tolist() == truth.class_ids.tolist()
        np.testing.assert_allclose(one.boxes, truth.boxes, atol=0.05)


def test_p6_models_have_a_fourth_map() -> None:
    truth = Objects(
        np.array([[0, 0, 20, 30], [50, 40, 190, 120]], np.float32),
        np.array([0.9, 0.5], np.float32),
        np.array([0, 2], np.int32),
    )
    strides = (8, 16, 32, 64)
    raw = encoders.yolox(truth, SIZE, N_CLASSES, strides)
    (found,) = YoloxDecoder(N_CLASSES, strides)(raw, SIZE, Thresholds())
    np.testing.assert_allclose(found.boxes, truth.boxes, atol=0.01)


def test_huge_log_sizes_neither_overflow_nor_leave_the_canvas() -> None:
    raw = np.zeros((1, len(encoders.cells(SIZE)), 5 + N_CLASSES), np.float32)
    raw[0, 7, 2:] = [1e9, 1e9, 1, 1, 0, 0, 0]
    (found,) = YoloxDecoder(N_CLASSES)([raw], SIZE, Thresholds())
    assert found.boxes.tolist() == [[0, 0, 192, 128]]


def test_results_of_detr_are_taken_as_they_are() -> None:
    labels = np.array([[2, 9, 0]], np.int64)
    boxes = np.array([[[1, 2, 30, 40], [0, 0, 5, 5], [3, 3, 9, 9]]], np.float32)
    scores = np.array([[0.5, 0.9, 0.01]], np.float32)
    (found,) = DetrResultsDecoder(N_CLASSES)([labels, boxes, scores], SIZE, Thresholds())
    assert found.class_ids.tolist() == [2]
    assert found.boxes.tolist() == [[1, 2, 30, 40]]


def test_the_no_object_column_is_no_class() -> None:
    logits = np.array([[[0, 0, 0, 0, 8], [6, 0, 0, 0, 0]]], np.float32)
    boxes = np.full((1, 2, 4), 0.5, np.float32)
    (found,) = DetrQueriesDecoder(N_CLASSES, "softmax")([logits, boxes], SIZE, Thresholds())
    assert found.class_ids.tolist() == [0]
    assert found.scores[0] == pytest.approx(softmax(logits)[0, 1, 0])


def test_nothing_above_the_floor_gives_nothing() -> None:
    nothing = Objects(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))
    for encode, decode in PAIRS.values():
        (found,) = decode(encode(nothing, SIZE, N_CLASSES), SIZE, Thresholds())
        assert len(found) == 0
        assert found.boxes.shape == (0, 4)
