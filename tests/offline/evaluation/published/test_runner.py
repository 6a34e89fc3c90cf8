from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.boxes import iou
from app.core.clock import ManualClock
from app.core.errors import SettingsError
from app.core.types import CanvasBoxes, CanvasDetections, InputSizes, Size
from app.ingest.street import Street
from app.ingest.street_config import LABELS, parse_street
from app.offline.evaluation.outputs import FrameCost, FrameOutput
from app.offline.evaluation.published.fit import collect
from app.offline.evaluation.published.patches import object_patches
from app.offline.evaluation.published.priority import FEATURES, Priority, PriorityTree
from app.offline.evaluation.published.runner import CYCLE, MISSES_TO_REMOVE, PublishedRunner, paper_canvas
from tests.flexpatch.world import Actor, CountingVision, ScriptedDetector, World, no_detections

FRAME, CANVAS = Size(960, 544), Size(320, 192)
WALKER = Actor((100, 200, 130, 280), velocity=(60.0, 0.0), seed=2)
STANDER = Actor((700, 300, 730, 380), seed=3)
SCENE = World(FRAME, (WALKER, STANDER))
PATCH_WINDOW = (158, 174)
"""A new-object patch less the gutter."""


@dataclass(slots=True)
class FirstLookOnly(ScriptedDetector):
    """Sees the first canvas only."""

    def _see(self, canvas: NDArray[np.uint8]) -> CanvasDetections:
        return ScriptedDetector._see(self, canvas) if len(self.canvases) == 1 else no_detections()


@dataclass(slots=True)
class Recording:
    """A runner and all that it put out."""

    runner: PublishedRunner
    outputs: list[FrameOutput] = field(default_factory=list)
    costs: list[FrameCost] = field(default_factory=list)
    patch_sizes: list[list[tuple[int, int]]] = field(default_factory=list)
    """Width and height in the frame of each patch on each frame's canvas."""

    def watch(self, world: World, n_frames: int, first: int = 1) -> "Recording":
        for frame in world.frames(n_frames, first):
            output, cost = self.runner.step(frame)
            self.outputs.append(output)
            self.costs.append(cost)
            layout = self.runner.last_layout
            source = np.zeros((0, 4)) if layout is None else layout.source
            self.patch_sizes.append([(int(x2 - x1), int(y2 - y1)) for x1, y1, x2, y2 in source.tolist()])
        return self


def recording(
    detector: ScriptedDetector | None = None,
    tree: PriorityTree | None = None,
    *,
    class_ids: frozenset[int] | None = None,
    vision: CountingVision | None = None,
) -> Recording:
    return Recording(
        PublishedRunner(
            vision or CountingVision(),
            detector or ScriptedDetector(),
            CANVAS,
            class_ids,
            tree or PriorityTree.constant(Priority.MEDIUM),
            ManualClock(),
        )
    )


def on_object(output: FrameOutput, world: World, seq: int) -> list[int]:
    """Track id on each true box; −1 where none overlaps it by a half."""
    overlap = iou(world.boxes(seq), output.boxes)
    return [int(output.track_ids[row.argmax()]) if row.size and row.max() > 0.5 else -1 for row in overlap]


def test_the_first_look_is_the_whole_frame_at_canvas_size() -> None:
    seen = recording().watch(SCENE, 1)
    assert seen.patch_sizes == [[tuple(FRAME)]]
    assert on_object(seen.outputs[0], SCENE, 1) == seen.outputs[0].track_ids.tolist()


def test_every_frame_costs_one_canvas() -> None:
    detector = ScriptedDetector()
    seen = recording(detector).watch(SCENE, 9)
    assert detector.canvases == [CANVAS] * 9
    assert [(cost.pixels, cost.calls) for cost in seen.costs] == [(CANVAS.pixels, 1)] * 9
    assert set(seen.costs[-1].stage_ms) == {"prepare", "flow", "plan", "canvas", "detect", "merge"}


def test_objects_are_followed_by_flow_alone_where_the_detector_sees_them_no_more() -> None:
    low = PriorityTree.constant(Priority.LOW)  # no track is examined, so none is missed
    seen = recording(FirstLookOnly(), low).watch(SCENE, 12)
    assert -1 not in on_object(seen.outputs[-1], SCENE, 12)


