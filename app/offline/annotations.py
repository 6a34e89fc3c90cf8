"""Ground truth in MOTChallenge's text format."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import empty_boxes
from app.core.errors import SourceError
from app.core.types import FrameBoxes


@dataclass(frozen=True, slots=True)
class FrameTruth:
    """What is annotated on one frame."""

    boxes: FrameBoxes
    """(N, 4) objects to be found."""
    ids: NDArray[np.int64]
    """(N,)"""
    ignored: FrameBoxes
    """(K, 4) regions where a detection is neither right nor wrong."""

    @classmethod
    def empty(cls) -> "FrameTruth":
        """A frame without annotation: whatever is found on it is wrong."""
        return cls(FrameBoxes(empty_boxes()), np.zeros(0, np.int64), FrameBoxes(empty_boxes()))


def truths_of(annotated: Mapping[int, FrameTruth], numbers: Iterable[int]) -> list[FrameTruth]:
    """The annotations of frames `numbers`, in that order; a frame without any is empty."""
    return [annotated.get(number, FrameTruth.empty()) for number in numbers]


def read_ground_truth(path: Path) -> dict[int, FrameTruth]:
    """Read `gt.txt`: frame, id, left, top, width, height, flag, class, visibility.

    Flag 0 marks an ignored region; so does a class other than 1, where the column is filled (MOT17).

    Returns:
        Annotations by frame number, from 1.
    Raises:
        SourceError: no such file, or a line that is not of that form.
    """
    rows: dict[int, list[tuple[bool, int, float, float, float, float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.reader(file), 1):
                if not row:
                    continue
                try:
                    left, top, width, height = (float(value) for value in row[2:6])
                    is_counted = float(row[6]) != 0 and (len(row) < 8 or float(row[7]) in (1.0, -1.0))
                    frame, identity = int(row[0]), int(row[1])
                except (ValueError, IndexError):
                    raise SourceError(f"{path}, line {number}: not an annotation of MOTChallenge.") from None
                rows.setdefault(frame, []).append((is_counted, identity, left, top, left + width, top + height))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise SourceError(f"The ground truth {path} cannot be read: {error}.") from error
    return {frame: _frame_truth(np.array(items, np.float64)) for frame, items in rows.items()}


def _frame_truth(items: NDArray[np.float64]) -> FrameTruth:
    counted = items[:, 0] == 1
    boxes = items[:, 2:].astype(np.float32)
    return FrameTruth(
        boxes=FrameBoxes(boxes[counted]),
        ids=items[counted, 1].astype(np.int64),
        ignored=FrameBoxes(boxes[~counted]),
    )
