from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.boxes import iou
from app.core.errors import DetectorFailed, FrameOutOfOrder, FrameSizeChanged, SettingsError
from app.core.types import BgrPicture, Frame, FrameResult, InputSizes, Size, YuvPicture
from app.flexpatch.config import PipelineConfig
from app.flexpatch.scheduler import Plan, Scene, plan_look
from tests.flexpatch.world import (
    FRAME_RATE,
    Actor,
    ScriptedDetector,
    World,
    make_pipeline,
    n_covered,
    object_at,
    result_boxes,
    run,
    texture,
)
from tests.vision.pictures import yuv

SIZE = Size(640, 360)
WALKER = Actor((40, 40, 80, 140), (30, 0))
STROLLER = Actor((300, 200, 340, 300), (-20, 5), seed=2)
CAR = Actor((500, 60, 600, 120), (-40, 0), class_id=1, seed=3)
STANDER = Actor((420, 220, 460, 330), seed=4)
STREET = World(SIZE, (WALKER, STROLLER, CAR, STANDER))
EVERYTHING = PipelineConfig(min_output_score=0.0)
FRUGAL = PipelineConfig(megapixels_per_frame=0.004)
GREY = np.full((360, 640, 3), 127, np.uint8)


def without_times(results: Iterable[FrameResult]) -> list[FrameResult]:
    return [replace(result, stage_ms={}) for result in results]


def ids_of(result: FrameResult) -> list[int]:
    return [item.track_id for item in result.objects]


def labels_of(results: Iterable[FrameResult]) -> set[str]:
    return {item.label for result in results for item in result.objects}


def detector_pixels(results: Iterable[FrameResult]) -> int:
    return sum(result.work.detector_pixels for result in results)


@pytest.fixture(scope="module")
def street() -> list[FrameResult]:
    """Two seconds of the street with the settings of a new session."""
    return run(make_pipeline(), STREET.frames(60))


@pytest.fixture(scope="module")
def coming_and_going() -> list[FrameResult]:
    """Two seconds in which tracks are born and end; everything is put out."""
    config = PipelineConfig(min_output_score=0.0, track_lifetime_s=0.3)
    return run(make_pipeline(config=config), COMING_AND_GOING.frames(60))


# --------------------------------------------------------------------------------------------- following


def test_all_objects_are_found_on_the_first_frame() -> None:
    result = make_pipeline().step(STREET.frame(1))
    assert result.work.mode == "full"
    assert n_covered(result, STREET.boxes(1)) == 4


def test_objects_are_followed_and_keep_their_ids(street: list[FrameResult]) -> None:
    assert {n_covered(result, STREET.boxes(result.seq)) for result in street} == {4}
    assert {tuple(sorted(ids_of(result))) for result in street} == {(1, 2, 3, 4)}


def test_classes_have_the_detector_s_labels() -> None:
    result = make_pipeline().step(STREET.frame(1))
    x1, y1, x2, y2 = CAR.box
    assert object_at(result, (x1, y1, x2, y2)).label == "car"
    assert labels_of([result]) == {"person", "car"}


def test_objects_are_followed_under_a_moving_camera() -> None:
    still = (Actor((150, 40, 190, 140)), Actor((300, 200, 340, 300), seed=2))
    world = World(SIZE, tuple(replace(actor, velocity=(-45.0, 0.0)) for actor in still), camera_velocity=(45.0, 0.0))
    results = run(make_pipeline(), world.frames(30))
    assert {n_covered(result, world.boxes(result.seq)) for result in results} == {2}


def test_a_newcomer_is_found_within_a_second() -> None:
    world = World(SIZE, (STANDER, Actor((100, 150, 150, 280), from_s=0.5, seed=9)))
    results = run(make_pipeline(), world.frames(45))
    assert n_covered(results[-1], world.boxes(45)) == 2


