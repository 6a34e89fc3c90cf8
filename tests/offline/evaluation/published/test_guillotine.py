from hypothesis import given
from hypothesis import strategies as st

from app.core.types import Size
from app.offline.evaluation.published.guillotine import GUTTER_PX, GuillotineBin
from tests.core.strategies import REPEATABLE

CANVASES = st.sampled_from([Size(320, 192), Size(640, 384), Size(128, 128)])
SIZES = st.lists(st.tuples(st.integers(1, 220), st.integers(1, 220)), max_size=16)
GUTTERS = st.sampled_from([0, 1, GUTTER_PX, 9])

Rectangle = tuple[int, int, int, int]


def placed(sizes: list[tuple[int, int]], canvas: Size, gutter: int = GUTTER_PX) -> list[Rectangle]:
    """x1, y1, x2, y2 of every rectangle that found room."""
    room = GuillotineBin(canvas, gutter)
    origins = [room.place(width, height) for width, height in sizes]
    return [
        (origin[0], origin[1], origin[0] + width, origin[1] + height)
        for origin, (width, height) in zip(origins, sizes, strict=True)
        if origin is not None
    ]


@REPEATABLE
@given(SIZES, CANVASES, GUTTERS)
def test_rectangles_lie_on_the_canvas(sizes: list[tuple[int, int]], canvas: Size, gutter: int) -> None:
    for x1, y1, x2, y2 in placed(sizes, canvas, gutter):
        assert 0 <= x1 < x2 <= canvas.width
        assert 0 <= y1 < y2 <= canvas.height


@REPEATABLE
@given(SIZES, CANVASES, GUTTERS)
def test_no_two_overlap_and_a_gutter_stays_free(sizes: list[tuple[int, int]], canvas: Size, gutter: int) -> None:
    rectangles = placed(sizes, canvas, gutter)
    for index, (ax1, ay1, ax2, ay2) in enumerate(rectangles):
        for bx1, by1, bx2, by2 in rectangles[index + 1 :]:
            assert max(bx1 - ax2, ax1 - bx2, by1 - ay2, ay1 - by2) >= gutter


@REPEATABLE
@given(SIZES, CANVASES)
def test_the_first_that_an_empty_canvas_holds_is_placed(sizes: list[tuple[int, int]], canvas: Size) -> None:
    fits = any(width <= canvas.width and height <= canvas.height for width, height in sizes)
    assert bool(placed(sizes, canvas)) == fits


@REPEATABLE
@given(SIZES, CANVASES)
def test_later_rectangles_never_move_earlier_ones(sizes: list[tuple[int, int]], canvas: Size) -> None:
    first = placed(sizes[: len(sizes) // 2], canvas)
    assert placed(sizes, canvas)[: len(first)] == first


def test_a_rectangle_as_large_as_the_canvas_fits() -> None:
    assert placed([(640, 384), (1, 1)], Size(640, 384)) == [(0, 0, 640, 384)]


def test_a_small_rectangle_takes_the_piece_that_it_fills_best() -> None:
    room = GuillotineBin(Size(100, 100), gutter=0)
    assert room.place(70, 60) == (0, 0)
    assert room.place(30, 50) == (70, 0)  # the strip on the right, not the one below
    assert room.place(100, 40) == (0, 60)  # the cut ran along the shorter leftover and left the strip below whole
    assert room.place(30, 11) is None
    assert room.place(30, 10) == (70, 50)
