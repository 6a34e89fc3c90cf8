"""One test or a few for each mistake that is known from other implementations of the method.

Number 11, judging a model on the frames that it was fitted on, belongs to training and is tested there.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from mypy import api
from numpy.typing import NDArray

from app.core.types import BgrPicture, Size
from app.flexpatch.acuity import Acuity
from app.flexpatch.canvas import map_back
from app.flexpatch.config import PipelineConfig
from app.flexpatch.discovery import MAX_UNSEEN_S, Discovery
from app.flexpatch.flow import STILL
from app.flexpatch.packing import pack
from app.vision.cpu import CpuVision
from tests.flexpatch.builders import (
    FRAME_S,
    PaperStage,
    Rectangle,
    frame_boxes,
    in_frame,
    layout_of,
    on_canvas,
    one_patch,
)
from tests.flexpatch.world import Actor, CountingVision, ScriptedDetector, World, make_pipeline, n_covered, run

REPOSITORY = Path(__file__).parents[2]
PERSON: Rectangle = (600, 300, 660, 450)
OTHER: Rectangle = (200, 300, 260, 450)
NOTHING = in_frame(frame_boxes())
STREET = World(
    Size(640, 360),
    (
        Actor((40, 40, 80, 140), (30, 0)),
        Actor((300, 200, 340, 300), (-20, 5), seed=2),
        Actor((500, 60, 600, 120), (-40, 0), class_id=1, seed=3),
        Actor((420, 220, 460, 330), seed=4),
    ),
)


# ------------------------------------------------------------------------------ 1: the canvas is not the frame


def test_mistake_01_tracks_outside_the_canvas_are_put_out_too() -> None:
    pipeline = make_pipeline(config=PipelineConfig(megapixels_per_frame=0.004))
    results = run(pipeline, STREET.frames(40))
    assert any(result.work.mode != "full" for result in results)
    assert [n_covered(result, STREET.boxes(result.seq)) for result in results] == [4] * 40


def test_mistake_01_a_look_at_one_track_keeps_the_others() -> None:
    stage = PaperStage()
    stage.see(in_frame(frame_boxes(PERSON, OTHER)))
    stage.pass_frames()
    stage.see(in_frame(frame_boxes(PERSON)), one_patch((550, 250, 710, 500), 1.0))
    assert stage.tracks.ids.tolist() == [1, 2]


# ------------------------------------------------------------------------------------- 2: kinds of coordinates

MIXED = """
from app.core.types import CanvasBoxes, FrameBoxes

def follow(boxes: FrameBoxes) -> None: ...
def mix(seen: CanvasBoxes, known: FrameBoxes) -> None:
    follow({argument})
