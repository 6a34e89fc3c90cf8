"""Fit the priority tree of FlexPatch as published to synthetic streets, whose ground truth is exact.

    python -m app.offline.evaluation.published.fit --detector FILE.onnx --output models/published_priority.json

The samples are what the method itself meets on the streets, all tracks having one priority. Prints how well a
tree does on streets that it was not fitted on, then fits one to all streets and writes it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

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
from app.ingest.street import Street, StreetTruth
from app.ingest.street_config import LABELS, parse_street
from app.offline.evaluation.published.priority import (
    FEATURES,
    Priority,
    PriorityTree,
    priority_label,
    save_priority_tree,
)
from app.offline.evaluation.published.runner import PublishedRunner, paper_canvas
from app.vision.cpu import CpuVision

STREETS = (
    "synthetic:1280x720@30?objects=20&seed=31",
    "synthetic:1280x720@10?objects=25&seed=32",
    "synthetic:1280x720@5?objects=25&seed=33",
    "synthetic:1280x720@10?objects=25&seed=34&pan=1&shake=1",
    "synthetic:1920x1080@15?objects=30&seed=35",
    "synthetic:1280x720@5?objects=30&seed=36&pan=1",
)
"""Slow and fast streams, a still and a moving camera."""
MAX_DEPTH, MIN_SAMPLES_SPLIT, RANDOM_STATE = 5, 10, 42


@dataclass(frozen=True, slots=True)
class Samples:
    """S tracked boxes that the ground truth can judge."""

    features: NDArray[np.float64]
    """(S, 5) in the order of `FEATURES`."""
    priority: NDArray[np.int32]
    """(S,) a `Priority`, by overlap with the object."""
    street: NDArray[np.int64]
    """(S,) which street each comes from."""


class Holdings:
    """Which object each track holds, by the detection that last set its box."""

    def __init__(self) -> None:
        self._object_of: dict[int, int] = {}

    def confirm(self, track_ids: NDArray[np.int64], boxes: FrameBoxes, truth: StreetTruth) -> None:
        """Detections have just set these boxes (N, 4)."""
        if not len(truth.ids):
            return
        for track_id, overlap in zip(track_ids.tolist(), iou(boxes, truth.boxes), strict=True):
            if overlap.max() > 0.5:
                self._object_of[track_id] = int(truth.ids[overlap.argmax()])
            else:
                self._object_of.pop(track_id, None)

    def overlap(self, track_id: int, box: NDArray[np.float32], truth: StreetTruth) -> float | None:
        """IoU of a box (4,) with its track's object, 0 where it has gone; None where the track never held one."""
        if track_id not in self._object_of:
            return None
        held = truth.boxes[truth.ids == self._object_of[track_id]]
        return float(iou(box[np.newaxis], held)[0, 0]) if len(held) else 0.0


def collect(spec: str, detector: Detector, n_frames: int) -> Iterator[tuple[NDArray[np.float64], float]]:
    """Features (5,) and true overlap of every tracked box on one street, before the detector corrects it."""
    street = Street(parse_street(spec))
    holdings = Holdings()
    runner = PublishedRunner(
        CpuVision(),
        detector,
        paper_canvas(street.config.size, detector.input_sizes),
        frozenset([detector.class_names.index(LABELS[0])]),
        PriorityTree.constant(Priority.MEDIUM),
        SystemClock(),
    )
    for index in range(n_frames):
        truth = street.truth(index)
        output, _ = runner.step(Frame(index + 1, index / street.config.fps, BgrPicture(street.render(index))))
        tracked = runner.last_prediction
        if tracked is not None:
            for row, track_id in enumerate(tracked.ids.tolist()):
                overlap = holdings.overlap(track_id, tracked.boxes[row], truth)
                if overlap is not None:
                    yield tracked.features[row], overlap
        is_set = np.isin(output.track_ids, runner.last_confirmed)
        holdings.confirm(output.track_ids[is_set], FrameBoxes(output.boxes[is_set]), truth)


