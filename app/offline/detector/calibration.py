"""What the network's scores are worth: a curve for each class that makes them the share of boxes that are right.

A network that learns to rank boxes by their overlap gives many wrong ones middling scores. FlexPatch starts and ends
tracks and judges looks by scores, and expects of them what those of other detectors mean.

Source: Platt, "Probabilistic Outputs for Support Vector Machines", Advances in Large Margin Classifiers, 1999.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from app.core.boxes import clip
from app.core.types import Detector, FrameBoxes, Size
from app.offline.detector.canvases import CanvasMaker
from app.offline.detector.labels import CLASSES
from app.offline.detector.scenes import Scene
from app.offline.detector.trial import truth_of
from app.offline.evaluation.detection import match
from app.offline.evaluation.outputs import FrameOutput

N_CANVASES = 300
FIRST_UNSEEN = 2**31
"""Number of the first canvas that no training comes to."""
SIZES = (Size(640, 384), Size(416, 256), Size(320, 320))
_FEWEST = 50
"""Right and wrong boxes of a class; of fewer, nothing is learned."""
_EDGE = 1e-6


@dataclass(frozen=True, slots=True)
class Curve:
    """From the logit of a raw score to the logit of the chance that the box is right."""

    slope: float = 1.0
    offset: float = 0.0


def calibrate(detector: Detector, maker: CanvasMaker, n_canvases: int = N_CANVASES) -> tuple[Curve, ...]:
    """A curve for each class, from canvases that were not trained on.

    Args:
        detector: gives raw scores, down to very low ones.
    """
    scenes = [maker.sample(FIRST_UNSEEN + number, SIZES[number % len(SIZES)]) for number in range(n_canvases)]
    return calibrate_on(detector, scenes)


def calibrate_on(detector: Detector, scenes: Sequence[Scene]) -> tuple[Curve, ...]:
    """The same, from these canvases."""
    seen = [detector.detect(scene.pixels[None])[0] for scene in scenes]
    curves = []
    for class_id, label in enumerate(CLASSES):
        own = [found.class_ids == detector.class_names.index(label) for found in seen]
        outputs = [
            FrameOutput.untracked(
                FrameBoxes(clip(found.boxes[rows], scene.pixels.shape[1], scene.pixels.shape[0])), found.scores[rows]
            )
            for scene, found, rows in zip(scenes, seen, own, strict=True)
        ]
        judged = match([truth_of(scene, class_id) for scene in scenes], outputs)
        counts = ~judged.is_ignored
        curves.append(_fitted(judged.scores[counts], judged.is_hit[counts]))
    return tuple(curves)


def _fitted(scores: NDArray[np.float32], is_right: NDArray[np.bool_]) -> Curve:
    if min(np.count_nonzero(is_right), np.count_nonzero(~is_right)) < _FEWEST:
        return Curve()
    chance = np.clip(scores.astype(np.float64), _EDGE, 1 - _EDGE)
    logits = np.log(chance / (1 - chance))[:, None]
    model = LogisticRegression(C=1e6).fit(logits, is_right)
    slope = float(model.coef_[0, 0])
    # Scores that say nothing, or the opposite, are left alone: the order of boxes must stay.
    return Curve(round(slope, 4), round(float(model.intercept_[0]), 4)) if slope > 0 else Curve()
