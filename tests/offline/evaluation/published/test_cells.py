from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.types import FrameBoxes, Size
from app.offline.evaluation.published.cells import (
    CELL_PX,
    EDGE_THRESHOLD,
    EDGE_WEIGHT,
    MAX_REFRESH_INTERVAL,
    Cells,
    window_sums,
)

FRAME = Size(640, 360)
SHAPE = (45, 80)
NO_EDGES = np.zeros(SHAPE, np.float32)


def boxes(*items: tuple[float, float, float, float]) -> FrameBoxes:
    return FrameBoxes(np.array(items, np.float32).reshape(-1, 4))


def aged(n_frames: int) -> Cells:
    cells = Cells(FRAME)
    for _ in range(n_frames):
        cells.advance()
    return cells


def test_mistake_4_the_refresh_interval_starts_anew_under_inspected_patches_only() -> None:
    cells = aged(7)
    cells.record_look(boxes((80, 40, 240, 216)))
    assert (cells.refresh_interval[5:27, 10:30] == 0).all()
    assert (cells.refresh_interval == 0).sum() == 20 * 22
    assert cells.refresh_interval.max() == 7


def test_tracked_boxes_leave_the_refresh_interval_as_it_is() -> None:
    cells = aged(7)
    cells.priority(NO_EDGES, boxes((80, 40, 240, 216)))
    assert (cells.refresh_interval == 7).all()


def test_a_cell_is_inspected_if_its_centre_is() -> None:
    cells = aged(1)
    cells.record_look(boxes((4.5, 0, 20.5, 8), (632, 352, 640, 360)))
    assert np.argwhere(cells.refresh_interval == 0).tolist() == [[0, 1], [0, 2], [44, 79]]


def test_priority_grows_with_the_refresh_interval_up_to_its_limit() -> None:
    nothing = boxes()
    assert (aged(9).priority(NO_EDGES, nothing) == 9).all()
    assert (aged(200).priority(NO_EDGES, nothing) == MAX_REFRESH_INTERVAL).all()


def test_edges_above_the_threshold_add_their_weight() -> None:
    edges = NO_EDGES.copy()
    edges[3, 4], edges[3, 5] = EDGE_THRESHOLD, EDGE_THRESHOLD + 1
    priority = aged(2).priority(edges, boxes())
    assert (priority[3, 4], priority[3, 5]) == (2, 2 + EDGE_WEIGHT)


def test_priority_is_0_inside_tracked_boxes() -> None:
    priority = aged(5).priority(np.full(SHAPE, 64, np.float32), boxes((16, 16, 48, 40)))
    assert (priority[2:5, 2:6] == 0).all()
    assert (priority == 0).sum() == 3 * 4


def test_a_box_beyond_the_frame_covers_the_cells_that_it_reaches() -> None:
    priority = aged(5).priority(NO_EDGES, boxes((-50, -50, 8, 8), (600, 350, 900, 900), (-90, -90, -10, -10)))
    assert np.argwhere(priority == 0)[[0, -1]].tolist() == [[0, 0], [44, 79]]
    assert (priority == 0).sum() == 1 + 5


@pytest.mark.parametrize("cell_px", [8, 16, 24])
def test_edge_pixels_are_counted_in_the_cells_of_the_vision(cell_px: int) -> None:
    frame = Size(80 * cell_px - 8, 10 * cell_px - 4)
    share = np.random.default_rng(1).random((10, 80)).astype(np.float32)
    edges = Cells(frame).edge_pixels(share, cell_px)
    assert edges.shape == (-(-frame.height // 8), -(-frame.width // 8))
    row, column = 9, 33
    assert edges[row, column] == pytest.approx(64 * share[row * 8 // cell_px, column * 8 // cell_px])


def test_window_sums_are_those_of_a_loop() -> None:
    values = np.random.default_rng(2).integers(0, 100, (9, 12)).astype(np.float32)
    expected = [[values[y : y + 4, x : x + 3].sum() for x in range(10)] for y in range(6)]
    assert np.array_equal(window_sums(values, width=3, height=4), np.array(expected))


def chosen(priority: NDArray[np.float32], n: int) -> list[list[float]]:
    return [window[0].tolist() for window in islice(Cells(FRAME).windows(priority), n)]


def test_the_first_window_is_where_most_priority_is() -> None:
    priority = NO_EDGES.copy()
    priority[10:32, 30:50] = 50
    assert chosen(priority, 5) == [[30 * CELL_PX, 10 * CELL_PX, 50 * CELL_PX, 32 * CELL_PX]]


def test_windows_are_160_by_176_px_and_do_not_count_a_cell_twice() -> None:
    windows = chosen(np.ones(SHAPE, np.float32), 8)
    assert all((x2 - x1, y2 - y1) == (160, 176) for x1, y1, x2, y2 in windows)
    assert len({tuple(window) for window in windows}) == 8


def test_nothing_is_chosen_where_no_cell_has_priority() -> None:
    assert chosen(NO_EDGES, 3) == []


def test_a_frame_smaller_than_a_window_is_one_window() -> None:
    cells = Cells(Size(100, 60))
    window = next(cells.windows(np.ones((8, 13), np.float32)))
    assert window.tolist() == [[0, 0, 100, 60]]
