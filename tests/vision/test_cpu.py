from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.types import Alignment, FrameBoxes, PatchCopy, Picture, PointFlow, Size
from app.flexpatch.failure import correlation
from app.vision.cpu import CpuVision
from app.vision.drawing import to_bgr
from tests.vision.pictures import bgr, moved, scene, shift_of, yuv

SMALL = Size(320, 240)
ODD = Size(641, 479)
HD = Size(1920, 1080)
UHD = Size(3840, 2160)
PADDING = (114, 115, 116)


def boxes(*rows: tuple[float, float, float, float]) -> FrameBoxes:
    return FrameBoxes(np.array(rows, np.float32).reshape(-1, 4))


def whole(size: Size) -> FrameBoxes:
    return boxes((0, 0, *size))


# --------------------------------------------------------------------------------------------------- flow


def follow(earlier: NDArray[np.uint8], later: NDArray[np.uint8], n: int = 8) -> tuple[NDArray[np.float32], PointFlow]:
    """Corners all over the earlier picture, and where they went."""
    vision = CpuVision()
    before, after = vision.prepare(bgr(earlier)), vision.prepare(bgr(later))
    points = vision.corners(before, whole(before.size), (n, n))[0]
    points = points[~np.isnan(points[:, 0])]
    return points, vision.flow(before, after, points, points)


def inner(points: NDArray[np.float32], size: Size) -> NDArray[np.bool_]:
    """Points far enough from the edge that nothing comes into view beside them."""
    margin = 0.08 * min(size)
    return np.asarray(((points > margin) & (points < np.array(size) - margin)).all(axis=1))


