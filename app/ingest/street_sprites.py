"""Pictures with transparency that are drawn once and then placed, moved and scaled on every frame."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
Colour = tuple[float, float, float]
"""Blue, green, red, 0 to 255."""

_LIGHT = (-0.45, -0.55, 0.70)
"""Direction towards the light: from the upper left, in front of the picture."""
_TILE = 512


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """A picture whose ground point can be put anywhere, at any scale."""

    pixels: NDArray[np.uint8]
    """(H, W, 4) blue, green, red, each already multiplied by alpha, and alpha."""
    alpha: NDArray[np.uint8]
    """(H, W) the same alpha by itself."""
    anchor: Point
    """Where it stands on the ground, in its own pixels."""
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 around the pixels that cover at least half, in its own pixels."""
    px_per_m: float

    @property
    def n_bytes(self) -> int:
        """Memory it takes."""
        return self.pixels.nbytes + self.alpha.nbytes


@dataclass(frozen=True, slots=True)
class Placed:
    """A sprite on the frame."""

    sprite: Sprite
    x: float
    y: float
    """Where its ground point lands, in continuous frame pixels."""
    scale: float
    """Frame pixels per sprite pixel."""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2 in frame pixels, also where it reaches outside the frame."""
        ax, ay = self.sprite.anchor
        x1, y1, x2, y2 = self.sprite.box
        return (
            self.x + (x1 - ax) * self.scale,
            self.y + (y1 - ay) * self.scale,
            self.x + (x2 - ax) * self.scale,
            self.y + (y2 - ay) * self.scale,
        )

    @property
    def region(self) -> tuple[int, int, int, int]:
        """Whole pixels x1, y1, x2, y2 that hold everything it touches."""
        ax, ay = self.sprite.anchor
        height, width = self.sprite.pixels.shape[:2]
        return (
            math.floor(self.x - ax * self.scale) - 1,
            math.floor(self.y - ay * self.scale) - 1,
            math.ceil(self.x + (width - ax) * self.scale) + 1,
            math.ceil(self.y + (height - ay) * self.scale) + 1,
        )

    def covers(self, xs: NDArray[np.float32], ys: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Does it cover at least half of the pixel, at each crossing of `ys` (R,) and `xs` (C,)? (R, C)."""
        ax, ay = self.sprite.anchor
        height, width = self.sprite.pixels.shape[:2]
        columns = np.floor((xs - self.x) / self.scale + ax).astype(np.intp)
        rows = np.floor((ys - self.y) / self.scale + ay).astype(np.intp)
        inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None, :]
        alpha = self.sprite.alpha
        rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
        return (alpha[rows[:, None], columns[None, :]] >= 128) & inside


def blit(frame: NDArray[np.uint8], placed: Placed, gain: float = 1.0) -> None:
    """Draw a sprite on a frame (H, W, 3) in place, `gain` times as bright, clipped to the frame."""
    height, width = frame.shape[:2]
    x1, y1, x2, y2 = placed.region
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    if x1 >= x2 or y1 >= y2:
        return
    ax, ay = placed.sprite.anchor
    s = placed.scale
    affine = np.array([[s, 0, s * (0.5 - ax) + placed.x - 0.5 - x1], [0, s, s * (0.5 - ay) + placed.y - 0.5 - y1]])
    warped = cv2.warpAffine(placed.sprite.pixels, affine, (x2 - x1, y2 - y1), flags=cv2.INTER_LINEAR)
    colour = cv2.cvtColor(warped, cv2.COLOR_BGRA2BGR)
    if abs(gain - 1) > 0.01:
        colour = cv2.convertScaleAbs(colour, alpha=gain)
    clear = cv2.cvtColor(cv2.bitwise_not(warped[..., 3]), cv2.COLOR_GRAY2BGR)
    region = frame[y1:y2, x1:x2]
    region[:] = cv2.add(cv2.multiply(region, clear, scale=1 / 255), colour)


