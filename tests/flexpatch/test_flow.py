import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.flexpatch.flow import BoxMotion, CameraMotion, box_motion, camera_motion, masked_median
from app.flexpatch.tracks import POINT_GRID, POINTS_PER_TRACK
from tests.core.strategies import REPEATABLE

SEEDS = st.integers(0, 100_000)
WIDTH, HEIGHT = 1280, 720


# ----------------------------------------------------------------------------------------------- median


@REPEATABLE
@given(SEEDS, st.integers(1, 13), st.floats(0, 1))
def test_masked_median_agrees_with_numpy(seed: int, n_points: int, share: float) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(0, 50, (6, n_points)).astype(np.float32)
    is_valid = random.random((6, n_points)) < share
    expected = [np.median(row[valid]) if valid.any() else 0 for row, valid in zip(values, is_valid, strict=True)]
    assert masked_median(values, is_valid) == pytest.approx(np.array(expected), abs=1e-4)


@REPEATABLE
@given(SEEDS)
def test_masked_median_never_reads_invalid_entries(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(0, 50, (6, 9)).astype(np.float32)
    is_valid = random.random((6, 9)) < 0.5
    spoilt = np.where(is_valid, values, np.nan).astype(np.float32)
    assert np.array_equal(masked_median(spoilt, is_valid), masked_median(values, is_valid))


# ------------------------------------------------------------------------------------------------- boxes


def points_in(height: float) -> NDArray[np.float32]:
    """(1, P, 2) points spread over a box half as wide as high, about (500, 300)."""
    columns, rows = POINT_GRID
    y, x = np.divmod(np.arange(POINTS_PER_TRACK), columns)
    shares = np.stack([(x + 0.5) / columns - 0.5, (y + 0.5) / rows - 0.5], axis=1)
    return (shares * np.array([height / 2, height]) + np.array([500, 300]))[None].astype(np.float32)


def motion_of(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    height: float,
    *,
    is_found: NDArray[np.bool_] | None = None,
    round_trip_px: NDArray[np.float32] | None = None,
) -> BoxMotion:
    shape = before.shape[:2]
    return box_motion(
        before,
        after,
        np.ones(shape, bool) if is_found is None else is_found,
        np.zeros(shape, np.float32) if round_trip_px is None else round_trip_px,
        min_eigenvalue=np.full(shape, 0.01, np.float32),
        heights=np.full(len(before), height, np.float32),
    )


def with_outliers(after: NDArray[np.float32], share: float, random: np.random.Generator) -> NDArray[np.float32]:
    """The same points, but some have jumped far away, each to another place."""
    spoilt = after.copy()
    n = int(share * spoilt.shape[-2])
    chosen = random.permutation(spoilt.shape[-2])[:n]
    angle = random.uniform(0, 2 * np.pi, n)
    far = random.uniform(60, 200, n)
    spoilt[..., chosen, :] += np.stack([far * np.cos(angle), far * np.sin(angle)], axis=1).astype(np.float32)
    return spoilt


@REPEATABLE
@given(SEEDS, st.floats(-40, 40), st.floats(-40, 40), st.floats(20, 600))
def test_a_box_moves_with_its_points_though_a_third_jumped_away(seed: int, x: float, y: float, height: float) -> None:
    before = points_in(height)
    moved = before + np.array([x, y], np.float32)
    motion = motion_of(before, with_outliers(moved, 0.3, np.random.default_rng(seed)), height)
    assert motion.is_reliable.all()
    assert motion.shift[0] == pytest.approx([x, y], abs=0.01)


@REPEATABLE
@given(SEEDS, st.floats(0.95, 1.06))
def test_a_large_box_grows_with_its_points_though_a_third_jumped_away(seed: int, growth: float) -> None:
    before = points_in(400)
    grown = ((before - np.array([500, 300])) * growth + np.array([500, 300])).astype(np.float32)
    motion = motion_of(before, with_outliers(grown, 0.3, np.random.default_rng(seed)), 400)
    assert motion.scale[0] == pytest.approx(growth, abs=0.005)


@REPEATABLE
@given(st.floats(0.5, 2.0), st.floats(10, 600))
def test_no_box_changes_its_size_by_much_in_one_frame(growth: float, height: float) -> None:
    before = points_in(height)
    after = ((before - np.array([500, 300])) * growth + np.array([500, 300])).astype(np.float32)
    assert 0.9 <= motion_of(before, after, height).scale[0] <= 1.1


def test_the_scale_of_a_small_box_is_trusted_less_than_that_of_a_large_one() -> None:
    growths = []
    for height in (60.0, 400.0):
        before = points_in(height)
        after = ((before - np.array([500, 300])) * 1.05 + np.array([500, 300])).astype(np.float32)
        growths.append(float(motion_of(before, after, height).scale[0]))
    assert 1 <= growths[0] < growths[1]


@REPEATABLE
@given(SEEDS)
def test_a_box_is_not_reliable_when_its_points_scatter(seed: int) -> None:
    before = points_in(100)
    after = before + np.random.default_rng(seed).uniform(-300, 300, before.shape).astype(np.float32)
    motion = motion_of(before, after, 100)
    assert not motion.is_reliable.any()


def test_a_box_without_points_stays_where_it_is() -> None:
    nowhere = np.full((1, POINTS_PER_TRACK, 2), np.nan, np.float32)
    motion = motion_of(nowhere, nowhere, 100)
    assert (motion.is_reliable.tolist(), motion.shift.tolist(), motion.scale.tolist()) == ([False], [[0, 0]], [1])


def test_points_that_were_not_found_have_no_say() -> None:
    before = points_in(100)
    after = before + np.float32(5)
    after[0, :5] += np.float32(70)
    is_found = np.ones((1, POINTS_PER_TRACK), bool)
    is_found[0, :5] = False
    motion = motion_of(before, after, 100, is_found=is_found)
    assert motion.shift[0] == pytest.approx([5, 5], abs=1e-3)
    assert not motion.inliers[0, :5].any()


def test_points_that_do_not_come_back_are_no_inliers() -> None:
    before = points_in(100)
    round_trip_px = np.zeros((1, POINTS_PER_TRACK), np.float32)
    round_trip_px[0, 0] = 30
    motion = motion_of(before, before, 100, round_trip_px=round_trip_px)
    assert motion.inliers[0].tolist() == [False] + [True] * (POINTS_PER_TRACK - 1)


def test_the_spread_of_flow_is_a_share_of_the_height() -> None:
    before = points_in(100)
    after = before.copy()
    after[0, ::2, 0] += 4
    motion = motion_of(before, after, 100)
    assert motion.flow_std[0] == pytest.approx(np.std(after[0, :, 0] - before[0, :, 0]) / 100, rel=1e-3)


def test_motion_of_no_boxes_is_empty() -> None:
    none = np.zeros((0, POINTS_PER_TRACK, 2), np.float32)
    assert motion_of(none, none, 100).shift.shape == (0, 2)


# ------------------------------------------------------------------------------------------------ camera


def background(seed: int, n: int = 60) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(0, 1, (n, 2)).astype(np.float32) * np.array([WIDTH, HEIGHT], np.float32)


def similarity(angle_deg: float, scale: float, shift: tuple[float, float]) -> NDArray[np.float64]:
    """(2, 3) rotation and scale about the picture's centre, then a shift."""
    angle = np.deg2rad(angle_deg)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([WIDTH / 2, HEIGHT / 2])
    return np.concatenate([linear, (centre - linear @ centre + np.array(shift))[:, None]], axis=1)


def moved_by(affine: NDArray[np.float64], points: NDArray[np.float32]) -> NDArray[np.float32]:
    return (points @ affine[:, :2].T + affine[:, 2]).astype(np.float32)


def camera_of(before: NDArray[np.float32], after: NDArray[np.float32]) -> CameraMotion:
    return camera_motion(before, after, WIDTH, HEIGHT)


CORNERS = np.array([[0, 0], [WIDTH, 0], [0, HEIGHT], [WIDTH, HEIGHT]], np.float32)


@REPEATABLE
@given(SEEDS, st.floats(-1, 1), st.floats(0.98, 1.02), st.tuples(st.floats(-40, 40), st.floats(5, 40)))
def test_the_camera_s_similarity_is_found_among_two_fifths_of_outliers(
    seed: int, angle_deg: float, scale: float, shift: tuple[float, float]
) -> None:
    truth = similarity(angle_deg, scale, shift)
    before = background(seed)
    after = with_outliers(moved_by(truth, before), 0.4, np.random.default_rng(seed + 1))
    camera = camera_of(before, after)
    assert not camera.is_still
    assert camera.shift_at(CORNERS) == pytest.approx(moved_by(truth, CORNERS) - CORNERS, abs=1.0)


@REPEATABLE
@given(SEEDS)
def test_a_still_camera_is_still_among_two_fifths_of_outliers(seed: int) -> None:
    before = background(seed)
    after = with_outliers(before, 0.4, np.random.default_rng(seed + 1))
    assert camera_of(before, after).is_still


@REPEATABLE
@given(SEEDS)
def test_a_camera_whose_points_only_tremble_is_still(seed: int) -> None:
    before = background(seed)
    noise = np.random.default_rng(seed + 1).normal(0, 0.1, before.shape).astype(np.float32)
    assert camera_of(before, before + noise).is_still


def test_a_still_camera_shifts_nothing() -> None:
    before = background(1)
    assert not camera_of(before, before).shift_at(CORNERS).any()


def test_inlier_ratio_is_the_share_of_points_that_follow() -> None:
    before = background(3)
    after = with_outliers(before, 0.4, np.random.default_rng(4))
    assert camera_of(before, after).inlier_ratio == pytest.approx(0.6, abs=0.02)


@REPEATABLE
@given(SEEDS)
def test_points_without_a_common_motion_tell_of_no_camera(seed: int) -> None:
    camera = camera_of(background(seed), background(seed + 1))
    assert camera.is_still
    assert camera.inlier_ratio < 0.25


def test_too_few_points_tell_of_no_camera() -> None:
    before = background(1, n=5)
    camera = camera_of(before, before + np.float32(20))
    assert (camera.is_still, camera.inlier_ratio) == (True, 0)


def test_points_all_in_one_place_give_a_pure_shift() -> None:
    before = np.full((10, 2), 100, np.float32)
    camera = camera_of(before, before + np.float32(20))
    assert camera.shift_at(CORNERS) == pytest.approx(np.full((4, 2), 20), abs=0.01)
