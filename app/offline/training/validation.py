"""Cross-validation that never has samples of one sequence on both sides, calibration and priorities included.

For each fold, parameters, calibration and priority weights come from a cross-validation within the other folds; the
model that judges a sequence has seen nothing of it in any step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import SettingsError
from app.flexpatch.failure import FEATURES
from app.flexpatch.failure_file import FORMAT, VERSION, parse_failure_model
from app.flexpatch.failure_forms import CLASSES, LOW, TrainedFailure
from app.offline.training.candidates import Candidate, Fitted, fit, rounded
from app.offline.training.samples import Samples

MAX_FOLDS = 4
MIN_SEQUENCES = 3
"""One to be judged, and two to calibrate on each other."""
WANTED_RECALL = 0.82
"""Of `high` where priority weights are chosen: the bar is 0.8 on sequences not seen."""
_HIGH = CLASSES.index("high")
_WEIGHTS = tuple(float(weight) for weight in np.round(np.geomspace(0.25, 8, 16), 3))
"""Tried for `high` and `medium`, against 1 for `low`."""
_CALIBRATION_BINS = 20
_LEAST_RAW, _LEAST_STEP = 1e-4, 1e-5
"""Knots of the calibration keep so far from 0 and 1, and from one another."""
_EXTREME = 0.003
"""No track is ever as good as sure to hold or to have lost its object."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A candidate fitted, calibrated and given its priority weights."""

    fitted: Fitted
    predicted: NDArray[np.float64]
    """(K,) knots of the calibration, as `TrainedFailure` has them."""
    real: NDArray[np.float64]
    """(K,)"""
    priority_weights: NDArray[np.float64]
    """(3,)"""

    def content(self) -> dict[str, Any]:
        """The safe form."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": self.fitted.candidate.name,
            "features": list(FEATURES),
            "classes": list(CLASSES),
            "calibration": {"predicted": rounded(self.predicted), "real": rounded(self.real)},
            "priority_weights": rounded(self.priority_weights),
            **self.fitted.content(),
        }

    def model(self) -> TrainedFailure:
        """As the service will have it: made from the safe form."""
        return parse_failure_model(self.content(), self.fitted.candidate.name)


@dataclass(frozen=True, slots=True)
class Validated:
    """What a candidate reached on sequences that it had not seen."""

    candidate: Candidate
    folds: tuple[Trained, ...]
    """Fold k saw all sequences but those of fold k."""
    final: Trained
    """Saw all sequences."""
    failure: NDArray[np.float64]
    """(S,) calibrated probability of failure."""
    priorities: NDArray[np.intp]
    """(S,) indices into `CLASSES`."""


class _Fits:
    """Fits of one candidate, each done once: those that leave out one fold or two serve several purposes."""

    def __init__(self, candidate: Candidate, samples: Samples, fold: NDArray[np.int64], seed: int) -> None:
        """
        Args:
            fold: (S,) of each sample.
        """
        self.samples = samples
        self.fold = fold
        self.n_folds = int(fold.max()) + 1
        self.candidate = candidate
        self._seed = seed
        self._done: dict[tuple[frozenset[int], int], Fitted] = {}

    def without(self, folds: frozenset[int], choice: int) -> Fitted:
        """Fitted on all but some folds with the parameters of that number in the grid."""
        key = (folds, choice)
        if key not in self._done:
            samples = self.samples[~np.isin(self.fold, list(folds))]
            self._done[key] = fit(self.candidate, samples, self._seed, self.candidate.grid[choice])
        return self._done[key]

    def held_out(self, outer: frozenset[int], choice: int) -> NDArray[np.float64]:
        """(S, 3) probabilities by models that saw neither the sample's own fold nor the outer ones; NaN for those."""
        found = np.full((len(self.samples), len(CLASSES)), np.nan)
        for inner in range(self.n_folds):
            if inner not in outer:
                own = self.fold == inner
                found[own] = self.without(outer | {inner}, choice).probabilities(self.samples.features[own])
        return found

    def train(self, outer: frozenset[int]) -> Trained:
        """Choose parameters, fit, calibrate and weigh on all but the outer folds."""
        used = ~np.isin(self.fold, list(outer))
        classes = self.samples.classes[used]
        tried = [self.held_out(outer, choice)[used] for choice in range(len(self.candidate.grid))]
        choice = int(np.argmin([_log_loss(found, classes) for found in tried]))
        found = tried[choice]
        predicted, real = calibration(1 - found[:, LOW], classes != LOW)
        weights = priority_weights(found, classes) if self.candidate.is_balanced else np.ones(len(CLASSES))
        return Trained(self.without(outer, choice), predicted, real, weights)


