"""Annotated frames and outputs, by hand and at random."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import empty_boxes
from app.core.types import FrameBoxes
from app.offline.annotations import FrameTruth
from app.offline.evaluation.outputs import FrameOutput
from tests.flexpatch.builders import Rectangle, frame_boxes

LEFT, RIGHT, FAR = (0, 0, 10, 20), (50, 0, 60, 20), (200, 200, 210, 220)


def truth(*boxes: Rectangle, ids: tuple[int, ...] | None = None, ignored: tuple[Rectangle, ...] = ()) -> FrameTruth:
    """Objects numbered from 0, unless ids are given."""
    return FrameTruth(frame_boxes(*boxes), np.array(ids or range(len(boxes)), np.int64), frame_boxes(*ignored))


def output(*items: tuple[Rectangle, float]) -> FrameOutput:
    """Outputs without identity, with their scores."""
    scores = np.array([score for _, score in items], np.float32)
    return FrameOutput.untracked(frame_boxes(*(box for box, _ in items)), scores)


def tracked(*items: tuple[Rectangle, int], score: float = 0.9) -> FrameOutput:
    """Outputs with their track ids."""
    ids = np.array([track_id for _, track_id in items], np.int64)
    return FrameOutput(frame_boxes(*(box for box, _ in items)), np.full(len(items), score, np.float32), ids)


def perfect(frame: FrameTruth) -> FrameOutput:
    """What is annotated, as an output."""
    return FrameOutput(frame.boxes, np.linspace(0.3, 0.9, len(frame.ids), dtype=np.float32), frame.ids + 100)


@dataclass(frozen=True, slots=True)
class Scene:
    """A sequence and what some method put out on it."""

    truths: list[FrameTruth]
    outputs: list[FrameOutput]


def scene(seed: int, n_frames: int = 12, *, has_ties: bool = False) -> Scene:
    """Crowded frames with regions to ignore, small and large objects, outputs near them, twice on them, and elsewhere.

    Args:
        seed: of everything.
        n_frames: some of them without objects or outputs.
        has_ties: whole pixels and coarse scores, so that equal overlaps and equal scores come up often.
    """
    random = np.random.default_rng(seed)
    truths, outputs = [], []
    for _ in range(n_frames):
        objects = _boxes(random, int(random.integers(0, 10)), has_ties)
        regions = _boxes(random, int(random.integers(0, 3)), has_ties)
        near = np.repeat(objects, 2, axis=0) + random.normal(0, 6, (2 * len(objects), 4))
        found = np.concatenate([near[random.random(len(near)) < 0.7], _boxes(random, 5, has_ties)])
        scores = random.permutation(1000)[: len(found)] / 1000
        if has_ties:
            found, scores = found.round(), scores.round(1)
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        order = random.permutation(len(found))[: int(random.integers(0, 40))]
        boxes = FrameBoxes(found[order].astype(np.float32))
        truths.append(FrameTruth(FrameBoxes(objects), np.arange(len(objects)), FrameBoxes(regions)))
        outputs.append(FrameOutput(boxes, scores[order].astype(np.float32), order.astype(np.int64)))
    return Scene(truths, outputs)


def shuffled(frame: FrameOutput, seed: int) -> FrameOutput:
    """The same outputs in another order."""
    return frame[np.random.default_rng(seed).permutation(len(frame.scores))]


def _boxes(random: np.random.Generator, n: int, is_whole: bool) -> NDArray[np.float32]:
    if n == 0:
        return empty_boxes()
    low = random.uniform(0, 200, (n, 2))
    boxes = np.concatenate([low, low + random.uniform([10, 20], [60, 140], (n, 2))], axis=1)
    return (boxes.round() if is_whole else boxes).astype(np.float32)
