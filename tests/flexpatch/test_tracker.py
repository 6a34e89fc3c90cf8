from dataclasses import replace

import numpy as np
import pytest

from app.core.types import Size
from app.flexpatch.acuity import PRIOR_HALF_PX, Acuity, Sightings
from app.flexpatch.config import Parts, PipelineConfig
from app.flexpatch.failure import hand_set_model
from app.flexpatch.tracker import Tracker, examined_height
from app.vision.cpu import CpuVision
from tests.flexpatch.builders import FRAME_S, PaperStage, Rectangle, frame_boxes, in_frame, layout_of, one_patch
from tests.flexpatch.world import World

PERSON: Rectangle = (600, 300, 660, 450)
OTHER: Rectangle = (200, 300, 260, 450)
NOTHING = in_frame(frame_boxes())


def stage_with(*boxes: Rectangle, score: float = 0.8, config: PipelineConfig | None = None) -> PaperStage:
    stage = PaperStage(config=config)
    stage.see(in_frame(frame_boxes(*boxes), score))
    return stage


# -------------------------------------------------------------------------------------------------- motion


def test_boxes_move_with_their_points() -> None:
    stage = stage_with(PERSON)
    stage.vision.shift = (3.5, -1.25)
    stage.pass_frames(8)
    assert stage.tracks.boxes[0].tolist() == pytest.approx([628, 290, 688, 440], abs=0.01)


def test_velocity_is_learned_in_pixels_a_second() -> None:
    stage = stage_with(PERSON)
    stage.vision.shift = (2.0, 0.0)
    stage.pass_frames(30)
    assert stage.tracks.velocity[0].tolist() == pytest.approx([2 / FRAME_S, 0], abs=0.5)


def test_the_camera_s_motion_is_no_velocity() -> None:
    stage = stage_with(PERSON)
    stage.vision.shift = stage.vision.background_shift = (4.0, 0.0)
    stage.pass_frames(10)
    assert stage.tracks.velocity[0].tolist() == pytest.approx([0, 0], abs=0.5)
    assert stage.tracks.boxes[0, 0] == pytest.approx(640, abs=0.1)


def test_a_track_whose_points_are_lost_coasts_and_slows_down() -> None:
    stage = stage_with(PERSON)
    stage.vision.shift = (2.0, 0.0)
    stage.pass_frames(30)
    stage.vision.is_lost = True
    steps = []
    for _ in range(3):
        before = float(stage.tracks.boxes[0, 0])
        stage.pass_frames()
        steps.append(float(stage.tracks.boxes[0, 0]) - before)
    assert 2.1 > steps[0] > steps[1] > steps[2] > 1


def test_a_lost_track_moves_with_the_camera() -> None:
    stage = stage_with(PERSON)
    stage.vision.background_shift = (4.0, 0.0)
    stage.vision.is_lost = True
    stage.pass_frames(5)
    assert stage.tracks.boxes[0, 0] == pytest.approx(620, abs=0.1)


@pytest.mark.parametrize(("dt_s", "moved_px"), [(0.2, 80.0), (1 / 30, 0.0)])
def test_where_nothing_can_be_followed_tracks_swing_with_the_picture_at_low_frame_rates(
    dt_s: float, moved_px: float
) -> None:
    stage = stage_with(PERSON)
    stage.vision.is_lost = stage.vision.is_background_lost = True
    stage.vision.swing = (80.0, 0.0)
    left = float(stage.tracks.boxes[0, 0])
    camera = stage.tracker.propagate(stage.frame, stage.frame, dt_s, dt_s)
    assert camera.has_few_inliers
    assert stage.tracks.boxes[0, 0] - left == pytest.approx(moved_px, abs=0.1)


def test_before_a_blank_wall_one_large_object_is_not_taken_for_the_camera() -> None:
    stage = stage_with(PERSON)
    stage.vision.has_background = False
    stage.vision.shift = stage.vision.swing = (60.0, 0.0)
    for step in range(1, 6):
        camera = stage.tracker.propagate(stage.frame, stage.frame, 0.2 * step, 0.2)
        assert camera.is_still
    assert stage.tracks.velocity[0, 0] == pytest.approx(300, rel=0.2)


def test_a_swing_is_expected_to_go_on_only_as_long_as_points_show_it() -> None:
    stage = stage_with(PERSON)
    stage.vision.background_shift = stage.vision.swing = (80.0, 0.0)
    for step in range(1, 6):
        stage.vision.is_background_lost = step >= 4
        if step == 3:
            stage.tracker.forget_all()
        stage.tracker.propagate(stage.frame, stage.frame, 0.2 * step, 0.2)
    assert [x for x, _ in stage.vision.expected] == pytest.approx([0, 80, 0, 80, 0], abs=0.5)


