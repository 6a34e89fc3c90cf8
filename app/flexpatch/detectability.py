"""How likely the detector finds an object, by how tall it is on the canvas."""

import numpy as np
from numpy.typing import NDArray

HALF_FOUND_PX = 26.0
"""Height on the canvas at which a small detector finds half of the objects."""
STEEPNESS = 2.2
"""Logistic slope for each doubling of height."""
CEILING = 0.95
SEEN = 0.5
"""An object is taken to be visible to the detector from this probability on: a miss then counts."""


def detectability(height_px: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probability, 0 to 0.95, that a look finds an object `height_px` tall on the canvas.

    Logistic in the logarithm of the height, the shape that small-object curves of COCO detectors have.
    """
    octaves = np.log2(np.maximum(height_px, 1e-3) / HALF_FOUND_PX)
    return CEILING / (1.0 + np.exp(-STEEPNESS * octaves))
