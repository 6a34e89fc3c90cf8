"""Annotated recordings on disk and streets: where the frames are, and what there is to be found on them."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from app.core.types import FrameBoxes
from app.ingest.street import Street
from app.ingest.street_export import SEEN_SHARE
from app.offline.annotations import FrameTruth

VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".avi", ".mov", ".webm"})


def frames_at(path: Path) -> Path:
    """Where the frames are: a folder may hold one video instead of images."""
    if not path.is_dir() or (path / "img1").is_dir():
        return path
    return min((item for item in path.iterdir() if item.suffix.lower() in VIDEO_SUFFIXES), default=path)


def ground_truth_at(path: Path) -> Path:
    """Where the annotations should be: `gt/gt.txt` in a folder, `X.txt` beside `X.mp4`."""
    return path / "gt" / "gt.txt" if path.is_dir() else path.with_suffix(".txt")


def street_annotations(street: Street, n_frames: int, class_ids: Collection[int]) -> dict[int, FrameTruth]:
    """What the first frames of a street show of some classes, by frame number from 1.

    What is hardly in view counts neither way, as in MOTChallenge.
    """
    truths = {}
    for index in range(n_frames):
        shown = street.truth(index)
        wanted = np.isin(shown.class_ids, list(class_ids))
        counted = wanted & (shown.visible >= SEEN_SHARE)
        truths[index + 1] = FrameTruth(
            FrameBoxes(shown.boxes[counted]), shown.ids[counted], FrameBoxes(shown.boxes[wanted & ~counted])
        )
    return truths
