"""How outputs lie over what is annotated, by the rules that all metrics share.

In float64: an overlap of 7/10 must reach the threshold 0.7 here when it does in the reference implementations.
"""

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import coverage, iou
from app.offline.annotations import FrameTruth
from app.offline.evaluation.outputs import FrameOutput

MIN_IOU = 0.5
"""An output with this overlap or more may have found an object."""
IGNORED_SHARE = 0.5
"""An output that lies in one ignored region by this share of its own area, or more, counts neither way."""


def object_overlap(truth: FrameTruth, output: FrameOutput) -> NDArray[np.float64]:
    """IoU (N, M) of N counted objects with M outputs."""
    return iou(truth.boxes.astype(np.float64), output.boxes.astype(np.float64))


def region_cover(truth: FrameTruth, output: FrameOutput) -> NDArray[np.float64]:
    """Share (K, M) of each of M outputs that lies in each of K ignored regions."""
    return coverage(output.boxes.astype(np.float64), truth.ignored.astype(np.float64)).T
