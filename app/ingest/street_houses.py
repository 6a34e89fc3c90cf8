"""House fronts: walls with windows, doors, shops and awnings, painted on any picture that faces the viewer."""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from app.ingest.street_layout import DOOR_HEIGHT_M, House
from app.ingest.street_sprites import Colour

_SHOP_HEIGHT_M = 2.9
Rectangle = tuple[int, int, int, int]


@dataclass
class Wall:
    """A picture of a wall in progress, addressed in metres."""

    pixels: NDArray[np.uint8]
    """(H, W, 3), painted in place."""
    left_px: float
    """Column of x = 0."""
    base_px: float
    """Row of the ground."""
    px_per_m: float
    tile: NDArray[np.float32]
    """Grain, from `street_sprites.grain`."""
    lit: list[Rectangle] = field(default_factory=list)
    """Windows with a lamp behind them."""
    doors: list[Rectangle] = field(default_factory=list)
    """Openings that one can see people through."""

    def region(self, x1: float, up1: float, x2: float, up2: float) -> Rectangle:
        """Columns and rows x1, y1, x2, y2 of a rectangle in metres, clipped to the picture."""
        height, width = self.pixels.shape[:2]
        columns = (round(self.left_px + x * self.px_per_m) for x in (x1, x2))
        rows = (round(self.base_px - up * self.px_per_m) for up in (up2, up1))
        left, right = (min(max(column, 0), width) for column in columns)
        top, bottom = (min(max(row, 0), height) for row in rows)
        return left, top, right, bottom

    def fill(
        self, x1: float, up1: float, x2: float, up2: float, colour: Colour, *, fade: float = 0.0, rough: float = 0.0
    ) -> Rectangle:
        """Paint a rectangle, `fade` darker at its foot, with `rough` grain (shares of the brightness)."""
        left, top, right, bottom = self.region(x1, up1, x2, up2)
        if left >= right or top >= bottom:
            return left, top, right, bottom
        if not fade and not rough:
            self.pixels[top:bottom, left:right] = np.array(colour).clip(0, 255).astype(np.uint8)
            return left, top, right, bottom
        shade = np.linspace(1, 1 - fade, bottom - top, dtype=np.float32)[:, None]
        if rough:
            rows, columns = (np.arange(a, b) % len(self.tile) for a, b in ((top, bottom), (left, right)))
            shade = shade * (1 + rough * self.tile[rows[:, None], columns[None, :]])
        paint = shade[..., None] * np.array(colour, np.float32)
        self.pixels[top:bottom, left:right] = paint.clip(0, 255).astype(np.uint8)
        return left, top, right, bottom


def paint_house(wall: Wall, house: House, rng: np.random.Generator, height_m: float) -> None:
    """Paint one house front from the ground to `height_m`."""
    wall.fill(house.x1, 0, house.x2, height_m, house.wall, fade=0.12, rough=0.045)
    wall.fill(house.x1, 0, house.x2, 0.45, _mix(house.wall, (60, 60, 60), 0.5), rough=0.06)
    wall.fill(house.x2 - 0.12, 0, house.x2, height_m, _mix(house.wall, (40, 40, 40), 0.45))
    for floor in range(math.ceil(height_m / house.floor_m)):
        low = floor * house.floor_m
        if floor:
            wall.fill(house.x1, low - 0.12, house.x2, low + 0.06, _mix(house.wall, (235, 235, 235), 0.35), fade=0.3)
        if floor == 0 and house.has_shop:
            _paint_shop(wall, house, rng)
        else:
            _paint_windows(wall, house, rng, low, avoid_door=floor == 0)
    _paint_door(wall, house, rng)