def test_without_camera_motion_the_swing_is_not_added_to_velocities_that_hold_it_already() -> None:
    stage = stage_with(PERSON)
    stage.vision.swing = (80.0, 0.0)
    stage.tracker.propagate(stage.frame, stage.frame, 0.2, 0.2, with_camera=False)
    assert stage.vision.expected == []


def test_a_camera_that_swings_further_than_flow_reaches_is_followed() -> None:
    world = World(Size(1280, 720), camera_velocity=(700, 350), frame_rate=5, seed=5, grain_px=24)
    vision = CpuVision()
    tracker = Tracker(vision, 1, hand_set_model(), Acuity())
    first, second = (vision.prepare(world.frame(seq).picture) for seq in (1, 2))
    camera = tracker.propagate(first, second, 0.2, 0.2)
    assert camera.affine[:, 2].tolist() == pytest.approx([-140, -70], abs=1)
    assert camera.inlier_ratio > 0.8


def test_lost_points_raise_the_probability_of_failure() -> None:
    lost, followed = stage_with(PERSON), stage_with(PERSON)
    lost.vision.is_lost = True
    for stage in (lost, followed):
        stage.pass_frames(3)
    assert lost.tracks.failure[0] > followed.tracks.failure[0]


def test_failure_grows_with_the_time_since_the_last_look() -> None:
    stage = stage_with(PERSON)
    stage.pass_frames(2)
    early = float(stage.tracks.failure[0])
    stage.pass_frames(60)
    assert stage.tracks.failure[0] > early


def test_a_track_that_leaves_the_frame_ends() -> None:
    stage = stage_with(PERSON)
    stage.vision.shift = (40.0, 0.0)
    stage.pass_frames(20)
    assert len(stage.tracks) == 0


def test_propagating_nothing_is_harmless() -> None:
    stage = PaperStage()
    stage.pass_frames(3)
    assert len(stage.tracks) == 0


# --------------------------------------------------------------------------------------------------- looks


def test_a_confirmed_track_takes_the_detection_s_place() -> None:
    stage = stage_with(PERSON)
    moved: Rectangle = (606, 302, 666, 452)
    for _ in range(3):
        stage.see(in_frame(frame_boxes(moved)))
    assert stage.tracks.ids.tolist() == [1]
    assert stage.tracks.boxes[0].tolist() == pytest.approx(moved, abs=0.5)


def test_agreeing_looks_bring_the_evidence_to_their_scores() -> None:
    stage = stage_with(PERSON, score=0.2)
    for _ in range(20):
        stage.see(in_frame(frame_boxes(PERSON), 0.9))
    assert stage.tracks.evidence[0] > 0.75


def test_a_lone_detection_that_later_looks_deny_goes() -> None:
    stage = stage_with(PERSON, score=0.3)
    for _ in range(30):
        stage.pass_frames()
        stage.see(NOTHING)
    assert len(stage.tracks) == 0


def test_a_track_unconfirmed_for_its_lifetime_ends_when_it_is_missed() -> None:
    stage = stage_with(PERSON, config=PipelineConfig(track_lifetime_s=0.5))
    stage.pass_frames(20)
    assert len(stage.tracks) == 1
    stage.see(NOTHING)
    assert len(stage.tracks) == 0


def test_the_tracks_with_the_least_evidence_go_beyond_the_limit() -> None:
    stage = PaperStage(config=PipelineConfig(max_tracks=2))
    boxes = [(100.0 + 200 * i, 300.0, 160.0 + 200 * i, 450.0) for i in range(4)]
    stage.see(in_frame(frame_boxes(*boxes), [0.3, 0.9, 0.2, 0.8]))
    assert stage.tracks.ids.tolist() == [2, 4]


def test_one_object_seen_twice_is_one_track() -> None:
    stage = stage_with(PERSON, (602, 301, 662, 451))
    assert len(stage.tracks) == 1


def test_two_classes_in_one_place_are_two_tracks() -> None:
    stage = PaperStage()
    stage.see(in_frame(frame_boxes(PERSON, PERSON), class_ids=[0, 1]))
    assert sorted(stage.tracks.class_ids.tolist()) == [0, 1]


def test_the_class_is_voted_by_score() -> None:
    stage = PaperStage()
    stage.see(in_frame(frame_boxes(PERSON), 0.4, class_ids=1))
    for _ in range(3):
        stage.see(in_frame(frame_boxes(PERSON), 0.9, class_ids=0))
    assert stage.tracks.class_ids.tolist() == [0]


def test_ids_are_never_used_again_after_a_new_scene() -> None:
    stage = stage_with(PERSON, OTHER)
    stage.tracker.forget_all()
    assert len(stage.tracks) == 0
    stage.see(in_frame(frame_boxes(PERSON)))
    assert stage.tracks.ids.tolist() == [3]


