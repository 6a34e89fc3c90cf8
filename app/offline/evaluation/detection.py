"""Average precision and F1 of detections, as COCO computes them at IoU 0.5.

Outputs are matched once (`match`); the rest are pure functions of the matches.

Source: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and its evaluation code, pycocotools.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import sizes
from app.offline.annotations import FrameTruth
from app.offline.evaluation.outputs import FrameOutput
from app.offline.evaluation.overlap import IGNORED_SHARE, MIN_IOU, object_overlap, region_cover

RECALL_LEVELS = np.linspace(0, 1, 101)
BLOCK_S = 1.0
"""Frames of one such block are resampled together: neighbours are too alike to count as independent."""


@dataclass(frozen=True, slots=True)
class HeightRange:
    """Heights in pixels, both ends included."""

    low_px: float
    high_px: float

    def contains(self, boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which boxes (N, 4) are of such a height: (N,)."""
        heights = sizes(boxes)[:, 1]
        return (heights >= self.low_px) & (heights <= self.high_px)


ANY_HEIGHT = HeightRange(0, math.inf)
HEIGHT_RANGES: Mapping[str, HeightRange] = MappingProxyType(
    {
        "<50": HeightRange(0, float(np.nextafter(np.float32(50), np.float32(0)))),
        "50-100": HeightRange(50, 100),
        ">100": HeightRange(float(np.nextafter(np.float32(100), np.float32(200))), math.inf),
    }
)
"""A partition of all heights that float32 boxes can have."""


@dataclass(frozen=True, slots=True)
class Matches:
    """D outputs on T frames, each judged; highest score first, equal scores in the order of frames."""

    scores: NDArray[np.float32]
    """(D,)"""
    is_hit: NDArray[np.bool_]
    """(D,) matched to a counted object."""
    is_ignored: NDArray[np.bool_]
    """(D,) neither right nor wrong; never a hit."""
    frames: NDArray[np.intp]
    """(D,) the frame of each, from 0."""
    n_objects: NDArray[np.int64]
    """(T,) counted objects by frame."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """How well the outputs with at least a certain score do."""

    threshold: float
    f1: float
    precision: float
    recall: float


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a figure lies with 95 % confidence."""

    low: float
    high: float


def match(truths: Sequence[FrameTruth], outputs: Sequence[FrameOutput], heights: HeightRange = ANY_HEIGHT) -> Matches:
    """Match outputs to objects greedily, highest score first, each to the best object still free.

    Outputs that find no counted object may match an ignored one: an object outside `heights`, once, or a region of
    which they cover `IGNORED_SHARE` of themselves, any number of them. They are ignored then, and so are those that
    match nothing and are themselves outside `heights`.

    Args:
        truths: T frames.
        outputs: of the same T frames.
        heights: objects to be counted.
    Raises:
        ValueError: truths and outputs differ in length.
    Source: `COCOeval.evaluateImg` of pycocotools, regions being its crowds and heights in the place of areas.
    """
    ranked = [output[np.argsort(-output.scores, kind="stable")] for output in outputs]
    verdicts = [_judge(truth, output, heights) for truth, output in zip(truths, ranked, strict=True)]
    scores = np.concatenate([np.zeros(0, np.float32), *(output.scores for output in ranked)])
    is_hit, is_ignored = np.concatenate([np.zeros((2, 0), bool), *verdicts], axis=1)
    frames = np.repeat(np.arange(len(ranked)), [len(output.scores) for output in ranked])
    order = np.argsort(-scores, kind="stable")
    return Matches(
        scores=scores[order],
        is_hit=is_hit[order],
        is_ignored=is_ignored[order],
        frames=frames[order],
        n_objects=np.array([np.count_nonzero(heights.contains(truth.boxes)) for truth in truths], np.int64),
    )


def average_precision(matches: Matches, repeats: NDArray[np.int64] | None = None) -> float | None:
    """Mean over 101 levels of recall of the best precision at that recall or a higher one.

    Args:
        matches: D outputs on T frames.
        repeats: (T,) how often each frame is taken; once if not given.
    Returns:
        0 to 1; nothing where no object counts.
    Source: `COCOeval.accumulate` of pycocotools.
    """
    if repeats is None:
        repeats = np.ones(len(matches.n_objects), np.int64)
    n_objects = int(matches.n_objects @ repeats)
    if n_objects == 0:
        return None
    weights = np.where(matches.is_ignored, 0, repeats[matches.frames])
    n_hits = np.cumsum(weights * matches.is_hit)
    precision = n_hits / np.maximum(np.cumsum(weights), 1)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(envelope[np.searchsorted(n_hits / n_objects, RECALL_LEVELS)].mean())


