"""Nothing that judges a sequence has seen it."""

import numpy as np
import pytest

from app.core.errors import SettingsError
from app.flexpatch.failure_forms import LOW
from app.offline.training.candidates import by_name
from app.offline.training.scores import roc_auc
from app.offline.training.validation import (
    Validated,
    calibration,
    class_recalls,
    folds_of,
    priority_weights,
    validate,
)
from tests.offline.training.scenes import made_up_samples


def validated(name: str = "logistic", *, contradict: bool = False) -> tuple[Validated, float]:
    """The candidate, and the area under its ROC curve."""
    samples = made_up_samples(1200, contradict=contradict)
    found = validate(by_name(name), samples, folds_of(4), 1, lambda: None)
    return found, roc_auc(found.failure, samples.classes != LOW)


@pytest.mark.parametrize(("n", "expected"), [(3, [0, 1, 2]), (4, [0, 1, 2, 3]), (6, [0, 1, 2, 3, 0, 1])])
def test_sequences_are_dealt_to_folds_in_turn(n: int, expected: list[int]) -> None:
    assert folds_of(n).tolist() == expected


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_sequences_are_refused(n: int) -> None:
    with pytest.raises(SettingsError, match="at least 3"):
        folds_of(n)


@pytest.mark.parametrize("name", ["logistic", "tuned tree"])
def test_what_holds_on_all_sequences_is_found_on_the_unseen_one(name: str) -> None:
    _, area = validated(name)
    assert area > 0.9


def test_mistake_11_a_model_that_had_seen_the_sequence_would_do_better_here() -> None:
    # On every second sequence the young tracks fail: whoever learned from the others must be wrong or undecided.
    _, area = validated(contradict=True)
    assert area < 0.6


def test_parameters_and_calibration_of_a_fold_are_its_own() -> None:
    found, _ = validated("tuned tree")
    assert len(found.folds) == 4
    knots = {tuple(trained.predicted.tolist()) for trained in (*found.folds, found.final)}
    assert len(knots) == 5


def test_the_calibration_tells_the_real_share() -> None:
    random = np.random.default_rng(1)
    raw = random.uniform(0, 1, 20_000)
    predicted, real = calibration(raw, random.random(20_000) < raw**2)
    assert np.interp([0.3, 0.5, 0.8], predicted, real) == pytest.approx([0.09, 0.25, 0.64], abs=0.04)
    assert (np.diff(predicted) > 0).all()
    assert (np.diff(real) >= 0).all()
    assert 0 < real[0] < real[-1] < 1


@pytest.mark.parametrize(
    "raw", [np.zeros(50), np.ones(50), np.full(50, 0.5), np.repeat([0.2, 0.9], 25), np.array([0.4])]
)
def test_a_calibration_of_few_values_is_still_one(raw: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    predicted, real = calibration(raw, raw > 0.3)
    assert (np.diff(predicted) > 0).all()
    assert (np.diff(real) >= 0).all()
    assert predicted[0] == 0
    assert predicted[-1] == 1


def test_weights_find_the_rare_class() -> None:
    random = np.random.default_rng(2)
    classes = random.choice(3, 5000, p=[0.05, 0.25, 0.7])
    evidence = np.eye(3)[classes] + random.normal(0, 0.5, (5000, 3))
    probabilities = np.exp(2 * evidence) * [0.05, 0.25, 0.7]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    plain = class_recalls(probabilities.argmax(axis=1), classes)
    weighted = class_recalls((probabilities * priority_weights(probabilities, classes)).argmax(axis=1), classes)
    assert plain[0] < 0.8 < weighted[0]
    assert weighted.mean() > plain.mean()
