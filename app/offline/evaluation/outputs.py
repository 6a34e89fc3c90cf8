"""What a method put out on a sequence, frame by frame: the common ground of methods and metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import empty_boxes
from app.core.types import FrameBoxes

NO_TRACK = -1
"""The track id of boxes from a method that keeps no identities."""


@dataclass(frozen=True, slots=True)
class FrameOutput:
    """M objects on one frame."""

    boxes: FrameBoxes
    """(M, 4) inside the frame."""
    scores: NDArray[np.float32]
    """(M,) 0 to 1."""
    track_ids: NDArray[np.int64]
    """(M,) unique within the frame and stable over the sequence; `NO_TRACK` where the method knows no identities."""

    @classmethod
    def untracked(cls, boxes: FrameBoxes, scores: NDArray[np.float32]) -> "FrameOutput":
        """Detections without identity."""
        return cls(boxes, scores, np.full(len(scores), NO_TRACK, np.int64))

    @classmethod
    def empty(cls) -> "FrameOutput":
        """Nothing found."""
        return cls.untracked(FrameBoxes(empty_boxes()), np.zeros(0, np.float32))

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.intp]) -> "FrameOutput":
        """Some of the objects, by mask or position."""
        return FrameOutput(FrameBoxes(self.boxes[index]), self.scores[index], self.track_ids[index])


@dataclass(frozen=True, slots=True)
class FrameCost:
    """What one frame took."""

    pixels: int = 0
    """Detector input pixels, padding included."""
    calls: int = 0
    """Detector calls."""
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    """Measured milliseconds by stage; `detect` is the detector's, decoding is left out."""

    @property
    def total_ms(self) -> float:
        return sum(self.stage_ms.values())
