"""How well identities are kept: HOTA and IDF1.

Sources: Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", IJCV 2021; Ristani et
al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", ECCV workshops 2016; both as
TrackEval computes them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from app.offline.annotations import FrameTruth
from app.offline.evaluation.outputs import NO_TRACK, FrameOutput
from app.offline.evaluation.overlap import IGNORED_SHARE, MIN_IOU, object_overlap, region_cover

ALPHAS = np.arange(0.05, 0.99, 0.05)
"""The overlaps that HOTA asks for in turn; it is the mean over them."""
EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class IdentityScores:
    """0 to 1 each."""

    hota: float
    """Mean over `ALPHAS` of √(DetA · AssA)."""
    det_a: float
    """Detection accuracy: true positives over all objects and outputs."""
    ass_a: float
    """Association accuracy: the same of a true positive's object and track, averaged over the true positives."""
    idf1: float
    idp: float
    """Identification precision: share of the outputs whose track is the object's own."""
    idr: float
    """Identification recall: share of the objects that their own track finds."""


@dataclass(frozen=True, slots=True)
class _Association:
    """T frames with G object identities and C tracks, both numbered from 0."""

    objects: list[NDArray[np.intp]]
    """By frame (N,) identities."""
    tracks: list[NDArray[np.intp]]
    """By frame (M,) tracks."""
    overlaps: list[NDArray[np.float64]]
    """By frame (N, M) IoU."""
    object_lengths: NDArray[np.int64]
    """(G,) frames of each identity."""
    track_lengths: NDArray[np.int64]
    """(C,) frames of each track."""

    def frames(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]]:
        return zip(self.objects, self.tracks, self.overlaps, strict=True)

    @property
    def total_lengths(self) -> NDArray[np.int64]:
        """(G, C) frames of each identity plus those of each track."""
        return self.object_lengths[:, None] + self.track_lengths[None, :]


def identity_scores(
    truths: Sequence[FrameTruth], outputs: Sequence[FrameOutput], threshold: float
) -> IdentityScores | None:
    """Judge the tracks that the outputs with a score of `threshold` or more make up.

    Outputs that match no object and lie in an ignored region are removed first.

    Args:
        truths: T frames.
        outputs: of the same T frames.
        threshold: outputs below it are left out; these metrics know no scores.
    Returns:
        Nothing where a kept output has no identity, or no object counts.
    Raises:
        ValueError: truths and outputs differ in length.
    """
    kept = [output[output.scores >= threshold] for output in outputs]
    if any((output.track_ids == NO_TRACK).any() for output in kept):
        return None
    judged = [_without_ignored(truth, output) for truth, output in zip(truths, kept, strict=True)]
    if not any(len(truth.ids) for truth in truths):
        return None
    association = _associate(truths, judged)
    hota, det_a, ass_a = _higher_order_accuracy(association)
    idf1, idp, idr = _identification(association)
    return IdentityScores(hota=hota, det_a=det_a, ass_a=ass_a, idf1=idf1, idp=idp, idr=idr)


def _without_ignored(truth: FrameTruth, output: FrameOutput) -> FrameOutput:
    """The outputs that count, ignored regions being dealt with in the spirit of TrackEval's preprocessing."""
    is_removed = region_cover(truth, output).max(axis=0, initial=0) >= IGNORED_SHARE
    overlap = object_overlap(truth, output)
    worth = np.where(overlap >= MIN_IOU, overlap, 0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    is_removed[columns[worth[rows, columns] > 0]] = False
    return output[~is_removed]


def _associate(truths: Sequence[FrameTruth], outputs: Sequence[FrameOutput]) -> _Association:
    objects, object_lengths = _numbered([truth.ids for truth in truths])
    tracks, track_lengths = _numbered([output.track_ids for output in outputs])
    overlaps = [object_overlap(truth, output) for truth, output in zip(truths, outputs, strict=True)]
    return _Association(objects, tracks, overlaps, object_lengths, track_lengths)


def _numbered(ids: Sequence[NDArray[np.int64]]) -> tuple[list[NDArray[np.intp]], NDArray[np.int64]]:
    """The ids of each frame numbered from 0 without gaps, and how often each occurs."""
    _, numbers, counts = np.unique(np.concatenate(ids), return_inverse=True, return_counts=True)
    ends = np.cumsum([len(frame) for frame in ids])
    return np.split(numbers, ends[:-1]), counts.astype(np.int64)


def _higher_order_accuracy(association: _Association) -> tuple[float, float, float]:
    """HOTA, DetA and AssA, each the mean over `ALPHAS`."""
    objects, tracks, overlap = _matched_pairs(association)
    total_lengths = association.total_lengths
    n_boxes = association.object_lengths.sum() + association.track_lengths.sum()
    det_a, ass_a = np.zeros(len(ALPHAS)), np.zeros(len(ALPHAS))
    for level, alpha in enumerate(ALPHAS):
        is_match = overlap >= alpha - EPSILON
        n_matches = np.count_nonzero(is_match)
        frames_together = np.zeros(total_lengths.shape)
        np.add.at(frames_together, (objects[is_match], tracks[is_match]), 1)
        shares = frames_together / (total_lengths - frames_together)
        det_a[level] = n_matches / (n_boxes - n_matches)
        ass_a[level] = (frames_together * shares).sum() / max(n_matches, 1)
    return float(np.sqrt(det_a * ass_a).mean()), float(det_a.mean()), float(ass_a.mean())


def _matched_pairs(
    association: _Association,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Pairs matched on their frames, best for the whole sequence: identities, tracks and overlaps, (P,) each."""
    alignment = _alignment(association)
    pairs: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]] = []
    for objects, tracks, overlap in association.frames():
        rows, columns = linear_sum_assignment(alignment[np.ix_(objects, tracks)] * overlap, maximize=True)
        pairs.append((objects[rows], tracks[columns], overlap[rows, columns]))
    all_objects, all_tracks, overlaps = zip(*pairs, strict=True)
    return np.concatenate(all_objects), np.concatenate(all_tracks), np.concatenate(overlaps)


def _alignment(association: _Association) -> NDArray[np.float64]:
    """How much each identity and track (G, C) are one over the whole sequence, before any matching."""
    shared = np.zeros(association.total_lengths.shape)
    for objects, tracks, overlap in association.frames():
        rivals = overlap.sum(axis=0)[None, :] + overlap.sum(axis=1)[:, None] - overlap
        shared[np.ix_(objects, tracks)] += np.divide(
            overlap, rivals, out=np.zeros_like(overlap), where=rivals > EPSILON
        )
    return shared / (association.total_lengths - shared)


def _identification(association: _Association) -> tuple[float, float, float]:
    """IDF1, IDP and IDR: each identity has at most one track for the whole sequence, the best for all together."""
    frames_together = np.zeros(association.total_lengths.shape)
    for objects, tracks, overlap in association.frames():
        frames_together[np.ix_(objects, tracks)] += overlap >= MIN_IOU
    rows, columns = linear_sum_assignment(frames_together, maximize=True)
    n_right = frames_together[rows, columns].sum()
    n_objects, n_outputs = association.object_lengths.sum(), association.track_lengths.sum()
    return (
        float(2 * n_right / (n_objects + n_outputs)),
        float(n_right / max(n_outputs, 1)),
        float(n_right / n_objects),
    )
