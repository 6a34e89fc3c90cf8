"""What a training reached, as numbers for machines and as a page for people."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from app.flexpatch.failure import FEATURES
from app.flexpatch.failure_forms import CLASSES
from app.offline.training.importance import Importance
from app.offline.training.samples import Samples
from app.offline.training.scores import Scores
from app.offline.training.truth import TruthKind
from app.offline.training.value import LIMIT_MS, N_TRACKS, EndToEnd

PUBLISHED = "published tree"
HAND_SET = "hand-set"
BAR_RECALL, BAR_BALANCED = 0.8, 0.75
"""Recall of `high` and balanced accuracy that are aimed at on sequences not seen."""
_DIGITS = 5


@dataclass(frozen=True, slots=True)
class SequenceSummary:
    """One sequence that was trained on."""

    name: str
    truth: TruthKind
    n_frames: int
    n_samples: int


@dataclass(frozen=True, slots=True)
class CandidateReport:
    """One model, judged on sequences that it had not seen."""

    name: str
    scores: Scores
    parameters: Mapping[str, float]
    """Of the fit to all sequences; empty where none were chosen."""
    prediction_ms: float
    """Milliseconds for 50 tracks, as measured; not in the numbers for machines, which are the same on every run."""
    runs: tuple[EndToEnd, ...]
    is_candidate: bool = True
    """False for the reference, which was not trained."""

    @property
    def mean_ap50(self) -> float:
        return float(np.mean([run.ap50 for run in self.runs])) if self.runs else 0.0

    @property
    def is_fast(self) -> bool:
        return self.prediction_ms <= LIMIT_MS


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """All that is told about a training."""

    detector: str
    seed: int
    budgets: tuple[float, ...]
    """Megapixels a frame at which samples were collected."""
    sequences: tuple[SequenceSummary, ...]
    class_counts: tuple[int, ...]
    """Samples by class."""
    age_percentiles_s: tuple[float, float, float]
    """Detection age of the samples: median, 90th and 99th percentile."""
    n_folds: int
    candidates: tuple[CandidateReport, ...]
    """The hand-set model, for reference, last."""
    chosen: str
    importances: tuple[Importance, ...]
    """Of the chosen model."""
    versions: Mapping[str, str]

    def named(self, name: str) -> CandidateReport:
        """The candidate of that name."""
        return next(item for item in self.candidates if item.name == name)

    @property
    def is_worth_it(self) -> bool:
        """Is the pipeline at least as good with the chosen model as with the hand-set one?"""
        return self.named(self.chosen).mean_ap50 >= self.named(HAND_SET).mean_ap50


def age_percentiles_s(samples: Samples) -> tuple[float, float, float]:
    """Median, 90th and 99th percentile of the samples' detection age in seconds."""
    ages_s = samples.features[:, FEATURES.index("detection_age_s")]
    middle, most, nearly_all = np.percentile(ages_s, [50, 90, 99]).tolist()
    return middle, most, nearly_all


def choose(candidates: Sequence[CandidateReport]) -> str:
    """The name of the candidate worth most to the pipeline among those that are fast enough.

    Candidates whose average precision is within one standard error of the best's, run by run, count as equal; among
    them the one of the best probabilities (Brier score) is taken. Should none be fast, the fastest is.

    Source: the one-standard-error rule of Breiman et al., Classification and Regression Trees (1984), 3.4.3.
    """
    trained = [item for item in candidates if item.is_candidate]
    fast = [item for item in trained if item.is_fast] or [min(trained, key=lambda item: item.prediction_ms)]
    best = max(fast, key=lambda item: item.mean_ap50)
    equal = [item for item in fast if ap50_lost(item, best) <= standard_error(item, best)]
    return min(equal, key=lambda item: item.scores.brier).name


def ap50_lost(item: CandidateReport, best: CandidateReport) -> float:
    """Mean over the runs of how much worse one candidate is than another."""
    return best.mean_ap50 - item.mean_ap50


