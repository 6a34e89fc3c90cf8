import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.errors import SettingsError
from app.core.types import CanvasBoxes, CanvasDetections, FrameBoxes, InputSizes, Size
from app.flexpatch.canvas import EDGE_PX, CanvasLayout, canvas_ladder, map_back
from app.flexpatch.packing import pack
from tests.core.strategies import REPEATABLE
from tests.flexpatch.builders import layout_of, on_canvas

FRAMES = st.builds(Size, st.integers(160, 4096), st.integers(90, 2304)).filter(
    lambda size: 0.25 <= size.height / size.width <= 4
)
CANVAS = Size(640, 384)


# ----------------------------------------------------------------------------------------------- ladder


@REPEATABLE
@given(FRAMES, st.sampled_from([8, 16, 32, 64]))
def test_every_rung_is_accepted_by_the_detector(frame: Size, stride: int) -> None:
    sizes = InputSizes(stride=stride)
    assert all(sizes.accepts(rung) for rung in canvas_ladder(frame, sizes, None))


@REPEATABLE
@given(FRAMES)
def test_rungs_ascend(frame: Size) -> None:
    pixels = [rung.pixels for rung in canvas_ladder(frame, InputSizes(), None)]
    assert pixels == sorted(set(pixels))


@REPEATABLE
@given(FRAMES)
def test_rungs_have_the_shape_of_the_frame_up_to_the_stride(frame: Size) -> None:
    for rung in canvas_ladder(frame, InputSizes(stride=32), None):
        expected_height = rung.width * frame.height / frame.width
        assert abs(rung.height - expected_height) <= 32 * (1 + frame.height / frame.width)


@REPEATABLE
@given(FRAMES, st.integers(2, 60), st.integers(2, 40))
def test_no_rung_is_larger_than_the_largest_canvas_allowed(frame: Size, columns: int, rows: int) -> None:
    largest = Size(32 * columns, 32 * rows)
    ladder = canvas_ladder(frame, InputSizes(stride=32), largest)
    assert ladder[-1] == largest
    assert all(rung.width <= largest.width and rung.height <= largest.height for rung in ladder)


def test_the_default_top_of_1080p_is_half_its_width() -> None:
    assert canvas_ladder(Size(1920, 1080), InputSizes(), None)[-1] == Size(960, 544)


def test_the_default_top_of_4k_is_1280_wide() -> None:
    assert canvas_ladder(Size(3840, 2160), InputSizes(), None)[-1] == Size(1280, 736)


def test_a_detector_with_fixed_sizes_has_just_these_smallest_first() -> None:
    sizes = InputSizes(fixed=(Size(640, 640), Size(320, 320)))
    assert canvas_ladder(Size(1920, 1080), sizes, None) == (Size(320, 320), Size(640, 640))


def test_fixed_sizes_above_the_largest_canvas_are_left_out() -> None:
    sizes = InputSizes(fixed=(Size(640, 640), Size(320, 320)))
    assert canvas_ladder(Size(1920, 1080), sizes, Size(512, 512)) == (Size(320, 320),)


def test_a_largest_canvas_below_all_fixed_sizes_is_an_error_that_names_them() -> None:
    with pytest.raises(SettingsError, match="at most 320x320, but the detector takes only 640x640"):
        canvas_ladder(Size(1920, 1080), InputSizes(fixed=(Size(640, 640),)), Size(320, 320))


def test_a_largest_canvas_off_the_stride_is_an_error_that_names_the_stride() -> None:
    with pytest.raises(SettingsError, match=r"640x360 does not fit the detector.*multiples of 32"):
        canvas_ladder(Size(1920, 1080), InputSizes(stride=32), Size(640, 360))


# ------------------------------------------------------------------------------------------- way back


