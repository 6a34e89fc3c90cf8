"""The kernels of vision do what OpenCV does on the processor: to the last bit, but for the last digits of flow."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.types import BgrPicture, FrameBoxes, Size, YuvPicture
from app.gpu.structures import CAMERA_MAP, FLOW_JOB, FOLLOWED_POINT, LUMA_PLANE, POINT_SEARCH
from app.vision.cpu import CpuFrame, CpuVision
from app.vision.luma import (
    CANNY_HIGH,
    CANNY_LOW,
    MIN_CORNER_EIGENVALUE,
    MOTION_THRESHOLD,
    SEARCH_END_PX,
    SEARCH_STEPS,
    TEMPLATE_SIDE,
    WINDOW_PX,
    map_shape,
    reduced_size,
)
from tests.gpu.kernels import ALONE, Dimensions, Kernels, Place
from tests.vision.pictures import moved, scene, shift_of

SIZE = Size(331, 187)
SIZES = [Size(97, 55), SIZE, Size(640, 360)]
GRID: Dimensions = (3, 2, 1)
"""Blocks that go over a plane together, whatever its size."""
each_size = pytest.mark.parametrize("size", SIZES, ids=str)


def noise(size: Size, seed: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (size.height, size.width), np.uint8)


def luma_of(size: Size, seed: int = 1, grain_px: int = 12) -> NDArray[np.uint8]:
    return np.ascontiguousarray(scene(size, seed=seed, grain_px=grain_px)[..., 1])


def grey(luma: NDArray[np.uint8]) -> BgrPicture:
    """A picture of that luma."""
    return BgrPicture(np.ascontiguousarray(np.repeat(luma[..., None], 3, axis=2)))


def plane(place: Place, pixels: NDArray[np.uint8]) -> NDArray[Any]:
    """One LUMA_PLANE, also of (H, W, 3) BGR."""
    made = np.zeros((), LUMA_PLANE)
    made["pixels"], made["pitch"] = place(pixels), pixels.strides[0]
    made["height"], made["width"] = pixels.shape[:2]
    return made


def number(value: int) -> NDArray[np.int32]:
    return np.array(value, np.int32)


# ------------------------------------------------------------------------------------------------- planes


@pytest.mark.parametrize("divisor", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["bgr", "planes"])
@each_size
def test_luma_is_reduced_as_on_the_processor(kernels: Kernels, size: Size, kind: str, divisor: int) -> None:
    if kind == "planes":
        pixels = noise(size)
        expected = CpuFrame(YuvPicture(pixels, pixels[::2, ::2], pixels[::2, ::2]), divisor).luma
    else:
        pixels = np.random.default_rng(2).integers(0, 256, (size.height, size.width, 3), np.uint8)
        expected = CpuFrame(BgrPicture(pixels), divisor).luma
    reduced = reduced_size(size, divisor)
    found = np.zeros((reduced.height, reduced.width), np.uint8)

    def arguments(place: Place) -> Sequence[NDArray[Any]]:
        return [plane(place, pixels), number(kind == "bgr"), number(divisor > 1), plane(place, found)]

    kernels.run("reduce_luma", GRID, ALONE, arguments, [found])
    np.testing.assert_array_equal(found, expected)


@each_size
def test_pyramids_are_opencv_s(kernels: Kernels, size: Size) -> None:
    pixels = noise(size)
    np.testing.assert_array_equal(halved(kernels, pixels), cv2.pyrDown(pixels))


def halved(kernels: Kernels, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    found = np.zeros((-(-pixels.shape[0] // 2), -(-pixels.shape[1] // 2)), np.uint8)
    kernels.run("halve_luma", GRID, ALONE, lambda place: [plane(place, pixels), plane(place, found)], [found])
    return found


@pytest.mark.parametrize("size", [Size(96, 54), Size(97, 55), Size(192, 540), Size(288, 162), SIZE], ids=str)
def test_thumbnails_are_opencv_s(kernels: Kernels, size: Size) -> None:
    pixels, found = noise(size), np.zeros((54, 96), np.uint8)
    kernels.run("shrink_luma", GRID, ALONE, lambda place: [plane(place, pixels), plane(place, found)], [found])
    np.testing.assert_array_equal(found, cv2.resize(pixels, (96, 54), interpolation=cv2.INTER_AREA))


# --------------------------------------------------------------------------------------------------- flow


def pyramid(luma: NDArray[np.uint8], n_levels: int) -> list[NDArray[np.uint8]]:
    levels = [luma]
    while len(levels) < n_levels:
        levels.append(cv2.pyrDown(levels[-1]))
    return levels


def followed(
    kernels: Kernels,
    earlier: NDArray[np.uint8],
    later: NDArray[np.uint8],
    start: NDArray[np.float32],
    guess: NDArray[np.float32],
    *,
    n_levels: int,
    block: Dimensions = ALONE,
) -> NDArray[Any]:
    """(M,) FOLLOWED_POINT."""
    before, after = pyramid(earlier, n_levels), pyramid(later, n_levels)
    searches, found = np.zeros(len(start), POINT_SEARCH), np.zeros(len(start), FOLLOWED_POINT)
    searches["start"], searches["guess"] = start, guess

    def arguments(place: Place) -> Sequence[NDArray[Any]]:
        job = np.zeros((), FLOW_JOB)
        for level in range(n_levels):
            job["earlier"][level], job["later"][level] = plane(place, before[level]), plane(place, after[level])
        job["n_levels"], job["n_points"] = n_levels, len(start)
        job["max_steps"], job["last_step_px"] = SEARCH_STEPS, SEARCH_END_PX
        return [job, place(searches), place(found)]

    kernels.run("follow_points", (len(start), 1, 1), block, arguments, [found])
    return found


def by_opencv(
    earlier: NDArray[np.uint8],
    later: NDArray[np.uint8],
    start: NDArray[np.float32],
    guess: NDArray[np.float32],
    n_levels: int,
) -> NDArray[Any]:
    """The same, of OpenCV."""
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, SEARCH_STEPS, SEARCH_END_PX)
    window, own_guess = (WINDOW_PX, WINDOW_PX), cv2.OPTFLOW_USE_INITIAL_FLOW
    there, is_found, eigenvalues = cv2.calcOpticalFlowPyrLK(
        earlier,
        later,
        start,
        guess.copy(),
        winSize=window,
        maxLevel=n_levels - 1,
        criteria=criteria,
        flags=own_guess | cv2.OPTFLOW_LK_GET_MIN_EIGENVALS,
    )
    back, is_found_back, _ = cv2.calcOpticalFlowPyrLK(
        later, earlier, there, start.copy(), winSize=window, maxLevel=0, criteria=criteria, flags=own_guess
    )
    found = np.zeros(len(start), FOLLOWED_POINT)
    found["there"], found["back"], found["min_eigenvalue"] = there, back, eigenvalues[:, 0]
    found["has_converged"] = (is_found[:, 0] == 1) & (is_found_back[:, 0] == 1)
    return found


@pytest.mark.parametrize("n_levels", [1, 2, 4])
@pytest.mark.parametrize("change", ["shift", "zoom and noise", "another scene", "none"])
def test_points_are_followed_as_opencv_follows_them(kernels: Kernels, change: str, n_levels: int) -> None:
    rng = np.random.default_rng(7)
    size = Size(400, 240)
    earlier = luma_of(size)
    later = {
        "shift": moved(earlier, shift_of(3.4, -2.3)),
        "zoom and noise": moved(earlier, np.array([[1.02, 0.01, -4.0], [-0.01, 1.02, 1.0]])),
        "another scene": luma_of(size, seed=9),
        "none": earlier,
    }[change]
    if "noise" in change:
        later = np.clip(later.astype(int) + rng.integers(-9, 10, later.shape), 0, 255).astype(np.uint8)
    start = rng.uniform((-9, -9), (size.width + 9, size.height + 9), (200, 2)).astype(np.float32)
    guess = start + rng.normal(0, 2, start.shape).astype(np.float32)
    mine = followed(kernels, earlier, later, start, guess, n_levels=n_levels)
    theirs = by_opencv(earlier, later, start, guess, n_levels)
    np.testing.assert_allclose(mine["min_eigenvalue"], theirs["min_eigenvalue"], rtol=1e-5, atol=1e-7)
    # Where nothing is to be found, the last digit of a sum can send the search elsewhere.
    share = 0.97 if change == "another scene" else 1.0
    assert (mine["has_converged"] == theirs["has_converged"]).mean() >= share
    both = (mine["has_converged"] == 1) & (theirs["has_converged"] == 1)
    assert both.sum() > 50
    for field in ("there", "back"):
        off_px = np.linalg.norm(mine[field] - theirs[field], axis=1)[both]
        assert np.mean(off_px < 0.01) >= share


def test_the_lanes_of_a_warp_share_a_point(kernels: Kernels) -> None:
    rng = np.random.default_rng(8)
    earlier = luma_of(SIZE)
    later = moved(earlier, shift_of(1.5, 2.5))
    start = rng.uniform((0, 0), SIZE, (12, 2)).astype(np.float32)
    alone = followed(kernels, earlier, later, start, start, n_levels=3)
    together = followed(kernels, earlier, later, start, start, n_levels=3, block=(32, 1, 1))
    for field in ("there", "back", "min_eigenvalue"):
        np.testing.assert_allclose(together[field], alone[field], atol=1e-4)
    np.testing.assert_array_equal(together["has_converged"], alone["has_converged"])


@pytest.mark.parametrize("place", [np.nan, np.inf, -np.inf, 1e30, -1e30], ids=str)
def test_points_that_are_nowhere_are_lost(kernels: Kernels, place: float) -> None:
    luma = luma_of(SIZE)
    somewhere, nowhere = np.full((1, 2), 50, np.float32), np.full((1, 2), place, np.float32)
    for start, guess in ((nowhere, somewhere), (somewhere, nowhere), (nowhere, nowhere)):
        assert followed(kernels, luma, luma, start, guess, n_levels=3)["has_converged"].tolist() == [0]


# ------------------------------------------------------------------------------------- corners, templates


def some_boxes(size: Size, n: int) -> FrameBoxes:
    """Boxes in the frame, across its edges, and beyond."""
    rng = np.random.default_rng(n)
    low = rng.uniform((-50, -50), size, (n, 2))
    return FrameBoxes(np.concatenate([low, low + rng.uniform(1, 150, (n, 2))], axis=1).astype(np.float32))


@pytest.mark.parametrize("grid", [(3, 4), (16, 9)], ids=str)
@pytest.mark.parametrize("make", [noise, luma_of])
def test_corners_are_those_of_the_processor(kernels: Kernels, make: Any, grid: tuple[int, int]) -> None:
    luma = make(SIZE)
    vision = CpuVision()
    whole = FrameBoxes(np.array([[0, 0, *SIZE]], np.float32))
    boxes = FrameBoxes(np.concatenate([whole, some_boxes(SIZE, 20)]))
    n_cells = grid[0] * grid[1]
    found = np.zeros((len(boxes), n_cells, 2), np.int32)

    def arguments(place: Place) -> Sequence[NDArray[Any]]:
        shape = [number(grid[0]), number(grid[1]), np.array(MIN_CORNER_EIGENVALUE, np.float32)]
        return [plane(place, luma), place(boxes), *shape, place(found)]

    kernels.run("find_corners", (n_cells, len(boxes), 1), ALONE, arguments, [found])
    points = np.where(found >= 0, found + np.float32(0.5), np.float32(np.nan))
    # With the whole frame among them, the processor too looks at all pixels round a sample.
    np.testing.assert_array_equal(points, vision.corners(vision.prepare(grey(luma)), boxes, grid))


@pytest.mark.parametrize("make", [noise, luma_of])
def test_templates_are_those_of_the_processor(kernels: Kernels, make: Any) -> None:
    luma, boxes = make(SIZE), some_boxes(SIZE, 60)
    vision = CpuVision()
    found = np.zeros((len(boxes), TEMPLATE_SIDE, TEMPLATE_SIDE), np.uint8)

    def arguments(place: Place) -> Sequence[NDArray[Any]]:
        return [plane(place, luma), place(boxes), number(TEMPLATE_SIDE), place(found)]

    kernels.run("sample_templates", (len(boxes), 1, 1), ALONE, arguments, [found])
    np.testing.assert_array_equal(found, vision.templates(vision.prepare(grey(luma)), boxes))


# --------------------------------------------------------------------------------------------------- maps


@pytest.mark.parametrize("blur", [0, 1.2, 3])
@each_size
def test_edges_are_those_of_the_processor(kernels: Kernels, size: Size, blur: float) -> None:
    luma = noise(size)
    if blur:
        luma = cv2.normalize(cv2.GaussianBlur(luma, (0, 0), blur), None, 0, 255, cv2.NORM_MINMAX)
    vision = CpuVision()
    expected = vision.edge_map(vision.prepare(grey(luma)))
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(edges(kernels, luma), expected)


def edges(kernels: Kernels, luma: NDArray[np.uint8], block: Dimensions = ALONE) -> NDArray[np.float32]:
    size = Size(luma.shape[1], luma.shape[0])
    shape = number(size.width), number(size.height)
    labels, strong, marked = np.zeros(luma.shape, np.int32), np.zeros_like(luma), np.zeros_like(luma)
    cells = np.zeros(map_shape(size), np.uint8)
    thresholds = number(CANNY_LOW), number(CANNY_HIGH)

    def run(name: str, grid: Dimensions, given: Any, results: list[NDArray[Any]]) -> None:
        kernels.run(name, grid, block, given, results)

    run(
        "classify_edges",
        GRID,
        lambda place: [plane(place, luma), *thresholds, place(labels), place(strong), place(marked)],
        [labels, strong, marked],
    )
    run("join_edges", GRID, lambda place: [*shape, place(labels)], [labels])
    run("mark_edges", GRID, lambda place: [*shape, place(labels), place(strong), place(marked)], [marked])
    run("count_edges", GRID, lambda place: [*shape, place(labels), place(marked), place(cells)], [cells])
    return cells.astype(np.float32) / np.float32(255)


def test_threads_of_a_block_share_cells_and_corners(kernels: Kernels) -> None:
    size = Size(97, 55)
    luma, boxes, corners = noise(size), some_boxes(size, 4), np.zeros((2, 4, 6, 2), np.int32)
    np.testing.assert_array_equal(edges(kernels, luma, (8, 4, 1)), edges(kernels, luma))
    for block, found in zip((ALONE, (8, 1, 1)), corners, strict=True):

        def arguments(place: Place, found: NDArray[np.int32] = found) -> Sequence[NDArray[Any]]:
            shape = [number(3), number(2), np.array(MIN_CORNER_EIGENVALUE, np.float32)]
            return [plane(place, luma), place(boxes), *shape, place(found)]

        kernels.run("find_corners", (6, 4, 1), block, arguments, [found])
    np.testing.assert_array_equal(corners[0], corners[1])


def test_an_edge_that_winds_through_the_picture_is_one(kernels: Kernels) -> None:
    """A weak spiral that is strong at its outer end only."""
    size = Size(160, 160)
    turn = np.linspace(4, 8 * np.pi, 4000)
    path = np.rint((np.stack([turn * np.cos(turn), turn * np.sin(turn)], axis=1) * 2.9 + 80) * 16).astype(np.int32)
    weak = np.full((size.height, size.width), 100, np.uint8)
    cv2.polylines(weak, [path], isClosed=False, color=150, thickness=5, lineType=cv2.LINE_AA, shift=4)
    whole = cv2.polylines(weak.copy(), [path[-200:]], False, 255, thickness=5, lineType=cv2.LINE_AA, shift=4)
    weak, whole = cv2.GaussianBlur(weak, (0, 0), 2), cv2.GaussianBlur(whole, (0, 0), 2)
    vision = CpuVision()
    assert edges(kernels, weak).max() == 0
    found = edges(kernels, whole)
    assert (found > 0).mean() > 0.3
    np.testing.assert_array_equal(found, vision.edge_map(vision.prepare(grey(whole))))


@pytest.mark.parametrize(
    "camera",
    [None, shift_of(6, -3.5), shift_of(-2.25, 400), np.array([[1.01, 0.005, -3.0], [-0.005, 1.01, 2.0]])],
    ids=["at rest", "pan", "out of view", "zoom and turn"],
)
@each_size
def test_motion_is_that_of_the_processor(kernels: Kernels, size: Size, camera: NDArray[np.float64] | None) -> None:
    rng = np.random.default_rng(3)
    earlier = luma_of(size)
    later = moved(earlier, shift_of(2, 1) if camera is None else camera)
    later = np.clip(later.astype(int) + rng.integers(-9, 10, later.shape), 0, 255).astype(np.uint8)
    vision = CpuVision()
    expected = vision.motion_map(vision.prepare(grey(earlier)), vision.prepare(grey(later)), camera)
    cells = np.zeros(map_shape(size), np.uint8)
    back = np.zeros((), CAMERA_MAP)
    if camera is not None:
        # Luma of this size is not reduced: half a pixel is all that its coordinates differ by.
        whole = np.eye(3)
        whole[:2, :2] = camera[:, :2]
        whole[:2, 2] = camera[:, 2] + camera[:, :2] @ [0.5, 0.5] - 0.5
        back["x"], back["y"] = np.linalg.inv(whole)[:2]
        back["is_used"] = 1

    def arguments(place: Place) -> Sequence[NDArray[Any]]:
        return [plane(place, earlier), plane(place, later), back, number(MOTION_THRESHOLD), place(cells)]

    kernels.run("find_motion", GRID, ALONE, arguments, [cells])
    off = np.abs(cells.astype(np.float32) / np.float32(255) - expected)
    assert np.mean(off > 0) < 0.01  # a pixel here and there lies just on the threshold
    assert off.max() <= 2 / 64
