"""The simpler ways of spending detector pixels, each on a scripted world."""

from pathlib import Path

import numpy as np
import pytest

from app.core.boxes import iou
from app.core.types import FrameBoxes, InputSizes, Size
from app.offline.evaluation.every_kth import FlowEveryKth, KalmanBoxes, KalmanEveryKth
from app.offline.evaluation.looks import Looks
from app.offline.evaluation.methods import Runner
from app.offline.evaluation.motion_regions import MotionRegions, square_region
from app.offline.evaluation.outputs import NO_TRACK, FrameCost, FrameOutput
from app.offline.evaluation.pipeline_methods import FixedScheduleRunner, LateRunner
from app.offline.evaluation.whole_frame import Tiled, WholeFrame, native_canvas, tile_layouts
from tests.flexpatch.world import Actor, ScriptedDetector, World
from tests.offline.evaluation.recordings import SIZE, WORLD, context_for, opened

CANVAS = Size(320, 192)


def run(runner: Runner, world: World = WORLD, n_frames: int = 9) -> list[tuple[FrameOutput, FrameCost]]:
    return [runner.step(frame) for frame in world.frames(n_frames)]


def all_found(output: FrameOutput, truth: np.ndarray) -> bool:
    return bool((iou(truth, output.boxes) > 0.5).any(axis=1).all())


# ------------------------------------------------------------------------------------------------ whole frames


def test_the_whole_frame_costs_its_canvas_on_every_frame() -> None:
    results = run(WholeFrame(Looks(ScriptedDetector(), None), CANVAS, 0))
    for seq, (output, cost) in enumerate(results, 1):
        assert (cost.pixels, cost.calls) == (CANVAS.pixels, 1)
        assert all_found(output, WORLD.boxes(seq))
        assert set(output.track_ids.tolist()) == {NO_TRACK}


def test_tiles_cover_the_frame_and_overlap() -> None:
    layouts = tile_layouts(Size(1920, 1080), Size(640, 384))
    covered = np.zeros((1080, 1920), np.int32)
    for layout in layouts[1:]:
        x1, y1, x2, y2 = layout.source[0].astype(int)
        assert (x2 - x1, y2 - y1) == (640, 384)
        covered[y1:y2, x1:x2] += 1
    assert covered.min() >= 1
    assert len(layouts) == 1 + 4 * 4
    assert layouts[0].source[0].tolist() == [0, 0, 1920, 1080]


def test_a_frame_that_fits_on_a_tile_is_one_look() -> None:
    assert len(tile_layouts(Size(600, 300), Size(640, 384))) == 1


def test_tiles_find_what_the_reduced_frame_hides_and_each_object_once() -> None:
    small = Actor((400, 200, 408, 216), seed=5)
    world = World(Size(1280, 768), (small, Actor((100, 100, 200, 400))))
    looks = Looks(ScriptedDetector(min_height_px=12), None)
    (whole, _), *_ = run(WholeFrame(looks, Size(640, 384), 0), world, 1)
    (tiled, cost), *_ = run(Tiled(looks, Size(640, 384), 0), world, 1)
    assert len(whole.boxes) == 1
    assert len(tiled.boxes) == 2
    assert all_found(tiled, world.boxes(1))
    assert cost.calls == len(tile_layouts(world.size, Size(640, 384)))
    assert cost.pixels == cost.calls * 640 * 384


def test_the_native_canvas_holds_the_frame() -> None:
    assert native_canvas(Size(1920, 1080), 32) == Size(1920, 1088)
    assert native_canvas(Size(480, 360), 32) == Size(480, 384)


# ------------------------------------------------------------------------------------------------- every k-th


