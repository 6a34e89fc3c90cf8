"""How well probabilities and priorities fit what happened: pure functions of arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.flexpatch.failure_forms import CLASSES, LOW
from app.offline.training.validation import class_recalls

N_BINS = 10
"""Of the calibration table, of equal width."""
_HIGH = CLASSES.index("high")


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Predictions between two probabilities."""

    low: float
    high: float
    n: int
    mean_predicted: float
    really_failed: float
    """Share, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Scores:
    """One model on samples that it had not seen."""

    confusion: tuple[tuple[int, ...], ...]
    """3 by 3, a row a true class in the order of `CLASSES`, a column a priority."""
    recalls: tuple[float, ...]
    """By class."""
    balanced_accuracy: float
    """Mean recall of the three classes."""
    balanced_accuracy_high: float
    """Mean recall of `high` and of all the rest taken together, by the same priorities."""
    roc_auc: float
    """Of the probability of failure (high or medium)."""
    brier: float
    """Mean squared error of that probability."""
    calibration_error: float
    """Expected calibration error: mean distance of predicted and real share over bins, weighted by their samples."""
    calibration: tuple[CalibrationBin, ...]


def scores(failure: NDArray[np.floating], priorities: NDArray[np.intp], classes: NDArray[np.int64]) -> Scores:
    """Judge probabilities of failure (N,) and priorities (N,) by the classes (N,) that came true."""
    has_failed = classes != LOW
    confusion = np.bincount(classes * len(CLASSES) + priorities, minlength=len(CLASSES) ** 2)
    recalls = class_recalls(priorities, classes)
    rest = classes != _HIGH
    specificity = float(np.mean(priorities[rest] != _HIGH)) if rest.any() else 0.0
    table = calibration_table(failure, has_failed)
    n = max(len(classes), 1)
    return Scores(
        confusion=tuple(tuple(row) for row in confusion.reshape(len(CLASSES), -1).tolist()),
        recalls=tuple(recalls.tolist()),
        balanced_accuracy=float(recalls.mean()),
        balanced_accuracy_high=(float(recalls[_HIGH]) + specificity) / 2,
        roc_auc=roc_auc(failure, has_failed),
        brier=float(np.mean((failure - has_failed) ** 2)),
        calibration_error=sum(row.n * abs(row.mean_predicted - row.really_failed) for row in table) / n,
        calibration=table,
    )


def roc_auc(predicted: NDArray[np.floating], is_positive: NDArray[np.bool_]) -> float:
    """Chance that a positive is ranked above a negative, ties counting half; 0.5 where one of them is lacking.

    Source: the Mann-Whitney statistic from mean ranks.
    """
    n_positive, n_negative = int(is_positive.sum()), int((~is_positive).sum())
    if not n_positive or not n_negative:
        return 0.5
    _, place, counts = np.unique(predicted, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    above = mean_rank[place][is_positive].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative))


def roc_curve(
    predicted: NDArray[np.floating], is_positive: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rates (K,), (K,) as the threshold falls."""
    order = np.argsort(-predicted, kind="stable")
    hits = is_positive[order]
    last = np.append(np.flatnonzero(np.diff(predicted[order])), len(order) - 1)
    true = np.cumsum(hits)[last] / max(int(hits.sum()), 1)
    false = np.cumsum(~hits)[last] / max(int((~hits).sum()), 1)
    return np.concatenate([[0.0], false]), np.concatenate([[0.0], true])


def calibration_table(predicted: NDArray[np.floating], has_failed: NDArray[np.bool_]) -> tuple[CalibrationBin, ...]:
    """Predicted against real share of failures in bins of equal width; empty bins are left out."""
    place = np.minimum((predicted * N_BINS).astype(np.intp), N_BINS - 1)
    return tuple(
        CalibrationBin(
            index / N_BINS,
            (index + 1) / N_BINS,
            int((place == index).sum()),
            float(predicted[place == index].mean()),
            float(has_failed[place == index].mean()),
        )
        for index in np.unique(place).tolist()
    )
