import numpy as np
import pytest

from app.core.types import FrameBoxes, Size
from app.offline.evaluation.looks import whole_layout
from app.offline.evaluation.published.patches import PatchCanvas, object_patches

FRAME, CANVAS = Size(1920, 1080), Size(640, 384)


def boxes(*items: tuple[float, float, float, float]) -> FrameBoxes:
    return FrameBoxes(np.array(items, np.float32).reshape(-1, 4))


def test_a_box_is_padded_by_its_own_width_and_height() -> None:
    assert object_patches(boxes((100, 200, 140, 300))).tolist() == [[60, 100, 180, 400]]


def test_the_whole_frame_keeps_its_shape_on_the_canvas() -> None:
    layout = whole_layout(FRAME, CANVAS)
    assert layout.source.tolist() == [[0, 0, 1920, 1080]]
    assert layout.target.tolist() == [[0, 0, 640, 360]]


def test_patches_are_shown_at_the_frames_own_scale() -> None:
    canvas = PatchCanvas(FRAME, CANVAS)
    assert canvas.add(boxes((100.4, 100, 199.5, 300), (500, 500, 600, 600)))
    layout = canvas.layout()
    assert layout is not None
    assert layout.source.tolist() == [[100, 100, 200, 300], [500, 500, 600, 600]]
    assert (layout.scale == 1).all()


def test_a_patch_larger_than_the_canvas_is_reduced_to_fit() -> None:
    canvas = PatchCanvas(FRAME, CANVAS)
    canvas.add(boxes((0, 0, 200, 768)))
    layout = canvas.layout()
    assert layout is not None
    assert layout.target.tolist() == [[0, 0, 100, 384]]


def test_patches_are_cut_to_the_frame_and_those_outside_are_none() -> None:
    canvas = PatchCanvas(FRAME, CANVAS)
    assert canvas.add(boxes((-50, -60, 40, 30), (2000, 0, 2100, 50)))
    assert canvas.sources.tolist() == [[0, 0, 40, 30]]


def test_one_without_room_is_left_out_and_the_next_is_tried() -> None:
    canvas = PatchCanvas(FRAME, CANVAS)
    assert not canvas.add(boxes((0, 0, 600, 380), (0, 0, 300, 300), (0, 0, 30, 30)))
    assert canvas.sources.tolist() == [[0, 0, 600, 380], [0, 0, 30, 30]]


@pytest.mark.parametrize("canvas_size", [Size(640, 352), CANVAS])
def test_eight_new_object_windows_fit_as_on_the_papers_canvas(canvas_size: Size) -> None:
    canvas = PatchCanvas(FRAME, canvas_size)
    placed = [canvas.add_new_object(boxes((160 * i, 0, 160 * i + 160, 176))) for i in range(9)]
    assert placed == [True] * 8 + [False]


def test_a_canvas_without_patches_has_no_layout() -> None:
    assert PatchCanvas(FRAME, CANVAS).layout() is None
