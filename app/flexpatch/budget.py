"""The price of a detector pixel: high after spending, low after saving, so that the average keeps to the budget."""

import math

BASE_PRICE = 1.0
"""Objects mended or found that a megapixel must promise before anything is known of the scene."""
RATE_MEMORY_S = 3.0
"""Time constant with which the price follows what looks are worth."""
FLOOR_PRICE = 0.4
"""The price never falls below this: a scene where nothing happens is hardly looked at, whatever was saved."""
UNIT_S = 2.0
"""Debts and savings count in what so many seconds allow, at most in the largest canvas. A larger unit would let looks
come when each seems worth most, a smaller one at even distances: the lower the frame rate, the sooner objects are lost
between looks, and the more is lost by long gaps."""
MAX_SAVED = 3.0
"""Savings beyond so many units are forgotten."""


class Budget:
    """Counts detector pixels against an allowance a frame. Deterministic."""

    def __init__(self, pixels_per_frame: float, largest_canvas_pixels: int) -> None:
        self._pixels_per_frame = pixels_per_frame
        self._largest = self._unit = float(largest_canvas_pixels)
        self._log_rate, self._known_s = 0.0, 0.0
        self._debt = 0.0
        self._is_first = True

    def retarget(self, pixels_per_frame: float, largest_canvas_pixels: int) -> None:
        """Go on with another allowance or canvas; what was spent or saved stays."""
        self._pixels_per_frame = pixels_per_frame
        self._largest = float(largest_canvas_pixels)

    def accrue(self, interval_s: float) -> None:
        """One more frame: its allowance is added.

        Args:
            interval_s: usual stream time from frame to frame; 0 while unknown.
        """
        n_frames = UNIT_S / interval_s if interval_s else float("inf")
        self._unit = min(self._largest, max(n_frames, 1.0) * self._pixels_per_frame)
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
        """The detector looks. The first look is a gift, not a debt that would leave the next frames without any."""
        if not self._is_first:
            self._debt += pixels
        self._is_first = False

    @property
    def knows_rate(self) -> bool:
        """Whether the price rests on what looks are worth in this stream."""
        return self._known_s > 0

    @property
    def price_per_pixel(self) -> float:
        """Worth, in objects, that a pixel must promise now: e times more for each unit of debt."""
        return max(FLOOR_PRICE, BASE_PRICE * math.exp(min(self._log_rate + self._debt / self._unit, 30.0))) / 1e6