def test_hits_are_the_tracks_confirmed_or_born_by_the_look() -> None:
    stage = stage_with(PERSON, OTHER)
    newcomer: Rectangle = (900, 300, 960, 450)
    outcome = stage.see(in_frame(frame_boxes(OTHER, newcomer)))
    assert sorted(outcome.hits.tolist()) == [2, 3]
    assert outcome.born.tolist() == [list(newcomer)]


def test_a_track_may_start_at_any_score_above_the_floor() -> None:
    assert len(stage_with(PERSON, score=0.06).tracks) == 1


@pytest.mark.parametrize(("score", "has_credibility", "n_born"), [(0.1, True, 0), (0.2, True, 1), (0.1, False, 1)])
def test_a_faint_find_on_a_patch_is_doubted(score: float, has_credibility: bool, n_born: int) -> None:
    stage = PaperStage(config=PipelineConfig(parts=Parts(credibility=has_credibility)))
    stage.see(in_frame(frame_boxes(PERSON), score), one_patch((500, 200, 800, 600), 1.0))
    assert len(stage.tracks) == n_born


def test_a_faint_detection_on_a_patch_confirms_what_is_known() -> None:
    stage = stage_with(PERSON)
    outcome = stage.see(in_frame(frame_boxes(PERSON), 0.1), one_patch((500, 200, 800, 600), 1.0))
    assert outcome.hits.tolist() == [1]


