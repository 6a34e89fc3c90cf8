"""Pictures of the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.offline.training.importance import Importance
from app.offline.training.scores import Scores, roc_curve

_DPI = 110


def plot_calibration(path: Path, by_name: Sequence[tuple[str, Scores]]) -> None:
    """Predicted against real share of failures on sequences not seen."""
    figure, axes = _figure(5.5, 5.0)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="ideal")
    for name, scores in by_name:
        axes.plot(
            [row.mean_predicted for row in scores.calibration],
            [row.really_failed for row in scores.calibration],
            marker="o",
            markersize=4,
            label=f"{name} (error {scores.calibration_error:.3f})",
        )
    axes.set(xlabel="predicted probability of failure", ylabel="share that failed", xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc="upper left", fontsize=8)
    _save(figure, path)


def plot_roc(path: Path, by_name: Sequence[tuple[str, NDArray[np.floating]]], has_failed: NDArray[np.bool_]) -> None:
    """True against false positive rate of the predicted failures on sequences not seen."""
    figure, axes = _figure(5.5, 5.0)
    for name, predicted in by_name:
        axes.plot(*roc_curve(predicted, has_failed), linewidth=1.5, label=name)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    axes.set(xlabel="sound tracks taken for failed", ylabel="failed tracks found", xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc="lower right", fontsize=8)
    _save(figure, path)


def plot_importances(path: Path, importances: Sequence[Importance]) -> None:
    """How much is lost when one feature is shuffled."""
    figure, axes = _figure(6.5, 6.0)
    ranked = sorted(importances, key=lambda item: item.roc_auc_lost)
    axes.barh([item.feature for item in ranked], [item.roc_auc_lost for item in ranked], color="#4477aa")
    axes.set(xlabel="area under the ROC curve lost")
    axes.tick_params(axis="y", labelsize=8)
    _save(figure, path)


def _figure(width_in: float, height_in: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - training only, an extra
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})
