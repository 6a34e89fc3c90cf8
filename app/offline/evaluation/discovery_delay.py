"""How long new objects go unseen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.offline.annotations import FrameTruth
from app.offline.evaluation.outputs import FrameOutput
from app.offline.evaluation.overlap import MIN_IOU, object_overlap


@dataclass(frozen=True, slots=True)
class DiscoveryDelay:
    """From an object's first frame to the first that finds it."""

    n_objects: int
    """Identities that first appear after the first frame."""
    never_found: float | None
    """Share of them that no output ever finds; nothing where there are none."""
    mean_s: float | None
    """Over those found; nothing where none is."""
    p95_s: float | None
    """95th percentile over those found; nothing where none is."""


def discovery_delay(
    truths: Sequence[FrameTruth], outputs: Sequence[FrameOutput], frame_s: NDArray[np.float64], threshold: float
) -> DiscoveryDelay:
    """Measure the delay of every object that enters after the first frame.

    An object is found on the first frame on which it counts and an output overlaps it by `MIN_IOU` or more,
    whichever other objects that output overlaps.

    Args:
        truths: T frames.
        outputs: of the same T frames.
        frame_s: (T,) when each frame was taken, in seconds.
        threshold: outputs with a lower score find nothing.
    Raises:
        ValueError: truths and outputs differ in length.
    """
    overlaps = [
        object_overlap(truth, output[output.scores >= threshold]).max(axis=1, initial=0)
        for truth, output in zip(truths, outputs, strict=True)
    ]
    ids = np.concatenate([truth.ids for truth in truths])
    frames = np.repeat(np.arange(len(truths)), [len(truth.ids) for truth in truths])
    is_found = np.concatenate(overlaps) >= MIN_IOU
    identities, first = np.unique(ids, return_index=True)
    found, first_found = np.unique(ids[is_found], return_index=True)
    appeared_at, found_at = frames[first], frames[is_found][first_found]
    found_appeared_at = appeared_at[np.searchsorted(identities, found)]
    delays_s = (frame_s[found_at] - frame_s[found_appeared_at])[found_appeared_at > 0]
    n_objects, n_found = int(np.count_nonzero(appeared_at > 0)), len(delays_s)
    return DiscoveryDelay(
        n_objects=n_objects,
        never_found=1 - n_found / n_objects if n_objects else None,
        mean_s=float(delays_s.mean()) if n_found else None,
        p95_s=float(np.percentile(delays_s, 95)) if n_found else None,
    )
