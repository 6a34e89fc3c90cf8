"""Average precision of detections against ground truth."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import coverage, iou
from app.core.types import FrameBoxes
from app.offline.annotations import FrameTruth

IGNORED_SHARE = 0.5
"""A detection that lies in an ignored region by this share does not count."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a method put out on one frame."""

    boxes: FrameBoxes
    """(M, 4)"""
    scores: NDArray[np.float32]
    """(M,)"""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How well a method did on a sequence."""

    ap50: float
    """Area under the precision-recall curve at IoU 0.5, every recall level (PASCAL VOC 2010)."""
    best_f1: float
    precision: float
    """At the score threshold of the best F1."""
    recall: float
    """At the score threshold of the best F1."""


def accuracy(found: Mapping[int, Scored], truth: Mapping[int, FrameTruth], threshold: float = 0.5) -> Accuracy:
    """Judge every frame of `found` (by frame number) against the ground truth.

    Detections are matched greedily, highest score first, each with the best object still free, as in COCO.
    """
    scores, hits, n_objects = [], [], 0
    for frame, output in found.items():
        annotated = truth.get(frame)
        if annotated is None:
            scores.append(output.scores)
            hits.append(np.zeros(len(output.scores), bool))
            continue
        n_objects += len(annotated.boxes)
        frame_scores, frame_hits = _judge(output, annotated, threshold)
        scores.append(frame_scores)
        hits.append(frame_hits)
    if n_objects == 0 or sum(map(len, scores)) == 0:
        return Accuracy(0.0, 0.0, 0.0, 0.0)
    all_scores, all_hits = np.concatenate(scores), np.concatenate(hits)
    ranked = all_hits[np.argsort(-all_scores, kind="stable")]
    n_right = np.cumsum(ranked)
    recall = n_right / n_objects
    precision = n_right / np.arange(1, len(ranked) + 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(f1.argmax())
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    ap50 = float(np.sum(np.diff(recall, prepend=0.0) * envelope))
    return Accuracy(ap50, float(f1[best]), float(precision[best]), float(recall[best]))


def _judge(output: Scored, truth: FrameTruth, threshold: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores and hits of the detections that count, highest score first."""
    order = np.argsort(-output.scores, kind="stable")
    boxes, scores = output.boxes[order], output.scores[order]
    overlap = iou(boxes, truth.boxes)
    is_hit = np.zeros(len(boxes), bool)
    is_free = np.ones(len(truth.boxes), bool)
    for row in range(len(boxes)):
        candidates = np.where(is_free, overlap[row], 0)
        if len(candidates) and candidates.max() >= threshold:
            is_hit[row] = True
            is_free[candidates.argmax()] = False
    is_ignored = (coverage(boxes, truth.ignored) >= IGNORED_SHARE).any(axis=1)
    counts = is_hit | ~is_ignored
    return scores[counts], is_hit[counts]
