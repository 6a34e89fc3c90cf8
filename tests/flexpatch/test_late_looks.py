"""Answers of the detector that come when the stream has gone on."""

import math
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.boxes import iou
from app.core.errors import DetectorFailed
from app.core.types import (
    Answer,
    Canvas,
    Frame,
    FrameBoxes,
    FrameResult,
    Picture,
    PointFlow,
    PreparedFrame,
    Size,
    look_at,
)
from app.flexpatch.config import PipelineConfig
from app.flexpatch.flow import CameraMotion, camera_shift, one_after_the_other
from app.flexpatch.look import Beliefs, Look, moved_along
from app.flexpatch.pipeline import Pipeline
from app.vision.cpu import CpuVision
from tests.flexpatch.builders import FRAME_S, FRAME_SIZE, PaperStage, frame_boxes, in_frame, one_patch
from tests.flexpatch.world import Actor, ScriptedDetector, World, make_pipeline, result_boxes, run

WALKERS = World(
    Size(640, 360),
    (
        Actor((60, 60, 100, 150), velocity=(90, 0)),
        Actor((500, 120, 540, 220), velocity=(-70, 12), seed=2),
        Actor((300, 200, 345, 310), velocity=(20, -40), seed=3),
    ),
)


@dataclass(slots=True)
class SlowDetector:
    """Answers so many frames after it was asked."""

    n_frames: int
    detector: ScriptedDetector = field(default_factory=ScriptedDetector)
    waiting: "deque[tuple[int, Canvas, Future[Answer]]]" = field(default_factory=deque)
    n_begun: int = 0

    def ask(self, canvas: Canvas) -> "Future[Answer]":
        future: Future[Answer] = Future()
        self.waiting.append((self.n_begun + self.n_frames, canvas, future))
        return future

    def frame_begins(self) -> None:
        self.n_begun += 1
        while self.waiting and self.waiting[0][0] <= self.n_begun:
            _, canvas, future = self.waiting.popleft()
            try:
                future.set_result(Answer(look_at(self.detector, [canvas])[0], 40.0))
            except DetectorFailed as error:
                future.set_exception(error)


def step(pipeline: Pipeline, slow: SlowDetector, frame: Frame) -> FrameResult:
    slow.frame_begins()
    pipeline.begin(frame, slow.ask)
    return pipeline.finish()


def run_late(world: World, n_frames: int, late: int, config: PipelineConfig | None = None) -> list[FrameResult]:
    slow = SlowDetector(late)
    pipeline = make_pipeline(slow.detector, config)
    return [step(pipeline, slow, frame) for frame in world.frames(n_frames)]


def worst_overlap(result: FrameResult, world: World) -> float:
    """Of the objects of the world, the least that a track overlaps one."""
    boxes = result_boxes(result)
    return float(iou(FrameBoxes(boxes), FrameBoxes(world.boxes(result.seq))).max(axis=0, initial=0).min())


@pytest.mark.parametrize("late", [1, 2, 3, 6])
def test_objects_are_where_they_are_now_not_where_the_detector_saw_them(late: int) -> None:
    """At 90 px/s and 30 frames/s, six frames are 18 px: nearly half of a box that is 40 px wide."""
    results = run_late(WALKERS, 25, late)
    found = [worst_overlap(result, WALKERS) for result in results]
    assert [len(result.objects) for result in results[:late]] == [0] * late, "before the first answer"
    assert min(found[late:]) > 0.7


def test_an_answer_on_the_same_frame_is_the_same_as_waiting_for_it() -> None:
    frames = list(WALKERS.frames(20))
    waited = run(make_pipeline(), frames)
    pipeline, detector = make_pipeline(), ScriptedDetector()

    def ask(canvas: Canvas) -> "Future[Answer]":
        future: Future[Answer] = Future()
        future.set_result(Answer(look_at(detector, [canvas])[0], 0.0))
        return future

    for frame, expected in zip(frames, waited, strict=True):
        pipeline.begin(frame, ask)
        assert pipeline.finish().objects == expected.objects


def test_ids_stay_and_each_object_has_one() -> None:
    results = run_late(WALKERS, 40, 2)
    assert {tuple(sorted(item.track_id for item in result.objects)) for result in results[2:]} == {(1, 2, 3)}


def test_what_was_seen_is_as_old_as_the_frame_on_which_it_was_seen() -> None:
    first = run_late(WALKERS, 4, 3)[3]
    assert {item.origin for item in first.objects} == {"detected"}
    assert [item.detection_age_s for item in first.objects] == pytest.approx([0.1] * 3)


