"""What training holds predictions against: where each object really is, and what its absence means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import coverage, iou
from app.core.types import FrameBoxes
from app.ingest.street import Street
from app.ingest.street_config import LABELS
from app.offline.annotations import FrameTruth
from app.offline.recordings import street_annotations

TruthKind = Literal["exact", "annotated", "pseudo"]
"""From a rendered scene; from people, as in MOTChallenge; from a detector's own output."""

_HIDDEN_SHARE = 0.5
_NOTHING = FrameTruth(
    FrameBoxes(np.zeros((0, 4), np.float32)), np.zeros(0, np.int64), FrameBoxes(np.zeros((0, 4), np.float32))
)


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """Where the objects of one sequence are."""

    kind: TruthKind
    frames: Mapping[int, FrameTruth]
    """By frame number, from 1: every object that can be told, hidden ones of a street too."""
    counted: Mapping[int, FrameTruth]
    """By frame number: what a detector should find, for average precision."""
    last_frame: Mapping[int, int] = field(init=False)
    """By object: where it is listed last."""

    def __post_init__(self) -> None:
        last: dict[int, int] = {}
        for number in sorted(self.frames):
            last.update(dict.fromkeys(self.frames[number].ids.tolist(), number))
        object.__setattr__(self, "last_frame", last)

    def at(self, number: int) -> FrameTruth:
        """What frame `number` shows; nothing where it is not listed."""
        return self.frames.get(number, _NOTHING)

    def overlap(self, object_id: int, box: NDArray[np.float32], number: int) -> float | None:
        """IoU of a box (4,) with an object on a frame; 0 if the object has left; None if that cannot be told."""
        shown = self.at(number)
        own = shown.boxes[shown.ids == object_id]
        if len(own):
            return float(iou(box[np.newaxis], own)[0, 0])
        if self.kind == "exact":
            return 0.0
        if number <= self.last_frame.get(object_id, 0):
            return None  # the annotators skipped it
        if self.kind == "pseudo":
            # It may go on under another number, unless the detector sees nothing at all there.
            seen = FrameBoxes(np.concatenate([shown.ignored, shown.boxes]))
            is_unsure = iou(box[np.newaxis], seen) > 0
        else:
            is_unsure = coverage(box[np.newaxis], shown.ignored) > _HIDDEN_SHARE
        return None if is_unsure.any() else 0.0


def street_truth(street: Street, n_frames: int, labels: frozenset[str]) -> GroundTruth:
    """The exact truth of the first frames of a street, for objects of some classes."""
    class_ids = [index for index, label in enumerate(LABELS) if label in labels]
    frames = {}
    for index in range(n_frames):
        shown = street.truth(index)
        own = np.isin(shown.class_ids, class_ids)
        frames[index + 1] = FrameTruth(FrameBoxes(shown.boxes[own]), shown.ids[own], FrameBoxes(shown.boxes[:0]))
    return GroundTruth("exact", frames, street_annotations(street, n_frames, class_ids))
