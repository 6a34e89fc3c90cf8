import numpy as np
import pytest

from app.core.types import Origin, TrackedObject
from app.vision.annotate import draw, track_colour

BLANK = np.zeros((360, 640, 3), np.uint8)


def person(box: tuple[float, float, float, float], track_id: int = 7, origin: Origin = "detected") -> TrackedObject:
    return TrackedObject(track_id, 0, "person", box, 0.8, origin, 0.0, 0.1)


def test_drawing_leaves_the_picture_itself_alone() -> None:
    picture = BLANK.copy()
    drawn = draw(picture, [person((100, 100, 150, 220))])
    assert drawn is not picture
    assert (picture == 0).all()


def test_a_picture_without_objects_is_a_copy() -> None:
    picture = np.random.default_rng(1).integers(0, 256, BLANK.shape, np.uint8)
    drawn = draw(picture, [])
    assert np.array_equal(drawn, picture)
    assert drawn is not picture


def test_a_box_is_drawn_in_the_track_s_colour() -> None:
    drawn = draw(BLANK, [person((100, 100, 150, 220))])
    for x, y in ((100, 160), (149, 160), (125, 219)):
        assert tuple(drawn[y, x].tolist()) == track_colour(7)


def test_the_inside_of_a_box_stays_visible() -> None:
    drawn = draw(BLANK, [person((100, 100, 150, 220))])
    assert (drawn[110:210, 110:140] == 0).all()


def test_a_detected_box_is_drawn_thicker_than_a_tracked_one() -> None:
    origins: tuple[Origin, Origin] = ("detected", "tracked")
    drawn = [draw(BLANK, [person((100, 100, 300, 300), origin=origin)]) for origin in origins]
    inked = [np.count_nonzero(picture[150:280]) for picture in drawn]
    assert inked[0] > inked[1]


def test_patches_are_drawn_as_white_frames() -> None:
    drawn = draw(BLANK, [], patches=[(50, 60, 90, 100)])
    assert tuple(drawn[60, 50].tolist()) == (255, 255, 255)
    assert tuple(drawn[99, 89].tolist()) == (255, 255, 255)
    assert (drawn[70:90, 60:80] == 0).all()
    assert (drawn[100:] == 0).all()


@pytest.mark.parametrize(
    "box",
    [(0.0, 0.0, 640.0, 360.0), (-50.0, -50.0, 20.0, 20.0), (630.0, 350.0, 700.0, 400.0), (5.0, 2.0, 5.0, 2.0)],
    ids=["whole picture", "over the upper left", "over the lower right", "empty"],
)
def test_boxes_at_and_over_the_edges_can_be_drawn(box: tuple[float, float, float, float]) -> None:
    assert draw(BLANK, [person(box)]).shape == BLANK.shape


@pytest.mark.parametrize("shape", [(1, 1, 3), (16, 16, 3), (50, 2000, 3)])
def test_pictures_of_any_size_can_be_drawn_on(shape: tuple[int, int, int]) -> None:
    assert draw(np.zeros(shape, np.uint8), [person((0, 0, 10, 10))]).shape == shape


def test_colours_of_neighbours_in_number_differ() -> None:
    for track_id in range(100):
        ours, next_one = np.array(track_colour(track_id)), np.array(track_colour(track_id + 1))
        assert np.abs(ours - next_one).max() > 60


def test_a_track_keeps_its_colour() -> None:
    assert track_colour(12) == track_colour(12)