def _paint_windows(wall: Wall, house: House, rng: np.random.Generator, low: float, *, avoid_door: bool) -> None:
    width = house.x2 - house.x1
    count = max(2, round(width / 2.3))
    frame = _mix(house.wall, (240, 240, 240), 0.75)
    for index in range(count):
        x = house.x1 + width * (index + 0.5) / count
        if avoid_door and abs(x - house.door_m) < 0.6 + house.door_width_m / 2:
            continue
        foot = low + 0.95
        wall.fill(x - 0.62, foot - 0.08, x + 0.62, foot + 1.62, frame, fade=0.15)
        panes = wall.fill(x - 0.54, foot, x + 0.54, foot + 1.54, (98, 88, 78), fade=-0.35)
        if rng.random() < 0.45:
            drape = float(rng.uniform(0.12, 0.4))
            wall.fill(x - 0.54, foot, x - 0.54 + drape, foot + 1.54, (185, 190, 196), fade=0.2)
            wall.fill(x + 0.54 - drape, foot, x + 0.54, foot + 1.54, (185, 190, 196), fade=0.2)
        wall.fill(x - 0.03, foot, x + 0.03, foot + 1.54, frame)
        wall.fill(x - 0.54, foot + 0.95, x + 0.54, foot + 1.0, frame)
        wall.fill(x - 0.72, foot - 0.16, x + 0.72, foot - 0.06, (190, 192, 194), fade=0.4)
        if rng.random() < 0.45:
            wall.lit.append(panes)


def _paint_shop(wall: Wall, house: House, rng: np.random.Generator) -> None:
    left, right = house.x1 + 0.4, house.x2 - 0.4
    trim = rng.uniform(25, 110, 3).tolist()
    wall.fill(left, 0.0, right, _SHOP_HEIGHT_M, trim, fade=0.25)
    panes = wall.fill(left + 0.15, 0.5, right - 0.15, 2.35, (84, 80, 78), fade=0.35)
    at = left + 0.3
    while at < right - 0.6:
        wide = float(rng.uniform(0.25, 0.7))
        goods = rng.uniform(40, 190, 3).tolist()
        wall.fill(at, 0.55, at + wide, 0.55 + float(rng.uniform(0.2, 0.9)), goods, fade=0.35, rough=0.1)
        at += wide + float(rng.uniform(0.2, 0.9))
    for bar in np.arange(left + 0.15, right, 1.9).tolist():
        wall.fill(bar - 0.04, 0.5, bar + 0.04, 2.35, trim)
    sign = rng.uniform(60, 210, 3).tolist()
    wall.fill(left, 2.42, right, _SHOP_HEIGHT_M, sign, fade=0.15)
    x1, y1, x2, y2 = wall.region(left + 0.5, 2.52, right - 0.5, 2.82)
    ink = (240, 240, 240) if sum(sign) < 390 else (40, 40, 40)
    for x in range(x1, x2, max(4, round(0.34 * wall.px_per_m))):
        if rng.random() < 0.8 and y2 > y1:
            cv2.rectangle(wall.pixels, (x, y1), (x + max(1, round(0.16 * wall.px_per_m)), y2), ink, -1)
    if rng.random() < 0.6:
        stripe = rng.uniform(40, 190, 3).tolist()
        for index, x in enumerate(np.arange(left, right - 0.2, 0.45).tolist()):
            colour = stripe if index % 2 else (215, 218, 220)
            wall.fill(x, 2.1, min(x + 0.45, right), 2.5, colour, fade=0.3)
    if rng.random() < 0.7:
        wall.lit.append(panes)


def _paint_door(wall: Wall, house: House, rng: np.random.Generator) -> None:
    half = house.door_width_m / 2
    frame = _mix(house.wall, (230, 230, 230), 0.6)
    wall.fill(house.door_m - half - 0.14, 0, house.door_m + half + 0.14, DOOR_HEIGHT_M + 0.14, frame, fade=0.2)
    inside = (34, 38, 44) if rng.random() < 0.7 else (50, 62, 76)
    wall.doors.append(
        wall.fill(house.door_m - half, 0, house.door_m + half, DOOR_HEIGHT_M, inside, fade=-0.5, rough=0.08)
    )


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    """`share` of b in a."""
    blue, green, red = ((1 - share) * x + share * y for x, y in zip(a, b, strict=True))
    return (blue, green, red)
