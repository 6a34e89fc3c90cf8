from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.boxes import iou, pad, sizes
from app.core.types import FrameBoxes
from app.flexpatch.association import (
    BUFFER,
    CONFIDENT,
    MIN_SIMILARITY,
    MIN_SIMILARITY_WEAK,
    Matches,
    associate,
)
from app.flexpatch.canvas import FrameDetections
from tests.core.strategies import REPEATABLE
from tests.flexpatch.builders import Rectangle, frame_boxes, in_frame

SURE, WEAK = CONFIDENT + 0.3, CONFIDENT - 0.1


def match(tracks: FrameBoxes, detections: FrameDetections, *, class_ids: NDArray[np.intp] | None = None) -> Matches:
    classes = np.zeros(len(tracks), np.intp) if class_ids is None else class_ids
    return associate(tracks, classes, np.zeros(len(tracks), np.float32), detections)


def pairs(matches: Matches) -> set[tuple[int, int]]:
    return set(zip(matches.tracks.tolist(), matches.detections.tolist(), strict=True))


def crowds(max_boxes: int) -> st.SearchStrategy[FrameBoxes]:
    """Boxes that overlap a lot, no two alike."""
    return st.tuples(st.integers(0, max_boxes), st.integers(0, 10_000)).map(lambda drawn: _crowd(*drawn))


def _crowd(n: int, seed: int) -> FrameBoxes:
    random = np.random.default_rng(seed)
    corner, size = random.uniform(0, 60, (n, 2)), random.uniform(25, 60, (n, 2))
    return FrameBoxes(np.concatenate([corner, corner + size], axis=1).astype(np.float32))


def similarities(tracks: FrameBoxes, detections: FrameBoxes) -> NDArray[np.float32]:
    """Buffered IoU (N, M) as C-BIoU defines it, for tracks that surely did not fail."""
    return iou(pad(tracks, sizes(tracks) * np.float32(BUFFER)), pad(detections, sizes(detections) * np.float32(BUFFER)))


def best_total(similarity: NDArray[np.float32]) -> float:
    """The greatest total similarity of any pairing, found by trying them all."""
    gain = np.where(similarity >= MIN_SIMILARITY, similarity, 0)
    if gain.shape[0] > gain.shape[1]:
        gain = gain.T
    rows, columns = gain.shape
    return max(
        (float(gain[range(rows), list(chosen)].sum()) for chosen in permutations(range(columns), rows)), default=0.0
    )


@REPEATABLE
@given(crowds(4), crowds(5))
def test_the_pairing_is_the_best_of_all(tracks: FrameBoxes, boxes: FrameBoxes) -> None:
    matches = match(tracks, in_frame(boxes, SURE))
    similarity = similarities(tracks, boxes)
    assert similarity[matches.tracks, matches.detections].sum() == pytest.approx(best_total(similarity), abs=1e-4)


@REPEATABLE
@given(crowds(6), crowds(6), st.integers(0, 1000))
def test_pairs_are_one_to_one(tracks: FrameBoxes, boxes: FrameBoxes, seed: int) -> None:
    matches = match(tracks, random_detections(boxes, seed))
    assert len(set(matches.tracks.tolist())) == len(matches.tracks)
    assert len(set(matches.detections.tolist())) == len(matches.detections)


@REPEATABLE
@given(crowds(6), crowds(6), st.integers(0, 1000))
def test_new_detections_are_just_the_whole_ones_without_a_track(
    tracks: FrameBoxes, boxes: FrameBoxes, seed: int
) -> None:
    detections = random_detections(boxes, seed)
    matches = match(tracks, detections)
    alone = set(np.flatnonzero(~detections.is_cut).tolist()) - set(matches.detections.tolist())
    assert set(matches.new.tolist()) == alone


@REPEATABLE
@given(crowds(6), crowds(6), st.integers(0, 1000))
def test_the_order_of_detections_does_not_matter(tracks: FrameBoxes, boxes: FrameBoxes, seed: int) -> None:
    detections = random_detections(boxes, seed)
    shuffled = np.random.default_rng(seed).permutation(len(boxes))
    matches = match(tracks, detections[shuffled])
    undone = {(track, int(shuffled[found])) for track, found in pairs(matches)}
    assert undone == pairs(match(tracks, detections))


@REPEATABLE
@given(crowds(6), crowds(6), st.integers(0, 1000))
def test_the_order_of_tracks_does_not_matter(tracks: FrameBoxes, boxes: FrameBoxes, seed: int) -> None:
    detections = random_detections(boxes, seed)
    shuffled = np.random.default_rng(seed).permutation(len(tracks))
    matches = match(FrameBoxes(tracks[shuffled]), detections)
    undone = {(int(shuffled[track]), found) for track, found in pairs(matches)}
    assert undone == pairs(match(tracks, detections))