@st.composite
def layouts(draw: st.DrawFn) -> tuple[CanvasLayout, Size]:
    """Patches of any place, size and scale, packed on one canvas; many lie at the frame's edges."""
    frame = Size(draw(st.integers(64, 1920)), draw(st.integers(64, 1080)))
    sources, targets = [], []
    for _ in range(draw(st.integers(1, 6))):
        x1 = draw(st.sampled_from([0, frame.width - 48]) | st.integers(0, frame.width - 16))
        y1 = draw(st.sampled_from([0, frame.height - 48]) | st.integers(0, frame.height - 16))
        x2 = draw(st.just(frame.width) | st.integers(x1 + 16, frame.width))
        y2 = draw(st.just(frame.height) | st.integers(y1 + 16, frame.height))
        scale = draw(st.sampled_from([0.1, 0.25, 0.37, 0.5, 1.0, 1.7]))
        sources.append((x1, y1, x2, y2))
        targets.append((max(4, round((x2 - x1) * scale)), max(4, round((y2 - y1) * scale))))
    origins = pack(np.array(targets, np.int32), CANVAS).origins
    if (origins[:, 0] < 0).all():
        sources, targets, origins = [(0, 0, 16, 16)], [(16, 16)], np.zeros((1, 2), np.int32)
    kept = origins[:, 0] >= 0
    target = np.concatenate([origins, origins + np.array(targets, np.int32)], axis=1)[kept]
    source = np.array(sources, np.float32)[kept]
    return CanvasLayout(CANVAS, FrameBoxes(source), CanvasBoxes(target.astype(np.float32))), frame


def shown(layout: CanvasLayout, patch: int, inside: NDArray[np.float64]) -> CanvasDetections:
    """A detection from shares (x1, y1, x2, y2) of a patch."""
    target = layout.target[patch].astype(np.float64)
    size = np.tile(target[2:] - target[:2], 2)
    box = np.tile(target[:2], 2) + inside * size
    return on_canvas((float(box[0]), float(box[1]), float(box[2]), float(box[3])))


@st.composite
def shares(draw: st.DrawFn) -> NDArray[np.float64]:
    """x1, y1, x2, y2 between 0 and 1, x1 < x2 and y1 < y2."""
    x1, y1 = draw(st.floats(0, 0.8)), draw(st.floats(0, 0.8))
    return np.array([x1, y1, draw(st.floats(x1 + 0.1, 1)), draw(st.floats(y1 + 0.1, 1))])


@REPEATABLE
@given(layouts(), shares())
def test_a_box_comes_back_to_where_it_was_cut_from(
    world: tuple[CanvasLayout, Size], inside: NDArray[np.float64]
) -> None:
    layout, frame = world
    for patch in range(len(layout.source)):
        back = map_back(layout, shown(layout, patch, inside), frame)
        source = layout.source[patch].astype(np.float64)
        expected = np.tile(source[:2], 2) + inside * np.tile(source[2:] - source[:2], 2)
        assert np.abs(back.boxes[0] - expected).max() < 1


@REPEATABLE
@given(layouts(), shares())
def test_a_box_that_reaches_over_its_patch_is_cut_off_at_the_edge(
    world: tuple[CanvasLayout, Size], inside: NDArray[np.float64]
) -> None:
    layout, frame = world
    wide = np.array([-0.05, inside[1], inside[2], 1.02])
    back = map_back(layout, shown(layout, 0, wide), frame)
    for box in back.boxes.tolist():
        held = (layout.source[:, :2] <= np.array(box[:2]) + 1e-2) & (layout.source[:, 2:] >= np.array(box[2:]) - 1e-2)
        assert held.all(axis=1).any()


@REPEATABLE
@given(layouts())
def test_boxes_back_in_the_frame_lie_in_the_frame(world: tuple[CanvasLayout, Size]) -> None:
    layout, frame = world
    for patch in range(len(layout.source)):
        back = map_back(layout, shown(layout, patch, np.array([-0.1, -0.1, 1.1, 1.1])), frame)
        assert (back.boxes[:, :2] >= -1e-2).all()
        assert (back.boxes[:, 2:] <= np.array(frame) + 1e-2).all()


@REPEATABLE
@given(layouts())
def test_a_patch_filling_box_is_cut_unless_all_its_edges_are_the_frame_s(world: tuple[CanvasLayout, Size]) -> None:
    layout, frame = world
    for patch, source in enumerate(layout.source.tolist()):
        back = map_back(layout, shown(layout, patch, np.array([0.0, 0.0, 1.0, 1.0])), frame)
        assert back.is_cut.tolist() == [source != [0, 0, frame.width, frame.height]]


@REPEATABLE
@given(layouts())
def test_a_box_clear_of_the_edges_is_not_cut(world: tuple[CanvasLayout, Size]) -> None:
    layout, frame = world
    margin = EDGE_PX + 0.5
    for x1, y1, x2, y2 in layout.target.tolist():
        if min(x2 - x1, y2 - y1) > 2 * margin:
            seen = on_canvas((x1 + margin, y1 + margin, x2 - margin, y2 - margin))
            assert map_back(layout, seen, frame).is_cut.tolist() == [False]