@pytest.mark.parametrize("method", ["flow", "kalman", "fixed"])
def test_rivals_look_on_every_kth_frame_and_carry_boxes_and_ids_between(tmp_path: Path, method: str) -> None:
    detector = ScriptedDetector()
    runner = _every_kth(method, detector, tmp_path)
    results = run(runner)
    assert [cost.calls for _, cost in results] == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert sum(cost.pixels for _, cost in results) == 3 * CANVAS.pixels
    ids = {tuple(sorted(output.track_ids.tolist())) for output, _ in results}
    assert len(ids) == 1
    # Constant velocity knows nothing yet between the first two looks.
    for seq, (output, _) in enumerate(results, 1):
        if method != "kalman" or seq not in {3, 4}:
            assert all_found(output, WORLD.boxes(seq)), (method, seq)


@pytest.mark.parametrize("method", ["flow", "kalman", "fixed"])
def test_rivals_give_the_same_twice(tmp_path: Path, method: str) -> None:
    first, second = (run(_every_kth(method, ScriptedDetector(), tmp_path / str(number))) for number in range(2))
    for (one, _), (other, _) in zip(first, second, strict=True):
        assert one.boxes.tolist() == other.boxes.tolist()
        assert one.scores.tolist() == other.scores.tolist()
        assert one.track_ids.tolist() == other.track_ids.tolist()


def test_the_fixed_schedule_answers_from_memory(tmp_path: Path) -> None:
    detector = ScriptedDetector()
    context = context_for(opened(tmp_path / "seq"), detector)
    first = run(FixedScheduleRunner(context, CANVAS, 4))
    n_asked = len(detector.canvases)
    second = run(FixedScheduleRunner(context, CANVAS, 4))
    assert len(detector.canvases) == n_asked == 3
    assert [cost.stage_ms["detect"] for _, cost in second if cost.calls] == [
        cost.stage_ms["detect"] for _, cost in first if cost.calls
    ]


def test_late_answers_come_late_and_are_brought_up_to_date(tmp_path: Path) -> None:
    detector = ScriptedDetector()
    results = run(LateRunner(context_for(opened(tmp_path), detector), 0.08, 2), n_frames=12)
    assert [len(output.boxes) for output, _ in results[:2]] == [0, 0]
    assert all(all_found(output, WORLD.boxes(seq)) for seq, (output, _) in enumerate(results[2:], 3))
    assert [cost.calls for _, cost in results[:2]] == [1, 0]
    assert sum(cost.calls for _, cost in results) == len(detector.canvases)
    assert sum(cost.pixels for _, cost in results) == sum(size.pixels for size in detector.canvases)


def test_an_object_that_leaves_is_no_longer_put_out() -> None:
    leaver = Actor((560, 120, 620, 280), (300.0, 0.0))
    world = World(SIZE, (leaver,), frame_rate=10.0)
    for runner in (
        FlowEveryKth(Looks(ScriptedDetector(), None), CANVAS, 4, 0),
        KalmanEveryKth(Looks(ScriptedDetector(), None), CANVAS, 4, 0, 10.0),
    ):
        output, _ = run(runner, world)[-1]
        assert len(output.boxes) == 0


def _every_kth(method: str, detector: ScriptedDetector, folder: Path) -> Runner:
    looks = Looks(detector, None)
    if method == "flow":
        return FlowEveryKth(looks, CANVAS, 4, 0)
    if method == "kalman":
        return KalmanEveryKth(looks, CANVAS, 4, 0, WORLD.frame_rate)
    return FixedScheduleRunner(context_for(opened(folder / "seq"), detector), CANVAS, 4)


def test_the_filter_learns_a_constant_velocity_and_coasts_on_it() -> None:
    boxes = KalmanBoxes()
    start = np.array([[100, 100, 140, 200]], np.float32)
    boxes.start(np.array([1]), FrameBoxes(start), np.ones(1, np.float32))
    for step in range(1, 20):
        boxes.predict()
        moved = (start + 5 * step * np.array([1, 0, 1, 0])).astype(np.float32)
        boxes.correct(np.array([0]), FrameBoxes(moved), np.ones(1, np.float32))
    for _ in range(4):
        boxes.predict()
    assert boxes.boxes[0].tolist() == pytest.approx((start[0] + [115, 0, 115, 0]).tolist(), abs=3)


