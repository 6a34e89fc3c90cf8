from copy import deepcopy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.types import FrameBoxes, Size
from app.flexpatch.acuity import Acuity
from app.flexpatch.discovery import MAX_UNSEEN_S, UNSEEN_AT_START_S, Discovery, Window
from app.flexpatch.flow import STILL, CameraMotion
from tests.core.strategies import REPEATABLE
from tests.flexpatch.builders import Rectangle, frame_boxes, layout_of, one_patch

FRAME = Size(1280, 768)
CELL_PX = 16
WHOLE: Rectangle = (0, 0, 1280, 768)
TILE = Size(320, 192)
FRAME_S = 1 / 30


class Map(Discovery):
    """A map that keeps the stream's time itself."""

    pts_s = 0.0

    def observe(self, motion: NDArray[np.float32], tracked: FrameBoxes, dt_s: float = FRAME_S) -> None:
        """Take the motion map of a frame `dt_s` after the last one."""
        self.pts_s += dt_s
        self.observe_motion(motion, tracked, self.pts_s)


def new_map() -> Map:
    return Map(FRAME, CELL_PX, Acuity())


def seen_map() -> Map:
    """A map of a frame that has just been looked at as closely as can be."""
    discovery = new_map()
    discovery.observe(no_motion(), frame_boxes())
    look(discovery, WHOLE, scale=2.0, times=3)
    return discovery


def look(discovery: Map, source: Rectangle, scale: float, times: int = 1) -> None:
    for _ in range(times):
        discovery.record_look(one_patch(source, scale))


def pass_time(discovery: Map, seconds: float, camera: CameraMotion = STILL) -> None:
    discovery.advance(seconds, camera)
    discovery.observe(no_motion(), frame_boxes(), seconds)


def value(discovery: Map, scale: float = 1.0) -> float:
    return float(discovery.value_of_frame(np.array([scale]))[0])


