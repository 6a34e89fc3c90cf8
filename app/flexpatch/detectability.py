"""How well the detector sees an object, by how tall it is on the canvas.

Measured with YOLOX-nano on street clips (702 looks at objects that it finds at native size, shown at 0.15 to
0.7 of it): found at all and share of the native score, by height on the canvas.

    px      15   22   31   44   62   88  127  180  255
    found  .45  .50  .70  .73  .97  .96  .96  .99  .99
    score  .30  .33  .52  .55  .82  .89  .90 1.00 1.00
"""

import numpy as np
from numpy.typing import NDArray

FOUND_HALF_PX, FOUND_SLOPE = 19.0, 1.7
CLEAR_HALF_PX, CLEAR_SLOPE = 32.0, 1.5
"""Logistic in the logarithm of the height: half point in pixels, slope for each doubling."""
SHARP_SLOPE = 5.0
SEEN = 0.6
"""A miss counts as one from this chance to be found on."""


def detectability(height_px: NDArray[np.floating]) -> NDArray[np.float64]:
    """Chance, 0 to 1, that a look finds an object `height_px` tall on the canvas, however faintly."""
    return _logistic(height_px, FOUND_HALF_PX, FOUND_SLOPE)


def clarity(height_px: NDArray[np.floating]) -> NDArray[np.float64]:
    """Share, 0 to 1, of its best score that an object `height_px` tall on the canvas gets: what a look is worth."""
    return _logistic(height_px, CLEAR_HALF_PX, CLEAR_SLOPE)


def visibility(height_px: NDArray[np.floating]) -> NDArray[np.float64]:
    """Share, 0 to 1, of the unknown objects `height_px` tall on the canvas that looks at this scale can find at all.

    Sharper than `detectability`, because looks repeat: what one small look cannot see, the next cannot either.
    """
    return _logistic(height_px, CLEAR_HALF_PX, SHARP_SLOPE)


def _logistic(height_px: NDArray[np.floating], half_px: float, slope: float) -> NDArray[np.float64]:
    octaves = np.log2(np.maximum(height_px, 1e-3) / half_px)
    return np.asarray(1.0 / (1.0 + np.exp(-slope * octaves)))