FRAME = Size(1000, 600)
PAIR = layout_of(
    CANVAS,
    ((0, 0, 200, 200), (0, 0, 200, 200)),
    ((500, 100, 700, 300), (204, 0, 404, 200)),
)
"""Two patches side by side at native scale; the first lies in the frame's upper left corner."""


@pytest.mark.parametrize(
    ("box", "is_cut"),
    [
        ((0, 50, 40, 90), False),
        ((50, 0, 90, 40), False),
        ((170, 50, 200, 90), True),
        ((50, 170, 90, 200), True),
        ((204, 50, 240, 90), True),
        ((250, 0, 290, 40), True),
    ],
    ids=["frame's left", "frame's top", "inner right", "inner bottom", "inner left", "inner top"],
)
def test_only_inner_edges_cut_a_box(box: tuple[float, float, float, float], is_cut: bool) -> None:
    assert map_back(PAIR, on_canvas(box), FRAME).is_cut.tolist() == [is_cut]


def test_a_box_in_the_gutter_is_dropped() -> None:
    assert len(map_back(PAIR, on_canvas((201, 20, 203, 60)), FRAME)) == 0


def test_a_box_on_the_padding_is_dropped() -> None:
    assert len(map_back(PAIR, on_canvas((450, 250, 500, 300)), FRAME)) == 0


def test_a_box_over_the_gutter_belongs_to_the_patch_with_its_centre() -> None:
    back = map_back(PAIR, on_canvas((150, 50, 220, 90)), FRAME)
    assert back.boxes.tolist() == [[150, 50, 200, 90]]


def test_scores_and_classes_stay_with_their_boxes() -> None:
    seen = CanvasDetections(
        on_canvas((201, 20, 203, 60), (20, 20, 60, 60), (250, 50, 290, 90)).boxes,
        np.array([0.9, 0.6, 0.3], np.float32),
        np.array([0, 1, 0], np.int32),
    )
    back = map_back(PAIR, seen, FRAME)
    assert back.scores.tolist() == pytest.approx([0.6, 0.3])
    assert back.class_ids.tolist() == [1, 0]


def test_nothing_seen_is_nothing_mapped() -> None:
    assert len(map_back(PAIR, on_canvas(), FRAME)) == 0


def test_the_scale_is_that_of_the_patch() -> None:
    layout = layout_of(CANVAS, ((0, 0, 400, 400), (0, 0, 100, 100)), ((500, 100, 600, 200), (104, 0, 304, 200)))
    back = map_back(layout, on_canvas((20, 20, 60, 60), (150, 50, 190, 90)), FRAME)
    assert back.scale.tolist() == pytest.approx([0.25, 2.0])


def test_fill_is_the_share_of_the_canvas_under_patches() -> None:
    assert PAIR.fill == pytest.approx(2 * 200 * 200 / CANVAS.pixels)


def test_copies_tell_source_and_target_in_whole_pixels() -> None:
    copies = PAIR.copies()
    assert [copy.source for copy in copies] == [(0, 0, 200, 200), (500, 100, 700, 300)]
    assert [copy.target for copy in copies] == [(0, 0, 200, 200), (204, 0, 404, 200)]


@pytest.mark.parametrize(("frame", "top"), [(Size(50, 2000), Size(32, 1024)), (Size(16, 16), Size(32, 32))])
def test_frames_of_odd_shape_get_no_canvas_far_beyond_their_own_pixels(frame: Size, top: Size) -> None:
    assert canvas_ladder(frame, InputSizes(), None)[-1] == top


def test_upright_frames_have_upright_canvases() -> None:
    assert canvas_ladder(Size(1080, 1920), InputSizes(), None)[-1] == Size(544, 960)


@pytest.mark.parametrize(
    "box",
    [(50, 50, 50, 90), (90, 90, 50, 50), (float("nan"), 1, 2, 3), (0, 0, float("inf"), 10)],
    ids=["flat", "inverted", "nan", "endless"],
)
def test_what_is_no_box_is_dropped(box: tuple[float, float, float, float]) -> None:
    layout = layout_of(CANVAS, ((0, 0, 640, 384), (0, 0, 640, 384)))
    assert len(map_back(layout, on_canvas(box), CANVAS)) == 0