def test_tracks_keep_their_ids() -> None:
    seen = recording().watch(SCENE, 20)
    first = on_object(seen.outputs[0], SCENE, 1)
    assert all(on_object(output, SCENE, seq) == first for seq, output in enumerate(seen.outputs, 1))
    assert all(len(set(output.track_ids.tolist())) == len(output.track_ids) for output in seen.outputs)


def test_mistake_1_all_live_tracks_are_put_out_whatever_the_canvas_shows() -> None:
    seen = recording().watch(SCENE, 9)
    assert [len(output.track_ids) for output in seen.outputs] == [2] * 9
    new_object_canvas = seen.patch_sizes[CYCLE]
    assert set(new_object_canvas) == {PATCH_WINDOW}


def test_three_canvases_of_likely_failures_alternate_with_one_of_new_objects() -> None:
    seen = recording().watch(SCENE, 1 + 3 * CYCLE)
    shows_tracks = [any(size != PATCH_WINDOW for size in sizes) for sizes in seen.patch_sizes[1:]]
    assert shows_tracks == [True, True, True, False] * 3


def test_new_object_patches_fill_the_room_that_tracks_leave() -> None:
    seen = recording().watch(World(FRAME, (WALKER,)), 3)
    assert PATCH_WINDOW in seen.patch_sizes[1]
    assert seen.patch_sizes[1][0] != PATCH_WINDOW


def test_tracks_of_low_priority_are_not_looked_at_until_long_unseen() -> None:
    unsure = ScriptedDetector(score=0.2)  # so that a cut detection never asks for a patch
    seen = recording(unsure, PriorityTree.constant(Priority.LOW)).watch(SCENE, 18)
    shows_tracks = [any(size != PATCH_WINDOW for size in sizes) for sizes in seen.patch_sizes]
    assert not any(shows_tracks[1:15])
    assert shows_tracks[15]  # half a second after the first look


def test_a_track_that_was_examined_and_is_absent_is_dropped() -> None:
    world = World(FRAME, (Actor(STANDER.box, until_s=0.15, seed=3), WALKER))
    seen = recording().watch(world, 20)
    n_tracks = [len(output.track_ids) for output in seen.outputs]
    assert n_tracks[:5] == [2] * 5
    assert n_tracks[-1] == 1
    assert -1 not in on_object(seen.outputs[-1], world, 20)
    n_after = n_tracks.index(1) + 1 - 5
    assert n_after >= MISSES_TO_REMOVE


def test_a_new_object_is_found() -> None:
    world = World(FRAME, (STANDER, Actor((300, 250, 330, 330), from_s=0.2, seed=5)))
    seen = recording().watch(world, 45)
    assert -1 not in on_object(seen.outputs[-1], world, 45)


def test_an_object_larger_than_a_new_object_patch_is_found_by_a_larger_patch() -> None:
    world = World(FRAME, (STANDER, Actor((300, 100, 420, 400), from_s=0.2, seed=5)))
    seen = recording().watch(world, 60)
    assert -1 not in on_object(seen.outputs[-1], world, 60)


def test_an_object_that_left_the_frame_is_dropped() -> None:
    world = World(FRAME, (STANDER, Actor((900, 100, 930, 180), velocity=(120.0, 0.0), seed=5)))
    seen = recording().watch(world, 25)
    assert len(seen.outputs[-1].track_ids) == 1


def test_boxes_lie_inside_the_frame() -> None:
    world = World(FRAME, (Actor((920, 100, 950, 180), velocity=(30.0, 0.0), seed=5),))
    for output in recording().watch(world, 12).outputs:
        assert (output.boxes >= 0).all()
        assert (output.boxes[:, 2:] <= np.array(FRAME)).all()


def test_mistake_8_the_flow_is_called_once_a_frame() -> None:
    vision = CountingVision()
    recording(vision=vision).watch(SCENE, 6)
    assert vision.flow_calls == 5


def test_classes_that_are_not_wanted_are_left_out() -> None:
    car = Actor((300, 100, 360, 140), class_id=1, seed=6)
    world = World(FRAME, (WALKER, car))
    assert len(recording().watch(world, 3).outputs[-1].track_ids) == 2
    assert len(recording(class_ids=frozenset([0])).watch(world, 3).outputs[-1].track_ids) == 1


