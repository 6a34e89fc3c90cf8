import numpy as np

from app.core.types import CanvasBoxes, FrameBoxes, Size
from app.flexpatch.canvas import CanvasLayout, FrameDetections, without_duplicates
from app.offline.evaluation.published.association import associate, examined

Box = tuple[float, float, float, float]


def boxes(*items: Box) -> FrameBoxes:
    return FrameBoxes(np.array(items, np.float32).reshape(-1, 4))


def detections(*items: Box, cut: tuple[int, ...] = (), class_ids: tuple[int, ...] | None = None) -> FrameDetections:
    n = len(items)
    return FrameDetections(
        boxes(*items),
        np.linspace(0.9, 0.5, n).astype(np.float32),
        np.array(class_ids or [0] * n, np.int32),
        np.isin(np.arange(n), cut),
        np.ones(n, np.float32),
    )


TRACK = boxes((100, 100, 140, 200))
PERSON = np.zeros(1, np.int32)


def test_a_detection_on_a_track_confirms_it_and_another_is_new() -> None:
    matches = associate(TRACK, PERSON, detections((500, 100, 540, 200), (104, 104, 144, 204)))
    assert (matches.tracks.tolist(), matches.detections.tolist()) == ([0], [1])
    assert matches.new.tolist() == [0]


def test_a_detection_of_another_class_is_another_object() -> None:
    matches = associate(TRACK, PERSON, detections((100, 100, 140, 200), class_ids=(1,)))
    assert matches.tracks.size == 0
    assert matches.new.tolist() == [0]


def test_two_tracks_never_share_a_detection() -> None:
    tracks = FrameBoxes(np.concatenate([TRACK, TRACK + 4]))
    matches = associate(tracks, np.zeros(2, np.int32), detections((104, 104, 144, 204)))
    assert (matches.tracks.tolist(), matches.detections.tolist()) == ([1], [0])


def test_mistake_7_a_cut_detection_confirms_a_track_but_does_not_set_its_box() -> None:
    matches = associate(TRACK, PERSON, detections((100, 100, 140, 170), cut=(0,)))
    assert matches.touched.tolist() == [0]
    assert (matches.tracks.size, matches.new.size, matches.leads.size) == (0, 0, 0)


def test_a_cut_detection_off_all_tracks_asks_for_a_larger_patch() -> None:
    matches = associate(TRACK, PERSON, detections((500, 100, 560, 176), cut=(0,)))
    assert matches.leads.tolist() == [0]
    assert matches.new.size == 0


def test_a_cut_part_of_a_tracked_object_asks_for_nothing() -> None:
    matches = associate(TRACK, PERSON, detections((110, 110, 130, 130), cut=(0,)))
    assert (matches.touched.size, matches.new.size, matches.leads.size) == (0, 0, 0)


def test_one_object_seen_in_two_patches_is_one_detection() -> None:
    found = without_duplicates(detections((100, 100, 140, 200), (101, 100, 141, 200), (300, 100, 340, 200)))
    assert found.boxes[:, 0].tolist() == [100, 300]


def test_a_whole_box_is_kept_before_a_cut_one_of_the_same_object() -> None:
    found = without_duplicates(detections((100, 100, 140, 160), (100, 100, 140, 200), cut=(0,)))
    assert found.boxes.tolist() == [[100, 100, 140, 200]]


def look(source: Box, target: Box) -> CanvasLayout:
    return CanvasLayout(Size(640, 384), boxes(source), CanvasBoxes(np.array([target], np.float32)))


def test_mistake_6_only_a_patch_that_holds_the_whole_box_examines_a_track() -> None:
    frame = Size(1920, 1080)
    tracks = boxes((100, 100, 140, 200), (190, 100, 230, 200), (-20, 100, 20, 200))
    is_examined = examined(tracks, look((0, 50, 200, 250), (0, 0, 200, 200)), frame)
    assert is_examined.tolist() == [True, False, True]


def test_an_object_that_is_tiny_on_the_canvas_is_not_examined() -> None:
    tracks = boxes((100, 100, 140, 200), (300, 100, 310, 130))
    is_examined = examined(tracks, look((0, 0, 1920, 1080), (0, 0, 640, 360)), Size(1920, 1080))
    assert is_examined.tolist() == [True, False]
