"""Fit the tracking-failure model to the synthetic street, whose ground truth is exact.

    python -m app.offline.calibrate --detector FILE.onnx --output out/failure.json

Prints how well the built-in, hand-set model predicts on the same samples, then fits a logistic one, judged by
cross-validation that never has samples of one street on both sides, and writes it in the service's safe form.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from app.core.boxes import iou
from app.core.clock import SystemClock
from app.core.errors import FlexPatchError
from app.core.types import BgrPicture, Detector, Frame, FrameBoxes
from app.detect.loader import load_detector
from app.flexpatch.config import PipelineConfig
from app.flexpatch.failure import FEATURES, FORMAT, VERSION, LogisticFailure, hand_set_model
from app.flexpatch.pipeline import Pipeline
from app.ingest.street import Street, StreetTruth
from app.ingest.street_config import LABELS, parse_street
from app.vision.cpu import CpuVision

STREETS = (
    "synthetic:1280x720@30?objects=20&seed=11",
    "synthetic:1280x720@10?objects=25&seed=12",
    "synthetic:1280x720@5?objects=25&seed=13",
    "synthetic:1280x720@10?objects=25&seed=14&pan=1&shake=1",
    "synthetic:1920x1080@15?objects=30&seed=15",
    "synthetic:1280x720@5?objects=30&seed=16&pan=1",
)
"""Slow and fast streams, a still and a moving camera."""
MIN_EVIDENCE = 0.15
"""Fainter tracks may be no objects at all, and have no truth to be judged by."""
LOG_FEATURES = ("min_eigenvalue", "detection_age_s", "height_px")


@dataclass(frozen=True, slots=True)
class Samples:
    """S predictions that the ground truth can judge."""

    features: NDArray[np.float64]
    """(S, 9) in the order of `FEATURES`."""
    has_failed: NDArray[np.bool_]
    """(S,) IoU with the object of 0.5 or less."""
    street: NDArray[np.int64]
    """(S,) which street each comes from."""


class _Recorder:
    """The hand-set model, remembering what it was asked."""

    def __init__(self) -> None:
        self._model = hand_set_model()
        self.features = np.zeros((0, len(FEATURES)))

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float32]:
        self.features = features
        return self._model.predict(features)


class _Judged:
    """Which object each track holds, by the last look that confirmed it."""

    def __init__(self) -> None:
        self._object_of: dict[int, int] = {}

    def confirm(self, track_ids: list[int], boxes: FrameBoxes, truth: StreetTruth) -> None:
        if not len(truth.ids):
            return
        for track_id, overlap in zip(track_ids, iou(boxes, truth.boxes), strict=True):
            if overlap.max() > 0.5:
                self._object_of[track_id] = int(truth.ids[overlap.argmax()])
            else:
                self._object_of.pop(track_id, None)

    def has_failed(self, track_id: int, box: NDArray[np.float32], truth: StreetTruth) -> bool | None:
        """Did the track lose its object? None where it never held one."""
        if track_id not in self._object_of:
            return None
        held = truth.boxes[truth.ids == self._object_of[track_id]]
        return not len(held) or bool(iou(box[np.newaxis], held)[0, 0] <= 0.5)


def collect(spec: str, detector: Detector, n_frames: int) -> Iterator[tuple[NDArray[np.float64], bool]]:
    """Features and outcome of every prediction the pipeline makes on one street."""
    street = Street(parse_street(spec))
    recorder, judged = _Recorder(), _Judged()
    config = PipelineConfig(megapixels_per_frame=0.05)
    pipeline = Pipeline(CpuVision(), detector, config, recorder, SystemClock())
    pipeline.focus(frozenset([detector.class_names.index(LABELS[0])]), None)
    for index in range(n_frames):
        truth = street.truth(index)
        frame = Frame(index + 1, index / street.config.fps, BgrPicture(street.render(index)))
        result = pipeline.step(frame)
        predicted = pipeline.last_prediction
        for row, (track_id, box) in enumerate(zip(predicted.ids.tolist(), predicted.boxes, strict=True)):
            outcome = judged.has_failed(track_id, box, truth)
            if outcome is not None and predicted.evidence[row] > MIN_EVIDENCE:
                yield recorder.features[row], outcome
        hits = [item for item in result.objects if item.origin == "detected"]
        boxes = np.array([item.box for item in hits], np.float32).reshape(-1, 4)
        judged.confirm([item.track_id for item in hits], FrameBoxes(boxes), truth)


def gather(detector: Detector, n_frames: int) -> Samples:
    """Samples of all streets."""
    features, outcomes, streets = [], [], []
    for number, spec in enumerate(track(STREETS, "Streets", console=Console(stderr=True))):
        for row, has_failed in collect(spec, detector, n_frames):
            features.append(row)
            outcomes.append(has_failed)
            streets.append(number)
    return Samples(np.array(features), np.array(outcomes), np.array(streets))


def fit(samples: Samples) -> LogisticFailure:
    """A logistic model of the samples, lightly regularised."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - training only, an extra

    is_log = np.isin(FEATURES, LOG_FEATURES)
    inputs = np.where(is_log, np.log10(np.maximum(samples.features, 1e-6)), samples.features)
    mean, deviation = inputs.mean(axis=0), np.maximum(inputs.std(axis=0), 1e-9)
    model = LogisticRegression(C=0.3, max_iter=1000).fit((inputs - mean) / deviation, samples.has_failed)
    weights = model.coef_[0] / deviation
    return LogisticFailure(weights, float(model.intercept_[0] - (weights * mean).sum()), is_log)