def cast_shadow(frame: NDArray[np.uint8], placed: Placed, strength: float) -> None:
    """Darken the ground behind and beside a sprite with its own outline, slanted and flattened.

    Args:
        frame: (H, W, 3), changed in place.
        placed: what casts the shadow.
        strength: 0 to 1, how much light it takes.
    """
    height, width = frame.shape[:2]
    ax, ay = placed.sprite.anchor
    s = placed.scale
    lean, flat = -0.62, 0.20
    rows, columns = placed.sprite.pixels.shape[:2]
    corners = np.array([[0, 0], [columns, 0], [0, rows], [columns, rows]]) - (ax, ay)
    xs = placed.x + s * (corners[:, 0] + lean * corners[:, 1])
    ys = placed.y + s * flat * corners[:, 1]
    x1, y1 = max(math.floor(xs.min()), 0), max(math.floor(ys.min()), 0)
    x2, y2 = min(math.ceil(xs.max()), width), min(math.ceil(ys.max()), height)
    if x1 >= x2 or y1 >= y2:
        return
    affine = np.array(
        [
            [s, s * lean, placed.x - s * (ax + lean * ay) - x1],
            [0, s * flat, placed.y - s * flat * ay - y1],
        ]
    )
    alpha = cv2.warpAffine(placed.sprite.alpha, affine, (x2 - x1, y2 - y1), flags=cv2.INTER_LINEAR)
    alpha = cv2.blur(alpha, (2 * (round(3 * s) // 2) + 3,) * 2)
    light = cv2.cvtColor(cv2.convertScaleAbs(alpha, alpha=-strength, beta=255), cv2.COLOR_GRAY2BGR)
    region = frame[y1:y2, x1:x2]
    region[:] = cv2.multiply(region, light, scale=1 / 255)


def grain(seed: int) -> NDArray[np.float32]:
    """Cloth or plaster, mean 0, standard deviation 1: (1024, 1024), a tile of 512 that repeats without a seam."""
    rng = np.random.default_rng((seed, 77))
    total = np.zeros((_TILE, _TILE), np.float32)
    for sigma, weight in ((0.8, 0.5), (3.0, 1.0), (9.0, 1.2)):
        noise = rng.standard_normal((_TILE, _TILE)).astype(np.float32)
        pad = math.ceil(4 * sigma)
        smooth = cv2.GaussianBlur(np.pad(noise, pad, mode="wrap"), (0, 0), sigma)[pad:-pad, pad:-pad]
        total += weight * smooth / smooth.std()
    return np.tile((total / total.std()).astype(np.float32), (2, 2))


class Sketch:
    """A transparent sheet on which rounded, shaded limbs are drawn, then cut out as a `Sprite`."""

    def __init__(self, width: int, height: int, tile: NDArray[np.float32], seed: int) -> None:
        self._sheet = np.zeros((height, width, 4), np.float32)
        self._grain = tile
        self._shift = (seed * 7919) % _TILE

    def limb(
        self,
        start: Point,
        end: Point,
        radii: Sequence[float],
        colour: Colour,
        *,
        weave: float = 0.07,
        stripes: float = 0.0,
        shine: float = 0.45,
        is_hemmed: bool = False,
    ) -> None:
        """Draw a rounded body along a line.

        Args:
            start: x, y of one end of its axis, in pixels.
            end: the other end.
            radii: half widths in pixels at equal steps along the axis, at least two.
            colour: blue, green, red.
            weave: how much the cloth varies, as a share of the brightness.
            stripes: length of a pair of stripes across the axis in pixels; 0 for none.
            shine: how much the side away from the light is darker, as a share.
            is_hemmed: the far end is cut straight rather than rounded.
        """
        (x1, y1, x2, y2), offset = self._window(start, end, max(radii) + 2)
        if x1 >= x2 or y1 >= y2:
            return
        xs = np.arange(x1, x2, dtype=np.float32)[None, :] + np.float32(0.5 - start[0])
        ys = np.arange(y1, y2, dtype=np.float32)[:, None] + np.float32(0.5 - start[1])
        length = math.hypot(end[0] - start[0], end[1] - start[1])
        dx, dy = (float(end[0] - start[0]) / length, float(end[1] - start[1]) / length) if length > 1e-6 else (1.0, 0.0)
        along = xs * dx + ys * dy
        across = ys * dx - xs * dy
        t = _between(along, 0, length)
        if len(radii) == 2:
            radius = radii[0] + t * np.float32((radii[1] - radii[0]) / max(length, 1e-6))
        else:
            radius = np.interp(t, np.arange(len(radii)) * (length / (len(radii) - 1)), radii).astype(np.float32)
        alpha = _between(radius - np.hypot(across, along - t) + 0.5, 0, 1)
        if is_hemmed:
            alpha *= _between(length - along + 0.5, 0, 1)
        lateral = _between(across / np.maximum(radius, 0.5), -1, 1)
        lit = lateral * (dx * _LIGHT[1] - dy * _LIGHT[0]) + np.sqrt(1 - lateral**2) * _LIGHT[2]
        shade = 1 - shine + shine * 1.35 * lit
        if weave:
            shade = shade * (1 + weave * self._grain_at(offset, shade.shape))
        if stripes:
            shade = np.where(np.mod(along, stripes) < stripes / 2, shade, shade * np.float32(0.7))
        self._paint((x1, y1, x2, y2), alpha, shade, colour)

    def area(self, corners: Sequence[Point], colour: Colour, *, fade: float = 0.0, weave: float = 0.0) -> None:
        """Fill a polygon, its edges smooth.

        Args:
            corners: x, y in pixels.
            colour: blue, green, red.
            fade: how much darker the lower edge is than the upper, as a share.
            weave: as in `limb`.
        """
        points = np.array(corners, np.float64)
        low, high = points.min(axis=0), points.max(axis=0)
        (x1, y1, x2, y2), offset = self._window((low[0], low[1]), (high[0], high[1]), 2)
        if x1 >= x2 or y1 >= y2:
            return
        mask = np.zeros((y2 - y1, x2 - x1), np.uint8)
        fixed = np.round((points - (x1 + 0.5, y1 + 0.5)) * 256).astype(np.int32)
        cv2.fillPoly(mask, [fixed.reshape(-1, 1, 2)], 255, cv2.LINE_AA, 8)
        rows = np.linspace(1, 1 - fade, y2 - y1, dtype=np.float32)
        shade: NDArray[np.float32] = np.repeat(rows[:, None], mask.shape[1], axis=1)
        if weave:
            shade = shade * (1 + weave * self._grain_at(offset, shade.shape))
        alpha = mask.astype(np.float32) * np.float32(1 / 255)
        self._paint((x1, y1, x2, y2), alpha, shade, colour)

    def cut(self, anchor: Point, px_per_m: float) -> Sprite:
        """The sheet as a sprite, trimmed to what was drawn, `anchor` being its ground point."""
        sheet = (self._sheet + 0.5).astype(np.uint8)
        alpha = cv2.extractChannel(sheet, 3)
        x, y, width, height = cv2.boundingRect(alpha)
        x, y, width, height = (x, y, width, height) if width else (0, 0, 1, 1)
        part = np.s_[y : y + height, x : x + width]
        pixels, alpha = np.ascontiguousarray(sheet[part]), np.ascontiguousarray(alpha[part])
        solid = cv2.boundingRect((alpha >= 128).astype(np.uint8))
        box = (float(solid[0]), float(solid[1]), float(solid[0] + solid[2]), float(solid[1] + solid[3]))
        return Sprite(pixels, alpha, (anchor[0] - x, anchor[1] - y), box, px_per_m)

    def _window(self, start: Point, end: Point, margin: float) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
        height, width = self._sheet.shape[:2]
        x1 = max(math.floor(min(start[0], end[0]) - margin), 0)
        y1 = max(math.floor(min(start[1], end[1]) - margin), 0)
        x2 = min(math.ceil(max(start[0], end[0]) + margin), width)
        y2 = min(math.ceil(max(start[1], end[1]) + margin), height)
        return (x1, y1, x2, y2), (y1 + self._shift, x1 + self._shift // 3)

    def _grain_at(self, offset: tuple[int, int], shape: tuple[int, ...]) -> NDArray[np.float32]:
        row, column = offset[0] % _TILE, offset[1] % _TILE
        part = self._grain[row : row + shape[0], column : column + shape[1]]
        if part.shape == shape:
            return part
        rows, columns = (row + np.arange(shape[0])) % _TILE, (column + np.arange(shape[1])) % _TILE
        return self._grain[rows[:, None], columns[None, :]]

    def _paint(
        self, window: tuple[int, int, int, int], alpha: NDArray[np.float32], shade: NDArray[np.floating], colour: Colour
    ) -> None:
        x1, y1, x2, y2 = window
        part = self._sheet[y1:y2, x1:x2]
        shade = _between(shade, 0, 255 / max(*colour, 1))
        paint = cv2.merge([shade * np.float32(channel) for channel in colour] + [np.full_like(shade, 255)])
        part[:] = cv2.blendLinear(part, paint, 1 - alpha, alpha)


def _between(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.float32]:
    """As np.clip, in half the time for the small arrays of limbs."""
    return np.minimum(np.maximum(values, np.float32(low)), np.float32(high))


def mirrored(sprite: Sprite) -> Sprite:
    """The same picture with left and right exchanged."""
    width = sprite.pixels.shape[1]
    x1, y1, x2, y2 = sprite.box
    return Sprite(
        np.ascontiguousarray(sprite.pixels[:, ::-1]),
        np.ascontiguousarray(sprite.alpha[:, ::-1]),
        (width - sprite.anchor[0], sprite.anchor[1]),
        (width - x2, y1, width - x1, y2),
        sprite.px_per_m,
    )