def test_tracks_that_many_others_are_as_faint_as_are_hardly_believed() -> None:
    faint = [
        (20.0 + 40 * (i % 30), 30.0 + 120 * (i // 30), 50.0 + 40 * (i % 30), 90.0 + 120 * (i // 30)) for i in range(60)
    ]
    stage = PaperStage()
    stage.see(in_frame(frame_boxes(PERSON, *faint), [0.8] + [0.1] * 60))
    stage.pass_frames()
    assert stage.tracks.credibility[0] == 1
    assert len(stage.tracks) == 61
    assert stage.tracks.credibility[1:].max() < 0.1


def test_what_scores_were_worth_is_learned_anew_for_other_classes() -> None:
    stage = PaperStage()
    stage.see(in_frame(frame_boxes(*[(20.0 + 40 * i, 30, 50.0 + 40 * i, 90) for i in range(30)]), 0.1, class_ids=1))
    stage.pass_frames()
    assert stage.tracks.credibility.max() < 0.5
    stage.tracker.restrict(frozenset([0]), None)
    stage.see(in_frame(frame_boxes(PERSON), 0.1))
    stage.pass_frames()
    assert len(stage.tracks) == 1
    assert stage.tracks.credibility[0] > 0.03


# ------------------------------------------------------------------------------------------ what was examined

FRAME = Size(1280, 720)


@pytest.mark.parametrize(
    ("source", "scale", "expected_px"),
    [
        ((0, 0, 1280, 720), 0.5, 75),
        ((560, 260, 700, 500), 1.0, 150),
        ((560, 260, 700, 500), 2.0, 300),
        ((600, 300, 660, 450), 1.0, 150),
        ((601, 260, 700, 500), 1.0, 0),
        ((560, 260, 700, 449), 1.0, 0),
        ((100, 260, 400, 500), 1.0, 0),
    ],
    ids=["whole frame", "around", "enlarged", "exact", "left side cut", "feet cut", "elsewhere"],
)
def test_examined_height_is_that_on_the_canvas_where_a_patch_held_all(
    source: Rectangle, scale: float, expected_px: float
) -> None:
    height = examined_height(one_patch(source, scale), frame_boxes(PERSON), FRAME)
    assert height.tolist() == pytest.approx([expected_px], rel=0.01)


def test_examined_height_is_taken_from_the_patch_that_showed_it_largest() -> None:
    layout = layout_of(
        Size(640, 640), ((0, 0, 1280, 720), (0, 0, 320, 180)), ((560, 260, 700, 500), (0, 200, 140, 440))
    )
    assert examined_height(layout, frame_boxes(PERSON), FRAME).tolist() == [150]


def test_what_is_beyond_the_frame_is_not_asked_of_a_patch() -> None:
    leaving = frame_boxes((1200, 300, 1320, 450))
    assert examined_height(one_patch((1100, 200, 1280, 600), 1.0), leaving, FRAME).tolist() == [150]


def test_no_tracks_were_examined_nowhere() -> None:
    assert examined_height(one_patch((0, 0, 1280, 720), 1.0), frame_boxes(), FRAME).shape == (0,)


def test_a_row_of_tracks_keeps_its_properties_when_others_end() -> None:
    stage = stage_with(PERSON, OTHER, (900, 300, 960, 450))
    stage.tracks.keep(np.array([True, False, True]))
    assert stage.tracks.ids.tolist() == [1, 3]
    assert stage.tracks.boxes[:, 0].tolist() == [600, 900]
    assert stage.tracks.templates.shape[0] == 2


def half_point_after(*, pause_s: float = 0.1, failure: float = 0.0, misses: int = 12) -> float:
    """Of a stage where ten people are seen large and clearly, then missed on a small canvas; again and again."""
    stage = PaperStage()
    people = frame_boxes(*((x, 200.0, x + 50.0, 320.0) for x in range(40, 1240, 120)))
    large, small = one_patch((0, 0, 1280, 720), 1.0), one_patch((0, 0, 1280, 720), 0.3)
    for _ in range(misses):
        stage.see(in_frame(people), large)
        stage.pts_s += pause_s
        stage.tracker.tracks.failure[:] = failure
        stage.see(in_frame(frame_boxes()), small)
        stage.pts_s += 0.1
    return stage.acuity.half_px


def test_objects_that_small_looks_miss_teach_how_small_is_too_small() -> None:
    assert half_point_after() > 1.5 * PRIOR_HALF_PX


def test_a_box_that_may_have_lost_its_object_teaches_nothing() -> None:
    assert half_point_after(failure=0.8) < 1.4 * PRIOR_HALF_PX < half_point_after()


def test_looks_long_apart_teach_nothing() -> None:
    assert half_point_after(pause_s=3.0, misses=1) == PRIOR_HALF_PX < half_point_after(misses=1)


class Notebook(Acuity):
    """Notes what it is to learn from: height and score before, height and score now."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[float, float, float, float]] = []

    def learn(self, before: Sightings, now: Sightings) -> None:
        columns = (before.heights_px, before.scores, now.heights_px, now.scores)
        self.pairs += zip(*(np.round(column, 3).tolist() for column in columns), strict=True)


class Glances:
    """Looks at one person, 150 px tall in the frame, at several scales; nothing moves."""

    def __init__(self) -> None:
        self.notebook = Notebook()
        self.stage = PaperStage(acuity=self.notebook)

    def look(self, scale: float, score: float, *, is_cut: bool = False, after_s: float = 0.1) -> None:
        """A look at the whole frame that gave the person that score; 0: missed."""
        self.stage.pts_s += after_s
        seen = in_frame(frame_boxes(PERSON) if score else frame_boxes(), score, is_cut=is_cut)
        seen = replace(seen, scale=np.full(len(seen), scale, np.float32))
        self.stage.see(seen, one_patch((0, 0, *self.stage.frame.size), scale))

    def pairs(self) -> list[tuple[float, float, float, float]]:
        """Those noted since the last time."""
        noted, self.notebook.pairs = self.notebook.pairs, []
        return noted


def test_each_look_is_compared_with_the_one_before_by_height_on_the_canvas_and_score() -> None:
    glances = Glances()
    glances.look(1.0, 0.8)
    assert glances.pairs() == []
    glances.look(0.5, 0.6)
    assert glances.pairs() == [pytest.approx((150, 0.8, 75, 0.6))]
    glances.look(0.3, 0.0)
    assert glances.pairs() == [pytest.approx((75, 0.6, 45, 0))]
    glances.look(1.0, 0.7)
    assert glances.pairs() == [pytest.approx((45, 0, 150, 0.7))]


def test_a_detection_cut_by_a_patch_edge_is_no_look_to_compare() -> None:
    glances = Glances()
    glances.look(1.0, 0.8)
    glances.look(0.5, 0.6, is_cut=True)
    assert glances.pairs() == []
    glances.look(0.5, 0.7)
    assert glances.pairs() == [pytest.approx((150, 0.8, 75, 0.7))]


def test_a_miss_where_the_box_may_be_wrong_is_no_look_to_compare() -> None:
    glances = Glances()
    glances.look(1.0, 0.8)
    glances.stage.tracks.failure[:] = 0.31
    glances.look(0.5, 0.0)
    assert glances.pairs() == []
    glances.look(0.5, 0.7)
    assert glances.pairs() == [pytest.approx((150, 0.8, 75, 0.7))]


def test_a_miss_elsewhere_is_no_look_to_compare() -> None:
    glances = Glances()
    glances.look(1.0, 0.8)
    glances.stage.see(NOTHING, one_patch((0, 0, 400, 700), 1.0))
    assert glances.pairs() == []


@pytest.mark.parametrize(("pause_s", "is_compared"), [(1.9, True), (2.1, False)])
def test_looks_are_compared_within_two_seconds_of_the_last_one(pause_s: float, is_compared: bool) -> None:
    glances = Glances()
    for scale in (1.0, 0.9, 0.8):
        glances.look(scale, 0.8, after_s=pause_s)
    assert len(glances.pairs()) == (2 if is_compared else 0)
