"""By how much one picture is shifted against another, and how different they are then: on small pictures of both."""

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.types import Alignment, Size

THUMBNAIL = Size(96, 54)
SURPRISE_PRICE = 3.0
"""Correlation that a shift must gain for each width of the frame that it is from the expected one and from none at all:
facades repeat."""
NO_SHIFT = np.zeros(2, np.float32)
SWING = Size(19, 11)
"""A fifth of the thumbnail: the furthest that a picture is looked for between two frames."""
FLAT = 1.0
"""Standard deviation of luma, of 255, up to which a picture shows nothing."""


class Thumbnail:
    """A frame's luma as a small picture, and what is known of it."""

    __slots__ = ("is_flat", "middle", "pixels", "unit")

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        """
        Args:
            pixels: (54, 96).
        """
        self.pixels = pixels.astype(np.float32)
        self.middle = self.pixels[SWING.height : -SWING.height, SWING.width : -SWING.width]
        """Of which all is still in view after any swing."""
        centred = self.pixels - self.pixels.mean()
        norm = np.linalg.norm(centred)
        self.is_flat = bool(norm <= FLAT * math.sqrt(centred.size))
        self.unit = centred if self.is_flat else centred / norm

    @property
    def has_flat_middle(self) -> bool:
        return float(self.middle.std()) <= FLAT

    def correlation(self, other: "Thumbnail") -> float:
        """Of two that are not flat, -1 to 1."""
        return float(np.vdot(self.unit, other.unit))


@dataclass(frozen=True, slots=True)
class _Shifts:
    """All that are tried between two thumbnails, in pixels of the frame."""

    across: NDArray[np.float64]
    """(columns,)"""
    down: NDArray[np.float64]
    """(rows, 1)"""
    distance: NDArray[np.float64]
    """(rows, columns) from none."""


@lru_cache(maxsize=32)
def _shifts(frame: Size) -> _Shifts:
    scale = np.array(frame, np.float32) / np.array(THUMBNAIL, np.float32)
    across = np.arange(-SWING.width, SWING.width + 1) * scale[0]
    down = np.arange(-SWING.height, SWING.height + 1)[:, None] * scale[1]
    return _Shifts(across, down, np.hypot(across, down))


def align(before: Thumbnail, after: Thumbnail, frame: Size, expected_px: NDArray[np.floating]) -> Alignment:
    """What `core.types.Vision.alignment` says of frames with such thumbnails.

    Args:
        frame: of the later one.
    """
    if before.is_flat or after.is_flat:
        return Alignment(NO_SHIFT, 0.0 if before.is_flat and after.is_flat else 1.0)
    at_rest = before.correlation(after)
    if before.has_flat_middle:
        return Alignment(NO_SHIFT, float(np.clip(1 - at_rest, 0, 1)))
    likeness = cv2.matchTemplate(after.pixels, before.middle, cv2.TM_CCOEFF_NORMED)
    shifts = _shifts(frame)
    from_expected = np.hypot(shifts.across - expected_px[0], shifts.down - expected_px[1])
    surprise = np.minimum(shifts.distance, from_expected) / frame.width
    row, column = np.unravel_index((likeness - SURPRISE_PRICE * surprise).argmax(), likeness.shape)
    shift_px = np.array([shifts.across[column], shifts.down[row, 0]], np.float32)
    return Alignment(shift_px, float(np.clip(1 - max(likeness[row, column], at_rest), 0, 1)))