def test_the_filter_agrees_with_the_full_matrix_form() -> None:
    """The uncoupled filters are the usual 8-dimensional one, written out."""
    seen = [np.array([[100, 100, 140, 200]], np.float32) + np.float32(step) * 3 for step in (0, 1, 2)]
    boxes = KalmanBoxes()
    boxes.start(np.array([1]), FrameBoxes(seen[0]), np.ones(1, np.float32))
    mean, covariance = np.array([120, 150, 0.4, 100, 0, 0, 0, 0.0]), _initial(100.0)
    motion, observe = np.eye(8) + np.eye(8, k=4), np.eye(4, 8)
    for box in seen[1:]:
        boxes.predict()
        boxes.correct(np.array([0]), FrameBoxes(box), np.ones(1, np.float32))
        noise = _noise(mean[3])
        mean = motion @ mean
        covariance = motion @ covariance @ motion.T + noise
        x1, y1, x2, y2 = box[0]
        measured = np.array([(x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / (y2 - y1), y2 - y1])
        height = mean[3]
        total = observe @ covariance @ observe.T + np.diag(np.square([height / 20, height / 20, 0.1, height / 20]))
        gain = covariance @ observe.T @ np.linalg.inv(total)
        mean = mean + gain @ (measured - observe @ mean)
        covariance = covariance - gain @ total @ gain.T
    x, y, aspect, height = mean[:4]
    expected = [x - aspect * height / 2, y - height / 2, x + aspect * height / 2, y + height / 2]
    assert boxes.boxes[0].tolist() == pytest.approx(expected, abs=1e-3)


def _noise(height: float) -> np.ndarray:
    position, velocity = height / 20, height / 160
    return np.diag(np.square([position, position, 1e-2, position, velocity, velocity, 1e-5, velocity]))


def _initial(height: float) -> np.ndarray:
    position, velocity = 2 * height / 20, 10 * height / 160
    return np.diag(np.square([position, position, 2e-2, position, velocity, velocity, 1e-4, velocity]))


# ---------------------------------------------------------------------------------------------------- motion


def test_motion_is_looked_at_and_what_rests_stays() -> None:
    detector = ScriptedDetector()
    runner = MotionRegions(Looks(detector, None), Size(320, 320), 0, max_regions=1, every=1, fps=10.0)
    results = run(runner, n_frames=12)
    assert results[0][1].calls == 1
    assert all(cost.calls <= 1 for _, cost in results)
    assert sum(cost.calls for _, cost in results) >= 8
    output, _ = results[-1]
    assert all_found(output, WORLD.boxes(12))


def test_a_still_scene_costs_nothing_after_the_first_look() -> None:
    world = World(SIZE, (Actor((400, 100, 450, 230)),), frame_rate=10.0)
    runner = MotionRegions(Looks(ScriptedDetector(), None), Size(320, 320), 0, max_regions=2, every=1, fps=10.0)
    results = run(runner, world)
    assert [cost.calls for _, cost in results] == [1] + [0] * 8
    assert all_found(results[-1][0], world.boxes(9))


def test_regions_are_squares_inside_the_frame() -> None:
    frame = Size(640, 384)
    for box in ((0.0, 0.0, 10.0, 20.0), (600.0, 350.0, 640.0, 384.0), (100.0, 50.0, 500.0, 300.0)):
        x1, y1, x2, y2 = square_region(box, frame, 320)
        assert 0 <= x1 <= box[0]
        assert 0 <= y1 <= box[1]
        assert box[2] <= x2 <= frame.width
        assert box[3] <= y2 <= frame.height
        assert min(x2 - x1, y2 - y1) >= 320


def test_a_detector_of_one_size_is_shown_that_size_only() -> None:
    detector = ScriptedDetector(input_sizes=InputSizes(fixed=(Size(320, 320),)))
    run(MotionRegions(Looks(detector, None), Size(320, 320), 0, max_regions=2, every=1, fps=10.0))
    assert set(detector.canvases) == {Size(320, 320)}