def no_motion() -> NDArray[np.float32]:
    return np.zeros((-(-FRAME.height // CELL_PX), -(-FRAME.width // CELL_PX)), np.float32)


def motion_in(box: Rectangle) -> NDArray[np.float32]:
    """Every pixel in the box has changed."""
    motion = no_motion()
    x1, y1, x2, y2 = (int(side) // CELL_PX for side in box)
    motion[y1:y2, x1:x2] = 1
    return motion


def born(discovery: Map, boxes: FrameBoxes) -> None:
    discovery.record_births(boxes, np.full(len(boxes), 0.8, np.float32))


def holds(window: Window, x: float, y: float) -> bool:
    x1, y1, x2, y2 = window.box
    return x1 <= x <= x2 and y1 <= y <= y2


def columns_of(x1: float, x2: float) -> slice:
    return slice(int(x1) // CELL_PX, int(x2) // CELL_PX)


def pan(x: float, y: float = 0.0) -> CameraMotion:
    return CameraMotion(np.array([[1.0, 0.0, x], [0.0, 1.0, y]]), 1.0, is_still=False)


# ----------------------------------------------------------------------------------------- unseen time


def test_the_map_covers_the_frame_with_cells() -> None:
    discovery = Discovery(Size(650, 370), CELL_PX, Acuity())
    assert discovery.shape == (24, 41)
    assert discovery.cell_centres.shape == (24 * 41, 2)
    assert discovery.cell_centres[41].tolist() == [8, 24]


def test_nothing_has_been_seen_at_first() -> None:
    assert (new_map().unseen_s == UNSEEN_AT_START_S).all()


@REPEATABLE
@given(st.lists(st.floats(0.01, 3), min_size=1, max_size=8))
def test_unseen_time_grows_with_time_up_to_its_cap(steps_s: list[float]) -> None:
    discovery = seen_map()
    before = discovery.unseen_s.copy()
    for step_s in steps_s:
        discovery.advance(step_s, STILL)
    expected = np.minimum(before + sum(steps_s), MAX_UNSEEN_S)
    assert np.allclose(discovery.unseen_s, expected, atol=1e-3)


@REPEATABLE
@given(st.integers(0, 60), st.integers(0, 30), st.integers(12, 20), st.integers(12, 18))
def test_a_look_resets_only_what_the_patch_has_shown(column: int, row: int, width: int, height: int) -> None:
    discovery = new_map()
    x, y = column * CELL_PX, row * CELL_PX
    source = (x, y, min(x + width * CELL_PX, FRAME.width), min(y + height * CELL_PX, FRAME.height))
    look(discovery, source, scale=1.0)
    is_shown = no_motion().astype(bool)
    is_shown[row : row + height, column : column + width] = True
    assert (discovery.unseen_s[:, ~is_shown] == UNSEEN_AT_START_S).all()
    assert (discovery.unseen_s.min(axis=0)[is_shown] < 0.5 * UNSEEN_AT_START_S).all()


def test_several_patches_of_a_canvas_reset_each_its_own_region() -> None:
    discovery = new_map()
    discovery.record_look(
        layout_of(
            Size(640, 384),
            ((0, 0, 160, 160), (0, 0, 160, 160)),
            ((640, 320, 800, 480), (164, 0, 324, 160)),
        )
    )
    smallest_unseen = discovery.unseen_s.min(axis=0)
    assert (smallest_unseen[:10, :10] < 0.5 * UNSEEN_AT_START_S).all()
    assert (smallest_unseen[20:30, 40:50] < 0.5 * UNSEEN_AT_START_S).all()
    assert (smallest_unseen == UNSEEN_AT_START_S).sum() == smallest_unseen.size - 200


def test_a_thumbnail_refreshes_large_bands_and_not_small_ones() -> None:
    discovery = new_map()
    look(discovery, WHOLE, scale=0.25)
    assert (discovery.unseen_s[-1] < 0.3 * UNSEEN_AT_START_S).all()
    assert (discovery.unseen_s[0] > 0.8 * UNSEEN_AT_START_S).all()


def test_a_native_look_refreshes_all_bands_but_the_faintest() -> None:
    discovery = new_map()
    look(discovery, WHOLE, scale=1.0)
    assert (discovery.unseen_s[1:] < 0.3 * UNSEEN_AT_START_S).all()


def test_a_tile_refreshes_no_band_of_objects_taller_than_itself() -> None:
    discovery = new_map()
    look(discovery, (320, 192, 640, 384), scale=1.0, times=5)
    assert (discovery.unseen_s[-1] == UNSEEN_AT_START_S).all()


def test_a_look_makes_the_next_one_worth_less() -> None:
    discovery = new_map()
    discovery.observe(no_motion(), frame_boxes())
    before = value(discovery)
    look(discovery, WHOLE, scale=1.0)
    assert value(discovery) < 0.3 * before


def test_a_thumbnail_leaves_most_of_the_worth_of_a_closer_look_at_small_objects() -> None:
    discovery = new_map()
    discovery.observe(no_motion(), frame_boxes())
    look(discovery, WHOLE, scale=0.25)
    discovery.advance(8.0, STILL)
    born(discovery, frame_boxes(*[(100 + 50 * i, 300, 110 + 50 * i, 324) for i in range(12)]))
    before = value(discovery)
    look(discovery, WHOLE, scale=0.25)
    assert value(discovery) > 0.6 * before


def test_a_closer_look_is_worth_more() -> None:
    values = new_map().value_of_frame(np.array([0.1, 0.25, 0.5, 1.0]))
    assert (np.diff(values) > 0).all()


# ------------------------------------------------------------------------------------------------ regions


def test_windows_lie_in_the_frame_and_apart() -> None:
    boxes = [window.box for window in new_map().windows(TILE, 1.0, 5)]
    assert len(boxes) == 5
    for index, (x1, y1, x2, y2) in enumerate(boxes):
        assert 0 <= x1 < x2 <= FRAME.width
        assert 0 <= y1 < y2 <= FRAME.height
        for ox1, oy1, ox2, oy2 in boxes[index + 1 :]:
            assert ox1 >= x2 or ox2 <= x1 or oy1 >= y2 or oy2 <= y1


def test_the_best_window_comes_first() -> None:
    values = [window.value for window in new_map().windows(TILE, 1.0, 5)]
    assert values == sorted(values, reverse=True)


def test_a_window_larger_than_the_frame_is_the_frame() -> None:
    discovery = Discovery(Size(200, 100), CELL_PX, Acuity())
    assert [window.box for window in discovery.windows(TILE, 1.0, 3)] == [(0, 0, 200, 100)]


def test_windows_go_where_nobody_looked() -> None:
    discovery = new_map()
    discovery.observe(no_motion(), frame_boxes())
    look(discovery, (0, 0, 640, 768), scale=2.0, times=3)
    assert all(window.box[2] > 640 for window in discovery.windows(TILE, 1.0, 3))


def test_ignored_cells_are_never_worth_anything() -> None:
    discovery = new_map()
    discovery.ignore(np.ones(discovery.shape, bool))
    discovery.observe(motion_in(WHOLE), frame_boxes())
    assert value(discovery) == 0
    assert discovery.windows(TILE, 1.0, 3) == []


def test_windows_avoid_an_ignored_half() -> None:
    discovery = new_map()
    is_ignored = np.zeros(discovery.shape, bool)
    is_ignored[:, columns_of(0, 640)] = True
    discovery.ignore(is_ignored)
    discovery.observe(motion_in((0, 0, 640, 768)), frame_boxes())
    assert all(window.box[2] > 640 for window in discovery.windows(TILE, 1.0, 9))


def test_what_tracks_cover_is_worth_little() -> None:
    discovery = new_map()
    discovery.observe(no_motion(), frame_boxes())
    before = value(discovery)
    discovery.observe(no_motion(), frame_boxes(WHOLE))
    assert value(discovery) < 0.5 * before


def test_flat_regions_are_worth_less_than_textured_ones() -> None:
    discovery = new_map()
    edges = no_motion()
    edges[:, columns_of(640, 1280)] = 0.5
    discovery.set_edges(edges, 0.0)
    discovery.observe(no_motion(), frame_boxes())
    left, right = (look_worth(discovery, box) for box in ((200, 200, 520, 392), (760, 200, 1080, 392)))
    assert left < 0.5 * right


def look_worth(discovery: Map, box: Rectangle) -> float:
    """What the frame is worth less after a thorough look at the box."""
    after = deepcopy(discovery)
    look(after, box, scale=2.0, times=3)
    return value(discovery) - value(after)


def test_a_new_edge_map_is_wanted_now_and_then() -> None:
    discovery = new_map()
    assert discovery.wants_edges(0.0)
    discovery.set_edges(no_motion(), 0.0)
    assert not discovery.wants_edges(FRAME_S)
    assert discovery.wants_edges(10.0)


# ------------------------------------------------------------------------------------------------- camera


def test_the_map_moves_with_the_camera() -> None:
    discovery = new_map()
    look(discovery, (320, 0, 640, 768), scale=2.0, times=3)
    before = discovery.unseen_s[0].copy()
    discovery.advance(0.001, pan(64))
    assert np.allclose(
        discovery.unseen_s[0][:, columns_of(384, 704)], before[:, columns_of(320, 640)] + 0.001, atol=1e-4
    )


def test_what_the_camera_uncovers_was_never_seen() -> None:
    discovery = seen_map()
    discovery.advance(FRAME_S, pan(64, 32))
    assert (discovery.unseen_s[:, :, :4] == UNSEEN_AT_START_S).all()
    assert (discovery.unseen_s[:, :2, :] == UNSEEN_AT_START_S).all()


def test_slow_panning_adds_up_to_whole_cells() -> None:
    discovery = seen_map()
    for _ in range(10):
        discovery.advance(FRAME_S, pan(-1.7))
    never_seen = (discovery.unseen_s[0] == UNSEEN_AT_START_S).all(axis=0)
    assert np.flatnonzero(never_seen).tolist() == [79]


def test_a_pan_over_the_whole_frame_forgets_all() -> None:
    discovery = seen_map()
    discovery.advance(FRAME_S, pan(3000))
    assert (discovery.unseen_s == UNSEEN_AT_START_S).all()


# ------------------------------------------------------------------------------------------------- births


def test_births_raise_the_worth_of_looking() -> None:
    busy, calm = seen_map(), seen_map()
    born(busy, frame_boxes(*[(100 + 90 * i, 300, 140 + 90 * i, 400) for i in range(6)]))
    pass_time(busy, 1.0)
    pass_time(calm, 1.0)
    assert value(busy) > 2 * value(calm)


def test_births_are_expected_where_they_happened_before() -> None:
    discovery = seen_map()
    for _ in range(4):
        born(discovery, frame_boxes((600, 300, 640, 400)))
        pass_time(discovery, 0.2)
    assert holds(discovery.windows(TILE, 1.0, 1)[0], 620, 350)


def test_births_long_ago_are_forgotten() -> None:
    discovery = seen_map()
    born(discovery, frame_boxes(*[(100 + 90 * i, 300, 140 + 90 * i, 400) for i in range(6)]))
    pass_time(discovery, 1.0)
    busy = value(discovery)
    for _ in range(60):
        pass_time(discovery, 5.0)
    look(discovery, WHOLE, scale=2.0, times=3)
    pass_time(discovery, 1.0)
    assert value(discovery) < 0.5 * busy


def test_births_on_the_frame_s_edge_are_counted() -> None:
    discovery = seen_map()
    born(discovery, frame_boxes((-40, -30, 0, 0), (1280, 768, 1300, 800), (1279, 700, 1280, 768)))
    pass_time(discovery, 1.0)
    assert np.isfinite(value(discovery))


# ------------------------------------------------------------------------------------------------- motion

MOVER: Rectangle = (576, 320, 640, 448)
"""A person in the middle of the frame."""


def test_unexplained_motion_draws_a_window_to_itself() -> None:
    discovery = seen_map()
    pass_time(discovery, 0.5)
    discovery.observe(motion_in(MOVER), frame_boxes())
    best = discovery.windows(TILE, 1.0, 1)[0]
    assert best.is_motion
    assert holds(best, 608, 384)


def test_motion_that_a_track_explains_draws_none() -> None:
    discovery, still = seen_map(), seen_map()
    for each in (discovery, still):
        pass_time(each, 0.5)
    discovery.observe(motion_in(MOVER), frame_boxes(MOVER))
    still.observe(no_motion(), frame_boxes(MOVER))
    assert value(discovery) == pytest.approx(value(still))
    assert not any(window.is_motion for window in discovery.windows(TILE, 1.0, 3))


def test_habitual_motion_stops_drawing_windows() -> None:
    discovery = seen_map()
    for _ in range(60):
        discovery.advance(0.5, STILL)
        discovery.observe(motion_in(MOVER), frame_boxes(), 0.5)
    assert not any(window.is_motion for window in discovery.windows(TILE, 1.0, 3))


def test_motion_that_was_just_looked_at_can_wait() -> None:
    discovery = seen_map()
    pass_time(discovery, 0.5)
    discovery.observe(motion_in(MOVER), frame_boxes())
    before = value(discovery)
    look(discovery, (448, 288, 768, 480), scale=1.0)
    assert value(discovery) < 0.6 * before


def test_a_pan_too_slow_for_one_frame_adds_up() -> None:
    slow = CameraMotion(np.array([[1.0, 0.0, 0.4], [0.0, 1.0, 0.0]]), 1.0, is_still=True)
    discovery = Discovery(FRAME, CELL_PX, Acuity())
    discovery.record_look(one_patch((0, 0, FRAME.width, FRAME.height), 1.0))
    seen_before = discovery.unseen_s[-1][0, 0]
    for _ in range(3 * CELL_PX):
        discovery.advance(0.001, slow)
    assert discovery.unseen_s[-1][0, 0] > seen_before + 1.0
