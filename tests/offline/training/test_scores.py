"""Scores against scikit-learn's own, and against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, confusion_matrix, roc_auc_score
from sklearn.metrics import roc_curve as reference_curve

from app.offline.training.scores import calibration_table, roc_auc, roc_curve, scores
from tests.core.strategies import REPEATABLE


@REPEATABLE
@given(st.integers(0, 10_000))
def test_scores_agree_with_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    classes = np.concatenate([[0, 1, 2], random.integers(0, 3, 97)])
    priorities = random.integers(0, 3, 100)
    failure = random.integers(0, 11, 100) / 10  # with ties
    found = scores(failure, priorities, classes)
    assert np.array_equal(found.confusion, confusion_matrix(classes, priorities, labels=[0, 1, 2]))
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(classes, priorities))
    assert found.balanced_accuracy_high == pytest.approx(balanced_accuracy_score(classes == 0, priorities == 0))
    assert found.roc_auc == pytest.approx(roc_auc_score(classes != 2, failure))
    assert found.brier == pytest.approx(brier_score_loss(classes != 2, failure))
    false, true, _ = reference_curve(classes != 2, failure, drop_intermediate=False)
    for own, theirs in zip(roc_curve(failure, classes != 2), (false, true), strict=True):
        assert own == pytest.approx(theirs)


def test_the_calibration_error_is_the_mean_distance_over_the_bins() -> None:
    failure = np.array([0.05, 0.05, 0.95, 0.95])
    found = scores(failure, np.array([2, 2, 0, 0]), np.array([2, 0, 0, 0]))
    assert [row.n for row in found.calibration] == [2, 2]
    assert [row.mean_predicted for row in found.calibration] == pytest.approx([0.05, 0.95])
    assert [row.really_failed for row in found.calibration] == [0.5, 1.0]
    assert found.calibration_error == pytest.approx((0.45 + 0.05) / 2)


def test_certainty_belongs_to_the_last_bin() -> None:
    (row,) = calibration_table(np.array([1.0]), np.array([True]))
    assert (row.low, row.high) == (0.9, 1.0)


def test_without_failures_nothing_can_be_ranked() -> None:
    assert roc_auc(np.array([0.1, 0.9]), np.array([False, False])) == 0.5
