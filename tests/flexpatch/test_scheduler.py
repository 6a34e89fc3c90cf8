from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.types import FrameBoxes, InputSizes, Size
from app.flexpatch.acuity import Acuity, Sightings
from app.flexpatch.canvas import canvas_ladder
from app.flexpatch.config import Parts, PipelineConfig
from app.flexpatch.discovery import Discovery
from app.flexpatch.flow import STILL
from app.flexpatch.packing import GUTTER_PX
from app.flexpatch.scheduler import FIRST_LOOK_FRAMES, NEW_SCENE_FRAMES, Plan, Scene, plan_look
from app.flexpatch.tracks import TrackTable
from tests.core.strategies import REPEATABLE
from tests.flexpatch.builders import frame_boxes, one_patch, tracks_at
from tests.flexpatch.world import Actor, World, make_pipeline, run

CELL_PX = 16
NATIVE = InputSizes()


def scene_of(
    size: Size,
    tracks: TrackTable,
    *,
    unseen_s: float = 1.0,
    cut: FrameBoxes | None = None,
    input_sizes: InputSizes = NATIVE,
) -> Scene:
    """A frame that was looked at thoroughly `unseen_s` ago."""
    discovery = Discovery(size, CELL_PX, Acuity())
    discovery.record_look(one_patch((0, 0, *size), 2.0))
    discovery.advance(unseen_s, STILL)
    discovery.observe_motion(np.zeros(discovery.shape, np.float32), tracks.boxes, 1 / 30)
    ladder = canvas_ladder(size, input_sizes, None)
    return Scene(
        frame=size,
        tracks=tracks,
        discovery=discovery,
        acuity=Acuity(),
        ladder=ladder,
        frame_interval_s=1 / 30,
        since_look_s=unseen_s,
        cut=frame_boxes() if cut is None else cut,
        cut_scores=np.full(0 if cut is None else len(cut), 0.8, np.float32),
    )


def sighting(height_px: float, score: float) -> Sightings:
    return Sightings(np.array([height_px]), np.array([score]))


@dataclass(frozen=True, slots=True)
class Situation:
    """A scene with the price of a pixel."""

    scene: Scene
    price_per_pixel: float
    must_look: bool = False

    def plan(self) -> Plan:
        return plan_look(self.scene, PipelineConfig(), self.price_per_pixel, must_look=self.must_look)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Frames of many shapes with up to a dozen tracks, failing or not, some of them over the frame's edge."""
    width, height = draw(
        st.sampled_from([(640, 360), (1920, 1080), (1080, 1920), (641, 479), (320, 240), (100, 90), (2560, 400)])
    )
    random = np.random.default_rng(draw(st.integers(0, 100_000)))
    n = draw(st.integers(0, 12))
    corner = random.uniform(-10, 1, (n, 2)) + random.uniform(0, 0.95, (n, 2)) * [width, height]
    extent = np.exp(random.uniform(np.log(4), np.log(max(8, height * 0.9)), (n, 1))) * [0.5, 1.0]
    boxes = FrameBoxes(np.concatenate([corner, corner + extent], axis=1).astype(np.float32))
    tracks = tracks_at(
        boxes,
        scores=random.uniform(0.06, 0.95, n).tolist(),
        failure=random.uniform(0, 1, n).tolist(),
        size=Size(width, height),
    )
    has_cut = draw(st.booleans())
    cut = frame_boxes((width * 0.4, height * 0.4, width * 0.6, height * 0.8)) if has_cut else frame_boxes()
    fixed = draw(st.sampled_from([(), (Size(320, 320), Size(640, 640))]))
    scene = scene_of(
        Size(width, height),
        tracks,
        unseen_s=draw(st.sampled_from([0.03, 0.5, 8.0])),
        cut=cut,
        input_sizes=InputSizes(fixed=fixed),
    )
    return Situation(scene, draw(st.sampled_from([4e-7, 1e-6, 5e-6, 1e-4])), must_look=draw(st.integers(0, 9)) == 0)


@REPEATABLE
@given(situations())
def test_what_is_cut_lies_in_the_frame_in_whole_pixels(situation: Situation) -> None:
    layout = situation.plan().layout
    if layout is None:
        return
    assert np.array_equal(layout.source, np.round(layout.source))
    assert (layout.source[:, :2] >= 0).all()
    assert (layout.source[:, 2:] <= np.array(situation.scene.frame)).all()
    assert (layout.source[:, 2:] - layout.source[:, :2] >= 1).all()


