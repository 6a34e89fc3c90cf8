import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.types import FrameBoxes
from app.offline.annotations import FrameTruth
from app.offline.metrics import Scored, accuracy
from tests.core.strategies import REPEATABLE
from tests.flexpatch.builders import Rectangle, frame_boxes

LEFT, RIGHT, FAR = (0, 0, 10, 20), (50, 0, 60, 20), (200, 200, 210, 220)


def truth(*boxes: Rectangle, ignored: tuple[Rectangle, ...] = ()) -> FrameTruth:
    return FrameTruth(frame_boxes(*boxes), np.arange(len(boxes)), frame_boxes(*ignored))


def scored(*items: tuple[Rectangle, float]) -> Scored:
    return Scored(frame_boxes(*(box for box, _ in items)), np.array([score for _, score in items], np.float32))


def test_the_truth_itself_is_perfect() -> None:
    judged = accuracy({1: scored((LEFT, 0.9), (RIGHT, 0.4))}, {1: truth(LEFT, RIGHT)})
    assert (judged.ap50, judged.best_f1, judged.precision, judged.recall) == (1.0, 1.0, 1.0, 1.0)


def test_nothing_found_is_worth_nothing() -> None:
    assert accuracy({1: scored()}, {1: truth(LEFT)}).ap50 == 0.0


def test_average_precision_is_the_area_by_hand() -> None:
    """Hit, miss, hit over two objects: precision 1 to recall ½, then ⅔ to recall 1."""
    judged = accuracy({1: scored((LEFT, 0.9), (FAR, 0.8), (RIGHT, 0.7))}, {1: truth(LEFT, RIGHT)})
    assert judged.ap50 == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_an_object_is_found_once() -> None:
    judged = accuracy({1: scored((LEFT, 0.9), (LEFT, 0.8))}, {1: truth(LEFT)})
    assert judged.ap50 == 1.0
    assert judged.best_f1 == 1.0
    assert accuracy({1: scored((LEFT, 0.9), (LEFT, 0.8)), 2: scored((FAR, 0.1))}, {1: truth(LEFT)}).ap50 == 1.0


def test_what_lies_in_an_ignored_region_is_neither_right_nor_wrong() -> None:
    judged = accuracy({1: scored((FAR, 0.9), (LEFT, 0.5))}, {1: truth(LEFT, ignored=(FAR,))})
    assert judged.ap50 == 1.0


def test_a_frame_without_annotations_counts_what_was_found_there_as_wrong() -> None:
    judged = accuracy({1: scored((LEFT, 0.5)), 2: scored((FAR, 0.9))}, {1: truth(LEFT)})
    assert judged.ap50 == pytest.approx(0.5)


@REPEATABLE
@given(st.integers(0, 10_000))
def test_a_monotone_change_of_scores_changes_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    low = random.uniform(0, 100, (12, 2))
    boxes = np.concatenate([low, low + random.uniform(5, 40, (12, 2))], axis=1).astype(np.float32)
    scores = (random.permutation(12) / 12).astype(np.float32)
    known = {1: FrameTruth(FrameBoxes(boxes[:7]), np.arange(7), frame_boxes())}
    plain = accuracy({1: Scored(FrameBoxes(boxes), scores)}, known)
    assert accuracy({1: Scored(FrameBoxes(boxes), (scores**3).astype(np.float32))}, known) == plain
    assert 0 <= plain.ap50 <= 1