@pytest.mark.parametrize(
    ("size", "shift", "tolerance_px"),
    [
        (SMALL, (0.4, -0.3), 0.08),
        (SMALL, (5.25, 3.5), 0.08),
        (ODD, (-2.5, 1.75), 0.08),
        (HD, (3.3, -4.6), 0.2),
        (Size(1919, 1079), (3.3, -4.6), 0.2),
        (UHD, (7.5, 5.2), 0.35),
    ],
    ids=str,
)
def test_flow_finds_a_shift_in_pixels_of_the_source(
    size: Size, shift: tuple[float, float], tolerance_px: float
) -> None:
    grain_px = max(14, size.width // 60)
    earlier = scene(size, grain_px=grain_px)
    points, flow = follow(earlier, moved(earlier, shift_of(*shift)))
    used = inner(points, size) & flow.is_found
    assert used.sum() > 0.9 * inner(points, size).sum()
    errors = np.abs(flow.points - points - np.array(shift, np.float32))[used]
    assert np.median(errors) < tolerance_px


def test_points_of_a_still_picture_stay_where_they_are() -> None:
    points, flow = follow(scene(HD), scene(HD))
    assert flow.is_found.all()
    assert np.abs(flow.points - points).max() < 0.01


def test_round_trips_are_short_where_flow_is_right_and_long_where_it_is_wrong() -> None:
    earlier = scene(SMALL)
    _, right = follow(earlier, moved(earlier, shift_of(2, 1)))
    _, wrong = follow(earlier, scene(SMALL, seed=99))
    assert np.median(right.round_trip_px) < 0.1
    assert np.median(wrong.round_trip_px) > 1


def test_a_good_guess_finds_what_is_beyond_the_search() -> None:
    vision = CpuVision()
    earlier = scene(SMALL)
    before, after = vision.prepare(bgr(earlier)), vision.prepare(bgr(moved(earlier, shift_of(90, 0))))
    points = np.array([[80, 120], [100, 60], [60, 180]], np.float32)
    flow = vision.flow(before, after, points, points + np.array([88, 0], np.float32))
    assert flow.points - points == pytest.approx(np.tile([90.0, 0.0], (3, 1)), abs=0.2)


def test_a_point_that_leaves_the_frame_is_not_found() -> None:
    vision = CpuVision()
    earlier = scene(SMALL)
    before, after = vision.prepare(bgr(earlier)), vision.prepare(bgr(moved(earlier, shift_of(-12, 0))))
    points = np.array([[3, 120]], np.float32)
    assert vision.flow(before, after, points, points - np.array([12, 0], np.float32)).is_found.tolist() == [False]


def test_following_leaves_points_and_guesses_as_they_were() -> None:
    vision = CpuVision()
    before, after = vision.prepare(bgr(scene(SMALL))), vision.prepare(bgr(scene(SMALL, seed=2)))
    points, guess = np.full((3, 2), 100, np.float32), np.full((3, 2), 104, np.float32)
    vision.flow(before, after, points, guess)
    assert (points == 100).all()
    assert (guess == 104).all()


def test_no_points_are_followed_to_nowhere() -> None:
    vision = CpuVision()
    frame = vision.prepare(bgr(scene(SMALL)))
    none = np.zeros((0, 2), np.float32)
    flow = vision.flow(frame, frame, none, none)
    assert (flow.points.shape, flow.is_found.shape) == ((0, 2), (0,))


def test_texture_has_a_larger_eigenvalue_than_haze() -> None:
    pixels = scene(SMALL)
    hazy = (pixels.astype(np.float32) * 0.1 + 100).astype(np.uint8)
    assert np.median(follow(pixels, pixels)[1].min_eigenvalue) > 10 * np.median(follow(hazy, hazy)[1].min_eigenvalue)


# ------------------------------------------------------------------------------------------------- corners


@pytest.mark.parametrize("size", [SMALL, ODD, HD, UHD], ids=str)
def test_every_corner_lies_in_its_own_cell(size: Size) -> None:
    vision = CpuVision()
    frame = vision.prepare(bgr(scene(size, grain_px=size.width // 60)))
    width, height = size.width / 4, size.height / 2
    box = boxes((width, height / 2, 2 * width, 1.5 * height))
    corners = vision.corners(frame, box, (3, 4))[0].reshape(4, 3, 2)
    assert not np.isnan(corners).any()
    luma_px = -(-size.width // 1280)
    for row in range(4):
        for column in range(3):
            low = box[0, :2] + np.array([column * width / 3, row * height / 4])
            high = low + np.array([width / 3, height / 4])
            assert (corners[row, column] >= low - luma_px).all()
            assert (corners[row, column] <= high + luma_px).all()


def test_a_flat_picture_has_no_corners() -> None:
    vision = CpuVision()
    frame = vision.prepare(bgr(np.full((240, 320, 3), 90, np.uint8)))
    assert np.isnan(vision.corners(frame, boxes((10, 10, 100, 200)), (3, 4))).all()


def test_cells_outside_the_frame_have_no_corners() -> None:
    vision = CpuVision()
    frame = vision.prepare(bgr(scene(SMALL)))
    corners = vision.corners(frame, boxes((-100, 20, 100, 200), (900, 900, 950, 950)), (2, 1))
    assert np.isnan(corners[0, 0]).all()
    assert not np.isnan(corners[0, 1]).any()
    assert np.isnan(corners[1]).all()


def test_the_corner_of_a_square_is_found() -> None:
    pixels = np.full((240, 320, 3), 60, np.uint8)
    pixels[120:, 160:] = 200
    vision = CpuVision()
    corner = vision.corners(vision.prepare(bgr(pixels)), boxes((152, 112, 168, 128)), (1, 1))[0, 0]
    assert corner == pytest.approx([160, 120], abs=4)


def test_corners_do_not_depend_on_frames_before() -> None:
    box = boxes((40, 40, 120, 200))
    fresh, used = CpuVision(), CpuVision()
    used.corners(used.prepare(bgr(scene(SMALL, seed=5))), boxes((30, 30, 130, 210)), (3, 4))
    picture = bgr(scene(SMALL))
    expected = fresh.corners(fresh.prepare(picture), box, (3, 4))
    assert np.array_equal(used.corners(used.prepare(picture), box, (3, 4)), expected)


def test_no_boxes_have_no_corners() -> None:
    vision = CpuVision()
    assert vision.corners(vision.prepare(bgr(scene(SMALL))), boxes(), (3, 4)).shape == (0, 12, 2)


# ------------------------------------------------------------------------------------------------ templates


@pytest.mark.parametrize("size", [SMALL, ODD, HD], ids=str)
def test_a_moved_box_looks_the_same(size: Size) -> None:
    vision = CpuVision()
    pixels = scene(size, grain_px=size.width // 40)
    box = boxes((size.width * 0.3, size.height * 0.3, size.width * 0.5, size.height * 0.7))
    shift = np.array([size.width / 37, size.height / 23])
    before = vision.templates(vision.prepare(bgr(pixels)), box)
    later = vision.prepare(bgr(moved(pixels, shift_of(*shift))))
    after = vision.templates(later, FrameBoxes(box + np.tile(shift, 2).astype(np.float32)))
    elsewhere = vision.templates(later, FrameBoxes(box + np.float32(size.width / 5)))
    assert correlation(before, after)[0] > 0.97
    assert correlation(before, elsewhere)[0] < 0.6


def test_a_grown_box_looks_the_same() -> None:
    vision = CpuVision()
    pixels = scene(SMALL, grain_px=20)
    grown = np.array([[1.25, 0.0, -40.0], [0.0, 1.25, -30.0]])
    before = vision.templates(vision.prepare(bgr(pixels)), boxes((120, 80, 200, 160)))
    after = vision.templates(vision.prepare(bgr(moved(pixels, grown))), boxes((110, 70, 210, 170)))
    assert correlation(before, after)[0] > 0.95


def test_templates_hold_luma() -> None:
    vision = CpuVision()
    pixels = np.zeros((240, 320, 3), np.uint8)
    pixels[..., 1] = 200
    templates = vision.templates(vision.prepare(bgr(pixels)), boxes((10, 10, 50, 90), (-50, -50, 500, 500)))
    assert templates.shape[0] == 2
    assert templates == pytest.approx(0.587 * 200, abs=1)


def test_no_boxes_have_no_templates() -> None:
    vision = CpuVision()
    assert len(vision.templates(vision.prepare(bgr(scene(SMALL))), boxes())) == 0


# ----------------------------------------------------------------------------------------------------- maps


@pytest.mark.parametrize("size", [Size(1, 1), Size(7, 9), SMALL, ODD, HD, Size(1366, 768), UHD], ids=str)
def test_maps_have_a_value_for_every_cell(size: Size) -> None:
    vision = CpuVision()
    pixels = scene(size)
    before, after = vision.prepare(bgr(pixels)), vision.prepare(bgr(255 - pixels))
    shape = (-(-size.height // vision.cell_px), -(-size.width // vision.cell_px))
    for cells in (vision.edge_map(before), vision.motion_map(before, after, None)):
        assert cells.shape == shape
        assert ((cells >= 0) & (cells <= 1)).all()


@pytest.mark.parametrize(("size", "cell_px"), [(SMALL, 8), (Size(1280, 720), 8), (HD, 16), (UHD, 24)], ids=str)
def test_cells_grow_with_the_width_of_the_frame(size: Size, cell_px: int) -> None:
    vision = CpuVision()
    vision.prepare(bgr(np.zeros((size.height, size.width, 3), np.uint8)))
    assert vision.cell_px == cell_px


def test_edges_are_found_where_they_are() -> None:
    pixels = np.full((240, 320, 3), 60, np.uint8)
    pixels[:, 164:] = 200
    vision = CpuVision()
    edges = vision.edge_map(vision.prepare(bgr(pixels)))
    assert (edges[:, 20] > 0).all()
    assert (np.delete(edges, [19, 20], axis=1) == 0).all()


def test_motion_is_found_where_it_is() -> None:
    pixels = scene(SMALL)
    changed = pixels.copy()
    changed[80:120, 160:200] = 255 - changed[80:120, 160:200]
    vision = CpuVision()
    motion = vision.motion_map(vision.prepare(bgr(pixels)), vision.prepare(bgr(changed)), None)
    assert motion[10:15, 20:25].mean() > 0.5
    motion[10:15, 20:25] = 0
    assert motion.max() == 0


@pytest.mark.parametrize("size", [SMALL, ODD, HD], ids=str)
@pytest.mark.parametrize(
    "camera",
    [shift_of(6.0, -3.5), np.array([[1.01, 0.005, -3.0], [-0.005, 1.01, 2.0]])],
    ids=["pan", "zoom and turn"],
)
def test_the_camera_s_own_motion_is_no_motion(size: Size, camera: NDArray[np.float64]) -> None:
    pixels = scene(size, grain_px=size.width // 40)
    vision = CpuVision()
    before, after = vision.prepare(bgr(pixels)), vision.prepare(bgr(moved(pixels, camera)))
    assert vision.motion_map(before, after, camera).mean() < 0.01
    assert vision.motion_map(before, after, None).mean() > 0.05


def test_an_object_is_seen_moving_before_a_moving_background() -> None:
    pixels = scene(SMALL, grain_px=10)
    after_pan = moved(pixels, shift_of(6, 0))
    after_pan[80:120, 160:200] = 255 - after_pan[80:120, 160:200]
    vision = CpuVision()
    motion = vision.motion_map(vision.prepare(bgr(pixels)), vision.prepare(bgr(after_pan)), shift_of(6, 0))
    assert motion[10:15, 20:25].mean() > 0.5
    assert np.median(motion) == 0


def test_noise_is_no_motion() -> None:
    random = np.random.default_rng(1)
    pixels = scene(SMALL).astype(np.int16)
    noisy = [np.clip(pixels + random.integers(-5, 6, pixels.shape), 0, 255).astype(np.uint8) for _ in range(2)]
    vision = CpuVision()
    assert vision.motion_map(vision.prepare(bgr(noisy[0])), vision.prepare(bgr(noisy[1])), None).max() == 0


# ----------------------------------------------------------------------------------------------- difference


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    vision = CpuVision()
    return vision.alignment(vision.prepare(bgr(a)), vision.prepare(bgr(b))).difference


def test_a_picture_does_not_differ_from_itself() -> None:
    assert difference(scene(HD), scene(HD)) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 30), (0.5, 0), (1.15, 5)])
def test_exposure_makes_no_difference(gain: float, offset: int) -> None:
    pixels = scene(SMALL, grain_px=30)
    exposed = (pixels * gain + offset).clip(0, 255).astype(np.uint8)
    assert difference(pixels, exposed) < 0.05


def test_another_scene_makes_a_difference() -> None:
    assert difference(scene(SMALL, grain_px=30), scene(SMALL, seed=2, grain_px=30)) > 0.6


@pytest.mark.parametrize(("right_px", "down_px"), [(0, 0), (150, 0), (-90, 60), (7, -70)])
def test_a_swing_of_the_camera_is_told_from_another_scene(right_px: int, down_px: int) -> None:
    world = scene(Size(HD.width + 400, HD.height + 200), grain_px=40)
    before, after = (
        world[100 - y : 100 - y + HD.height, 200 - x : 200 - x + HD.width] for x, y in ((0, 0), (right_px, down_px))
    )
    vision = CpuVision()
    found = vision.alignment(vision.prepare(bgr(before)), vision.prepare(bgr(after)))
    assert np.abs(found.shift_px - (right_px, down_px)).max() <= HD.width / 96
    assert found.difference < 0.2


def aligned(a: NDArray[np.uint8], b: NDArray[np.uint8], expected_px: tuple[float, float] = (0, 0)) -> Alignment:
    vision = CpuVision()
    return vision.alignment(vision.prepare(bgr(a)), vision.prepare(bgr(b)), np.array(expected_px, np.float32))


def test_a_camera_that_stopped_is_not_believed_to_swing_on() -> None:
    pixels = scene(HD, grain_px=80)
    assert aligned(pixels, pixels, (-200, 0)).shift_px.tolist() == [0, 0]


def test_of_shifts_that_explain_a_facade_alike_the_expected_one_is_taken() -> None:
    """A pattern that repeats every 160 px moves by 60, or by 220, or back by 100: nobody can tell but by the past."""
    x = np.arange(HD.width + 400)
    row = (127 + 100 * np.sin(2 * np.pi * x / 160)).astype(np.uint8)
    before, after = (
        np.repeat(np.tile(part, (HD.height, 1))[..., None], 3, axis=2) for part in (row[260:-140], row[200:-200])
    )
    assert aligned(before, after).shift_px[0] == pytest.approx(60, abs=20)
    assert aligned(before, after, (220, 0)).shift_px[0] == pytest.approx(220, abs=20)


def test_a_negative_differs() -> None:
    pixels = scene(SMALL, grain_px=30)
    assert difference(pixels, 255 - pixels) > 0.5


def test_flat_pictures_are_alike_and_unlike_all_others() -> None:
    flat = np.full((SMALL.height, SMALL.width, 3), 90, np.uint8)
    for one, other, difference_ in ((flat, flat, 0), (flat, scene(SMALL), 1), (scene(SMALL), flat, 1)):
        found = aligned(one, other, (50, 0))
        assert found.difference == difference_
        assert found.shift_px.tolist() == [0, 0]


# -------------------------------------------------------------------------------------------------- canvas


def cut(
    picture: Picture, source: tuple[int, int, int, int], target: tuple[int, int, int, int], size: Size
) -> NDArray[np.uint8]:
    vision = CpuVision()
    return vision.canvas(vision.prepare(picture), [PatchCopy(source, target)], size, PADDING)


@pytest.mark.parametrize("size", [SMALL, ODD, HD], ids=str)
def test_a_patch_at_native_scale_is_exact_to_the_pixel(size: Size) -> None:
    pixels = scene(size)
    canvas = cut(bgr(pixels), (101, 53, 165, 117), (30, 20, 94, 84), Size(128, 96))
    assert np.array_equal(canvas[20:84, 30:94], pixels[53:117, 101:165])


def test_pixels_of_no_patch_have_the_padding_s_colour() -> None:
    canvas = cut(bgr(scene(SMALL)), (100, 50, 164, 114), (30, 20, 94, 84), Size(128, 96))
    is_padding = np.ones((96, 128), bool)
    is_padding[20:84, 30:94] = False
    assert (canvas[is_padding] == PADDING).all()


def test_a_canvas_without_patches_is_all_padding() -> None:
    vision = CpuVision()
    canvas = vision.canvas(vision.prepare(bgr(scene(SMALL))), [], Size(64, 32), PADDING)
    assert canvas.shape == (32, 64, 3)
    assert (canvas == PADDING).all()


def test_several_patches_land_each_in_its_place() -> None:
    pixels = scene(SMALL)
    copies = [PatchCopy((0, 0, 20, 30), (0, 0, 20, 30)), PatchCopy((300, 200, 320, 240), (24, 0, 44, 40))]
    vision = CpuVision()
    canvas = vision.canvas(vision.prepare(bgr(pixels)), copies, Size(64, 64), PADDING)
    assert np.array_equal(canvas[:30, :20], pixels[:30, :20])
    assert np.array_equal(canvas[:40, 24:44], pixels[200:, 300:])


@pytest.mark.parametrize("scale", [0.2, 0.5, 0.7, 1.6])
@pytest.mark.parametrize("form", [bgr, yuv], ids=["bgr", "yuv"])
def test_a_scaled_patch_shows_the_same_place(scale: float, form: object) -> None:
    # A ramp in both directions: each colour tells where it was in the frame.
    y, x = np.mgrid[0:400, 0:400]
    pixels = np.stack([x * 0.5 + 20, y * 0.5 + 20, np.full_like(x, 120.0)], axis=2).astype(np.uint8)
    assert callable(form)
    side = round(200 * scale)
    canvas = cut(form(pixels), (100, 60, 300, 260), (0, 0, side, side), Size(352, 352))
    centres = (np.arange(side) + 0.5) / scale
    tolerance = 3.0
    assert np.abs(canvas[side // 2, :side, 0] - ((100 + centres) * 0.5 + 20)).max() < tolerance
    assert np.abs(canvas[:side, side // 2, 1] - ((60 + centres) * 0.5 + 20)).max() < tolerance


@pytest.mark.parametrize("is_full_range", [True, False], ids=["full range", "video range"])
@pytest.mark.parametrize(
    ("size", "source", "side"),
    [
        (SMALL, (100, 50, 164, 114), 64),
        (SMALL, (101, 51, 165, 115), 64),
        (SMALL, (0, 0, 240, 240), 96),
        (ODD, (441, 279, 641, 479), 200),
        (ODD, (441, 279, 641, 479), 80),
    ],
)
def test_planes_and_bgr_give_the_same_canvas(
    size: Size, source: tuple[int, int, int, int], side: int, is_full_range: bool
) -> None:
    pixels = scene(size, grain_px=40)
    target = (0, 0, side, side)
    from_bgr = cut(bgr(pixels), source, target, Size(256, 256)).astype(int)
    from_yuv = cut(yuv(pixels, is_full_range=is_full_range), source, target, Size(256, 256)).astype(int)
    difference_by_pixel = np.abs(from_bgr - from_yuv)
    assert difference_by_pixel.mean() < 3
    assert np.percentile(difference_by_pixel, 99) < 12


def test_a_patch_of_one_pixel_can_be_enlarged() -> None:
    pixels = scene(SMALL)
    canvas = cut(bgr(pixels), (7, 9, 8, 10), (0, 0, 32, 32), Size(32, 32))
    assert (canvas == pixels[9, 7]).all()


def test_the_whole_frame_fits_on_a_thumbnail() -> None:
    canvas = cut(bgr(scene(HD)), (0, 0, 1920, 1080), (0, 0, 320, 180), Size(320, 192))
    assert (canvas[180:] == PADDING).all()
    assert canvas[:180].std() > 5


def test_a_picture_in_bgr_is_shown_as_it_is() -> None:
    picture = bgr(scene(SMALL))
    assert to_bgr(picture) is picture.pixels


def test_planes_are_shown_at_their_own_size() -> None:
    pixels = scene(ODD, grain_px=40)
    shown = to_bgr(yuv(pixels))
    assert shown.shape == pixels.shape
    assert np.abs(shown.astype(int) - pixels).mean() < 3


def test_a_frame_of_another_vision_is_refused() -> None:
    class Stranger:
        size = SMALL

    with pytest.raises(TypeError, match="Stranger"):
        CpuVision().edge_map(Stranger())


@pytest.mark.parametrize("form", [bgr, yuv])
@pytest.mark.parametrize(
    ("size", "source"),
    [
        (Size(6, 6), (4, 4, 6, 6)),
        (Size(1918, 1080), (1916, 0, 1918, 1080)),
        (Size(641, 479), (600, 478, 641, 479)),
        (Size(5, 5), (4, 4, 5, 5)),
    ],
)
def test_the_outermost_pixels_can_be_cut_at_any_scale(
    form: Callable[[NDArray[np.uint8]], Picture], size: Size, source: tuple[int, int, int, int]
) -> None:
    assert cut(form(scene(size)), source, (0, 0, 1, 1), Size(32, 32)).shape == (32, 32, 3)