def test_what_leaves_the_scene_is_given_up() -> None:
    world = World(SIZE, (STANDER, replace(WALKER, until_s=0.5)))
    results = run(make_pipeline(config=PipelineConfig(track_lifetime_s=0.5)), world.frames(60))
    assert len(results[10].objects) == 2
    assert len(results[-1].objects) == 1


def test_the_same_frames_give_the_same_results(street: list[FrameResult]) -> None:
    again = run(make_pipeline(), STREET.frames(60))
    assert without_times(again) == without_times(street)


def test_two_streams_on_one_detector_never_interact() -> None:
    other_street = World(SIZE, (STANDER, CAR), seed=99)
    alone = [run(make_pipeline(), world.frames(25)) for world in (STREET, other_street)]
    detector = ScriptedDetector()
    pipelines = [make_pipeline(detector), make_pipeline(detector)]
    together: list[list[FrameResult]] = [[], []]
    for seq in range(1, 26):
        for pipeline, world, results in zip(pipelines, (STREET, other_street), together, strict=True):
            results.append(pipeline.step(world.frame(seq)))
    assert [without_times(results) for results in together] == [without_times(results) for results in alone]


COMING_AND_GOING = World(
    SIZE,
    (
        replace(WALKER, until_s=0.4),
        replace(STROLLER, from_s=0.3, until_s=1.2),
        replace(STANDER, from_s=0.8),
        replace(CAR, from_s=0.2),
        replace(WALKER, from_s=1.0, seed=11),
    ),
)


def test_no_two_objects_of_a_frame_share_an_id(coming_and_going: list[FrameResult]) -> None:
    for result in coming_and_going:
        assert len(set(ids_of(result))) == len(result.objects)


def test_an_id_that_is_gone_never_comes_back(coming_and_going: list[FrameResult]) -> None:
    gone: set[int] = set()
    present: set[int] = set()
    for result in coming_and_going:
        gone |= present - set(ids_of(result))
        present = set(ids_of(result))
        assert not present & gone
    assert gone


def test_every_live_track_is_put_out_on_every_frame() -> None:
    pipeline = make_pipeline(config=EVERYTHING)
    for frame in COMING_AND_GOING.frames(60):
        result = pipeline.step(frame)
        assert sorted(ids_of(result)) == pipeline._tracker.tracks.ids.tolist()


def test_objects_below_the_lowest_score_are_kept_back() -> None:
    detector = ScriptedDetector(score=0.3)
    assert make_pipeline(detector, PipelineConfig(min_output_score=0.5)).step(STREET.frame(1)).objects == ()


def test_boxes_are_cut_to_the_frame() -> None:
    world = World(SIZE, (Actor((560, 100, 620, 260), (120, 0)),))
    for result in run(make_pipeline(), world.frames(20)):
        assert (result_boxes(result)[:, 2:] <= np.array(SIZE)).all()
        assert (result_boxes(result)[:, :2] >= 0).all()


def test_a_result_tells_which_frame_it_is_of() -> None:
    frame = STREET.frame(1)
    result = make_pipeline().step(replace(frame, seq=5, pts_s=2.5, decode_ms=3.0))
    assert (result.seq, result.pts_s, result.size) == (5, 2.5, SIZE)
    assert result.stage_ms["decode"] == 3.0


def test_stages_of_a_look_are_timed_by_the_clock_given() -> None:
    result = make_pipeline().step(STREET.frame(1))
    assert set(result.stage_ms) == {"decode", "prepare", "flow", "plan", "canvas", "detect", "merge"}
    assert set(result.stage_ms.values()) == {0.0}


# ------------------------------------------------------------------------------------------------- budget


def test_spending_keeps_to_the_budget() -> None:
    config = PipelineConfig(megapixels_per_frame=0.01)
    results = run(make_pipeline(ScriptedDetector(score=0.3), config), STREET.frames(300))
    # In the first seconds the schedule may run into debt, as far as a scene that is new to it is worth.
    settled = results[75:]
    assert detector_pixels(settled) <= 1.2e6 * 0.01 * len(settled)