def standard_error(item: CandidateReport, best: CandidateReport) -> float:
    """Of that mean."""
    lost = [theirs.ap50 - own.ap50 for own, theirs in zip(item.runs, best.runs, strict=True)]
    return float(np.std(lost, ddof=1) / np.sqrt(len(lost))) if len(lost) > 1 else 0.0


# ---------------------------------------------------------------------------------------------- for machines


def as_json(report: TrainingReport) -> dict[str, Any]:
    """All but measured times: the same input gives the same text."""
    content = asdict(report)
    for item, candidate in zip(content["candidates"], report.candidates, strict=True):
        del item["prediction_ms"]
        item["mean_ap50"] = candidate.mean_ap50
    content["classes"] = list(CLASSES)
    content["features"] = list(FEATURES)
    content["kinds_of_truth"] = sorted({sequence.truth for sequence in report.sequences})
    content["is_at_least_hand_set"] = report.is_worth_it
    return _plain(content)


def times_json(report: TrainingReport) -> dict[str, Any]:
    """Measured milliseconds, which differ from run to run."""
    return {f"predict_{N_TRACKS}_tracks_ms": {item.name: round(item.prediction_ms, 4) for item in report.candidates}}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return round(value, _DIGITS) if isinstance(value, float) else value


# ------------------------------------------------------------------------------------------------ for people


