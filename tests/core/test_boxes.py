import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.boxes import (
    area,
    centres,
    clip,
    contains,
    coverage,
    empty_boxes,
    intersection,
    iou,
    pad,
    sizes,
    suppress,
)
from tests.core.strategies import REPEATABLE, box_arrays

Boxes = NDArray[np.float32]


def overlap_of_two(a: Boxes, b: Boxes) -> float:
    """Area shared by two boxes (4,), one number at a time."""
    width = min(float(a[2]), float(b[2])) - max(float(a[0]), float(b[0]))
    height = min(float(a[3]), float(b[3])) - max(float(a[1]), float(b[1]))
    return max(width, 0.0) * max(height, 0.0)


def area_of_one(box: Boxes) -> float:
    return (float(box[2]) - float(box[0])) * (float(box[3]) - float(box[1]))


def boxes_of(*rows: tuple[float, float, float, float]) -> Boxes:
    return np.array(rows, np.float32).reshape(-1, 4)


# ------------------------------------------------------------------------------------------------ areas


def test_area_is_width_times_height() -> None:
    assert area(boxes_of((1, 2, 4, 6.5))).tolist() == [13.5]


def test_an_inverted_box_has_no_area() -> None:
    assert area(boxes_of((4, 2, 1, 6), (1, 6, 4, 2), (4, 6, 1, 2))).tolist() == [0, 0, 0]


def test_no_boxes_have_four_columns() -> None:
    assert empty_boxes().shape == (0, 4)


@REPEATABLE
@given(box_arrays())
def test_centre_and_size_make_the_box_again(boxes: Boxes) -> None:
    half = sizes(boxes) / 2
    assert np.array_equal(np.concatenate([centres(boxes) - half, centres(boxes) + half], axis=1), boxes)


# --------------------------------------------------------------------------------------------- overlaps


@REPEATABLE
@given(box_arrays(), box_arrays())
def test_intersection_agrees_with_one_pair_at_a_time(a: Boxes, b: Boxes) -> None:
    expected = np.array([[overlap_of_two(one, other) for other in b] for one in a]).reshape(len(a), len(b))
    assert intersection(a, b) == pytest.approx(expected, rel=1e-6)


@REPEATABLE
@given(box_arrays(), box_arrays())
def test_iou_agrees_with_one_pair_at_a_time(a: Boxes, b: Boxes) -> None:
    for row, one in enumerate(a):
        for column, other in enumerate(b):
            shared = overlap_of_two(one, other)
            union = area_of_one(one) + area_of_one(other) - shared
            expected = shared / union if union else 0.0
            assert iou(a, b)[row, column] == pytest.approx(expected, abs=1e-5)


@REPEATABLE
@given(box_arrays(), box_arrays())
def test_iou_is_symmetric(a: Boxes, b: Boxes) -> None:
    assert np.array_equal(iou(a, b), iou(b, a).T)


@REPEATABLE
@given(box_arrays(), box_arrays())
def test_iou_lies_between_nothing_and_all(a: Boxes, b: Boxes) -> None:
    values = iou(a, b)
    assert ((values >= 0) & (values <= 1 + 1e-6)).all()


@REPEATABLE
@given(box_arrays())
def test_iou_of_a_box_with_itself_is_one_unless_it_is_empty(boxes: Boxes) -> None:
    assert np.diag(iou(boxes, boxes)) == pytest.approx((area(boxes) > 0).astype(float))


def test_boxes_that_only_share_an_edge_do_not_overlap() -> None:
    assert iou(boxes_of((0, 0, 10, 10)), boxes_of((10, 0, 20, 10))).tolist() == [[0]]


@REPEATABLE
@given(box_arrays(), box_arrays())
def test_coverage_is_the_share_of_the_first_box(a: Boxes, b: Boxes) -> None:
    for row, one in enumerate(a):
        for column, other in enumerate(b):
            own = area_of_one(one)
            expected = overlap_of_two(one, other) / own if own else 0.0
            assert coverage(a, b)[row, column] == pytest.approx(expected, abs=1e-5)


@REPEATABLE
@given(box_arrays(), box_arrays())
def test_a_contained_box_with_an_area_is_covered_in_full(outer: Boxes, inner: Boxes) -> None:
    inside = contains(outer, inner) & (area(inner) > 0)[None, :]
    assert coverage(inner, outer).T[inside] == pytest.approx(1)


@REPEATABLE
@given(box_arrays())
def test_every_box_contains_itself(boxes: Boxes) -> None:
    assert np.diag(contains(boxes, boxes)).all()


@REPEATABLE
@given(box_arrays(5), box_arrays(5), box_arrays(5))
def test_containment_is_transitive(a: Boxes, b: Boxes, c: Boxes) -> None:
    through_b = (contains(a, b)[:, :, None] & contains(b, c)[None, :, :]).any(axis=1)
    assert (contains(a, c) | ~through_b).all()