def test_the_pixels_reported_are_those_the_detector_got() -> None:
    detector = ScriptedDetector()
    results = run(make_pipeline(detector), STREET.frames(30))
    assert detector_pixels(results) == sum(size.pixels for size in detector.canvases)
    assert [result.work.canvas for result in results if result.work.canvas] == detector.canvases


def still_video(size: Size, n: int) -> Iterable[Frame]:
    luma = texture(size, 5, 12)
    chroma = np.full((-(-size.height // 2), -(-size.width // 2)), 128, np.uint8)
    picture = YuvPicture(luma, chroma, chroma)
    return (Frame(seq, (seq - 1) / FRAME_RATE, picture) for seq in range(1, n + 1))


def test_an_empty_still_scene_costs_next_to_nothing() -> None:
    results = run(make_pipeline(), still_video(Size(1920, 1080), 150))
    settled = results[30:]
    assert detector_pixels(settled) / len(settled) < 5_000


def test_a_look_goes_on_a_canvas_that_the_detector_takes() -> None:
    sizes = InputSizes(fixed=(Size(320, 320), Size(640, 640)))
    detector = ScriptedDetector(input_sizes=sizes)
    results = run(make_pipeline(detector), STREET.frames(30))
    assert set(detector.canvases) <= set(sizes.fixed)
    assert n_covered(results[-1], STREET.boxes(30)) == 4


def test_a_canvas_that_does_not_fit_the_detector_is_told_before_the_first_frame() -> None:
    misfit = PipelineConfig(max_canvas=Size(641, 384))
    with pytest.raises(SettingsError, match="641x384"):
        make_pipeline(config=misfit)
    with pytest.raises(SettingsError, match="641x384"):
        make_pipeline().reconfigure(misfit)


# -------------------------------------------------------------------------------------------- scene changes

NIGHT = World(SIZE, (Actor((200, 100, 260, 250), seed=21), replace(CAR, seed=22)), seed=1234)


def cut_to_night(n_before: int, n_after: int) -> Iterable[Frame]:
    yield from STREET.frames(n_before)
    yield from NIGHT.frames(n_after, first=n_before + 1)


def test_a_scene_cut_is_answered_with_a_look_at_the_whole_frame() -> None:
    detector = ScriptedDetector()
    results = run(make_pipeline(detector), cut_to_night(20, 1))
    assert results[-1].work.mode == "full"
    assert results[-1].work.canvas == results[0].work.canvas
    assert n_covered(results[-1], NIGHT.boxes(21)) == 2


def test_no_track_survives_a_scene_cut() -> None:
    results = run(make_pipeline(config=EVERYTHING), cut_to_night(20, 5))
    before = {track_id for result in results[:20] for track_id in ids_of(result)}
    after = {track_id for result in results[20:] for track_id in ids_of(result)}
    assert after
    assert not before & after


def test_a_stream_that_changes_scene_on_every_frame_keeps_to_its_budget() -> None:
    street, night = list(STREET.frames(90)), list(NIGHT.frames(90))
    config = PipelineConfig(megapixels_per_frame=0.02)
    results = run(make_pipeline(config=config), [(street, night)[index % 2][index] for index in range(90)])
    spent = sum(result.work.detector_pixels for result in results) / len(results) / 1e6
    assert 0.01 < spent < 0.03


def test_objects_that_a_late_first_look_finds_are_no_births() -> None:
    """The second cut comes too soon after the start for a look at any price."""
    soon, late = make_pipeline(config=PipelineConfig(megapixels_per_frame=0.004)), make_pipeline()
    for pipeline, n_before in ((soon, 10), (late, 40)):
        results = run(pipeline, cut_to_night(n_before, 60))
        n_looks = sum(result.work.detector_pixels > 0 for result in results[n_before:])
        assert n_looks > 0
    births = [float(pipeline._stream.discovery._births.sum()) for pipeline in (soon, late) if pipeline._stream]
    assert births[0] == pytest.approx(births[1], abs=0.4)


def test_a_change_of_light_is_no_scene_cut() -> None:
    frames = list(STREET.frames(12))
    lighter = [
        replace(frame, picture=BgrPicture(np.minimum(frame.picture.pixels, 215) + np.uint8(40)))
        for frame in frames[6:]
        if isinstance(frame.picture, BgrPicture)
    ]
    results = run(make_pipeline(), [*frames[:6], *lighter])
    assert ids_of(results[-1]) == ids_of(results[0])


def with_gap(gap_s: float) -> list[Frame]:
    frames = list(World(SIZE, (STANDER,)).frames(20))
    return frames[:10] + [replace(frame, pts_s=frame.pts_s + gap_s) for frame in frames[10:]]


def test_tracks_live_through_a_short_gap_in_the_stream() -> None:
    results = run(make_pipeline(), with_gap(1.0))
    assert ids_of(results[-1]) == ids_of(results[0])


def test_a_long_gap_in_the_stream_begins_a_new_scene() -> None:
    results = run(make_pipeline(), with_gap(60.0))
    assert results[10].work.mode == "full"
    assert ids_of(results[10]) != ids_of(results[0])
    assert n_covered(results[-1], np.array([STANDER.box], np.float32)) == 1


# ------------------------------------------------------------------------------------------------ bad frames


def test_a_frame_of_another_size_is_refused_and_the_stream_goes_on() -> None:
    pipeline = make_pipeline()
    run(pipeline, STREET.frames(3))
    with pytest.raises(FrameSizeChanged, match="320x240"):
        pipeline.step(World(Size(320, 240)).frame(4))
    assert n_covered(pipeline.step(STREET.frame(4)), STREET.boxes(4)) == 4


@pytest.mark.parametrize(("seq", "pts_s"), [(3, 1.0), (2, 1.0), (9, 2 / 30), (9, 0.0)])
def test_a_frame_out_of_order_is_refused_and_the_stream_goes_on(seq: int, pts_s: float) -> None:
    pipeline = make_pipeline()
    run(pipeline, STREET.frames(3))
    with pytest.raises(FrameOutOfOrder, match="must grow"):
        pipeline.step(replace(STREET.frame(4), seq=seq, pts_s=pts_s))
    assert n_covered(pipeline.step(STREET.frame(4)), STREET.boxes(4)) == 4


@pytest.mark.parametrize("failing_call", [0, 1])
def test_a_failure_of_the_detector_costs_one_frame(failing_call: int) -> None:
    pipeline = make_pipeline(ScriptedDetector(failing_calls={failing_call}))
    failures = 0
    results = []
    for frame in STREET.frames(40):
        try:
            results.append(pipeline.step(frame))
        except DetectorFailed:
            failures += 1
    assert failures == 1
    assert n_covered(results[-1], STREET.boxes(40)) == 4


def test_tracks_go_on_by_flow_when_the_detector_fails_for_good() -> None:
    pipeline = make_pipeline(ScriptedDetector(failing_calls=range(1, 10_000)))
    results = []
    for frame in STREET.frames(20):
        try:
            results.append(pipeline.step(frame))
        except DetectorFailed:
            continue
    assert n_covered(results[-1], STREET.boxes(results[-1].seq)) == 4


# --------------------------------------------------------------------------------------------- explanations


def test_every_frame_is_explained() -> None:
    pipeline = make_pipeline(config=FRUGAL)
    results = run(pipeline, STREET.frames(60))
    assert {result.work.mode for result in results} >= {"full", "track"}
    for result in results:
        explanation = pipeline.explain(result.seq)
        assert explanation is not None
        assert explanation.reason
        assert explanation.canvas == result.work.canvas
        assert explanation.price_per_megapixel > 0
        assert sum(candidate.is_taken for candidate in explanation.candidates) == result.work.patches
        assert all(candidate.reason for candidate in explanation.candidates)


def test_a_frame_that_never_was_has_no_explanation() -> None:
    pipeline = make_pipeline()
    pipeline.step(STREET.frame(1))
    assert pipeline.explain(2) is None


def test_old_explanations_are_forgotten() -> None:
    pipeline = make_pipeline(config=FRUGAL)
    run(pipeline, World(Size(32, 32)).frames(310))
    assert pipeline.explain(1) is None
    assert pipeline.explain(310) is not None


# ---------------------------------------------------------------------------------------------- live changes


def test_another_largest_canvas_is_used_from_the_next_frame_on() -> None:
    detector = ScriptedDetector()
    pipeline = make_pipeline(detector)
    run(pipeline, STREET.frames(2))
    pipeline.reconfigure(PipelineConfig(max_canvas=Size(320, 192)))
    n_before = len(detector.canvases)
    run(pipeline, STREET.frames(30, first=3))
    later = detector.canvases[n_before:]
    assert later
    assert all(size.width <= 320 and size.height <= 192 for size in later)


def test_reconfiguring_keeps_the_tracks() -> None:
    pipeline = make_pipeline()
    before = run(pipeline, STREET.frames(3))[-1]
    pipeline.reconfigure(PipelineConfig(megapixels_per_frame=0.02, context=1.0))
    assert sorted(ids_of(pipeline.step(STREET.frame(4)))) == sorted(ids_of(before))


def test_a_canvas_that_does_not_fit_the_detector_leaves_the_old_settings() -> None:
    pipeline = make_pipeline()
    run(pipeline, STREET.frames(3))
    old = pipeline.config
    with pytest.raises(SettingsError, match="333x200"):
        pipeline.reconfigure(PipelineConfig(max_canvas=Size(333, 200)))
    assert pipeline.config is old
    assert n_covered(pipeline.step(STREET.frame(4)), STREET.boxes(4)) == 4


def test_only_classes_in_focus_are_put_out() -> None:
    pipeline = make_pipeline()
    pipeline.focus(frozenset({1}), None)
    assert labels_of(run(pipeline, STREET.frames(20))) == {"car"}


def test_a_class_brought_into_focus_is_found() -> None:
    pipeline = make_pipeline()
    pipeline.focus(frozenset({1}), None)
    run(pipeline, STREET.frames(20))
    pipeline.focus(None, None)
    assert n_covered(run(pipeline, STREET.frames(40, first=21))[-1], STREET.boxes(60)) == 4


def left_half(points: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray(points[:, 0] < SIZE.width / 2)


def test_objects_that_stand_in_an_ignored_region_are_not_put_out() -> None:
    pipeline = make_pipeline()
    pipeline.focus(None, left_half)
    for result in run(pipeline, World(SIZE, (STANDER, Actor((100, 40, 140, 140)))).frames(20)):
        assert len(result.objects) == 1
        assert n_covered(result, np.array([STANDER.box], np.float32)) == 1


def test_a_region_no_longer_ignored_is_looked_at() -> None:
    actors = (STANDER, Actor((100, 40, 140, 140)))
    world = World(SIZE, actors)
    pipeline = make_pipeline()
    pipeline.focus(None, left_half)
    run(pipeline, world.frames(10))
    pipeline.focus(None, None)
    assert len(run(pipeline, world.frames(60, first=11))[-1].objects) == 2


def test_a_wholly_ignored_frame_is_looked_at_only_once() -> None:
    pipeline = make_pipeline()
    pipeline.focus(None, lambda points: np.ones(len(points), bool))
    results = run(pipeline, STREET.frames(60))
    assert [result.work.mode for result in results[1:]] == ["track"] * 59


# ---------------------------------------------------------------------------------------------- odd pictures


@pytest.mark.parametrize(
    "size",
    [Size(1, 1), Size(2, 3), Size(16, 16), Size(641, 479), Size(2000, 50), Size(1000, 17), Size(90, 160)],
    ids=str,
)
def test_frames_of_any_shape_are_worked_on(size: Size) -> None:
    results = run(make_pipeline(), World(size).frames(8))
    assert [result.size for result in results] == [size] * 8


@pytest.mark.parametrize("size", [Size(641, 479), Size(1000, 120), Size(360, 640)], ids=str)
def test_objects_are_followed_on_frames_of_any_shape(size: Size) -> None:
    world = World(size, (Actor((60, 20, 100, 110), (40, 0)), Actor((300, 15, 335, 100), (-30, 0), seed=3)))
    results = run(make_pipeline(), world.frames(20))
    assert {n_covered(result, world.boxes(result.seq)) for result in results} == {2}


def test_a_flat_grey_picture_has_no_objects() -> None:
    frames = [Frame(seq, seq / FRAME_RATE, BgrPicture(GREY)) for seq in range(1, 40)]
    assert all(result.objects == () for result in run(make_pipeline(), frames))


def test_an_object_before_a_flat_background_is_followed() -> None:
    world = World(SIZE, (WALKER,))
    world.background[:] = 127
    results = run(make_pipeline(), world.frames(30))
    assert {n_covered(result, world.boxes(result.seq)) for result in results} == {1}


def test_an_object_on_frames_in_planes_of_odd_size_is_followed() -> None:
    world = World(Size(641, 479), (WALKER,))
    frames = [replace(frame, picture=yuv(world.picture(frame.pts_s).pixels)) for frame in world.frames(12)]
    assert {n_covered(result, world.boxes(result.seq)) for result in run(make_pipeline(), frames)} == {1}


def test_scores_and_probabilities_are_between_nothing_and_one(coming_and_going: list[FrameResult]) -> None:
    for result in coming_and_going:
        for item in result.objects:
            assert 0 <= item.score <= 1
            assert 0 <= item.failure_probability <= 1
            assert item.detection_age_s >= 0


def test_objects_of_a_frame_do_not_repeat_one_another(street: list[FrameResult]) -> None:
    for result in street:
        boxes = result_boxes(result)
        overlap = iou(boxes, boxes)
        np.fill_diagonal(overlap, 0)
        assert overlap.max() < 0.7


@pytest.mark.parametrize("size", [Size(1921, 1081), Size(1297, 720), Size(3001, 400), Size(1920, 1089)], ids=str)
def test_an_object_is_followed_whatever_the_size_divides_by(size: Size) -> None:
    world = World(size, (Actor((100, 100, 160, 250), (20, 0)),))
    results = run(make_pipeline(), world.frames(8))
    assert [n_covered(result, world.boxes(result.seq)) for result in results] == [1] * 8


@pytest.mark.parametrize("pts_s", [float("nan"), float("inf")])
def test_a_frame_at_no_time_is_refused(pts_s: float) -> None:
    pipeline = make_pipeline()
    with pytest.raises(FrameOutOfOrder):
        pipeline.step(Frame(1, pts_s, BgrPicture(GREY)))
    assert pipeline.step(Frame(1, 0.0, BgrPicture(GREY))).seq == 1


def test_reconfiguring_every_frame_is_no_way_round_the_budget() -> None:
    pipeline = make_pipeline(config=FRUGAL)
    results = []
    for frame in STREET.frames(60):
        pipeline.reconfigure(FRUGAL)
        results.append(pipeline.step(frame))
    assert detector_pixels(results[20:]) == detector_pixels(run(make_pipeline(config=FRUGAL), STREET.frames(60))[20:])


def test_classes_out_of_focus_are_gone_from_the_next_frame_on() -> None:
    pipeline = make_pipeline()
    run(pipeline, STREET.frames(5))
    pipeline.focus(frozenset([1]), None)
    assert labels_of(run(pipeline, STREET.frames(1, first=6))) == {"car"}


def test_an_object_that_a_hit_confirms_has_no_detection_age() -> None:
    results = run(make_pipeline(), STREET.frames(60))
    ages = [item.detection_age_s for result in results for item in result.objects if item.origin == "detected"]
    assert ages
    assert max(ages) == 0.0


@pytest.mark.parametrize("noise", [0, 1])
def test_a_dark_camera_is_no_new_scene_on_every_frame(noise: int) -> None:
    random = np.random.default_rng(3)
    pictures = [BgrPicture(random.normal(8, noise, GREY.shape).clip(0, 255).astype(np.uint8)) for _ in range(30)]
    frames = [Frame(seq, seq / FRAME_RATE, picture) for seq, picture in enumerate(pictures, 1)]
    looks = [result.work.mode for result in run(make_pipeline(), frames)]
    assert looks.count("full") <= 4


def test_jitter_of_time_stamps_does_not_throw_objects_away() -> None:
    """Frames of a steady camera that arrive in pairs, 1 ms apart."""
    frames = [
        replace(frame, pts_s=frame.pts_s + (1 / FRAME_RATE - 0.001 if frame.seq % 2 else 0.0))
        for frame in STREET.frames(60)
    ]
    results = run(make_pipeline(), frames)
    found = [n_covered(result, STREET.boxes(result.seq)) for result in results]
    assert np.mean(found) > 3.8
    assert max(item.track_id for result in results for item in result.objects) <= 6


def test_objects_of_the_first_look_are_not_taken_for_newcomers() -> None:
    still = World(SIZE, (STANDER, replace(STANDER, box=(100, 100, 140, 210), seed=9)))
    results = run(make_pipeline(), still.frames(150))
    assert detector_pixels(results[30:]) / len(results[30:]) < 0.6 * PipelineConfig().megapixels_per_frame * 1e6


def test_a_small_still_object_is_found_in_the_end() -> None:
    """It stood there unseen, too small for the first look; nothing moves."""
    size = Size(1920, 1080)
    world = World(size, (Actor((1500, 700, 1516, 740), from_s=0.5),), frame_rate=5.0)
    results = run(make_pipeline(ScriptedDetector(min_height_px=18)), world.frames(300))
    assert any(result.objects for result in results)


def test_the_best_founded_tracks_stay_when_there_are_too_many() -> None:
    pipeline = make_pipeline(config=PipelineConfig(max_tracks=2))
    results = run(pipeline, STREET.frames(60))
    assert max(len(result.objects) for result in results) <= 2
    assert len({item.track_id for result in results for item in result.objects}) <= 4


# ------------------------------------------------------------------------------------------ what planners get


@dataclass(slots=True)
class Secretary:
    """Plans as ever, but notes what it was told and says what looks are worth."""

    going_rate: float | None = None
    """None: as ever."""
    since_look_s: list[float] = field(default_factory=list)
    prices: list[float] = field(default_factory=list)

    def __call__(self, scene: Scene, config: PipelineConfig, price_per_pixel: float, *, must_look: bool) -> Plan:
        self.since_look_s.append(scene.since_look_s)
        self.prices.append(price_per_pixel)
        plan = plan_look(scene, config, price_per_pixel, must_look=must_look)
        return plan if must_look or self.going_rate is None else replace(plan, going_rate=self.going_rate)


def test_the_planner_is_told_how_long_nobody_looked() -> None:
    secretary = Secretary()
    results = run(make_pipeline(config=FRUGAL, planner=secretary), STREET.frames(60))
    looks_s = [-np.inf] + [result.pts_s for result in results if result.work.canvas]
    assert 2 < len(looks_s) < 50
    expected = [result.pts_s - max(at for at in looks_s if at < result.pts_s) for result in results]
    expected.insert(1, expected[1])  # the second frame is planned twice: first only to learn the price
    assert secretary.since_look_s == pytest.approx(expected)


def test_already_on_the_second_frame_the_price_comes_from_what_looks_are_worth() -> None:
    dear, cheap = Secretary(50 / 1e6), Secretary(5 / 1e6)
    nothing = World(SIZE)
    for secretary in (dear, cheap):
        run(make_pipeline(planner=secretary), nothing.frames(2))
    assert dear.prices[:2] == cheap.prices[:2]
    assert dear.prices[2] == pytest.approx(10 * cheap.prices[2])
