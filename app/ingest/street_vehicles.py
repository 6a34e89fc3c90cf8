"""Cars and vans from the side, with turning wheels."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.ingest.street_sprites import Colour, Point, Sketch, Sprite

WHEEL_PHASES = 4
"""Drawn positions of a wheel before its spokes look the same again."""
SPOKES = 5
WHEEL_RADIUS_M = 0.33

_PAINTS: tuple[Colour, ...] = (
    (50, 46, 44),
    (215, 215, 212),
    (40, 35, 150),
    (140, 75, 30),
    (150, 152, 150),
    (85, 110, 70),
    (60, 150, 200),
)
_GLASS: Colour = (92, 84, 76)
_SLICES = 3
_DEPTH_M = 0.30
"""How much of the roof and bonnet the raised camera sees above the near side."""

Outline = tuple[Point, ...]
"""Corners x, y in metres: x forward from the middle, y up from the ground, rear end first."""

_CAR: Outline = (
    (-2.15, 0.35),
    (-2.2, 0.75),
    (-2.05, 0.93),
    (-1.35, 1.02),
    (-0.85, 1.44),
    (0.35, 1.47),
    (1.05, 1.02),
    (1.95, 0.86),
    (2.18, 0.66),
    (2.2, 0.36),
)
_CAR_GLASS: tuple[Outline, ...] = (
    ((-1.18, 1.02), (-0.78, 1.36), (-0.22, 1.39), (-0.22, 1.0)),
    ((-0.14, 1.0), (-0.14, 1.39), (0.32, 1.4), (0.86, 1.0)),
)
_CAR_SCREEN: Outline = ((0.37, 1.45), (0.30, 1.71), (0.93, 1.31), (1.03, 1.05))
_VAN: Outline = (
    (-2.55, 0.36),
    (-2.6, 1.0),
    (-2.55, 2.0),
    (-2.4, 2.12),
    (1.15, 2.12),
    (1.45, 1.95),
    (1.95, 1.2),
    (2.5, 1.0),
    (2.62, 0.7),
    (2.62, 0.38),
)
_VAN_GLASS: tuple[Outline, ...] = (((0.45, 1.2), (0.45, 1.85), (1.2, 1.85), (1.65, 1.2)),)
_VAN_SCREEN: Outline = ((1.47, 1.97), (1.40, 2.2), (1.86, 1.47), (1.96, 1.22))


@dataclass(frozen=True, slots=True)
class VehicleLook:
    """Shape and paint of one vehicle."""

    paint: Colour
    is_van: bool
    seed: int

    @classmethod
    def of(cls, seed: int) -> "VehicleLook":
        """The look that belongs to a number."""
        rng = np.random.default_rng((seed, 13))
        blue, green, red = (np.array(_PAINTS[rng.integers(len(_PAINTS))]) * rng.uniform(0.85, 1.1)).tolist()
        return cls(paint=(blue, green, red), is_van=bool(rng.random() < 0.25), seed=seed)


def draw_vehicle(look: VehicleLook, phase: int, px_per_m: float, tile: NDArray[np.float32]) -> Sprite:
    """A vehicle that faces the right, as a sprite that stands on its anchor, the middle between its near wheels.

    Args:
        look: which vehicle it is.
        phase: position of the wheels, 0 to WHEEL_PHASES − 1.
        px_per_m: size.
        tile: grain of the paint, from `street_sprites.grain`.
    """
    return _Vehicle(look, px_per_m, tile).draw(2 * math.pi * phase / (SPOKES * WHEEL_PHASES))


class _Vehicle:
    """One drawing in progress."""

    def __init__(self, look: VehicleLook, px_per_m: float, tile: NDArray[np.float32]) -> None:
        width, height = math.ceil(5.8 * px_per_m) + 4, math.ceil(2.8 * px_per_m) + 4
        self.look = look
        self.unit = px_per_m
        self.sheet = Sketch(width, height, tile, look.seed)
        self.origin = (width / 2, height - 0.15 * px_per_m)

    def draw(self, wheel_angle: float) -> Sprite:
        is_van = self.look.is_van
        self._draw_body(_VAN if is_van else _CAR, _VAN_SCREEN if is_van else _CAR_SCREEN)
        for window in _VAN_GLASS if is_van else _CAR_GLASS:
            sill = min(y for _, y in window)
            self._area(window, _GLASS, fade=0.3)
            self._area(tuple((x, sill + 0.28 * (y - sill)) for x, y in window), _mix(_GLASS, (20, 20, 20), 0.4))
        self._draw_trim(_VAN if is_van else _CAR, (0.35, 1.5) if is_van else (-0.95, -0.18, 0.9))
        for x in (1.62, -1.55) if is_van else (1.36, -1.32):
            self._draw_wheel((x, WHEEL_RADIUS_M), wheel_angle)
        return self.sheet.cut(self.origin, self.unit)

    def _at(self, point: Point) -> Point:
        return self.origin[0] + point[0] * self.unit, self.origin[1] - point[1] * self.unit

    def _area(self, corners: Outline, colour: Colour, *, fade: float = 0.0, weave: float = 0.0) -> None:
        self.sheet.area([self._at(corner) for corner in corners], colour, fade=fade, weave=weave)

    def _line(self, start: Point, end: Point, radius_m: float, colour: Colour) -> None:
        radius = radius_m * self.unit
        self.sheet.limb(self._at(start), self._at(end), (radius, radius), colour, weave=0)

    def _draw_body(self, body: Outline, screen: Outline) -> None:
        """The far side first, shifted up, then slices towards the near side: roof and bonnet show in between."""
        self._area(((-1.9, 0.05), (-1.9, 0.45), (1.95, 0.45), (1.95, 0.05)), (14, 14, 14))
        bright = _mix(self.look.paint, (235, 230, 225), 0.28)
        for step in range(_SLICES, 0, -1):
            share = step / _SLICES
            slice_ = tuple((x * (1 - 0.06 * share), y + _DEPTH_M * share) for x, y in body)
            self._area(slice_, bright, fade=0.12)
        self._area(screen, _mix(_GLASS, (225, 205, 190), 0.35))
        self._area(body, self.look.paint, fade=0.38, weave=0.015)

    def _draw_trim(self, body: Outline, doors: tuple[float, ...]) -> None:
        front, rear = body[-2], body[1]
        self._area(_rectangle(front[0] - 0.28, front[1] - 0.02, 0.26, 0.16), (205, 225, 235))
        self._area(_rectangle(rear[0] + 0.02, rear[1] + 0.02, 0.2, 0.18), (40, 30, 165))
        dark = _mix(self.look.paint, (10, 10, 10), 0.55)
        for x in doors:
            self._line((x, 0.42), (x, 1.0), 0.012, dark)
        self._line((body[0][0] + 0.1, 0.36), (body[-1][0] - 0.1, 0.36), 0.07, dark)

    def _draw_wheel(self, centre: Point, angle: float) -> None:
        for share, colour in ((1.16, (16, 16, 16)), (1.0, (34, 33, 32)), (0.66, (150, 150, 152))):
            self._line(centre, centre, share * WHEEL_RADIUS_M, colour)
        reach = 0.42 * WHEEL_RADIUS_M
        for spoke in range(SPOKES):
            turn = 2 * math.pi * spoke / SPOKES - angle
            gap = (centre[0] + reach * math.cos(turn), centre[1] + reach * math.sin(turn))
            self._line(gap, gap, 0.15 * WHEEL_RADIUS_M, (48, 48, 50))


def _rectangle(x: float, y: float, width: float, height: float) -> Outline:
    return ((x, y), (x + width, y), (x + width, y + height), (x, y + height))


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    """`share` of b in a."""
    blue, green, red = ((1 - share) * x + share * y for x, y in zip(a, b, strict=True))
    return (blue, green, red)