"""


@pytest.mark.parametrize(("argument", "is_refused"), [("seen", True), ("known", False)])
def test_mistake_02_canvas_boxes_for_frame_boxes_fail_the_type_check(
    argument: str, is_refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    snippet = tmp_path / "mixed.py"
    snippet.write_text(MIXED.format(argument=argument), encoding="utf-8")
    report, errors, status = api.run([str(snippet)])
    assert errors == ""
    assert (status != 0) == is_refused, report
    assert ('"CanvasBoxes"; expected "FrameBoxes"' in report) == is_refused


def test_mistake_02_boxes_are_corners_in_frame_pixels_not_sizes_in_canvas_pixels() -> None:
    layout = one_patch((400, 200, 800, 400), 0.5)
    back = map_back(layout, on_canvas((20, 10, 70, 60)), Size(1280, 720))
    assert back.boxes.tolist() == [[440, 220, 540, 320]]


# ------------------------------------------------------------------------------------------ 3: whole numbers


def test_mistake_03_three_tenths_of_a_pixel_a_frame_add_up() -> None:
    stage = PaperStage()
    stage.see(in_frame(frame_boxes(PERSON)))
    stage.vision.shift = (0.3, -0.4)
    stage.pass_frames(90)
    assert stage.tracks.boxes[0].tolist() == pytest.approx([627, 264, 687, 414], abs=0.05)


def test_mistake_03_results_keep_fractions_of_pixels() -> None:
    world = World(Size(640, 360), (Actor((100, 100, 140, 200), (17, 11)),))
    results = run(make_pipeline(), world.frames(12))
    assert any(side != int(side) for result in results for item in result.objects for side in item.box)


# ---------------------------------------------------------------------------------------- 4: inspected patches


def test_mistake_04_an_empty_look_counts_as_a_look() -> None:
    discovery = Discovery(Size(1280, 768), 16, Acuity())
    discovery.record_look(one_patch((320, 192, 640, 384), 1.0))
    inside = discovery.unseen_s[:, 12:24, 20:40]
    assert inside.min(axis=0).max() < 0.5 * MAX_UNSEEN_S


def test_mistake_04_regions_without_objects_are_not_asked_for_again_and_again() -> None:
    discovery = Discovery(Size(1280, 768), 16, Acuity())
    asked = []
    for _ in range(12):
        discovery.advance(FRAME_S, STILL)
        window = discovery.windows(Size(320, 192), 1.0, 1)[0]
        discovery.record_look(one_patch(window.box, 1.0))
        asked.append(window.box)
    assert len(set(asked)) == 12


# ------------------------------------------------------------------------------------- 5: tracked is not seen


def test_mistake_05_detection_age_is_the_time_since_a_detector_spoke() -> None:
    detector = ScriptedDetector(blind_calls=range(1, 10_000))
    results = run(make_pipeline(detector), World(Size(640, 360), (Actor((100, 100, 140, 220)),)).frames(4))
    ages = [result.objects[0].detection_age_s for result in results]
    assert ages == pytest.approx([0, FRAME_S, 2 * FRAME_S, 3 * FRAME_S])


def test_mistake_05_what_flow_carried_is_called_tracked() -> None:
    results = run(make_pipeline(config=PipelineConfig(megapixels_per_frame=0.004)), STREET.frames(40))
    for result in results:
        if result.work.mode == "track":
            assert {item.origin for item in result.objects} == {"tracked"}
            assert all(item.detection_age_s > 0 for item in result.objects)
    assert {item.origin for item in results[0].objects} == {"detected"}


# ----------------------------------------------------------------------------------------------- 6: misses


@pytest.mark.parametrize(
    ("source", "scale"),
    [
        ((100, 200, 400, 500), 1.0),
        ((550, 250, 630, 500), 1.0),
        ((550, 250, 710, 400), 1.0),
        ((0, 0, 1280, 720), 0.03),
    ],
    ids=["patch elsewhere", "half of it in the patch", "feet outside", "too small to be seen"],
)
def test_mistake_06_no_miss_is_counted_where_it_could_not_be_seen(source: Rectangle, scale: float) -> None:
    stage = PaperStage()
    stage.see(in_frame(frame_boxes(PERSON)))
    stage.see(NOTHING, one_patch(source, scale))
    assert stage.tracks.n_misses.tolist() == [0]
    assert stage.tracks.evidence[0] == pytest.approx(0.8, abs=0.05)


def test_mistake_06_a_miss_is_counted_where_it_would_have_been_seen() -> None:
    stage = PaperStage()
    stage.see(in_frame(frame_boxes(PERSON)))
    stage.see(NOTHING, one_patch((550, 250, 710, 500), 1.0))
    assert stage.tracks.n_misses.tolist() == [1]
    assert stage.tracks.evidence[0] < 0.6


# ------------------------------------------------------------------------------------------------ 7: seams


def test_mistake_07_objects_in_neighbouring_patches_do_not_merge() -> None:
    picture = BgrPicture(np.zeros((200, 400, 3), np.uint8))
    picture.pixels[..., 2] = 255
    origins = pack(np.array([[64, 64], [64, 64]], np.int32), Size(160, 64)).origins
    (ax, ay), (bx, by) = origins.tolist()
    layout = layout_of(
        Size(160, 64),
        ((20, 20, 84, 84), (ax, ay, ax + 64, ay + 64)),
        ((200, 100, 264, 164), (bx, by, bx + 64, by + 64)),
    )
    vision, detector = CpuVision(), ScriptedDetector()
    canvas = vision.canvas(vision.prepare(picture), layout.copies(), layout.size, detector.pad_value)
    assert len(detector.detect(canvas[np.newaxis])[0]) == 2


def test_mistake_07_gaps_on_the_canvas_have_the_detector_s_own_padding() -> None:
    vision = CpuVision()
    frame = vision.prepare(BgrPicture(np.zeros((200, 400, 3), np.uint8)))
    layout = layout_of(Size(160, 96), ((20, 20, 84, 84), (0, 0, 64, 64)))
    canvas = vision.canvas(frame, layout.copies(), layout.size, (1, 2, 3))
    assert (canvas[:, 64:] == (1, 2, 3)).all()
    assert (canvas[64:] == (1, 2, 3)).all()


def test_mistake_07_what_an_inner_edge_cut_starts_no_track() -> None:
    stage = PaperStage()
    outcome = stage.see(in_frame(frame_boxes(PERSON), is_cut=True))
    assert len(stage.tracks) == 0
    assert outcome.cut.tolist() == [list(PERSON)]


def test_mistake_07_what_an_inner_edge_cut_may_confirm_a_track_and_asks_for_a_larger_patch() -> None:
    stage = PaperStage()
    stage.see(in_frame(frame_boxes(PERSON)))
    stage.pass_frames()
    upper_half: Rectangle = (600, 300, 660, 380)
    outcome = stage.see(in_frame(frame_boxes(upper_half), is_cut=True), one_patch((550, 250, 710, 380), 1.0))
    assert outcome.hits.tolist() == [1]
    assert stage.tracks.patch_growth[0] > 1
    assert stage.tracks.boxes[0].tolist() == pytest.approx(PERSON, abs=0.01)


def test_mistake_07_one_object_in_two_patches_is_one_object() -> None:
    layout = layout_of(
        Size(416, 256),
        ((500, 250, 700, 500), (0, 0, 200, 250)),
        ((560, 250, 760, 500), (204, 0, 404, 250)),
    )
    seen = on_canvas((100, 50, 160, 200), (244, 50, 304, 200))
    stage = PaperStage()
    stage.see(map_back(layout, seen, Size(1280, 720)), layout)
    assert stage.tracks.boxes.tolist() == [list(PERSON)]


# ---------------------------------------------------------------------------------------- 8: one call of flow


def count_calls(work: Callable[[], object], *, named: str) -> int:
    """How often a compiled function is called by a piece of work."""
    calls = 0

    def note(_: FrameType, event: str, function: object) -> None:
        nonlocal calls
        calls += event == "c_call" and getattr(function, "__name__", "") == named

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def count_instructions(work: Callable[[], object]) -> int:
    """How many instructions of Python a piece of work takes; a loop inside NumPy takes none."""
    instructions = 0

    def note(frame: FrameType, event: str, _: object) -> Any:
        nonlocal instructions
        frame.f_trace_opcodes = True
        instructions += event == "opcode"
        return note

    before = sys.gettrace()
    sys.settrace(note)
    try:
        work()
    finally:
        sys.settrace(before)
    return instructions


@pytest.mark.parametrize("n_objects", [1, 20])
def test_mistake_08_one_call_of_flow_follows_all_objects(n_objects: int) -> None:
    corners = [(10 + 60 * (i % 10), 20 + 150 * (i // 10)) for i in range(n_objects)]
    actors = tuple(Actor((x, y, x + 30, y + 70), seed=x + y) for x, y in corners)
    world = World(Size(640, 360), actors)
    vision = CountingVision()
    pipeline = make_pipeline(vision=vision)
    results = run(pipeline, world.frames(3))
    assert len(results[-1].objects) == n_objects
    assert vision.flow_calls == 2
    assert count_calls(lambda: pipeline.step(world.frame(4)), named="calcOpticalFlowPyrLK") == 2
    assert vision.points_followed[-1] >= 7 * n_objects


# -------------------------------------------------------------------------------------------- 9: loops over cells


def map_work(size: Size) -> Callable[[], object]:
    """All that the map does on one frame with a look."""
    discovery = Discovery(size, 16, Acuity())
    motion = np.full(discovery.shape, 0.2, np.float32)
    edges: NDArray[np.float32] = np.full(discovery.shape, 0.1, np.float32)
    boxes = frame_boxes((100, 100, 140, 200), (300, 100, 340, 200))

    def work() -> None:
        discovery.advance(FRAME_S, STILL)
        discovery.set_edges(edges, 0.0)
        discovery.observe_motion(motion, boxes, FRAME_S)
        discovery.value_of_frame(np.array([0.25, 0.5]))
        discovery.windows(Size(320, 192), 1.0, 3)
        discovery.record_look(one_patch((0, 0, 320, 192), 1.0))
        discovery.record_births(boxes, np.full(2, 0.5, np.float32))

    return work


def test_mistake_09_no_work_is_done_cell_by_cell() -> None:
    small, large = map_work(Size(640, 384)), map_work(Size(3840, 2304))
    small()
    large()
    assert count_instructions(large) <= 1.1 * count_instructions(small)


# ------------------------------------------------------------------------------------------- 10: large objects


def test_mistake_10_a_new_object_larger_than_any_tile_is_found() -> None:
    giant = Actor((350, 20, 650, 530), from_s=0.5)
    world = World(Size(960, 540), (giant,))
    results = run(make_pipeline(), world.frames(45))
    first = next((result.seq for result in results if n_covered(result, world.boxes(result.seq))), None)
    assert first is not None
    assert world.pts_s(first) - giant.from_s < 0.7


def test_mistake_10_a_new_object_smaller_than_a_thumbnail_shows_is_found() -> None:
    # The largest canvas shows the whole frame at two thirds: 16 pixels of the 24, below what the detector sees.
    child = Actor((702, 300, 712, 324), from_s=0.5)
    world = World(Size(960, 540), (child,))
    results = run(make_pipeline(ScriptedDetector(min_height_px=18)), world.frames(60))
    assert any(n_covered(result, world.boxes(result.seq)) for result in results)