def folds_of(n_sequences: int) -> NDArray[np.int64]:
    """(sequences,) the fold of each sequence: dealt in turn, so that neighbours in a list go to different folds.

    Raises:
        SettingsError: there are too few sequences.
    """
    if n_sequences < MIN_SEQUENCES:
        raise SettingsError(
            f"{n_sequences} sequences with samples are too few to judge a model on what it has not seen: "
            f"give at least {MIN_SEQUENCES}."
        )
    return np.arange(n_sequences) % min(MAX_FOLDS, n_sequences)


def validate(
    candidate: Candidate, samples: Samples, folds: NDArray[np.int64], seed: int, advance: Callable[[], object]
) -> Validated:
    """Cross-validate one candidate, then fit it to everything.

    Args:
        folds: (sequences,) from `folds_of`.
        advance: called after each fold, and once at the end.
    """
    fits = _Fits(candidate, samples, folds[samples.sequence], seed)
    failure = np.zeros(len(samples))
    priorities = np.zeros(len(samples), np.intp)
    trained = []
    for fold in range(fits.n_folds):
        trained.append(fits.train(frozenset([fold])))
        own = fits.fold == fold
        model = trained[-1].model()
        failure[own] = model.predict(samples.features[own])
        priorities[own] = model.priorities(samples.features[own])
        advance()
    final = fits.train(frozenset())
    advance()
    return Validated(candidate, tuple(trained), final, failure, priorities)


def calibration(
    raw: NDArray[np.float64], has_failed: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Knots (K,), (K,) of a rising line from raw probabilities (N,) to the share that really failed.

    Source: isotonic regression by pooling adjacent violators (Ayer et al., 1955) on bins of equal size, joined by
    straight lines, so that the ranking of tracks is kept nearly everywhere.
    """
    raw = np.clip(raw, _LEAST_RAW, 1 - _LEAST_RAW)
    order = np.argsort(raw, kind="stable")
    bins = [part for part in np.array_split(order, _CALIBRATION_BINS) if len(part)]
    blocks: list[tuple[float, float, int]] = []
    for part in bins:
        blocks.append((float(raw[part].mean()), float(has_failed[part].mean()), len(part)))
        while len(blocks) > 1 and (blocks[-2][1] >= blocks[-1][1] or blocks[-2][0] >= blocks[-1][0] - _LEAST_STEP):
            blocks[-2:] = [_pooled(*blocks[-2:])]
    predicted = np.array([0.0, *(block[0] for block in blocks), 1.0])
    shares = [block[1] for block in blocks]
    real = np.clip([shares[0] / 2, *shares, (1 + shares[-1]) / 2], _EXTREME, 1 - _EXTREME)
    return predicted, real


def _pooled(a: tuple[float, float, int], b: tuple[float, float, int]) -> tuple[float, float, int]:
    n = a[2] + b[2]
    return (a[0] * a[2] + b[0] * b[2]) / n, (a[1] * a[2] + b[1] * b[2]) / n, n


def priority_weights(probabilities: NDArray[np.float64], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The weights (3,) of best balanced accuracy among those that find enough of `high`, for (N, 3) and (N,)."""
    best, chosen = -np.inf, (1.0, 1.0)
    for high, medium in product(_WEIGHTS, _WEIGHTS):
        recalls = class_recalls((probabilities * (high, medium, 1.0)).argmax(axis=1), classes)
        # Where the recall cannot be reached, come as near to it as possible.
        value = float(np.mean(recalls)) + 10 * min(0.0, float(recalls[_HIGH]) - WANTED_RECALL)
        if value > best:
            best, chosen = value, (high, medium)
    return np.array([*chosen, 1.0])


def class_recalls(predicted: NDArray[np.integer], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """(3,) share of each class that was told rightly; 0 for a class without samples."""
    right = np.bincount(classes[predicted == classes], minlength=len(CLASSES))
    return np.asarray(right / np.maximum(np.bincount(classes, minlength=len(CLASSES)), 1))


def _log_loss(probabilities: NDArray[np.float64], classes: NDArray[np.int64]) -> float:
    """Mean over the classes, so that the rare one counts as much."""
    own = -np.log(np.maximum(probabilities[np.arange(len(classes)), classes], 1e-6))
    return float(np.mean([own[classes == index].mean() for index in range(len(CLASSES)) if (classes == index).any()]))
