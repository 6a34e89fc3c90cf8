"""How predictions of tracking failure are compared with what a look showed."""

import numpy as np
import pytest

from app.core.types import FailureAudit, FrameBoxes
from app.flexpatch.association import Matches
from app.flexpatch.look import Beliefs
from app.flexpatch.tracker import audit_failures

BOX = [0.0, 0.0, 10.0, 20.0]
HALF_OFF = [8.0, 0.0, 18.0, 20.0]


def audit(failure: list[float], found: list[list[float] | None], is_clear: list[bool] | None = None) -> FailureAudit:
    """Tracks at BOX with these failure probabilities; what was found of each."""
    n = len(failure)
    rows = np.array([row for row, box in enumerate(found) if box is not None], np.intp)
    boxes = np.array([box for box in found if box is not None], np.float32).reshape(-1, 4)
    then = Beliefs(np.arange(n), FrameBoxes(np.tile(np.array(BOX, np.float32), (n, 1))), np.array(failure, np.float32))
    matches = Matches(rows, np.arange(len(rows)), np.zeros(0, np.intp))
    return audit_failures(then, matches, FrameBoxes(boxes), np.array(is_clear or [True] * n, bool))


@pytest.mark.parametrize(
    ("failure", "found", "expected"),
    [
        (0.9, None, FailureAudit(1, 0, 0, 0)),
        (0.9, HALF_OFF, FailureAudit(1, 0, 0, 0)),
        (0.9, BOX, FailureAudit(0, 1, 0, 0)),
        (0.1, None, FailureAudit(0, 0, 1, 0)),
        (0.1, HALF_OFF, FailureAudit(0, 0, 1, 0)),
        (0.1, BOX, FailureAudit(0, 0, 0, 1)),
    ],
)
def test_prediction_and_truth_are_told_apart(failure: float, found: list[float] | None, expected: FailureAudit) -> None:
    assert audit([failure], [found]) == expected


def test_tracks_that_were_not_clearly_shown_are_not_judged() -> None:
    assert audit([0.9, 0.1, 0.1], [None, BOX, None], [False, True, False]) == FailureAudit(0, 0, 0, 1)


def test_nothing_to_judge_is_no_audit() -> None:
    assert audit([], []) == FailureAudit()


def test_audits_add_up() -> None:
    assert FailureAudit(1, 2, 3, 4) + FailureAudit(10, 20, 30, 40) == FailureAudit(11, 22, 33, 44)
