"""The price of a detector pixel: high after spending, low after saving, so that the average keeps to the budget."""

import math

BASE_PRICE = 1.0
"""Objects mended or found that a megapixel must promise when spending is level with the budget."""
FLOOR_PRICE = 0.4
"""The price never falls below this: a scene where nothing happens is hardly looked at, whatever was saved."""
MAX_SAVED_CANVASES = 1.0
"""Savings beyond so many of the largest canvases are forgotten."""


class Budget:
    """Counts detector pixels against an allowance a frame. Deterministic."""

    def __init__(self, pixels_per_frame: float, largest_canvas_pixels: int) -> None:
        self._pixels_per_frame = pixels_per_frame
        self._unit = float(largest_canvas_pixels)
        # The first frame's whole look is a gift, not a debt that would leave the next ones without any.
        self._debt = -self._unit

    def retarget(self, pixels_per_frame: float, largest_canvas_pixels: int) -> None:
        """Go on with another allowance or canvas; what was spent or saved stays."""
        self._pixels_per_frame = pixels_per_frame
        self._unit = float(largest_canvas_pixels)

    def accrue(self) -> None:
        """One more frame: its allowance is added."""
        self._debt = max(self._debt - self._pixels_per_frame, -MAX_SAVED_CANVASES * self._unit)

    def spend(self, pixels: int) -> None:
        self._debt += pixels

    @property
    def price_per_pixel(self) -> float:
        """Worth, in objects, that a pixel must promise now: e times more for each largest canvas of debt."""
        return max(FLOOR_PRICE, BASE_PRICE * math.exp(min(self._debt / self._unit, 30.0))) / 1e6
