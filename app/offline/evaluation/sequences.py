"""Annotated recordings: frames, their times, and what there is to be found on them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from app.core.errors import SourceError
from app.core.types import Frame, Size
from app.ingest.source import is_street, open_source
from app.ingest.street import Street
from app.ingest.street_config import LABELS, parse_street
from app.offline.annotations import FrameTruth, read_ground_truth
from app.offline.recordings import frames_at, ground_truth_at, street_annotations

_DIGEST_BYTES = 1 << 20


@dataclass(frozen=True)
class AnnotatedSequence:
    """A recording with ground truth, or every `step`-th frame of it.

    Frames keep their numbers and times, so that a thinned sequence is the same scene at a lower frame rate.
    """

    name: str
    source: str
    """What `open_source` reads."""
    truth: dict[int, FrameTruth]
    """By frame number, from 1."""
    size: Size
    native_fps: float
    n_native_frames: int
    step: int = 1

    @property
    def fps(self) -> float:
        """Frames a second as they are used."""
        return self.native_fps / self.step

    @property
    def n_frames(self) -> int:
        return -(-self.n_native_frames // self.step)

    def frames(self) -> Iterator[Frame]:
        """Frames in order; `seq` is the number in the ground truth."""
        with open_source(self.source) as source:
            for frame in islice(source, 0, self.n_native_frames, self.step):
                if source.n_corrupt:
                    raise SourceError(
                        f"{self.source} has a damaged frame: what follows no longer fits the ground truth."
                    )
                yield frame

    @cached_property
    def digest(self) -> str:
        """Tells recordings apart, so that nothing remembered of one is taken for another's. Hex digits."""
        found = hashlib.sha256()
        path = Path(self.source)
        if is_street(self.source):
            # The pictures, not the words for them: the renderer may change.
            street = Street(parse_street(self.source))
            for index in (0, self.n_native_frames - 1):
                found.update(street.render(index).tobytes())
        else:
            files = sorted((path / "img1").iterdir()) if path.is_dir() else [path]
            for file in files:
                found.update(f"{file.name} {file.stat().st_size}\n".encode())
            for file in (files[0], files[-1]):
                with file.open("rb") as stream:
                    found.update(stream.read(_DIGEST_BYTES))
        return found.hexdigest()[:16]


def open_sequence(text: str, label: str, *, max_frames: int | None = None) -> AnnotatedSequence:
    """Read an annotated recording.

    Args:
        text: a MOTChallenge folder (`img1/` or one video, and `gt/gt.txt`), a video beside `NAME.txt`, or a
            synthetic street with its number of frames (`synthetic:1280x720@10?seed=7&frames=100`).
        label: the class to be found. MOTChallenge's ground truth is of people, whatever it is called here.
        max_frames: use only so many of the first frames.
    Raises:
        SourceError: there is no such recording, or no ground truth with it.
    """
    if is_street(text):
        source, name = text, text
        truth = _street_truth(text, label, max_frames)
    else:
        path = Path(text).expanduser()
        recording, truth_file = _files(path)
        source, name = str(recording), path.resolve().name if path.is_dir() else path.stem
        truth = read_ground_truth(truth_file)
    with open_source(source) as opened:
        n_frames, fps, size = opened.n_frames, opened.fps, opened.size
    n_used = min(count for count in (n_frames, max_frames) if count is not None) if n_frames or max_frames else None
    if n_used is None or fps is None:
        raise SourceError(f"{text} does not say how many frames it has, or how fast they come.")
    return AnnotatedSequence(name, source, truth, size, fps, n_used)


def _street_truth(spec: str, label: str, max_frames: int | None) -> dict[int, FrameTruth]:
    config = parse_street(spec)
    n_frames = config.n_frames or max_frames
    if n_frames is None:
        raise SourceError(f"{spec} never ends: add frames=100, or say how many frames to use.")
    if label not in LABELS:
        raise SourceError(f"The synthetic street shows {' and '.join(LABELS)}, no {label!r}.")
    return street_annotations(Street(config), min(n_frames, max_frames or n_frames), [LABELS.index(label)])


def thinned(sequence: AnnotatedSequence, fps: float) -> AnnotatedSequence | None:
    """The sequence at about `fps` frames a second, frames dropped; None if it has no more than that itself."""
    step = round(sequence.native_fps / fps)
    if step < 1 or (step == 1 and abs(sequence.native_fps - fps) > 0.1 * fps):
        return None
    return AnnotatedSequence(
        sequence.name,
        sequence.source,
        sequence.truth,
        sequence.size,
        sequence.native_fps,
        sequence.n_native_frames,
        step,
    )


def _files(path: Path) -> tuple[Path, Path]:
    """Where frames and ground truth of a recording are."""
    source, truth = frames_at(path), ground_truth_at(path)
    if not source.exists():
        raise SourceError(f"There is no recording at {path}: name a MOTChallenge folder, or a video.")
    if not truth.is_file():
        raise SourceError(f"{path} has no ground truth: {truth} is missing.")
    return source, truth
