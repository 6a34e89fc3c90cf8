"""How far a track may be believed to be an object: learned while a stream runs, without any ground truth.

Detectors differ in what a low score means. YOLOX-nano gives one to hardly anything but objects; NanoDet-m gives it
to dozens of places where there is nothing, and whoever takes scores at face value spends most pixels on those. Now
the scores of real objects spread over the whole range, while those of nothing crowd at its low end. So where tracks
lie no denser on the scale of evidence than at its upper end, they are objects; where they lie ten times as dense, one
in ten is: the local false discovery rate (Efron, Large-Scale Inference, 2010), with an even spread as the model.

On streets (seeds 51 to 53, NanoDet-m) tracks with evidence of 0.06 to 0.1, 0.1 to 0.15, 0.15 to 0.2 and 0.4 to 0.5 were
believed by 0.13 to 0.34, 0.22 to 0.34, 0.30 to 0.37 and 0.94 to 0.97; 0.12 to 0.31, 0.19 to 0.44, 0.34 to 0.55 and 0.90
to 0.96 of them were objects.
"""

import numpy as np
from numpy.typing import NDArray

EDGES = np.array([0.03, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 1.0])
"""Of the classes of evidence. What is in the last one is believed."""
PRIOR_OBJECTS = 0.5
"""Believed before anything is known: a scene whose only object is seen faintly is looked at all the same."""
MEMORY_S = 5.0
"""Time constant of what is remembered."""

_WIDTHS = np.diff(EDGES)
_N_CLASSES = len(_WIDTHS)
_MIDDLES = np.append((EDGES[:-2] + EDGES[1:-1]) / 2, EDGES[-2])
"""(classes,) where each class is taken to lie; the last one begins at its lower edge."""


class Credibility:
    """What the tracks of one stream are worth believing."""

    def __init__(self) -> None:
        self._counts = np.zeros(_N_CLASSES)
        """(classes,) tracks there usually are."""
        self._known_s = 0.0
        self._chances = np.ones(_N_CLASSES)

    def learn(self, evidence: NDArray[np.floating], dt_s: float) -> None:
        """Take the evidence (N,) of all tracks on one more frame.

        Args:
            dt_s: stream time that the frame stands for, above 0.
        """
        classes = np.clip(np.searchsorted(EDGES, evidence, side="right") - 1, 0, _N_CLASSES - 1)
        counts = np.bincount(classes, minlength=_N_CLASSES)
        share = dt_s / (min(self._known_s, MEMORY_S) + dt_s)
        self._known_s += dt_s
        self._counts += share * (counts - self._counts)
        believed_density = (self._counts[-1] + PRIOR_OBJECTS) / _WIDTHS[-1]
        chances = np.minimum(1.0, believed_density / np.maximum(self._counts / _WIDTHS, 1e-9))
        chances[-1] = 1.0
        # More evidence never makes a track less credible, however the tracks lie.
        self._chances = np.minimum.accumulate(chances[::-1])[::-1]

    def of(self, evidence: NDArray[np.floating]) -> NDArray[np.float32]:
        """(N,) chance, 0 to 1, that tracks with this evidence (N,) are objects; 1 before anything was learned."""
        return np.interp(evidence, _MIDDLES, self._chances).astype(np.float32)
