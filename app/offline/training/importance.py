"""What each feature is worth to a model, on sequences that the model has not seen."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.flexpatch.failure import FEATURES
from app.flexpatch.failure_forms import LOW, TrainedFailure
from app.offline.training.samples import Samples
from app.offline.training.scores import roc_auc
from app.offline.training.validation import Validated, class_recalls

MAX_ROWS = 4000
"""Of each fold, evenly spread."""


@dataclass(frozen=True, slots=True)
class Importance:
    """What is lost when one feature is shuffled among the samples."""

    feature: str
    roc_auc_lost: float
    balanced_accuracy_lost: float


def permutation_importances(
    validated: Validated, samples: Samples, folds: NDArray[np.int64], seed: int
) -> tuple[Importance, ...]:
    """Mean loss over the folds, each judged by the model that did not see it.

    Args:
        folds: (sequences,) as they were validated.
    Source: Breiman, Random Forests (2001), section 10.
    """
    random = np.random.default_rng(seed)
    losses = np.zeros((len(FEATURES), 2))
    for fold, trained in enumerate(validated.folds):
        rows = np.flatnonzero(folds[samples.sequence] == fold)
        rows = rows[:: max(1, len(rows) // MAX_ROWS)]
        features, classes = samples.features[rows], samples.classes[rows]
        model = trained.model()
        whole = _judged(model, features, classes)
        for column in range(len(FEATURES)):
            shuffled = features.copy()
            shuffled[:, column] = random.permutation(shuffled[:, column])
            losses[column] += whole - _judged(model, shuffled, classes)
    losses /= len(validated.folds)
    return tuple(
        Importance(name, float(auc), float(balanced)) for name, (auc, balanced) in zip(FEATURES, losses, strict=True)
    )


def _judged(model: TrainedFailure, features: NDArray[np.float64], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """(2,) area under the ROC curve and balanced accuracy."""
    balanced = class_recalls(model.priorities(features), classes).mean()
    return np.array([roc_auc(model.predict(features), classes != LOW), balanced])