@REPEATABLE
@given(situations())
def test_what_is_placed_lies_on_the_canvas_in_whole_pixels(situation: Situation) -> None:
    layout = situation.plan().layout
    if layout is None:
        return
    assert np.array_equal(layout.target, np.round(layout.target))
    assert (layout.target[:, :2] >= 0).all()
    assert (layout.target[:, 2:] <= np.array(layout.size)).all()
    assert (layout.target[:, 2:] - layout.target[:, :2] >= 1).all()


@REPEATABLE
@given(situations())
def test_patches_keep_a_gutter_between_them(situation: Situation) -> None:
    layout = situation.plan().layout
    targets = [] if layout is None else layout.target.tolist()
    for index, (x1, y1, x2, y2) in enumerate(targets):
        for ox1, oy1, ox2, oy2 in targets[index + 1 :]:
            assert max(ox1 - x2, x1 - ox2, oy1 - y2, y1 - oy2) >= GUTTER_PX


@REPEATABLE
@given(situations())
def test_patches_keep_their_shape(situation: Situation) -> None:
    layout = situation.plan().layout
    if layout is None:
        return
    extent = layout.source[:, 2:] - layout.source[:, :2]
    scale = layout.scale.max(axis=1, keepdims=True)
    # Whole pixels on the canvas allow for one pixel of stretching at most.
    assert (np.abs(extent * scale - (layout.target[:, 2:] - layout.target[:, :2])) <= 1 + 0.02 * extent * scale).all()


@REPEATABLE
@given(situations())
def test_the_canvas_is_one_of_the_ladder(situation: Situation) -> None:
    layout = situation.plan().layout
    assert layout is None or layout.size in situation.scene.ladder


@REPEATABLE
@given(situations())
def test_every_candidate_has_a_reason(situation: Situation) -> None:
    plan = situation.plan()
    assert plan.reason
    assert len(plan.candidates) >= len(situation.scene.ladder)
    assert all(candidate.reason for candidate in plan.candidates)


@REPEATABLE
@given(situations())
def test_the_candidates_taken_are_just_the_patches_on_the_canvas(situation: Situation) -> None:
    plan = situation.plan()
    taken = [candidate for candidate in plan.candidates if candidate.is_taken]
    sources = [] if plan.layout is None else plan.layout.source.tolist()
    targets = [] if plan.layout is None else plan.layout.target.tolist()
    assert [list(candidate.box) for candidate in taken] == sources
    assert [list(candidate.canvas_box or ()) for candidate in taken] == targets


@REPEATABLE
@given(situations())
def test_what_is_left_has_no_place_on_the_canvas(situation: Situation) -> None:
    assert all(c.canvas_box is None for c in situation.plan().candidates if not c.is_taken)


@REPEATABLE
@given(situations())
def test_the_mode_tells_what_was_taken(situation: Situation) -> None:
    plan = situation.plan()
    kinds = {candidate.kind for candidate in plan.candidates if candidate.is_taken}
    if plan.mode == "track":
        assert (plan.layout, kinds) == (None, set())
    elif plan.mode == "full":
        assert kinds == {"frame"}
    else:
        assert kinds
        assert "frame" not in kinds


@REPEATABLE
@given(situations(), st.sampled_from([(np.inf, FIRST_LOOK_FRAMES), (3.0, NEW_SCENE_FRAMES)]))
def test_a_look_that_must_be_is_of_the_whole_frame_on_the_largest_canvas_that_its_frames_pay_for(
    situation: Situation, look: tuple[float, float]
) -> None:
    since_look_s, n_frames = look
    scene = replace(situation.scene, since_look_s=since_look_s)
    for megapixels in (0.001, 0.012, 0.08, 2.0):
        config = PipelineConfig(megapixels_per_frame=megapixels)
        plan = plan_look(scene, config, situation.price_per_pixel, must_look=True)
        assert plan.mode == "full"
        assert plan.layout is not None
        paid = [rung for rung in scene.ladder if rung.pixels <= n_frames * megapixels * 1e6]
        assert plan.layout.size == (paid[-1] if paid else scene.ladder[0])
        assert plan.layout.source.tolist() == [[0, 0, *scene.frame]]


@REPEATABLE
@given(situations())
def test_candidates_name_live_tracks(situation: Situation) -> None:
    alive = set(situation.scene.tracks.ids.tolist())
    for candidate in situation.plan().candidates:
        assert set(candidate.track_ids) <= alive
        assert (candidate.kind == "object") == bool(candidate.track_ids)