def test_nothing_is_asked_while_an_answer_is_awaited() -> None:
    slow = SlowDetector(4)
    pipeline = make_pipeline(slow.detector)
    results = []
    for frame in WALKERS.frames(5):
        results.append(step(pipeline, slow, frame))
        assert len(slow.waiting) <= 1
    assert [result.work.mode for result in results[:4]] == ["full", "track", "track", "track"]
    explanation = pipeline.explain(3)
    assert explanation is not None
    assert explanation.reason == "the detector is still busy with frame 1"
    assert "detect" not in results[0].stage_ms
    assert results[4].stage_ms["detect"] == 40.0


def test_new_objects_are_carried_under_a_camera_that_turns() -> None:
    world = replace(WALKERS, actors=(Actor((300, 60, 340, 160), velocity=(-60, 0)),), camera_velocity=(120.0, 0.0))
    results = run_late(world, 12, 3)
    assert min(worst_overlap(result, world) for result in results[3:]) > 0.6


class ShortSighted(CpuVision):
    """Follows nothing but from one frame to the next."""

    def __init__(self) -> None:
        super().__init__()
        self._order: list[PreparedFrame] = []

    def prepare(self, picture: Picture) -> PreparedFrame:
        self._order.append(super().prepare(picture))
        return self._order[-1]

    def flow(
        self,
        earlier: PreparedFrame,
        later: PreparedFrame,
        points: NDArray[np.float32],
        guess: NDArray[np.float32],
        reach_px: float = math.inf,
    ) -> PointFlow:
        found = super().flow(earlier, later, points, guess, reach_px)
        is_next = self._order.index(later) == self._order.index(earlier) + 1
        return found if is_next else replace(found, is_found=np.zeros_like(found.is_found))


def test_the_camera_is_followed_while_an_answer_is_awaited() -> None:
    """The object rests in a scene that moves by 24 px until the answer is there; nothing else tells where it went."""
    world = World(Size(640, 360), (Actor((300, 60, 340, 160), velocity=(-180, 0)),), camera_velocity=(180.0, 0.0))
    slow = SlowDetector(4)
    pipeline = make_pipeline(slow.detector, vision=ShortSighted())
    results = [step(pipeline, slow, frame) for frame in world.frames(5)]
    assert worst_overlap(results[4], world) > 0.8


def test_an_answer_about_another_scene_is_thrown_away() -> None:
    slow = SlowDetector(3)
    pipeline = make_pipeline(slow.detector)
    other = replace(WALKERS, seed=99, actors=(Actor((200, 100, 260, 240), seed=8),))
    for frame in WALKERS.frames(2):
        step(pipeline, slow, frame)
    later = [step(pipeline, slow, other.frame(seq)) for seq in range(3, 12)]
    assert [len(result.objects) for result in later[:4]] == [0] * 4, "the answer about the first scene came on frame 4"
    assert later[1].work.mode == "full", "the new scene is looked at as soon as the detector is free"
    assert [len(result.objects) for result in later[5:]] == [1] * 4
    assert worst_overlap(later[-1], other) > 0.7


def test_a_detector_that_fails_later_fails_one_frame_and_no_more() -> None:
    slow = SlowDetector(2, ScriptedDetector(failing_calls={0}))
    pipeline = make_pipeline(slow.detector)
    frames = list(WALKERS.frames(12))
    for frame in frames[:2]:
        step(pipeline, slow, frame)
    with pytest.raises(DetectorFailed):
        step(pipeline, slow, frames[2])
    results = [step(pipeline, slow, frame) for frame in frames[3:]]
    assert len(results[-1].objects) == 3


def test_objects_that_left_meanwhile_are_not_missed() -> None:
    """A track that ended before the answer came has no row any more."""
    leaver = Actor((600, 100, 638, 200), velocity=(150, 0), seed=4)
    world = replace(WALKERS, actors=(*WALKERS.actors, leaver))
    results = run_late(world, 30, 4)
    assert len(results[-1].objects) == 3


def test_filters_that_changed_meanwhile_hold_for_the_answer() -> None:
    slow = SlowDetector(3)
    pipeline = make_pipeline(slow.detector)
    world = replace(WALKERS, actors=(*WALKERS.actors[:2], replace(WALKERS.actors[2], class_id=1)))
    step(pipeline, slow, world.frame(1))
    pipeline.focus(frozenset({1}), None)
    results = [step(pipeline, slow, world.frame(seq)) for seq in range(2, 8)]
    assert {item.label for item in results[-1].objects} == {"car"}


def test_the_same_delays_give_the_same_tracks() -> None:
    assert [item.objects for item in run_late(WALKERS, 20, 3)] == [item.objects for item in run_late(WALKERS, 20, 3)]