def test_the_same_frames_give_the_same_output() -> None:
    once, again = (recording().watch(SCENE, 10).outputs for _ in range(2))
    for a, b in zip(once, again, strict=True):
        assert np.array_equal(a.boxes, b.boxes)
        assert np.array_equal(a.scores, b.scores)
        assert np.array_equal(a.track_ids, b.track_ids)


def test_an_output_does_not_change_with_later_frames() -> None:
    seen = recording().watch(SCENE, 1)
    boxes = seen.outputs[0].boxes.copy()
    seen.watch(SCENE, 5, first=2)
    assert np.array_equal(seen.outputs[0].boxes, boxes)


def test_an_empty_scene_is_searched_cell_by_cell() -> None:
    seen = recording().watch(World(FRAME), 6)
    assert all(len(output.track_ids) == 0 for output in seen.outputs)
    assert all(set(sizes) == {PATCH_WINDOW} for sizes in seen.patch_sizes[1:])


def test_the_features_tell_a_followed_box_from_a_lost_one() -> None:
    low = PriorityTree.constant(Priority.LOW)
    seen = recording(FirstLookOnly(), low)
    gone = World(FRAME, (WALKER, Actor(STANDER.box, until_s=0.1, seed=3)))
    seen.watch(gone, 6)
    predicted = seen.runner.last_prediction
    assert predicted is not None
    correlation = dict(zip(predicted.ids.tolist(), predicted.features[:, FEATURES.index("ncc")], strict=True))
    walker, stander = on_object(seen.outputs[0], SCENE, 1)
    assert correlation[walker] > 0.8
    assert correlation[stander] < 0.5


def test_a_canvas_that_the_detector_does_not_take_is_refused() -> None:
    with pytest.raises(SettingsError, match="320x190"):
        PublishedRunner(
            CountingVision(),
            ScriptedDetector(),
            Size(320, 190),
            None,
            PriorityTree.constant(Priority.LOW),
            ManualClock(),
        )


@pytest.mark.parametrize(
    ("frame", "sizes", "canvas"),
    [
        (Size(1920, 1080), InputSizes(stride=32), Size(640, 384)),
        (Size(1280, 720), InputSizes(stride=32), Size(448, 256)),
        (Size(1920, 1080), InputSizes(fixed=(Size(320, 320), Size(640, 640))), Size(640, 640)),
        (Size(3840, 2160), InputSizes(fixed=(Size(640, 640), Size(320, 320))), Size(640, 640)),
    ],
)
def test_the_papers_canvas_is_a_third_of_the_frame(frame: Size, sizes: InputSizes, canvas: Size) -> None:
    assert paper_canvas(frame, sizes) == canvas


def test_samples_are_collected_with_the_method_itself() -> None:
    spec = "synthetic:480x288@10?objects=20&seed=4"
    street = Street(parse_street(spec))
    truth = street.truth(0)
    people = truth.boxes[truth.class_ids == 0]

    class FirstFrameOnly(ScriptedDetector):
        """Knows everyone on the first frame, and nobody later."""

        def _see(self, canvas: NDArray[np.uint8]) -> CanvasDetections:
            if len(self.canvases) > 1:
                return no_detections()
            on_canvas = people * np.float32(canvas.shape[1] / street.config.size.width)
            return CanvasDetections(
                CanvasBoxes(on_canvas), np.full(len(people), 0.9, np.float32), np.zeros(len(people), np.int32)
            )

    samples = list(collect(spec, FirstFrameOnly(class_names=LABELS), 4))
    assert len(samples) > len(people)
    assert all(features.shape == (len(FEATURES),) for features, _ in samples)
    assert np.median([overlap for _, overlap in samples]) > 0.5


def test_a_patch_is_the_box_padded_by_its_own_size() -> None:
    seen = recording().watch(World(FRAME, (STANDER,)), 2)
    layout = seen.runner.last_layout
    assert layout is not None
    predicted = seen.runner.last_prediction
    assert predicted is not None
    assert np.abs(layout.source[0] - object_patches(predicted.boxes)[0]).max() <= 1