@REPEATABLE
@given(situations())
def test_an_object_patch_holds_its_track(situation: Situation) -> None:
    tracks, (width, height) = situation.scene.tracks, situation.scene.frame
    for candidate in situation.plan().candidates:
        for track_id in candidate.track_ids[:1]:
            x1, y1, x2, y2 = tracks.boxes[tracks.ids == track_id][0].tolist()
            shown = (max(x1, 0), max(y1, 0), min(x2, width), min(y2, height))
            assert candidate.box[0] <= shown[0] + 1e-3
            assert candidate.box[1] <= shown[1] + 1e-3
            assert candidate.box[2] >= shown[2] - 1e-3
            assert candidate.box[3] >= shown[3] - 1e-3


@REPEATABLE
@given(situations())
def test_the_same_scene_gives_the_same_plan(situation: Situation) -> None:
    first, second = situation.plan(), situation.plan()
    assert first.candidates == second.candidates
    assert (first.mode, first.reason) == (second.mode, second.reason)


@REPEATABLE
@given(situations())
def test_nothing_is_looked_at_for_an_absurd_price(situation: Situation) -> None:
    plan = plan_look(situation.scene, PipelineConfig(), 1.0, must_look=False)
    assert plan.mode == "track"


# ------------------------------------------------------------------------------------------ single choices

STREET = Size(1920, 1080)
PERSON = (900.0, 500.0, 950.0, 620.0)


def taken_ids(plan: Plan) -> set[int]:
    return {track_id for candidate in plan.candidates if candidate.is_taken for track_id in candidate.track_ids}


def test_one_failing_track_in_a_calm_frame_gets_a_patch_of_its_own() -> None:
    tracks = tracks_at(frame_boxes(PERSON), failure=0.9)
    plan = Situation(scene_of(STREET, tracks, unseen_s=0.03), 1e-6).plan()
    assert plan.mode == "patch"
    assert taken_ids(plan) == {1}


def test_a_frame_that_nobody_saw_for_long_is_looked_at() -> None:
    idle_price = 4e-7
    plan = Situation(scene_of(STREET, tracks_at(frame_boxes()), unseen_s=8.0), idle_price).plan()
    assert plan.mode != "track"


def test_a_frame_just_seen_without_tracks_is_left_alone() -> None:
    plan = Situation(scene_of(STREET, tracks_at(frame_boxes()), unseen_s=0.03), 1e-6).plan()
    assert plan.mode == "track"


def test_of_two_tracks_the_failing_one_is_looked_at_first() -> None:
    boxes = frame_boxes(PERSON, (200, 500, 250, 620))
    tracks = tracks_at(boxes, failure=[0.02, 0.9])
    plan = Situation(scene_of(STREET, tracks, unseen_s=0.03), 1e-6).plan()
    assert 2 in taken_ids(plan)
    values = {c.track_ids[0]: c.value for c in plan.candidates if c.track_ids}
    assert values[2] > values.get(1, 0.0)


def test_of_two_failing_tracks_the_credible_one_is_looked_at_first() -> None:
    tracks = tracks_at(frame_boxes(PERSON, (200, 500, 250, 620)), failure=0.9)
    tracks.credibility[:] = [0.01, 1.0]
    plan = Situation(scene_of(STREET, tracks, unseen_s=0.03), 1e-6).plan()
    assert taken_ids(plan) == {2}


def test_neighbours_share_a_patch() -> None:
    boxes = frame_boxes(PERSON, (960, 505, 1010, 625))
    plan = Situation(scene_of(STREET, tracks_at(boxes, failure=0.9), unseen_s=0.03), 1e-6).plan()
    assert taken_ids(plan) == {1, 2}
    assert sum(candidate.is_taken for candidate in plan.candidates) == 1


def patch_scale(height: float) -> float:
    """Canvas pixels per frame pixel at which a failing object of that height is shown."""
    box = (900.0, 300.0, 900 + height / 2, 300 + height)
    plan = Situation(scene_of(STREET, tracks_at(frame_boxes(box), failure=0.9), unseen_s=0.03), 1e-6).plan()
    patches = [candidate for candidate in plan.candidates if candidate.kind == "object"]
    return patches[0].scale


@pytest.mark.parametrize("height", [60.0, 120.0, 400.0, 900.0])
def test_a_failing_object_is_shown_as_a_detector_likes_it(height: float) -> None:
    assert 48 <= height * patch_scale(height) <= 256


def test_objects_are_shown_at_the_height_that_the_detector_has_proved_to_need() -> None:
    scene = scene_of(STREET, tracks_at(frame_boxes((900, 100, 1100, 800)), failure=0.9), unseen_s=0.03)
    scales = []
    for score in (0.0, 0.9):
        acuity = Acuity()
        for _ in range(20):  # a small look that sees nothing, or as much as a large one
            acuity.learn(sighting(240, 0.9), sighting(80, score))
        plan = Situation(replace(scene, acuity=acuity), 1e-6).plan()
        scales.append(next(candidate.scale for candidate in plan.candidates if candidate.kind == "object"))
    assert scales[1] < 0.8 * scales[0]


