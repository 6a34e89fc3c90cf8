"""Samples: what the pipeline's own tracker knew of each track, and how well the box held its object."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import iou
from app.core.clock import SystemClock
from app.core.types import Detector, FrameBoxes, TrackedObject
from app.flexpatch.config import PipelineConfig
from app.flexpatch.failure import FEATURES, FailureModel, hand_set_model
from app.flexpatch.failure_forms import CLASSES
from app.flexpatch.pipeline import Pipeline
from app.offline.annotations import FrameTruth
from app.offline.training.sequences import TrainingSequence
from app.offline.training.truth import GroundTruth
from app.vision.cpu import CpuVision

MIN_EVIDENCE = 0.15
"""Fainter tracks may be no objects at all, and have no truth to be judged by."""
CONFIRMED_IOU = 0.5
COLUMNS = (*FEATURES, "sequence", "megapixels_per_frame", "frame", "track_id", "iou", "iou_label")
"""Of `training_data.csv`."""


@dataclass(frozen=True, slots=True)
class Samples:
    """S predictions that the ground truth can judge."""

    features: NDArray[np.float64]
    """(S, F) in the order of `FEATURES`."""
    iou: NDArray[np.float64]
    """(S,) of the tracked box with the object that the track held when it was last confirmed."""
    sequence: NDArray[np.int64]
    """(S,) index into `names`."""
    megapixels_per_frame: NDArray[np.float64]
    """(S,) the pixel budget of the run."""
    frame: NDArray[np.int64]
    """(S,)"""
    track_id: NDArray[np.int64]
    """(S,) unique within a sequence and budget."""
    names: tuple[str, ...]
    """Of the sequences."""

    def __len__(self) -> int:
        return len(self.iou)

    def __getitem__(self, rows: NDArray[np.bool_]) -> "Samples":
        """Those where `rows` (S,) is true."""
        return Samples(
            self.features[rows],
            self.iou[rows],
            self.sequence[rows],
            self.megapixels_per_frame[rows],
            self.frame[rows],
            self.track_id[rows],
            self.names,
        )

    @property
    def classes(self) -> NDArray[np.int64]:
        """(S,) indices into `CLASSES`: 0 high (no overlap), 1 medium (0, 0.5], 2 low.

        Source: FlexPatch (INFOCOM 2022) IV-B.
        """
        return np.digitize(self.iou, [np.nextafter(0, 1), np.nextafter(0.5, 1)]).astype(np.int64)


class Recorder:
    """A failure model that remembers what it was asked."""

    def __init__(self, model: FailureModel) -> None:
        self._model = model
        self.features = np.zeros((0, len(FEATURES)))

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float32]:
        self.features = features
        return self._model.predict(features)


class Judge:
    """Knows which object each track holds, by the last look that confirmed it."""

    def __init__(self, truth: GroundTruth) -> None:
        self._truth = truth
        self._object_of: dict[int, int] = {}

    def confirm(self, tracks: Sequence[TrackedObject], shown: FrameTruth) -> None:
        """Take note of the objects that the tracks confirmed on this frame hold; those on nothing hold none."""
        if not tracks:
            return
        boxes = FrameBoxes(np.array([track.box for track in tracks], np.float32))
        for track, overlap in zip(tracks, iou(boxes, shown.boxes), strict=True):
            self._object_of.pop(track.track_id, None)
            if overlap.max(initial=0) > CONFIRMED_IOU:
                self._object_of[track.track_id] = int(shown.ids[overlap.argmax()])

    def overlap(self, track_id: int, box: NDArray[np.float32], frame: int) -> float | None:
        """IoU of a track's box (4,) with its object; None where it holds none, or where that cannot be told."""
        held = self._object_of.get(track_id)
        return None if held is None else self._truth.overlap(held, box, frame)


Row = tuple[NDArray[np.float64], float, int, int]
"""Features (F,), IoU, frame, track."""


def collect(sequence: TrainingSequence, detector: Detector, megapixels_per_frame: float) -> Iterator[Row]:
    """Every prediction that the pipeline makes on one sequence at one pixel budget, where it can be judged."""
    recorder, judge = Recorder(hand_set_model()), Judge(sequence.truth)
    config = PipelineConfig(megapixels_per_frame=megapixels_per_frame)
    pipeline = Pipeline(CpuVision(), detector, config, recorder, SystemClock())
    pipeline.focus(sequence.class_ids, None)
    for frame in sequence.frames():
        result = pipeline.step(frame)
        predicted = pipeline.last_prediction
        for row, (track_id, box) in enumerate(zip(predicted.ids.tolist(), predicted.boxes, strict=True)):
            overlap = judge.overlap(track_id, box, frame.seq)
            if overlap is not None and predicted.evidence[row] > MIN_EVIDENCE:
                yield recorder.features[row], overlap, frame.seq, track_id
        judge.confirm([item for item in result.objects if item.origin == "detected"], sequence.truth.at(frame.seq))


def joined(parts: Sequence[tuple[int, float, Sequence[Row]]], names: Sequence[str]) -> Samples:
    """Samples of several runs: index of the sequence, budget, rows."""
    rows = [(number, budget, *row) for number, budget, run in parts for row in run]
    return Samples(
        features=np.array([row[2] for row in rows], np.float64).reshape(-1, len(FEATURES)),
        iou=np.array([row[3] for row in rows], np.float64),
        sequence=np.array([row[0] for row in rows], np.int64),
        megapixels_per_frame=np.array([row[1] for row in rows], np.float64),
        frame=np.array([row[4] for row in rows], np.int64),
        track_id=np.array([row[5] for row in rows], np.int64),
        names=tuple(names),
    )


def write_csv(samples: Samples, stream: TextIO) -> None:
    """Write `training_data.csv`: a row a sample, in the order of collection, floats to 6 significant digits."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    labels = samples.classes
    for row in range(len(samples)):
        writer.writerow(
            (
                *(f"{value:.6g}" for value in samples.features[row]),
                samples.names[samples.sequence[row]],
                f"{samples.megapixels_per_frame[row]:g}",
                samples.frame[row],
                samples.track_id[row],
                f"{samples.iou[row]:.6g}",
                CLASSES[labels[row]],
            )
        )
