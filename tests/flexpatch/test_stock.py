"""Objects that stand in a scene without having been seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.flexpatch.stock import PRIOR_OBJECTS, Stock
from tests.core.strategies import REPEATABLE

SHAPE = (6, 8)
ALL = (slice(None), slice(None))
EVEN = np.ones(SHAPE, np.float32)
SEES_LARGE = np.array([0.0, 0.5, 1.0])
"""A thumbnail: nothing of the smallest band, all of the largest."""


def found(stock: Stock, band: int, n: int, score: float = 1.0) -> None:
    stock.record_found(np.full(n, band), np.full(n, score))


def test_a_new_scene_may_hold_something_in_every_band() -> None:
    assert Stock(3, SHAPE).objects == pytest.approx([PRIOR_OBJECTS] * 3)


def test_what_looks_find_tells_of_the_bands_that_they_cannot_see() -> None:
    busy, empty = Stock(3, SHAPE), Stock(3, SHAPE)
    for stock in (busy, empty):
        stock.record_look(*ALL, SEES_LARGE, EVEN)
    found(busy, 2, 20)
    assert busy.objects[0] > 4 * empty.objects[0]
    assert empty.objects[0] < PRIOR_OBJECTS


def test_a_band_seen_in_full_is_known_by_itself() -> None:
    stock = Stock(3, SHAPE)
    stock.record_look(*ALL, SEES_LARGE, EVEN)
    found(stock, 2, 8)
    assert stock.objects[2] == pytest.approx(8, rel=0.25)


def test_looking_again_shows_nothing_new() -> None:
    stock = Stock(3, SHAPE)
    for _ in range(5):
        stock.record_look(*ALL, SEES_LARGE, EVEN)
    assert stock.unknown[2].max() == 0
    assert stock.unknown[0].min() == 1
    found(stock, 2, 4)
    once = Stock(3, SHAPE)
    once.record_look(*ALL, SEES_LARGE, EVEN)
    found(once, 2, 4)
    assert stock.objects[2] == pytest.approx(once.objects[2], rel=0.05)


def test_a_part_of_the_frame_counts_as_a_part() -> None:
    stock = Stock(1, SHAPE)
    stock.record_look(slice(0, 3), slice(None), np.ones(1), EVEN)
    found(stock, 0, 5)
    assert stock.objects[0] == pytest.approx(10, rel=0.35)
    assert stock.unknown[0, :3].max() == 0
    assert stock.unknown[0, 3:].min() == 1


def test_everything_can_be_forgotten() -> None:
    stock = Stock(3, SHAPE)
    stock.record_look(*ALL, SEES_LARGE, EVEN)
    found(stock, 1, 7)
    stock.forget()
    assert stock.objects == pytest.approx(Stock(3, SHAPE).objects)
    assert stock.unknown.min() == 1


def test_a_look_where_nothing_is_to_be_expected_tells_little() -> None:
    uneven = EVEN.copy()
    uneven[:3] = 0.1
    at_the_wall, at_the_street = Stock(1, SHAPE), Stock(1, SHAPE)
    at_the_wall.record_look(slice(0, 3), slice(None), np.ones(1), uneven)
    at_the_street.record_look(slice(3, 6), slice(None), np.ones(1), uneven)
    assert at_the_street.objects[0] < at_the_wall.objects[0] < PRIOR_OBJECTS


@REPEATABLE
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6), st.floats(0, 1)), max_size=12),
    st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), max_size=20),
)
def test_chances_stay_chances_and_numbers_positive(
    looks: list[tuple[int, int, float]], finds: list[tuple[int, float]]
) -> None:
    stock = Stock(2, SHAPE)
    for first, n_rows, seen in looks:
        stock.record_look(slice(first, first + n_rows), slice(None), np.array([seen, 1 - seen]), EVEN)
    for band, score in finds:
        found(stock, band, 1, score)
    assert ((stock.unknown >= 0) & (stock.unknown <= 1)).all()
    assert (stock.objects > 0).all()
