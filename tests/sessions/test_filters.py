"""What of a result is put out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import SettingsError
from app.sessions.filters import Filters, FilterSpec, Polygon, Zone
from tests.sessions.fakes import tracked

CLASSES = ("person", "car")
SQUARE: Polygon = ((0, 0), (100, 0), (100, 100), (0, 100))


def test_without_filters_everything_passes() -> None:
    objects = (tracked(1), tracked(2, class_id=1, label="car", score=0.0))
    assert Filters(FilterSpec(), CLASSES).apply(objects) == (objects, ((), ()))


def test_classes_and_scores_are_kept_in_order() -> None:
    filters = Filters(FilterSpec(classes=("car",), min_score=0.5), CLASSES)
    objects = [
        tracked(1),
        tracked(2, class_id=1, label="car", score=0.4),
        tracked(3, class_id=1, label="car", score=0.5),
    ]
    kept, zones = filters.apply(objects)
    assert [item.track_id for item in kept] == [3]
    assert zones == ((),)
    assert filters.class_ids == frozenset({1})


def test_an_empty_list_of_classes_keeps_nothing() -> None:
    assert Filters(FilterSpec(classes=()), CLASSES).apply([tracked()]) == ((), ())


def test_objects_list_the_zones_that_hold_their_foot_point_edges_included() -> None:
    right: Polygon = ((50, 0), (100, 0), (100, 100), (50, 100))
    filters = Filters(FilterSpec(zones=(Zone("all", SQUARE), Zone("right", right))), CLASSES)
    _, zones = filters.apply(
        [
            tracked(1, (10, 10, 20, 50)),
            tracked(2, (60, 10, 80, 100)),
            tracked(3, (40, 10, 60, 90)),
            tracked(4, (10, 10, 20, 101)),
        ]
    )
    assert zones == (("all",), ("all", "right"), ("all", "right"), ())


def test_masks_hide_objects_and_keep_zones_with_their_objects() -> None:
    filters = Filters(FilterSpec(zones=(Zone("z", SQUARE),), masks=(((0, 0), (50, 0), (50, 100), (0, 100)),)), CLASSES)
    kept, zones = filters.apply(
        [tracked(1, (10, 0, 20, 20)), tracked(2, (60, 0, 80, 20)), tracked(3, (200, 0, 210, 5))]
    )
    assert [item.track_id for item in kept] == [2, 3]
    assert zones == (("z",), ())


@given(st.lists(st.tuples(st.floats(-10, 110, width=32), st.floats(-10, 110, width=32)), max_size=20))
def test_masked_points_are_those_inside_the_square(points: list[tuple[float, float]]) -> None:
    filters = Filters(FilterSpec(masks=(SQUARE,)), CLASSES)
    array = np.array(points, np.float32).reshape(-1, 2)
    expected = [bool(0 <= x <= 100 and 0 <= y <= 100) for x, y in array]
    assert filters.is_masked(array).tolist() == expected


def test_without_masks_no_point_is_masked() -> None:
    filters = Filters(FilterSpec(), CLASSES)
    assert not filters.has_masks
    assert not filters.is_masked(np.zeros((3, 2), np.float32)).any()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (FilterSpec(classes=("dog",)), "no class 'dog'; it knows person, car"),
        (FilterSpec(zones=(Zone("z", ((0, 0), (1, 1))),)), "Zone 'z' has 2 corners"),
        (FilterSpec(masks=(((0, 0), (2, 2), (2, 0), (0, 2)),)), "Mask 0 is not a simple polygon"),
        (FilterSpec(masks=(SQUARE, ((0, 0), (1, 1), (2, 2)))), "Mask 1"),
        (FilterSpec(zones=(Zone("z", SQUARE), Zone("z", SQUARE))), "Two zones have the name 'z'"),
    ],
)
def test_filters_that_make_no_sense_are_refused(spec: FilterSpec, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Filters(spec, CLASSES)
