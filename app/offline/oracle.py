"""A pipeline whose detector knows the truth, so that the number of tracks does not hang on a detector's skill."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import area
from app.core.clock import Clock
from app.core.types import (
    CanvasBoxes,
    CanvasDetections,
    Frame,
    FrameResult,
    InputSizes,
    PatchCopy,
    PreparedFrame,
    Size,
)
from app.flexpatch.config import PipelineConfig
from app.flexpatch.failure import FailureModel
from app.flexpatch.pipeline import Pipeline
from app.ingest.street import StreetTruth
from app.ingest.street_config import LABELS
from app.vision.cpu import CpuVision

MIN_VISIBLE = 0.25
"""Objects of which less can be seen are not recognised."""
_MIN_SHARE_IN_PATCH = 0.3
_MIN_SIDE_PX = 4.0
_SCORE = 0.9


class Oracle:
    """Finds on each patch the objects that the frame is known to show. Costs next to nothing."""

    name = "oracle"
    backend = "none"
    class_names = LABELS
    pad_value = (114, 114, 114)

    def __init__(self, input_sizes: InputSizes) -> None:
        """
        Args:
            input_sizes: of the detector that it stands for.
        """
        self.input_sizes = input_sizes
        self.truth: StreetTruth | None = None
        """What the frame shows."""
        self.copies: tuple[PatchCopy, ...] = ()
        """What lies on the canvas."""

    def detect(self, canvases: NDArray[np.uint8]) -> Sequence[CanvasDetections]:
        """One canvas: the one that was made last."""
        if len(canvases) != 1 or self.truth is None:
            raise ValueError("the oracle looks at one canvas of a known frame at a time")
        parts = [_on_patch(self.truth, copy) for copy in self.copies]
        boxes = np.concatenate([part[0] for part in parts])
        class_ids = np.concatenate([part[1] for part in parts])
        return [CanvasDetections(CanvasBoxes(boxes), np.full(len(boxes), _SCORE, np.float32), class_ids)]


class _WatchedVision(CpuVision):
    """Tells the oracle what it put on the canvas."""

    def __init__(self, oracle: Oracle) -> None:
        super().__init__()
        self._oracle = oracle

    def canvas(
        self, frame: PreparedFrame, copies: Sequence[PatchCopy], size: Size, pad_value: tuple[int, int, int]
    ) -> NDArray[np.uint8]:
        self._oracle.copies = tuple(copies)
        return super().canvas(frame, copies, size, pad_value)


class OraclePipeline(Pipeline):
    """FlexPatch as it is, with an oracle for its detector. Frame `seq` shows what `truths[seq - 1]` says."""

    def __init__(
        self,
        truths: Sequence[StreetTruth],
        config: PipelineConfig,
        clock: Clock,
        input_sizes: InputSizes,
        *,
        failure_model: FailureModel,
    ) -> None:
        self._oracle = Oracle(input_sizes)
        self._truths = truths
        super().__init__(_WatchedVision(self._oracle), self._oracle, config, failure_model, clock)

    def step(self, frame: Frame) -> FrameResult:
        self._oracle.truth = self._truths[frame.seq - 1]
        return super().step(frame)


def _on_patch(truth: StreetTruth, copy: PatchCopy) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Boxes (K, 4) on the canvas and class ids (K,) of what a patch shows well enough."""
    source = np.array(copy.source, np.float32)
    target = np.array(copy.target, np.float32)
    low = np.maximum(truth.boxes[:, :2], source[:2])
    high = np.minimum(truth.boxes[:, 2:], source[2:])
    inside = np.concatenate([low, np.maximum(high, low)], axis=1)
    factor = np.tile((target[2:] - target[:2]) / (source[2:] - source[:2]), 2)
    boxes = (inside - np.tile(source[:2], 2)) * factor + np.tile(target[:2], 2)
    is_seen = (
        (truth.visible >= MIN_VISIBLE)
        & (area(inside) >= _MIN_SHARE_IN_PATCH * area(truth.boxes))
        & ((boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) >= _MIN_SIDE_PX)
    )
    return boxes[is_seen], truth.class_ids[is_seen]
