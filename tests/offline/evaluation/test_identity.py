"""HOTA and IDF1, by hand and beside TrackEval.

`identity_fixtures.json` holds three short sequences with missed objects, false positives, fragments and switched
identities, and the figures of TrackEval 1.3.0 for them; `make_identity_fixtures.py` made both.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.types import FrameBoxes
from app.offline.annotations import FrameTruth
from app.offline.evaluation.identity import identity_scores
from app.offline.evaluation.outputs import NO_TRACK, FrameOutput
from tests.core.strategies import REPEATABLE
from tests.flexpatch.builders import frame_boxes
from tests.offline.evaluation.builders import FAR, LEFT, RIGHT, output, perfect, scene, shuffled, tracked, truth

FIXTURES = json.loads((Path(__file__).parent / "identity_fixtures.json").read_text(encoding="utf-8"))["sequences"]
SEEDS = st.integers(0, 10_000)


@pytest.mark.parametrize("name", FIXTURES)
def test_the_figures_are_those_of_trackeval(name: str) -> None:
    truths = [FrameTruth(*boxes_and_ids(rows), frame_boxes()) for rows in FIXTURES[name]["objects"]]
    outputs = [seen(*boxes_and_ids(rows)) for rows in FIXTURES[name]["outputs"]]
    scores = identity_scores(truths, outputs, 0.5)
    assert scores is not None
    assert asdict(scores) == pytest.approx(FIXTURES[name]["expected"], abs=1e-9)


def boxes_and_ids(rows: list[list[float]]) -> tuple[FrameBoxes, NDArray[np.int64]]:
    return frame_boxes(*((x1, y1, x2, y2) for _, x1, y1, x2, y2 in rows)), np.array([row[0] for row in rows], np.int64)


def seen(boxes: FrameBoxes, ids: NDArray[np.int64]) -> FrameOutput:
    return FrameOutput(boxes, np.full(len(ids), 0.5, np.float32), ids)


# -------------------------------------------------------------------------------------------- by hand


def test_a_track_that_changes_its_identity_half_way_is_worth_half() -> None:
    """Every output is right, but each of the two tracks is the object on half of its frames only."""
    outputs = [tracked((LEFT, 1))] * 4 + [tracked((LEFT, 2))] * 4
    scores = identity_scores([truth(LEFT)] * 8, outputs, 0.5)
    assert scores is not None
    assert (scores.det_a, scores.ass_a) == (1.0, 0.5)
    assert scores.hota == pytest.approx(0.5**0.5)
    assert (scores.idf1, scores.idp, scores.idr) == (0.5, 0.5, 0.5)


def test_precision_and_recall_of_identities_differ() -> None:
    scores = identity_scores([truth(LEFT)] * 4, [tracked((LEFT, 1), (FAR, 2))] * 3 + [tracked()], 0.5)
    assert scores is not None
    assert (scores.idp, scores.idr) == (0.5, 0.75)
    assert scores.idf1 == pytest.approx(0.6)


def test_outputs_below_the_threshold_are_left_out() -> None:
    both = joined(tracked((LEFT, 1), score=0.5), tracked((FAR, 9), score=0.25))
    scores = identity_scores([truth(LEFT)], [both], 0.5)
    assert scores is not None
    assert scores.hota == pytest.approx(1.0)


def test_a_method_without_identities_has_no_scores() -> None:
    assert identity_scores([truth(LEFT)], [output((LEFT, 0.9))], 0.5) is None
    assert identity_scores([truth(LEFT, RIGHT)], [tracked((LEFT, 1), (RIGHT, NO_TRACK))], 0.5) is None


def test_only_outputs_that_are_kept_need_an_identity() -> None:
    both = joined(tracked((LEFT, 1)), output((RIGHT, 0.2)))
    assert identity_scores([truth(LEFT)], [both], 0.5) is not None


def test_without_objects_there_are_no_scores() -> None:
    assert identity_scores([FrameTruth.empty()], [tracked((LEFT, 1))], 0.5) is None


def test_without_outputs_all_scores_are_zero() -> None:
    scores = identity_scores([truth(LEFT)] * 2, [tracked()] * 2, 0.5)
    assert scores is not None
    assert set(asdict(scores).values()) == {0.0}


def test_frames_must_be_aligned() -> None:
    with pytest.raises(ValueError, match="zip"):
        identity_scores([truth(LEFT)] * 2, [tracked((LEFT, 1))], 0.5)


# -------------------------------------------------------------------------------------- ignored regions


def test_outputs_in_an_ignored_region_are_removed() -> None:
    scores = identity_scores([truth(LEFT, ignored=(FAR,))], [tracked((LEFT, 1), (FAR, 2))], 0.5)
    assert scores is not None
    assert set(asdict(scores).values()) == {1.0}


def test_an_object_inside_an_ignored_region_still_counts_when_found() -> None:
    scores = identity_scores([truth(LEFT, ignored=(LEFT,))], [tracked((LEFT, 1))], 0.5)
    assert scores is not None
    assert scores.idf1 == 1.0


def test_of_two_outputs_on_an_object_in_an_ignored_region_the_worse_is_removed() -> None:
    near = (2, 0, 12, 20)
    scores = identity_scores([truth(LEFT, ignored=((0, 0, 30, 30),))], [tracked((near, 2), (LEFT, 1))], 0.5)
    assert scores is not None
    assert (scores.idp, scores.hota) == pytest.approx((1.0, 1.0))


# ------------------------------------------------------------------------------------------- properties


@REPEATABLE
@given(SEEDS)
def test_the_truth_itself_is_perfect(seed: int) -> None:
    truths = [*scene(seed).truths, truth(LEFT)]
    scores = identity_scores(truths, [perfect(frame) for frame in truths], 0.0)
    assert scores is not None
    assert asdict(scores) == pytest.approx(dict.fromkeys(asdict(scores), 1.0))


@REPEATABLE
@given(SEEDS)
def test_neither_the_order_within_a_frame_nor_the_names_of_tracks_matter(seed: int) -> None:
    given_scene = scene(seed)
    mixed = [shuffled(frame, seed) for frame in given_scene.outputs]
    renamed = [FrameOutput(frame.boxes, frame.scores, 1000 - 7 * frame.track_ids) for frame in mixed]
    scores = identity_scores(given_scene.truths, given_scene.outputs, 0.3)
    other = identity_scores(given_scene.truths, renamed, 0.3)
    assert scores is not None
    assert other is not None
    assert asdict(other) == pytest.approx(asdict(scores))


@REPEATABLE
@given(SEEDS)
def test_scores_lie_between_none_and_all(seed: int) -> None:
    given_scene = scene(seed)
    scores = identity_scores(given_scene.truths, given_scene.outputs, 0.3)
    assert scores is not None
    assert all(0 <= value <= 1 for value in asdict(scores).values())
    assert min(scores.idp, scores.idr) - 1e-9 <= scores.idf1 <= max(scores.idp, scores.idr) + 1e-9


def joined(one: FrameOutput, other: FrameOutput) -> FrameOutput:
    return FrameOutput(
        FrameBoxes(np.concatenate([one.boxes, other.boxes])),
        np.concatenate([one.scores, other.scores]),
        np.concatenate([one.track_ids, other.track_ids]),
    )
