import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.types import Size
from app.flexpatch.packing import GUTTER_PX, pack
from tests.core.strategies import REPEATABLE

CANVASES = st.sampled_from([Size(320, 192), Size(640, 384), Size(128, 128)])
SIZES = st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), max_size=16).map(
    lambda sizes: np.array(sizes, np.int32).reshape(-1, 2)
)
GUTTERS = st.sampled_from([0, 1, GUTTER_PX, 9])


def placed(sizes: NDArray[np.int32], canvas: Size, gutter: int) -> list[tuple[int, int, int, int]]:
    """x1, y1, x2, y2 of every rectangle that found room."""
    placement = pack(sizes, canvas, gutter)
    return [
        (x, y, x + width, y + height)
        for (x, y), (width, height) in zip(placement.origins.tolist(), sizes.tolist(), strict=True)
        if x >= 0
    ]


@REPEATABLE
@given(SIZES, CANVASES, GUTTERS)
def test_packed_rectangles_lie_on_the_canvas(sizes: NDArray[np.int32], canvas: Size, gutter: int) -> None:
    for x1, y1, x2, y2 in placed(sizes, canvas, gutter):
        assert 0 <= x1 < x2 <= canvas.width
        assert 0 <= y1 < y2 <= canvas.height


@REPEATABLE
@given(SIZES, CANVASES, GUTTERS)
def test_a_gutter_stays_free_between_any_two(sizes: NDArray[np.int32], canvas: Size, gutter: int) -> None:
    rectangles = placed(sizes, canvas, gutter)
    for index, (ax1, ay1, ax2, ay2) in enumerate(rectangles):
        for bx1, by1, bx2, by2 in rectangles[index + 1 :]:
            gap_x = max(bx1 - ax2, ax1 - bx2)
            gap_y = max(by1 - ay2, ay1 - by2)
            assert max(gap_x, gap_y) >= gutter


@REPEATABLE
@given(SIZES, CANVASES, GUTTERS)
def test_the_most_valuable_rectangle_gets_room_if_an_empty_canvas_has_it(
    sizes: NDArray[np.int32], canvas: Size, gutter: int
) -> None:
    fits = (sizes <= np.array(canvas)).all(axis=1)
    is_placed = pack(sizes, canvas, gutter).is_placed
    if fits.any():
        assert is_placed[int(fits.argmax())]


@REPEATABLE
@given(SIZES, CANVASES, GUTTERS)
def test_what_is_larger_than_the_canvas_is_left_out(sizes: NDArray[np.int32], canvas: Size, gutter: int) -> None:
    fits = (sizes <= np.array(canvas)).all(axis=1)
    assert not pack(sizes, canvas, gutter).is_placed[~fits].any()


@REPEATABLE
@given(SIZES, CANVASES)
def test_packing_gives_the_same_placement_again(sizes: NDArray[np.int32], canvas: Size) -> None:
    assert np.array_equal(pack(sizes, canvas).origins, pack(sizes.copy(), canvas).origins)


@REPEATABLE
@given(SIZES, CANVASES)
def test_less_valuable_rectangles_never_move_the_others(sizes: NDArray[np.int32], canvas: Size) -> None:
    n_first = len(sizes) // 2
    assert np.array_equal(pack(sizes[:n_first], canvas).origins, pack(sizes, canvas).origins[:n_first])


@REPEATABLE
@given(SIZES, CANVASES)
def test_what_found_no_room_would_not_fit_in_any_gap(sizes: NDArray[np.int32], canvas: Size) -> None:
    """Maximal rectangles know every gap: a rectangle is left out only where no position is free for it."""
    origins = pack(sizes, canvas).origins
    taken = np.zeros((canvas.height + GUTTER_PX, canvas.width + GUTTER_PX), np.int32)
    for (x, y), (width, height) in zip(origins.tolist(), sizes.tolist(), strict=True):
        padded_width, padded_height = width + GUTTER_PX, height + GUTTER_PX
        if x >= 0:
            taken[y : y + padded_height, x : x + padded_width] = 1
        elif padded_width <= taken.shape[1] and padded_height <= taken.shape[0]:
            total = np.pad(taken.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
            right, down = total[:, padded_width:], total[:, :-padded_width]
            inside = (right - down)[padded_height:] - (right - down)[:-padded_height]
            assert inside.min() > 0


@pytest.mark.parametrize("seed", range(8))
def test_25_pedestrian_patches_of_at_most_128_px_fit_on_640_by_384(seed: int) -> None:
    random = np.random.default_rng(seed)
    heights = random.integers(80, 129, 25)
    widths = np.round(heights * random.uniform(0.4, 0.55, 25)).astype(int)
    sizes = np.stack([widths, heights], axis=1).astype(np.int32)
    assert pack(sizes, Size(640, 384)).is_placed.all()


def test_no_gutter_is_needed_at_the_edge_of_the_canvas() -> None:
    assert pack(np.array([[640, 384]], np.int32), Size(640, 384)).origins.tolist() == [[0, 0]]


def test_two_halves_do_not_fit_without_room_for_the_gutter() -> None:
    halves = np.array([[320, 384], [320, 384]], np.int32)
    assert pack(halves, Size(640, 384)).is_placed.tolist() == [True, False]


def test_nothing_to_pack_is_no_placement() -> None:
    assert pack(np.zeros((0, 2), np.int32), Size(640, 384)).origins.shape == (0, 2)
