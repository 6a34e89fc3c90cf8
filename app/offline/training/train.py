"""`flexpatch train`: from sequences to a failure model, its data and a report."""

import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import SettingsError
from app.core.types import Detector
from app.flexpatch.config import PipelineConfig
from app.flexpatch.failure import FailureModel, hand_set_model
from app.flexpatch.failure_forms import CLASSES
from app.offline.training.candidates import Candidate, candidates
from app.offline.training.extras import FOR_FAILURE_MODEL, require_packages
from app.offline.training.importance import permutation_importances
from app.offline.training.pickled import write_pickled_model
from app.offline.training.plots import plot_calibration, plot_importances, plot_roc
from app.offline.training.report import (
    HAND_SET,
    PUBLISHED,
    CandidateReport,
    SequenceSummary,
    TrainingReport,
    age_percentiles_s,
    as_json,
    as_markdown,
    choose,
    times_json,
)
from app.offline.training.samples import Row, Samples, collect, joined, write_csv
from app.offline.training.scores import scores
from app.offline.training.sequences import GroundTruthChoice, TrainingSequence, check_sequence, open_sequence
from app.offline.training.validation import Validated, folds_of, validate
from app.offline.training.value import EndToEnd, end_to_end, prediction_ms

MODEL_FILE = "failure_model.json"
PICKLED_FILE = "flexpatch_model.joblib"
DATA_FILE = "training_data.csv"
REPORT_FILE = "report.md"
NUMBERS_FILE = "report.json"
TIMES_FILE = "timings.json"
MAX_VALUE_SEQUENCES = 8
"""Sequences on which the pipeline runs with each candidate, evenly chosen."""
MAX_VALUE_FRAMES = 100

