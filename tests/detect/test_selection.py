"""Score floor, duplicates, clipping."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.core.boxes import iou, suppress
from app.core.errors import SettingsError
from app.core.types import Size
from app.detect.selection import Thresholds, by_class, by_listed_class, by_objectness, settle, sigmoid

_unit = st.floats(0, 1, width=32)
_table = arrays.arrays(np.float32, st.tuples(st.integers(0, 40), st.integers(1, 6)), elements=_unit)


@given(_table)
def test_every_row_above_the_floor_is_a_candidate_in_its_best_class(scores: np.typing.NDArray[np.float32]) -> None:
    found = by_class(scores, Thresholds(score_floor=0.3))
    assert sorted(found.indices) == [row for row in range(len(scores)) if scores[row].max() >= np.float32(0.3)]
    assert np.array_equal(found.scores, scores[found.indices].max(axis=1))
    assert np.array_equal(found.class_ids, scores[found.indices].argmax(axis=1))
    assert np.all(np.diff(found.scores) <= 0)


@given(_table, _unit)
def test_skipping_rows_by_objectness_loses_nothing(scores: np.typing.NDArray[np.float32], floor: float) -> None:
    objectness, classes = scores[:, 0], scores
    found = by_objectness(objectness, classes, Thresholds(score_floor=min(floor, 0.9)))
    product = by_class(objectness[:, None] * classes, Thresholds(score_floor=min(floor, 0.9)))
    assert np.array_equal(found.indices, product.indices)
    assert np.array_equal(found.scores, product.scores)


def test_candidates_beyond_the_limit_are_the_weakest() -> None:
    scores = np.linspace(0.1, 0.9, 500, dtype=np.float32)[:, None]
    found = by_class(scores, Thresholds(max_candidates=20))
    assert np.array_equal(found.indices, np.arange(499, 479, -1))


def test_not_a_number_is_no_candidate() -> None:
    scores = np.array([[np.nan], [0.5]], np.float32)
    assert by_class(scores, Thresholds()).indices.tolist() == [1]
    assert by_objectness(scores[:, 0], np.ones((2, 1), np.float32), Thresholds()).indices.tolist() == [1]


def test_classes_without_a_name_are_dropped() -> None:
    found = by_listed_class(np.full(4, 0.5, np.float32), np.array([-1, 0, 2, 3], np.float32), 3, Thresholds())
    assert found.class_ids.tolist() == [0, 2]


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(0, 30), st.just(4)), elements=st.floats(-200, 200, width=32)),
    st.integers(0, 2**32 - 1),
)
def test_what_remains_lies_on_the_canvas_strongest_first(boxes: np.typing.NDArray[np.float32], seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.random((len(boxes), 3), np.float32)
    thresholds = Thresholds(nms_iou=0.5)
    candidates = by_class(scores, thresholds)
    found = settle(candidates, boxes[candidates.indices], Size(100, 60), thresholds)
    assert np.all(found.boxes >= 0)
    assert np.all(found.boxes <= [100, 60, 100, 60])
    assert np.all(found.boxes[:, 2:] > found.boxes[:, :2])
    assert np.all(np.diff(found.scores) <= 0)
    assert len(found.boxes) == len(found.scores) == len(found.class_ids)


def test_duplicates_go_only_within_a_class_and_the_strongest_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10]], np.float32)
    scores = np.array([[0.5, 0], [0.9, 0], [0, 0.7]], np.float32)
    candidates = by_class(scores, Thresholds())
    boxes = boxes[candidates.indices]
    assert iou(boxes, boxes).min() >= 0.9
    found = settle(candidates, boxes, Size(32, 32), Thresholds())
    assert found.class_ids.tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])
    assert len(settle(candidates, boxes, Size(32, 32), Thresholds(nms_iou=None))) == 3


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 300), decimals=st.integers(1, 6))
def test_suppression_in_opencv_is_the_one_of_core(seed: int, n: int, decimals: int) -> None:
    random = np.random.default_rng(seed)
    centres = random.uniform(-200, 300, (n // 5 + 1, 2))[random.integers(0, n // 5 + 1, n)]
    low = centres + random.normal(0, 6, (n, 2))
    boxes = np.concatenate([low, low + random.uniform(20, 60, (n, 2))], axis=1).astype(np.float32)
    table = np.round(random.uniform(0, 1, (n, 2)), decimals).astype(np.float32)
    thresholds = Thresholds(score_floor=0.0)
    candidates = by_class(table, thresholds)
    found = settle(candidates, boxes[candidates.indices], Size(1000, 1000), thresholds)
    boxes = boxes[candidates.indices]
    kept = suppress(boxes, candidates.scores, candidates.class_ids, 0.6)
    expected = boxes[kept].clip(0, 1000)
    is_inside = (expected[:, 2:] > expected[:, :2]).all(axis=1)
    assert np.array_equal(found.boxes, expected[is_inside])
    assert np.array_equal(found.scores, candidates.scores[kept][is_inside])
    assert np.array_equal(found.class_ids, candidates.class_ids[kept][is_inside])


def test_boxes_that_are_not_finite_are_dropped() -> None:
    candidates = by_class(np.full((2, 1), 0.5, np.float32), Thresholds())
    boxes = np.array([[0, 0, np.inf, 5], [0, 0, 5, np.nan]], np.float32)
    assert len(settle(candidates, boxes, Size(32, 32), Thresholds())) == 0


def test_sigmoid_takes_any_value() -> None:
    assert sigmoid(np.array([-1e9, 0, 1e9], np.float32)).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("floor", "overlap", "limit"), [(-0.1, 0.5, 1), (1, 0.5, 1), (0.1, 0, 1), (0.1, 1.1, 1), (0.1, 0.5, 0)]
)
def test_thresholds_outside_their_range_are_refused(floor: float, overlap: float, limit: int) -> None:
    with pytest.raises(SettingsError, match="must be"):
        Thresholds(floor, overlap, limit)