def gather(detector: Detector, n_frames: int) -> Samples:
    """Samples of all streets."""
    features, overlaps, streets = [], [], []
    for number, spec in enumerate(track(STREETS, "Streets", console=Console(stderr=True))):
        for row, overlap in collect(spec, detector, n_frames):
            features.append(row)
            overlaps.append(overlap)
            streets.append(number)
    labels = priority_label(np.array(overlaps, np.float32))
    return Samples(np.array(features).reshape(-1, len(FEATURES)), labels, np.array(streets, np.int64))


def fit(features: NDArray[np.float64], priority: NDArray[np.int32]) -> PriorityTree:
    """The recipe's tree: depth 5, at least 10 samples to split, seed 42.

    Args:
        features: (S, 5) in the order of `FEATURES`.
        priority: (S,) a `Priority` each.
    """
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415 - training only, an extra

    model = DecisionTreeClassifier(
        max_depth=MAX_DEPTH, min_samples_split=MIN_SAMPLES_SPLIT, random_state=RANDOM_STATE
    ).fit(features, priority)
    return priority_tree(model.tree_, model.classes_)


class NodeTable(Protocol):
    """A fitted scikit-learn tree, as far as it is read here."""

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    children_left: NDArray[np.int64]
    children_right: NDArray[np.int64]
    value: NDArray[np.float64]


def priority_tree(nodes: NodeTable, classes: NDArray[np.int32]) -> PriorityTree:
    """The same tree in plain arrays."""
    return PriorityTree(
        feature=np.maximum(nodes.feature, -1).astype(np.int32),
        threshold=nodes.threshold.astype(np.float64),
        left=nodes.children_left.astype(np.int32),
        right=nodes.children_right.astype(np.int32),
        priority=classes[nodes.value[:, 0, :].argmax(axis=1)].astype(np.int32),
    )


def cross_validated(samples: Samples) -> NDArray[np.int32]:
    """Priority (S,) of each sample by a tree that saw no sample of its street."""
    predicted = np.zeros(len(samples.priority), np.int32)
    for street in np.unique(samples.street):
        own = samples.street == street
        predicted[own] = fit(samples.features[~own], samples.priority[~own]).predict(samples.features[own])
    return predicted


def main(
    detector: Annotated[Path, typer.Option(help="ONNX file of a detector that knows the class person.")],
    output: Annotated[Path, typer.Option(help="Where to write the tree.")] = Path("out/published_priority.json"),
    frames: Annotated[int, typer.Option(min=10, help="Frames of each street.")] = 70,
) -> None:
    """Fit the priority tree of FlexPatch as published to synthetic streets."""
    console = Console()
    try:
        samples = gather(load_detector(detector), frames)
        console.print(_report(cross_validated(samples), samples.priority))
        save_priority_tree(fit(samples.features, samples.priority), output)
        console.print(f"Written to {output}", markup=False)
    except (FlexPatchError, OSError, ValueError) as error:
        Console(stderr=True).print(str(error), markup=False)
        raise typer.Exit(2) from None


def _report(predicted: NDArray[np.int32], real: NDArray[np.int32]) -> Table:
    """Share of samples by priority, and how many of each are found."""
    right = float(np.mean(predicted == real))
    table = Table(title=f"Other streets held out: accuracy {right:.3f}, {len(real)} samples")
    for column in ("priority", "share", "recall", "precision"):
        table.add_column(column, justify="right")
    for priority in reversed(Priority):
        is_real, is_predicted = real == priority, predicted == priority
        n_right = int((is_real & is_predicted).sum())
        recall, precision = n_right / max(int(is_real.sum()), 1), n_right / max(int(is_predicted.sum()), 1)
        table.add_row(priority.name.lower(), f"{is_real.mean():.3f}", f"{recall:.3f}", f"{precision:.3f}")
    return table


if __name__ == "__main__":
    typer.run(main)