@REPEATABLE
@given(crowds(6), crowds(6))
def test_weak_detections_only_confirm_tracks_they_lie_on(tracks: FrameBoxes, boxes: FrameBoxes) -> None:
    matches = match(tracks, in_frame(boxes, WEAK))
    assert (similarities(tracks, boxes)[matches.tracks, matches.detections] >= MIN_SIMILARITY_WEAK - 1e-5).all()


def random_detections(boxes: FrameBoxes, seed: int) -> FrameDetections:
    """Detections of both classes, sure, weak and cut."""
    random = np.random.default_rng(seed)
    n = len(boxes)
    return in_frame(
        boxes,
        random.uniform(0.05, 0.95, n).tolist(),
        class_ids=random.integers(0, 2, n).tolist(),
        is_cut=(random.random(n) < 0.3).tolist(),
    )


TRACK: Rectangle = (100, 100, 140, 200)
NEAR: Rectangle = (104, 103, 143, 204)
FAR: Rectangle = (118, 100, 158, 200)
"""A buffered IoU of about 0.45: enough for a sure detection, and for a failed track's wider search."""


def test_a_sure_detection_has_the_first_choice_of_a_track() -> None:
    detections = in_frame(frame_boxes(TRACK, NEAR), [WEAK, SURE])
    assert pairs(match(frame_boxes(TRACK), detections)) == {(0, 1)}


def test_a_weak_detection_far_from_its_track_is_no_match() -> None:
    shifted: Rectangle = (123, 100, 163, 200)
    assert pairs(match(frame_boxes(TRACK), in_frame(frame_boxes(shifted), SURE))) == {(0, 0)}
    assert pairs(match(frame_boxes(TRACK), in_frame(frame_boxes(shifted), WEAK))) == set()


def test_a_cut_detection_confirms_the_track_that_covers_it() -> None:
    upper_half: Rectangle = (100, 100, 140, 150)
    matches = match(frame_boxes(TRACK), in_frame(frame_boxes(upper_half), SURE, is_cut=True))
    assert pairs(matches) == {(0, 0)}


def test_a_cut_detection_starts_nothing() -> None:
    elsewhere: Rectangle = (300, 100, 340, 150)
    matches = match(frame_boxes(TRACK), in_frame(frame_boxes(elsewhere), SURE, is_cut=True))
    assert (len(matches.tracks), len(matches.new)) == (0, 0)


def test_a_whole_detection_is_preferred_to_a_cut_one() -> None:
    upper_half: Rectangle = (100, 100, 140, 150)
    detections = in_frame(frame_boxes(upper_half, NEAR), [0.9, SURE], is_cut=[True, False])
    assert pairs(match(frame_boxes(TRACK), detections)) == {(0, 1)}


def test_a_detection_of_the_track_s_own_class_is_preferred() -> None:
    detections = in_frame(frame_boxes(TRACK, NEAR), SURE, class_ids=[0, 1])
    assert pairs(match(frame_boxes(TRACK), detections, class_ids=np.array([1]))) == {(0, 1)}


def test_without_tracks_all_whole_detections_are_new() -> None:
    matches = match(frame_boxes(), in_frame(frame_boxes(TRACK, FAR), SURE, is_cut=[False, True]))
    assert matches.new.tolist() == [0]


def test_without_detections_nothing_is_matched() -> None:
    matches = match(frame_boxes(TRACK), in_frame(frame_boxes()))
    assert (len(matches.tracks), len(matches.detections), len(matches.new)) == (0, 0, 0)


@pytest.mark.parametrize(("failure", "is_found"), [(0.0, False), (1.0, True)])
def test_a_failing_track_is_searched_for_farther_away(failure: float, is_found: bool) -> None:
    beside = in_frame(frame_boxes((140, 100, 180, 200)), SURE)
    tracks = frame_boxes((100, 100, 140, 200))
    found = associate(tracks, np.zeros(1, np.intp), np.array([failure], np.float32), beside)
    assert (len(found.tracks) == 1) is is_found


@pytest.mark.parametrize("failure", [0.0, 0.5, 1.0])
def test_a_weak_detection_right_on_a_track_confirms_it_however_doubtful(failure: float) -> None:
    tracks = frame_boxes((100, 100, 140, 200))
    found = associate(tracks, np.zeros(1, np.intp), np.array([failure], np.float32), in_frame(tracks, WEAK))
    assert len(found.tracks) == 1
