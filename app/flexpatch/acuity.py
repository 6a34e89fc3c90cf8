"""How well the detector sees an object, by how tall it is on the canvas: learned while a stream runs.

How tall an object must be differs from scene to scene: by blur, contrast, light, and by how people stand. Measured
with YOLOX-nano, a look is half as clear as the clearest at 32 px on streets, at 45 px for people before shop windows.
So the half point starts from a prior, and every object that is shown at two heights tells more about it.

The prior was measured on street clips (702 looks at objects that the detector finds at native size, shown at 0.15
to 0.7 of it): found at all and share of the native score, by height on the canvas.

    px      15   22   31   44   62   88  127  180  255
    found  .45  .50  .70  .73  .97  .96  .96  .99  .99
    score  .30  .33  .52  .55  .82  .89  .90 1.00 1.00
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PRIOR_HALF_PX = 32.0
PRIOR_OCTAVES = 0.7
"""Standard deviation of the half point before anything was seen, in doublings."""
CLEAR_SLOPE = 1.5
"""Logistic in the logarithm of the height: slope for each doubling."""
FOUND_HALF_SHARE, FOUND_SLOPE = 19.0 / 32.0, 1.7
"""The height at which half of the objects are found at all, as a share of that at which looks are half as clear."""
SHARP_SLOPE = 5.0
SEEN = 0.6
"""A miss counts as one from this chance to be found on."""
IDEAL_HEIGHT = 3.0
"""Taller than so many half points, an object gains hardly anything."""

HALF_POINTS_PX = PRIOR_HALF_PX * 2.0 ** np.arange(-1.75, 1.76, 0.25)
"""(H,) half points that are considered: 9.5 to 108 px."""
SCORE_SPREAD = 0.2
"""Standard deviation of a score about what the height lets expect."""
FURTHEST = 3.0
"""In standard deviations: whatever is further off has other reasons than its size."""
WEIGHT = 0.25
"""Of a look against an independent one: the looks at one object resemble each other."""
MEMORY_LOOKS = 400.0
"""Looks after which what was learned counts for a third."""
LEAST_CHANGE_OCTAVES = 0.3
"""Two looks at an object tell nothing if it was about as tall on both canvases."""
LEAST_SCORE = 0.3
"""Objects that are never seen better than this may be none."""


@dataclass(frozen=True, slots=True)
class Sightings:
    """N looks at objects."""

    heights_px: NDArray[np.floating]
    """(N,) on the canvas."""
    scores: NDArray[np.floating]
    """(N,) of the detector; 0 where it missed the object."""


class Acuity:
    """What one detector sees in one stream."""

    def __init__(self) -> None:
        octaves = np.log2(HALF_POINTS_PX / PRIOR_HALF_PX)
        self._prior = -0.5 * (octaves / PRIOR_OCTAVES) ** 2
        self._learned = np.zeros(len(HALF_POINTS_PX))
        """(H,) log-likelihood of each half point, old looks fading."""
        self.half_px = PRIOR_HALF_PX
        """Height on the canvas at which a look is half as clear as the clearest.

        Never less than the prior: small objects that were missed make no tracks, so that those which did flatter
        the detector.
        """

    @property
    def ideal_height_px(self) -> float:
        """Height on the canvas to which taller objects may be reduced."""
        return IDEAL_HEIGHT * self.half_px

    def detectability(self, height_px: NDArray[np.floating]) -> NDArray[np.float64]:
        """Chance, 0 to 1, that a look finds an object `height_px` tall on the canvas, however faintly."""
        return _logistic(height_px, FOUND_HALF_SHARE * self.half_px, FOUND_SLOPE)

    def clarity(self, height_px: NDArray[np.floating]) -> NDArray[np.float64]:
        """Share, 0 to 1, of its best score that an object `height_px` tall on the canvas gets: what a look is worth."""
        return _logistic(height_px, self.half_px, CLEAR_SLOPE)

    def visibility(self, height_px: NDArray[np.floating]) -> NDArray[np.float64]:
        """Share, 0 to 1, of the unknown objects `height_px` tall on the canvas that such looks can find at all.

        Sharper than `detectability`, because looks repeat: what one small look cannot see, the next cannot either.
        """
        return _logistic(height_px, self.half_px, SHARP_SLOPE)

    def learn(self, before: Sightings, now: Sightings) -> None:
        """Take two looks each at the same N objects.

        If scores are in proportion to clarity, the pair of scores points in the direction of the pair of clarities;
        and no score is above its clarity, since none is above 1.
        """
        change = np.abs(np.log2(np.maximum(now.heights_px, 1) / np.maximum(before.heights_px, 1)))
        told = np.maximum(before.scores, now.scores) >= LEAST_SCORE
        n_told = int(np.count_nonzero(told))
        if not n_told:
            return
        clear_before, clear_now = (
            _logistic(sightings.heights_px[told, None], HALF_POINTS_PX, CLEAR_SLOPE) for sightings in (before, now)
        )
        score_before, score_now = before.scores[told, None], now.scores[told, None]
        aside = (score_before * clear_now - score_now * clear_before) / np.hypot(clear_before, clear_now)
        aside = np.where(change[told, None] >= LEAST_CHANGE_OCTAVES, aside, 0)
        above = np.maximum(score_now - clear_now, 0)
        distance = np.hypot(aside, above) / SCORE_SPREAD
        likelihood = -0.5 * np.minimum(distance, FURTHEST) ** 2
        self._learned *= np.exp(-n_told / MEMORY_LOOKS)
        self._learned += WEIGHT * likelihood.sum(axis=0)
        self._settle()

    def _settle(self) -> None:
        """The half point that is to be expected."""
        score = self._prior + self._learned
        weight = np.exp(score - score.max())
        expected_px = float(2.0 ** (np.log2(HALF_POINTS_PX) @ weight / weight.sum()))
        self.half_px = max(expected_px, PRIOR_HALF_PX)


def _logistic(
    height_px: NDArray[np.floating], half_px: float | NDArray[np.floating], slope: float
) -> NDArray[np.float64]:
    octaves = np.log2(np.maximum(height_px, 1e-3) / half_px)
    return np.asarray(1.0 / (1.0 + np.exp(-slope * octaves)))