def cross_validated(samples: Samples) -> NDArray[np.float32]:
    """Prediction for each sample by a model that saw no sample of its street."""
    predicted = np.zeros(len(samples.has_failed), np.float32)
    for street in np.unique(samples.street):
        own = samples.street == street
        others = Samples(samples.features[~own], samples.has_failed[~own], samples.street[~own])
        predicted[own] = fit(others).predict(samples.features[own])
    return predicted


def write(model: LogisticFailure, path: Path) -> None:
    """Store a model in the safe form that the service reads."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "kind": "logistic",
        "features": FEATURES,
        "log": [name for name, is_log in zip(FEATURES, model.is_log, strict=True) if is_log],
        "weights": [round(float(weight), 6) for weight in model.weights],
        "intercept": round(model.intercept, 6),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main(
    detector: Annotated[Path, typer.Option(help="ONNX file of a detector that knows the class person.")],
    output: Annotated[Path, typer.Option(help="Where to write the model.")] = Path("out/failure.json"),
    frames: Annotated[int, typer.Option(min=10, help="Frames of each street.")] = 70,
) -> None:
    """Fit the tracking-failure model to the synthetic street."""
    console = Console()
    try:
        samples = gather(load_detector(detector), frames)
        console.print(_calibration("Built-in model", hand_set_model().predict(samples.features), samples))
        console.print(_calibration("Fitted, other streets held out", cross_validated(samples), samples))
        write(fit(samples), output)
        console.print(f"Written to {output}. Use it with FLEXPATCH_FAILURE_MODEL={output}", markup=False)
    except (FlexPatchError, OSError, ValueError) as error:
        Console(stderr=True).print(str(error), markup=False)
        raise typer.Exit(2) from None


def _calibration(title: str, predicted: NDArray[np.float32], samples: Samples) -> Table:
    """Predicted against real share of failures, by prediction."""
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - training only, an extra

    area = roc_auc_score(samples.has_failed, predicted)
    table = Table(title=f"{title}: area under ROC {area:.3f}, {len(predicted)} samples")
    for column in ("predicted", "samples", "mean predicted", "really failed"):
        table.add_column(column, justify="right")
    edges = (0.0, 0.03, 0.06, 0.12, 0.25, 0.5, 0.75, 1.0)
    for low, high in pairwise(edges):
        chosen = (predicted >= low) & ((predicted < high) | (high == 1.0))
        if chosen.any():
            mean, real = predicted[chosen].mean(), samples.has_failed[chosen].mean()
            table.add_row(f"{low:g} to {high:g}", str(int(chosen.sum())), f"{mean:.3f}", f"{real:.3f}")
    return table


if __name__ == "__main__":
    typer.run(main)
