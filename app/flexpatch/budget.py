"""The price of a detector pixel: high after spending, low after saving, so that the average keeps to the budget."""

import math

BASE_PRICE = 1.0
"""Objects mended or found that a megapixel must promise before anything is known of the scene."""
RATE_MEMORY_S = 3.0
"""Time constant with which the price follows what looks are worth."""
FLOOR_PRICE = 0.4
"""The price never falls below this: a scene where nothing happens is hardly looked at, whatever was saved."""
UNIT_FRAMES = 10.0
"""Debts and savings count in the pixels of so many frames, at most the largest canvas: what looks are worth is known
too badly to pay for looks far apart by looks close together, which find less."""
MAX_SAVED = 3.0
"""Savings beyond so many units are forgotten."""


class Budget:
    """Counts detector pixels against an allowance a frame. Deterministic."""

    def __init__(self, pixels_per_frame: float, largest_canvas_pixels: int) -> None:
        self.retarget(pixels_per_frame, largest_canvas_pixels)
        self._log_rate, self._known_s = 0.0, 0.0
        # The first frame's look is a gift, not a debt that would leave the next ones without any.
        self._debt = -self._unit

    def retarget(self, pixels_per_frame: float, largest_canvas_pixels: int) -> None:
        """Go on with another allowance or canvas; what was spent or saved stays."""
        self._pixels_per_frame = pixels_per_frame
        self._unit = min(float(largest_canvas_pixels), UNIT_FRAMES * pixels_per_frame)

    def accrue(self) -> None:
        """One more frame: its allowance is added."""
        self._debt = max(self._debt - self._pixels_per_frame, -MAX_SAVED * self._unit)

    def learn(self, going_rate: float, dt_s: float) -> None:
        """Take what a pixel could earn in the long run, so that the price is right before debts say so.

        Args:
            going_rate: worth of a pixel, above 0, if looks came as often as the budget allows.
            dt_s: stream time that this stands for.
        """
        share = dt_s / (min(self._known_s, RATE_MEMORY_S) + dt_s)
        self._known_s += dt_s
        self._log_rate += share * (math.log(max(going_rate * 1e6, FLOOR_PRICE)) - self._log_rate)

    def spend(self, pixels: int) -> None:
        self._debt += pixels

    @property
    def price_per_pixel(self) -> float:
        """Worth, in objects, that a pixel must promise now: e times more for each unit of debt."""
        return max(FLOOR_PRICE, BASE_PRICE * math.exp(min(self._log_rate + self._debt / self._unit, 30.0))) / 1e6
