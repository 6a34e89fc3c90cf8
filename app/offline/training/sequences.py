"""Sequences to train on: what the user may name, and what is trained on where nobody names any."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from app.core.errors import SettingsError, SourceError
from app.core.types import Detector, Frame
from app.ingest.source import is_street, open_source
from app.ingest.street import Street
from app.ingest.street_config import LABELS, parse_street
from app.offline.annotations import read_ground_truth
from app.offline.prefetch import Prefetch
from app.offline.recordings import frames_at, ground_truth_at
from app.offline.run import FRAMES_AHEAD
from app.offline.training.pseudo import pseudo_truth
from app.offline.training.truth import GroundTruth, street_truth

GroundTruthChoice = Literal["auto", "mot", "pseudo"]
_CHOICES: dict[str, GroundTruthChoice] = {"auto": "auto", "mot": "mot", "pseudo": "pseudo"}

DEFAULT_SEQUENCES = (
    "synthetic:1280x720@30?objects=20&seed=101",
    "synthetic:1280x720@10?objects=25&seed=102",
    "synthetic:1280x720@5?objects=25&seed=103",
    "synthetic:1280x720@10?objects=25&seed=104&pan=1&shake=1",
    "synthetic:1280x720@5?objects=30&seed=105&pan=1",
    "synthetic:1920x1080@15?objects=30&seed=106",
    "synthetic:1920x1080@5?objects=40&seed=107&clouds=1",
    "synthetic:960x540@15?objects=20&seed=108&shake=2",
    "synthetic:960x540@30?objects=25&seed=109&pan=2",
    "synthetic:1280x720@10?objects=25&seed=110&night=1",
    "synthetic:960x540@5?objects=20&seed=111&night=1&noise=2",
    "synthetic:1280x720@15?objects=35&seed=112&vehicles=0.5&light=2",
    "synthetic:1280x720@8?objects=30&seed=113&shake=1&clouds=1",
    "synthetic:1920x1080@10?objects=30&seed=114&pan=1",
    "synthetic:960x540@8?objects=25&seed=115&pan=0.5",
    "synthetic:1280x720@20?objects=40&seed=116&night=1&pan=1",
)
"""Slow and fast streams of several sizes, still, shaking and panning cameras, day and night. Seeds of their own:
nothing else in this project renders these streets."""
MOT_LABEL = "person"
"""What MOTChallenge annotates."""


@dataclass(frozen=True, slots=True)
class TrainingSequence:
    """Frames and where the objects on them are."""

    name: str
    source: str
    """As `open_source` takes it."""
    n_frames: int
    """At most so many are used."""
    class_ids: frozenset[int]
    """Of the detector: what the pipeline looks for."""
    truth: GroundTruth

    def frames(self) -> Iterator[Frame]:
        """Every frame from the first, numbered by `seq` as in the ground truth."""
        with open_source(self.source) as source, Prefetch(islice(source, self.n_frames), FRAMES_AHEAD) as frames:
            yield from frames


def ground_truth_choice(text: str) -> GroundTruthChoice:
    """What the user wrote.

    Raises:
        SettingsError: it is none of the three.
    """
    if text not in _CHOICES:
        raise SettingsError(f"The ground truth {text!r} is unknown: use auto, mot or pseudo.")
    return _CHOICES[text]


def open_sequence(
    text: str, detector: Detector, choice: GroundTruthChoice, labels: Sequence[str], n_frames: int
) -> TrainingSequence:
    """Find the frames that the user named, and read or make their ground truth.

    Args:
        text: a MOTChallenge folder, a video (annotated, if `X.txt` is beside `X.mp4`), a folder of images, or
            `synthetic:…`.
        labels: classes of interest; annotations of MOTChallenge are of people alone.
    Raises:
        SourceError: there is nothing to read, or no ground truth of the kind that was asked for.
        SettingsError: the detector knows none of the classes.
    """
    check_sequence(text, choice)
    if is_street(text):
        return _street_sequence(text, detector, choice, labels, n_frames)
    path = Path(text).expanduser()
    name = path.name if path.is_dir() else path.stem
    annotations, source = ground_truth_at(path), str(frames_at(path))
    if choice == "pseudo" or not annotations.is_file():
        return _pseudo_sequence(name, source, detector, labels, n_frames)
    frames = read_ground_truth(annotations)
    truth = GroundTruth("annotated", frames, frames)
    return TrainingSequence(name, source, n_frames, class_ids(detector, [MOT_LABEL]), truth)


def check_sequence(text: str, choice: GroundTruthChoice) -> None:
    """Say at once, not after minutes of work on other sequences, that one cannot be used.

    Raises:
        SourceError: there is nothing to read, or no ground truth of the kind that was asked for.
    """
    if is_street(text):
        parse_street(text)
        return
    path = Path(text).expanduser()
    open_source(str(frames_at(path))).close()
    annotations = ground_truth_at(path)
    if choice == "mot" and not annotations.is_file():
        raise SourceError(f"There is no ground truth {annotations}: give MOTChallenge folders, or leave it to auto.")


def class_ids(detector: Detector, labels: Sequence[str]) -> frozenset[int]:
    """The detector's numbers for those of the labels that it knows.

    Raises:
        SettingsError: it knows none.
    """
    known = frozenset(index for index, name in enumerate(detector.class_names) if name in labels)
    if not known:
        raise SettingsError(
            f"The detector knows none of the classes {', '.join(labels)}: "
            f"give --classes with some of {', '.join(detector.class_names[:12])}."
        )
    return known


def _street_sequence(
    text: str, detector: Detector, choice: GroundTruthChoice, labels: Sequence[str], n_frames: int
) -> TrainingSequence:
    config = parse_street(text)
    n_frames = min(n_frames, config.n_frames or n_frames)
    if choice == "pseudo":
        return _pseudo_sequence(text, text, detector, labels, n_frames)
    shown = [label for label in labels if label in LABELS]
    if not shown:
        raise SettingsError(f"A street shows {' and '.join(LABELS)}, not {', '.join(labels)}: give other --classes.")
    known = class_ids(detector, shown)
    names = frozenset(detector.class_names[index] for index in known)
    return TrainingSequence(text, text, n_frames, known, street_truth(Street(config), n_frames, names))


def _pseudo_sequence(
    name: str, source: str, detector: Detector, labels: Sequence[str], n_frames: int
) -> TrainingSequence:
    known = class_ids(detector, labels)
    with open_source(source) as frames:
        truth = pseudo_truth(islice(frames, n_frames), detector, known)
    return TrainingSequence(name, source, n_frames, known, truth)
