"""Training the shipped detector, from material to the ONNX file and a report; resumes where it was interrupted."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from app.core.errors import SettingsError
from app.core.types import Detector
from app.detect.loader import load_detector
from app.offline.detector.calibration import Curve, calibrate
from app.offline.detector.canvases import CanvasMaker
from app.offline.detector.export import export
from app.offline.detector.fit import Progress, Schedule, fit
from app.offline.detector.imitation import Imitated
from app.offline.detector.labels import CLASSES
from app.offline.detector.material import Advance, Material, Sources, gather
from app.offline.detector.scenes import background_pictures
from app.offline.detector.trial import Trial, trials
from app.offline.output import unfinished_file

MODEL_FILE = "flexpatch-nano.onnx"
CHECKPOINT_FILE = "checkpoint.pt"
OPTIONS_FILE = "options.json"
LOG_FILE = "log.csv"
REPORT_FILE = "report.json"
_LOWEST_SCORE = 0.01
"""For calibration."""
_LOG_EVERY = 50
"""Steps; the log has their means."""


@dataclass(frozen=True, slots=True)
class DetectorOptions:
    """What to train on, for how long, and where to."""

    output: Path
    """Folder for material, checkpoint, log, model and report; what it holds already is gone on with."""
    sources: Sources
    schedule: Schedule
    seed: int = 1
    imitated: Detector | None = None
    """A teacher whose whole output the network learns too."""


@dataclass(frozen=True, slots=True)
class DetectorReport:
    """What was trained on what, and how good it is."""

    n_scenes: dict[str, int]
    """By group of the material."""
    n_objects: dict[str, int]
    n_people: int
    """Cut-outs."""
    steps: int
    batch: int
    seed: int
    calibration: dict[str, Curve]
    """By class, what the scores are worth."""
    trials: list[Trial]
    """On streets not trained on."""


def train_detector(options: DetectorOptions, advance: Advance) -> DetectorReport:
    """Gather material, fit the network, export it and try it out.

    Everything is kept in the output folder as it is made: called again with the same options, it goes on from the
    last checkpoint and ends with the same result.

    Raises:
        SettingsError, SourceError, DetectorFailed: as `gather`.
    """
    imitated = Imitated(options.imitated) if options.imitated else None
    options.output.mkdir(parents=True, exist_ok=True)
    _keep_options(options)
    material = gather(options.sources, options.output / "material", options.seed, advance)
    maker = CanvasMaker(
        list(material.groups.values()),
        material.shares,
        material.people,
        options.seed,
        harder_from=options.schedule.rounds[0] * options.schedule.batch,
    )
    checkpoint = options.output / CHECKPOINT_FILE
    with _log(options.output / LOG_FILE) as log:
        for progress in fit(maker, len(CLASSES), options.schedule, checkpoint, options.seed, imitated=imitated):
            log(progress)
            advance("Training", progress.step, options.schedule.steps)
    model = options.output / MODEL_FILE
    export(checkpoint, model)
    curves = calibrate(load_detector(model, score_floor=_LOWEST_SCORE), maker)
    export(checkpoint, model, curves)
    report = _report(options, material, curves, trials(load_detector(model)))
    _write_json(options.output / REPORT_FILE, asdict(report))
    return report


def _keep_options(options: DetectorOptions) -> None:
    """Write down what was asked for; a training with other options must not be gone on with.

    Raises:
        SettingsError: the folder holds one.
    """
    path = options.output / OPTIONS_FILE
    wanted = json.loads(json.dumps(_described(options)))
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else wanted
    if kept != wanted and (options.output / CHECKPOINT_FILE).exists():
        differing = sorted(name for name in wanted if kept.get(name) != wanted[name])
        raise SettingsError(
            f"{options.output} holds a training with other options ({', '.join(differing)}): "
            "give the same ones to go on with it, or another folder."
        )
    _write_json(path, wanted)


def _write_json(path: Path, content: object) -> None:
    with unfinished_file(path) as draft:
        draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _described(options: DetectorOptions) -> dict[str, object]:
    sources = options.sources
    return {
        "clips": [path.name for path in sources.clips],
        "teachers": [teacher.name for teacher in sources.teachers],
        "imitated": options.imitated.name if options.imitated else None,
        "people": sources.n_people if sources.assets else 0,
        "backgrounds": [path.name for path in background_pictures(sources.backgrounds)] if sources.backgrounds else [],
        **{name: value for name, value in asdict(options.schedule).items() if name != "workers"},
        "seed": options.seed,
    }


@contextmanager
def _log(path: Path) -> Iterator[Callable[[Progress], None]]:
    """Takes every step; writes the mean of each `_LOG_EVERY`, behind what the file holds of earlier steps."""
    header = ["step", "loss", "of_classes", "of_boxes", "imitation"]
    kept = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    recent: list[Progress] = []
    is_fresh = True
    with path.open("a", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)

        def take(progress: Progress) -> None:
            nonlocal is_fresh
            if is_fresh:
                # After an interruption, what came after the last checkpoint comes once more.
                file.truncate(0)
                rows.writerows([header, *(row for row in csv.reader(kept[1:]) if int(row[0]) < progress.step)])
                is_fresh = False
            recent.append(progress)
            if progress.step % _LOG_EVERY == 0:
                columns = ([step.loss, step.of_classes, step.of_boxes, step.imitation] for step in recent)
                rows.writerow([progress.step, *(f"{np.mean(column):.4f}" for column in zip(*columns, strict=True))])
                file.flush()
                recent.clear()

        yield take


def _report(
    options: DetectorOptions, material: Material, curves: Sequence[Curve], found: list[Trial]
) -> DetectorReport:
    scenes = [scene for group in material.groups.values() for scene in group]
    return DetectorReport(
        n_scenes={name: len(group) for name, group in material.groups.items()},
        n_objects={label: sum(int(np.sum(s.classes == i)) for s in scenes) for i, label in enumerate(CLASSES)},
        n_people=len(material.people),
        steps=options.schedule.steps,
        batch=options.schedule.batch,
        seed=options.seed,
        calibration=dict(zip(CLASSES, curves, strict=True)),
        trials=found,
    )