Progress = Callable[[str, int, int], object]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What to train on.

    Raises:
        SettingsError: a value is outside its range.
    """

    sequences: tuple[str, ...]
    output: Path
    """Folder for the results; made if missing."""
    ground_truth: GroundTruthChoice = "auto"
    labels: tuple[str, ...] = ("person", "car")
    """Classes of interest."""
    n_frames: int = 150
    """Of each sequence, at most."""
    budgets: tuple[float, ...] = (0.003, 0.01, 0.04)
    """Megapixels a frame at which samples are collected: from starving, where seconds pass between looks, to usual."""
    value_budgets: tuple[float, ...] = (0.01, 0.04)
    """Megapixels a frame at which the pipeline is judged with each candidate."""
    seed: int = 1

    def __post_init__(self) -> None:
        if len(set(self.sequences)) < len(self.sequences):
            raise SettingsError("A sequence is named twice: name each once.")
        if not self.labels:
            raise SettingsError("No class is named: give at least one, for example person.")
        if self.n_frames < 2:
            raise SettingsError(f"{self.n_frames} frames show no motion: give at least 2.")
        if not self.budgets or not self.value_budgets:
            raise SettingsError("No pixel budget is given: give at least one, for example 0.01.")
        if not 0 <= self.seed < 2**32:
            raise SettingsError(f"The seed is {self.seed}; it must be from 0 to {2**32 - 1}.")
        for budget in (*self.budgets, *self.value_budgets):
            PipelineConfig(megapixels_per_frame=budget)


@dataclass(frozen=True, slots=True)
class _Material:
    """What there is to learn from."""

    options: TrainOptions
    sequences: tuple[TrainingSequence, ...]
    """Those that gave samples."""
    samples: Samples
    folds: NDArray[np.int64]
    """(sequences,)"""


def train(
    options: TrainOptions, detector: Detector, progress: Progress, competing: Sequence[Candidate] | None = None
) -> TrainingReport:
    """Collect samples, let the candidates compete, and write everything; nothing where it fails half-way.

    Args:
        competing: the published recipe and any others; None: all there are.
    Raises:
        SourceError: a sequence or its ground truth cannot be read.
        SettingsError: too few sequences or samples, packages that are missing, or a folder that cannot be written.
        DetectorFailed: inference itself failed.
    """
    require_packages(FOR_FAILURE_MODEL)
    folds_of(len(options.sequences))
    for text in options.sequences:
        check_sequence(text, options.ground_truth)
    with _folder(options.output) as folder:
        material = _collected(options, detector, progress)
        found = _validated(material, competing or candidates(), progress)
        report = _report(material, detector, found, _judged(material, detector, found, progress))
        _write(folder, material.samples, found, report)
    return report


# ------------------------------------------------------------------------------------------------- the steps


def _collected(options: TrainOptions, detector: Detector, progress: Progress) -> _Material:
    sequences: list[TrainingSequence] = []
    parts: list[tuple[int, float, Sequence[Row]]] = []
    n_steps = len(options.sequences) * (len(options.budgets) + 1)
    n_done = 0
    for text in options.sequences:
        sequence = open_sequence(text, detector, options.ground_truth, options.labels, options.n_frames)
        n_done += 1
        runs: list[tuple[int, float, Sequence[Row]]] = []
        for budget in options.budgets:
            progress("Collecting samples", n_done, n_steps)
            runs.append((len(sequences), budget, list(collect(sequence, detector, budget))))
            n_done += 1
        if any(rows for _, _, rows in runs):
            sequences.append(sequence)
            parts += runs
    progress("Collecting samples", n_steps, n_steps)
    samples = joined(parts, _names(sequences))
    return _Material(options, tuple(sequences), samples, folds_of(len(sequences)))


def _names(sequences: Sequence[TrainingSequence]) -> list[str]:
    """Their names; those of the same name are numbered."""
    names: list[str] = []
    for sequence in sequences:
        n_before = sum(name.partition("#")[0] == sequence.name for name in names)
        names.append(f"{sequence.name}#{n_before + 1}" if n_before else sequence.name)
    return names


def _validated(material: _Material, competing: Sequence[Candidate], progress: Progress) -> list[Validated]:
    n_steps = len(competing) * (int(material.folds.max()) + 2)
    n_done = 0

    def advance() -> None:
        nonlocal n_done
        n_done += 1
        progress("Fitting candidates", n_done, n_steps)

    def validated(candidate: Candidate) -> Validated:
        return validate(candidate, material.samples, material.folds, material.options.seed, advance)

    return [validated(candidate) for candidate in competing]


def _judged(material: _Material, detector: Detector, found: Sequence[Validated], progress: Progress) -> list[EndToEnd]:
    """The pipeline on some sequences with each candidate, as fitted without them, and with the hand-set model."""
    n_all = len(material.sequences)
    rows = np.unique(np.linspace(0, n_all - 1, min(MAX_VALUE_SEQUENCES, n_all)).round().astype(int)).tolist()
    budgets = material.options.value_budgets
    n_steps = len(rows) * (len(found) + 1) * len(budgets)
    n_done = 0

    def advance() -> None:
        nonlocal n_done
        n_done += 1
        progress("Running the pipeline", n_done, n_steps)

    runs = []
    for row in rows:
        fold = int(material.folds[row])
        models: dict[str, FailureModel] = {item.candidate.name: item.folds[fold].model() for item in found}
        models[HAND_SET] = hand_set_model()
        sequence = material.sequences[row]
        sequence = replace(sequence, n_frames=min(sequence.n_frames, MAX_VALUE_FRAMES))
        runs += end_to_end(sequence, detector, models, budgets, advance)
    return runs


def _report(
    material: _Material, detector: Detector, found: Sequence[Validated], runs: Sequence[EndToEnd]
) -> TrainingReport:
    samples, options = material.samples, material.options
    items = [_candidate_report(item, samples, runs) for item in found]
    items.append(_hand_set_report(samples, runs))
    chosen = choose(items)
    best = next(item for item in found if item.candidate.name == chosen)
    counts = np.bincount(samples.sequence, minlength=len(material.sequences)).tolist()
    return TrainingReport(
        detector=detector.name,
        seed=options.seed,
        budgets=options.budgets,
        sequences=tuple(
            SequenceSummary(name, sequence.truth.kind, len(sequence.truth.frames), count)
            for name, sequence, count in zip(samples.names, material.sequences, counts, strict=True)
        ),
        class_counts=tuple(np.bincount(samples.classes, minlength=len(CLASSES)).tolist()),
        age_percentiles_s=age_percentiles_s(samples),
        n_folds=int(material.folds.max()) + 1,
        candidates=tuple(items),
        chosen=chosen,
        importances=permutation_importances(best, samples, material.folds, options.seed),
        versions=_versions(),
    )


def _candidate_report(item: Validated, samples: Samples, runs: Sequence[EndToEnd]) -> CandidateReport:
    return CandidateReport(
        name=item.candidate.name,
        scores=scores(item.failure, item.priorities, samples.classes),
        parameters=item.final.fitted.parameters,
        prediction_ms=prediction_ms(item.final.model()),
        runs=tuple(run for run in runs if run.model == item.candidate.name),
    )


def _hand_set_report(samples: Samples, runs: Sequence[EndToEnd]) -> CandidateReport:
    """The built-in model beside the candidates; it has no classes, so thirds of its probability stand for them."""
    model = hand_set_model()
    failure = model.predict(samples.features)
    priorities = np.digitize(-failure, [-2 / 3, -1 / 3]).astype(np.intp)
    return CandidateReport(
        name=HAND_SET,
        scores=scores(failure, priorities, samples.classes),
        parameters={},
        prediction_ms=prediction_ms(model),
        runs=tuple(run for run in runs if run.model == HAND_SET),
        is_candidate=False,
    )


def _versions() -> Mapping[str, str]:
    import sklearn  # noqa: PLC0415 - training only, an extra

    return {"scikit-learn": sklearn.__version__, "numpy": np.__version__}


# ---------------------------------------------------------------------------------------------------- output


def _write(folder: Path, samples: Samples, found: Sequence[Validated], report: TrainingReport) -> None:
    best = next(item for item in found if item.candidate.name == report.chosen)
    published = next(item for item in found if item.candidate.name == PUBLISHED)
    shown = [best] if best is published else [best, published]
    by_name = [(item.candidate.name, report.named(item.candidate.name).scores) for item in shown]
    with (folder / DATA_FILE).open("w", encoding="utf-8", newline="") as stream:
        write_csv(samples, stream)
    _write_json(folder / MODEL_FILE, best.final.content(), indent=None)
    write_pickled_model(best.final, folder / PICKLED_FILE)
    (folder / REPORT_FILE).write_text(as_markdown(report), encoding="utf-8")
    _write_json(folder / NUMBERS_FILE, as_json(report), indent=1)
    _write_json(folder / TIMES_FILE, times_json(report), indent=1)
    plot_calibration(folder / "calibration.png", by_name)
    curves = [(item.candidate.name, item.failure) for item in shown]
    plot_roc(folder / "roc.png", curves, samples.iou <= 0.5)
    plot_importances(folder / "importances.png", report.importances)


def _write_json(path: Path, content: Mapping[str, Any], *, indent: int | None) -> None:
    separators = (",", ":") if indent is None else None
    path.write_text(json.dumps(content, indent=indent, separators=separators) + "\n", encoding="utf-8")


@contextmanager
def _folder(output: Path) -> Iterator[Path]:
    """A new folder beside the output; its files take their names once the block is left without an error.

    Raises:
        SettingsError: nothing can be written there.
    """
    output = output.expanduser().resolve()
    if output.exists() and not output.is_dir():
        raise SettingsError(f"{output} is a file: give a folder for the results.")
    unfinished = output.with_name(f".{output.name}.{secrets.token_hex(4)}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        unfinished.mkdir()
    except OSError as error:
        raise SettingsError(
            f"Nothing can be written in {output.parent} ({error.strerror}): choose another folder."
        ) from error
    try:
        yield unfinished
        if output.exists():
            for path in sorted(unfinished.iterdir()):
                path.replace(output / path.name)
        else:
            unfinished.rename(output)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