def as_markdown(report: TrainingReport) -> str:
    """The page `report.md`."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: TrainingReport) -> Iterator[str]:
    yield "# Tracking-failure model: training report"
    yield ""
    yield from _outcome(report)
    yield ""
    yield "## Data"
    yield ""
    yield from _data(report)
    yield ""
    yield "## Candidates"
    yield ""
    yield from _candidates(report)
    for name in dict.fromkeys((report.chosen, PUBLISHED)):
        yield ""
        yield from _details(report.named(name))
    yield ""
    yield "## What each feature is worth"
    yield ""
    yield from _importances(report)
    yield ""
    yield "## Pipeline with each model"
    yield ""
    yield from _runs(report)


def _outcome(report: TrainingReport) -> Iterator[str]:
    best, hand_set = report.named(report.chosen), report.named(HAND_SET)
    recall, balanced = best.scores.recalls[0], best.scores.balanced_accuracy
    yield (
        f"Chosen: **{best.name}**. Of the models that predict {N_TRACKS} tracks within {LIMIT_MS:g} ms and are worth "
        "as much to the pipeline as the best, within a standard error, it has the best probabilities. On sequences "
        f"not seen it finds {recall:.1%} of `high` with a balanced accuracy of {balanced:.3f} over the three classes "
        f"({best.scores.balanced_accuracy_high:.3f} for `high` against the rest)."
    )
    yield ""
    yield (
        f"Aimed at: {BAR_RECALL:.0%} and {BAR_BALANCED:g}: "
        f"the recall is {_reached(recall >= BAR_RECALL)}, the balanced accuracy over three classes is "
        f"{_reached(balanced >= BAR_BALANCED)}."
    )
    yield ""
    verdict = "not worse than" if report.is_worth_it else "**worse than**; do not make it the default over"
    yield (
        f"Mean AP@0.5 of the pipeline at fixed pixels, on sequences that the model had not seen: {best.mean_ap50:.4f}, "
        f"{verdict} the hand-set model's {hand_set.mean_ap50:.4f}."
    )
    if any(sequence.truth == "pseudo" for sequence in report.sequences):
        yield ""
        yield (
            "**Some of the ground truth is pseudo ground truth**, made by the detector itself at native size. Numbers "
            "on those sequences tell agreement with that detector, not accuracy."
        )


def _reached(is_reached: bool) -> str:
    return "reached" if is_reached else "not reached"


def _data(report: TrainingReport) -> Iterator[str]:
    n = sum(report.class_counts)
    shares = ", ".join(
        f"{name} {count / max(n, 1):.1%}" for name, count in zip(CLASSES, report.class_counts, strict=True)
    )
    ages = " / ".join(f"{age:.2f}" for age in report.age_percentiles_s)
    yield f"{n} samples ({shares}) from the pipeline's own tracker with `{report.detector}`, at "
    yield f"{', '.join(f'{budget:g}' for budget in report.budgets)} megapixels a frame; detection age {ages} s "
    yield f"(median, 90 %, 99 %). Cross-validation in {report.n_folds} folds by sequence; seed {report.seed}."
    yield ""
    yield "| sequence | ground truth | frames | samples |"
    yield "|---|---|---:|---:|"
    for item in report.sequences:
        yield f"| `{item.name}` | {item.truth} | {item.n_frames} | {item.n_samples} |"


def _candidates(report: TrainingReport) -> Iterator[str]:
    yield (
        "On sequences not seen; calibration and priority thresholds, too, come from other sequences. AP@0.5 is the "
        "pipeline's, the mean over the runs below."
    )
    yield ""
    yield (
        "| model | AP@0.5 | ms for 50 tracks | recall high | medium | low | balanced accuracy | high against rest | "
        "ROC AUC | Brier | calibration error |"
    )
    yield "|---|" + "---:|" * 10
    for item in report.candidates:
        judged = item.scores
        figures = [f"{item.mean_ap50:.4f}", f"{item.prediction_ms:.3f}"]
        figures += [f"{figure:.3f}" for figure in judged.recalls]
        figures += [f"{judged.balanced_accuracy:.3f}", f"{judged.balanced_accuracy_high:.3f}"]
        figures += [f"{figure:.3f}" for figure in (judged.roc_auc, judged.brier, judged.calibration_error)]
        yield f"| {item.name} | " + " | ".join(figures) + " |"
    yield ""
    yield "`hand-set` is the built-in model, for reference; its priorities are thirds of its probability."


def _details(item: CandidateReport) -> Iterator[str]:
    parameters = ", ".join(f"{name} {value:g}" for name, value in item.parameters.items()) or "as published"
    yield f"### {item.name} ({parameters})"
    yield ""
    yield "| truth \\ priority | " + " | ".join(CLASSES) + " | recall |"
    yield "|---|" + "---:|" * 4
    for name, row, recall in zip(CLASSES, item.scores.confusion, item.scores.recalls, strict=True):
        yield f"| {name} | " + " | ".join(map(str, row)) + f" | {recall:.3f} |"
    yield ""
    yield "| predicted failure | samples | mean predicted | really failed |"
    yield "|---|---:|---:|---:|"
    for part in item.scores.calibration:
        yield f"| {part.low:g} to {part.high:g} | {part.n} | {part.mean_predicted:.3f} | {part.really_failed:.3f} |"


def _importances(report: TrainingReport) -> Iterator[str]:
    yield f"Of {report.chosen}: what is lost when the feature is shuffled among samples not seen."
    yield ""
    yield "| feature | ROC AUC lost | balanced accuracy lost |"
    yield "|---|---:|---:|"
    for item in sorted(report.importances, key=lambda item: -item.roc_auc_lost):
        yield f"| {item.feature} | {item.roc_auc_lost:.4f} | {item.balanced_accuracy_lost:.4f} |"


def _runs(report: TrainingReport) -> Iterator[str]:
    names = [item.name for item in report.candidates]
    yield "AP@0.5, and megapixels really spent on an average frame; no model saw the sequence that it is judged on."
    yield ""
    yield "| sequence | budget | " + " | ".join(names) + " |"
    yield "|---|---:|" + "---:|" * len(names)
    for places in zip(*(item.runs for item in report.candidates), strict=True):
        figures = " | ".join(f"{run.ap50:.3f} ({run.megapixels_per_frame:.3f})" for run in places)
        yield f"| `{places[0].sequence}` | {places[0].budget:g} | {figures} |"