@pytest.mark.parametrize(("fixed_px", "shown_px"), [(None, 3 * 32), (64.0, 64), (200.0, 200)])
def test_a_fixed_height_goes_before_the_learned_one(fixed_px: float | None, shown_px: float) -> None:
    scene = scene_of(STREET, tracks_at(frame_boxes((900, 300, 1100, 700)), failure=0.9), unseen_s=0.03)
    plan = plan_look(scene, PipelineConfig(object_height_px=fixed_px), 4e-7, must_look=False)
    patch = next(candidate for candidate in plan.candidates if candidate.kind == "object")
    assert patch.scale * 400 == pytest.approx(shown_px, rel=0.02)


def test_small_objects_are_not_enlarged() -> None:
    assert patch_scale(30.0) == pytest.approx(1.0)


def test_a_large_canvas_now_and_then_beats_small_ones_all_the_time_while_little_is_lost_between() -> None:
    """Whole frames alone: what is lost in a tenth of a second is little, in two seconds much."""
    tracks = tracks_at(frame_boxes(*((x, 400, x + 60, 520) for x in range(100, 1800, 200))), failure=0.3)
    chosen = []
    for interval_s in (1 / 30, 2.0):
        scene = replace(scene_of(STREET, tracks), frame_interval_s=interval_s)
        config = PipelineConfig(megapixels_per_frame=0.1, parts=Parts(patches=False))
        layout = plan_look(scene, config, 1e-7, must_look=False).layout
        assert layout is not None
        chosen.append(layout.size.pixels)
    assert chosen[0] > chosen[1]


def test_a_patch_leaves_more_room_the_less_a_track_is_trusted() -> None:
    widths = []
    for failure in (0.3, 0.99):
        plan = Situation(scene_of(STREET, tracks_at(frame_boxes(PERSON), failure=failure)), 4e-7).plan()
        x1, _, x2, _ = next(candidate.box for candidate in plan.candidates if candidate.kind == "object")
        widths.append(x2 - x1)
    assert widths[0] < widths[1]


def test_where_an_unknown_object_was_cut_a_larger_region_is_considered() -> None:
    cut = frame_boxes((600, 400, 700, 560))
    plan = Situation(scene_of(STREET, tracks_at(frame_boxes()), cut=cut, unseen_s=0.03), 1e-6).plan()
    again = next(candidate for candidate in plan.candidates if candidate.kind == "new_object")
    assert again.box[0] < 600
    assert again.box[3] > 560


@pytest.mark.parametrize("top", [Size(128, 128), Size(320, 64)], ids=str)
def test_no_look_distorts_what_it_shows(top: Size) -> None:
    world = World(Size(1280, 720), (Actor((100, 100, 160, 250), (60, 0)), Actor((700, 300, 800, 400), (-90, 0), 1)))
    pipeline = make_pipeline(config=PipelineConfig(max_canvas=top, megapixels_per_frame=0.05))
    for result in run(pipeline, world.frames(40)):
        explanation = pipeline.explain(result.seq)
        assert explanation is not None
        for taken in (candidate for candidate in explanation.candidates if candidate.canvas_box):
            x1, y1, x2, y2 = taken.canvas_box or (0, 0, 1, 1)
            wide, high = (x2 - x1) / (taken.box[2] - taken.box[0]), (y2 - y1) / (taken.box[3] - taken.box[1])
            assert abs(wide - high) * max(taken.box[2] - taken.box[0], taken.box[3] - taken.box[1]) <= 1.5


def test_the_same_worth_promises_more_the_less_time_it_took_to_come_there() -> None:
    """What a look could mend nears its height with a time constant of 0.15 s."""
    scene = scene_of(STREET, tracks_at(frame_boxes(PERSON), failure=0.5))
    rates = []
    for since_look_s in (0.05, 0.6, 60.0):
        rate = plan_look(replace(scene, since_look_s=since_look_s), PipelineConfig(), 1e-6, must_look=False).going_rate
        assert rate is not None
        rates.append(rate * -np.expm1(-since_look_s / 0.15))
    assert rates == pytest.approx([rates[0]] * 3)


@REPEATABLE
@given(situations())
def test_the_going_rate_is_told_wherever_looks_were_compared(situation: Situation) -> None:
    rate = situation.plan().going_rate
    if situation.must_look:
        assert rate is None
    else:
        assert rate is not None
        assert 0 <= rate < np.inf