@given(
    st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(5, 200), st.floats(5, 200)),
    st.tuples(st.floats(-300, 300), st.floats(-300, 300), st.floats(0.5, 2)),
)
@settings(deadline=None)
def test_a_box_goes_along_with_the_one_beside_it(
    box: tuple[float, float, float, float], motion: tuple[float, float, float]
) -> None:
    """A box that lies on another one ends on it; so does one with an offset, in proportion."""
    x, y, width, height = box
    dx, dy, growth = motion
    before = np.array([[x, y, x + width, y + height]], np.float32)
    half = np.array([width, height, width, height]) / 2 * growth * (-1, -1, 1, 1)
    middle = np.array([x + width / 2 + dx, y + height / 2 + dy])
    after = (np.tile(middle, 2) + half).astype(np.float32)[None]
    moved, grew = moved_along(before, before, after)
    np.testing.assert_allclose(moved, after, atol=0.05)
    np.testing.assert_allclose(grew, growth, rtol=1e-3)
    offset, _ = moved_along(before + np.float32(7), before, after)
    np.testing.assert_allclose(offset, after + 7 * growth, atol=0.05)


@given(st.lists(st.tuples(st.floats(-0.1, 0.1), st.floats(0.9, 1.1), st.floats(-50, 50)), min_size=2, max_size=4))
@settings(deadline=None)
def test_motions_of_the_camera_add_up(motions: list[tuple[float, float, float]]) -> None:
    points = np.array([[0, 0], [640, 10], [200, 300]], np.float32)
    whole, moved = None, points.astype(np.float64)
    for angle, scale, shift in motions:
        c, s = scale * np.cos(angle), scale * np.sin(angle)
        camera = CameraMotion(np.array([[c, -s, shift], [s, c, -shift]]), 1.0, is_still=False)
        moved = moved @ camera.affine[:, :2].T + camera.affine[:, 2]
        whole = camera if whole is None else one_after_the_other(whole, camera)
    assert whole is not None
    np.testing.assert_allclose(points + whole.shift_at(points), moved, atol=0.02)


@pytest.mark.parametrize(
    ("steps", "pixels", "share"), [(0, 0, 1.0), (1, 1, 1.0), (2, 2, 1.0), (3, 2, 0.5), (4, 2, 0.25)]
)
def test_thrift_takes_the_largest_canvases_first_and_then_looks(steps: int, pixels: int, share: float) -> None:
    """Largest canvases by rung of the ladder 320, 448, 640; then the pixels spent fall with the allowance."""
    world = replace(WALKERS, size=Size(1280, 720))
    detector = ScriptedDetector()
    pipeline = make_pipeline(detector, PipelineConfig(megapixels_per_frame=0.05))
    pipeline.save(steps)
    run(pipeline, world.frames(120))
    largest = [Size(640, 384), Size(448, 256), Size(320, 192)][pixels]
    assert max(detector.canvases, key=lambda size: size.pixels).pixels <= largest.pixels
    assert sum(size.pixels for size in detector.canvases) / 120 <= 1.25 * share * 0.05e6 + largest.pixels / 120


def test_thrift_ends() -> None:
    detector = ScriptedDetector()
    pipeline = make_pipeline(detector)
    pipeline.save(4)
    run(pipeline, WALKERS.frames(3))
    pipeline.reconfigure(PipelineConfig(megapixels_per_frame=0.3))
    run(pipeline, WALKERS.frames(20, first=4))
    assert {size.width for size in detector.canvases} == {320}, "other settings do not end it"
    pipeline.save(0)
    run(pipeline, WALKERS.frames(30, first=24))
    assert max(size.width for size in detector.canvases) == 640


def test_who_walks_in_file_keeps_its_own_id() -> None:
    """Eight frames late, each is where the one ahead was when the detector was asked."""
    file = tuple(
        Actor((40 + 40 * place, 60, 70 + 40 * place, 150), velocity=(150, 0), seed=place) for place in range(4)
    )
    results = run_late(World(Size(1280, 360), file), 40, 8)[9:]
    in_order = [[item.track_id for item in sorted(result.objects, key=lambda item: item.box[0])] for result in results]
    assert in_order == [[1, 2, 3, 4]] * len(results)
    assert sum(item.origin == "detected" for result in results for item in result.objects) > 4


def test_a_new_object_that_cannot_be_followed_goes_with_the_camera() -> None:
    stage = PaperStage()
    look = Look(1, stage.pts_s, stage.frame, one_patch((0, 0, *FRAME_SIZE), 1.0), Beliefs.of(stage.tracks), Future())
    look.camera_moved(camera_shift(np.array([8.0, -3.0]), 1.0))
    look.camera_moved(camera_shift(np.array([4.0, 0.0]), 1.0))
    stage.vision.is_lost = True
    seen = in_frame(frame_boxes((100, 100, 140, 200)))
    stage.tracker.merge(stage.frame, stage.pts_s + 2 * FRAME_S, look, seen, stage.config)
    np.testing.assert_allclose(stage.tracks.boxes, [[112, 97, 152, 197]])