def resampled_average_precision(
    matches: Matches, frame_s: NDArray[np.float64], *, n_resamples: int = 200, seed: int = 0
) -> NDArray[np.float64]:
    """Bootstrap the average precision over blocks of `BLOCK_S`.

    The same seed draws the same blocks of the same frames, so that methods can be compared draw by draw.

    Args:
        matches: D outputs on T frames.
        frame_s: (T,) when each frame was taken, in seconds.
        n_resamples: R, how often as many blocks as there are are drawn, with replacement.
    Returns:
        (R,) NaN for a draw in which no object counts, and for all if there is only one block to draw from.
    Source: Efron & Tibshirani, "An Introduction to the Bootstrap" (1993), 13.3; blocks after Carlstein (1986).
    """
    _, block_of_frame = np.unique(np.floor((frame_s - frame_s[0]) / BLOCK_S), return_inverse=True)
    n_blocks = int(block_of_frame.max()) + 1
    if n_blocks == 1:
        return np.full(n_resamples, np.nan)
    draws = np.random.default_rng(seed).integers(0, n_blocks, (n_resamples, n_blocks))
    resampled = (average_precision(matches, np.bincount(draw, minlength=n_blocks)[block_of_frame]) for draw in draws)
    return np.array([np.nan if value is None else value for value in resampled])


def interval_of(draws: NDArray[np.float64]) -> Interval | None:
    """The 2.5th and the 97.5th percentile of (R,) draws, those without a value left out; None if no other is left."""
    known = draws[~np.isnan(draws)]
    return Interval(*np.percentile(known, [2.5, 97.5]).tolist()) if len(known) else None


def average_precision_by_height(
    truths: Sequence[FrameTruth],
    outputs: Sequence[FrameOutput],
    ranges: Mapping[str, HeightRange] = HEIGHT_RANGES,
) -> dict[str, float | None]:
    """Average precision for the objects of each range of heights, by the range's name."""
    return {name: average_precision(match(truths, outputs, heights)) for name, heights in ranges.items()}


def best_f1(matches: Matches) -> OperatingPoint | None:
    """The score threshold at which F1 is highest; the highest such threshold.

    Returns:
        Nothing where no object counts. Without outputs all is 0 at threshold 1.
    """
    n_objects = int(matches.n_objects.sum())
    if n_objects == 0:
        return None
    scores, is_hit = matches.scores[~matches.is_ignored], matches.is_hit[~matches.is_ignored]
    if len(scores) == 0:
        return OperatingPoint(threshold=1.0, f1=0.0, precision=0.0, recall=0.0)
    last = np.flatnonzero(np.append(scores[1:] < scores[:-1], True))  # no threshold divides equal scores
    n_kept, n_hits = last + 1, np.cumsum(is_hit)[last]
    f1 = 2 * n_hits / (n_kept + n_objects)
    best = int(f1.argmax())
    return OperatingPoint(
        threshold=float(scores[last[best]]),
        f1=float(f1[best]),
        precision=float(n_hits[best] / n_kept[best]),
        recall=float(n_hits[best] / n_objects),
    )


def _judge(truth: FrameTruth, output: FrameOutput, heights: HeightRange) -> NDArray[np.bool_]:
    """Which of M outputs, highest score first, are hits and which are ignored: (2, M)."""
    is_counted = heights.contains(truth.boxes)
    overlap = object_overlap(truth, output)[np.argsort(~is_counted, kind="stable")]
    cover = region_cover(truth, output)
    is_candidate = np.concatenate([overlap >= MIN_IOU, cover >= IGNORED_SHARE])
    n_counted = int(np.count_nonzero(is_counted))
    matched = _assign(np.concatenate([overlap, cover]), is_candidate, n_counted, len(overlap))
    is_hit = (matched >= 0) & (matched < n_counted)
    is_ignored = (matched >= n_counted) | ((matched < 0) & ~heights.contains(output.boxes))
    return np.stack([is_hit, is_ignored])


def _assign(
    targets: NDArray[np.float64], is_candidate: NDArray[np.bool_], n_counted: int, n_objects: int
) -> NDArray[np.intp]:
    """Choose a target for each output in turn.

    Args:
        targets: (G, M) overlap of G targets with M outputs; counted objects, then other objects, then regions.
        is_candidate: (G, M) is the overlap large enough?
        n_counted: targets that are preferred.
        n_objects: targets that can be matched only once.
    Returns:
        (M,) the target of each output, or -1.
    """
    matched = np.full(targets.shape[1], -1, np.intp)
    is_free = np.ones(len(targets), bool)
    for column in np.flatnonzero(is_candidate.any(axis=0)):
        rows = np.flatnonzero(is_candidate[:, column] & is_free)
        if len(rows) == 0:
            continue
        if rows[0] < n_counted:
            rows = rows[rows < n_counted]
        rows = rows[::-1]  # of equals COCO takes the last
        best = rows[targets[rows, column].argmax()]
        matched[column] = best
        is_free[best] = best >= n_objects
    return matched