@pytest.mark.parametrize("pairwise", [intersection, iou, coverage])
def test_pairwise_functions_take_no_boxes(pairwise: object) -> None:
    assert callable(pairwise)
    assert pairwise(empty_boxes(), boxes_of((0, 0, 1, 1))).shape == (0, 1)
    assert pairwise(boxes_of((0, 0, 1, 1)), empty_boxes()).shape == (1, 0)


# --------------------------------------------------------------------------------------- cut and grown


@REPEATABLE
@given(box_arrays(), st.floats(1, 100, width=32), st.floats(1, 100, width=32))
def test_clipped_boxes_lie_inside(boxes: Boxes, width: float, height: float) -> None:
    clipped = clip(boxes, width, height)
    assert contains(boxes_of((0, 0, width, height)), clipped).all()


@REPEATABLE
@given(box_arrays())
def test_clipping_keeps_the_part_inside(boxes: Boxes) -> None:
    frame = boxes_of((0, 0, 64, 48))
    assert area(clip(boxes, 64, 48)) == pytest.approx(intersection(boxes, frame)[:, 0], rel=1e-6)


@REPEATABLE
@given(box_arrays())
def test_clipping_twice_changes_nothing_more(boxes: Boxes) -> None:
    once = clip(boxes, 64, 48)
    assert np.array_equal(clip(once, 64, 48), once)


def test_clipping_leaves_its_argument_alone() -> None:
    boxes = boxes_of((-5, -5, 100, 100))
    clip(boxes, 64, 48)
    assert boxes.tolist() == [[-5, -5, 100, 100]]


@REPEATABLE
@given(box_arrays(), st.integers(0, 80), st.integers(0, 80))
def test_padding_grows_every_side(boxes: Boxes, x: int, y: int) -> None:
    by = np.tile(np.array([x, y], np.float32), (len(boxes), 1))
    assert np.array_equal(sizes(pad(boxes, by)), sizes(boxes) + 2 * by)


@REPEATABLE
@given(box_arrays())
def test_padding_keeps_the_centre(boxes: Boxes) -> None:
    assert np.array_equal(centres(pad(boxes, np.full((len(boxes), 2), 3, np.float32))), centres(boxes))


# ------------------------------------------------------------------------------------------ suppression


@st.composite
def scored_boxes(draw: st.DrawFn) -> tuple[Boxes, Boxes, NDArray[np.int32]]:
    """Boxes (N, 4) with scores (N,), many of them equal, and labels (N,)."""
    boxes = draw(box_arrays(12))
    n = len(boxes)
    scores = draw(st.lists(st.integers(0, 8), min_size=n, max_size=n))
    labels = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
    return boxes, np.array([score / 8 for score in scores], np.float32), np.array(labels, np.int32)


def suppressed_one_by_one(boxes: Boxes, scores: Boxes, labels: NDArray[np.int32], threshold: float) -> list[int]:
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda i: (-float(scores[i]), i)):
        rivals = [other for other in kept if labels[other] == labels[index]]
        if all(iou(boxes[index : index + 1], boxes[other : other + 1])[0, 0] <= threshold for other in rivals):
            kept.append(index)
    return kept


@REPEATABLE
@given(scored_boxes(), st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_suppression_agrees_with_one_box_at_a_time(
    scored: tuple[Boxes, Boxes, NDArray[np.int32]], threshold: float
) -> None:
    assert suppress(*scored, threshold).tolist() == suppressed_one_by_one(*scored, threshold)


@REPEATABLE
@given(scored_boxes())
def test_suppression_keeps_no_overlapping_pair_of_a_class(scored: tuple[Boxes, Boxes, NDArray[np.int32]]) -> None:
    boxes, _, labels = scored
    kept = suppress(*scored, 0.3)
    overlapping = (iou(boxes[kept], boxes[kept]) > 0.3) & (labels[kept][:, None] == labels[kept][None, :])
    np.fill_diagonal(overlapping, val=False)
    assert not overlapping.any()


@REPEATABLE
@given(scored_boxes())
def test_suppression_gives_the_highest_score_first(scored: tuple[Boxes, Boxes, NDArray[np.int32]]) -> None:
    kept_scores = scored[1][suppress(*scored, 0.3)]
    assert (np.diff(kept_scores) <= 0).all()


def test_of_equal_scores_the_earlier_box_is_kept() -> None:
    boxes = boxes_of((0, 0, 10, 10), (1, 0, 11, 10), (0, 1, 10, 11))
    kept = suppress(boxes, np.full(3, 0.5, np.float32), np.zeros(3, np.int32), 0.5)
    assert kept.tolist() == [0]


def test_other_classes_are_never_suppressed() -> None:
    boxes = boxes_of((0, 0, 10, 10), (0, 0, 10, 10))
    kept = suppress(boxes, np.array([0.4, 0.9], np.float32), np.array([0, 1], np.int32), 0.1)
    assert kept.tolist() == [1, 0]
