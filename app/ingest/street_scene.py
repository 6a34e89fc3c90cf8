"""The part of the street that stands still: one panorama, and what in it can hide people."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.ingest.street_config import StreetConfig
from app.ingest.street_ground import paint_ground
from app.ingest.street_houses import Wall, paint_house
from app.ingest.street_layout import DOOR_HEIGHT_M, END_DOOR_WIDTH_M, FACADE_M, SIDE_STREET_END_M, House, Layout, Post
from app.ingest.street_sprites import Placed, Sketch, Sprite, blit
from app.ingest.street_view import View

_AMBIENT_NIGHT = 0.30
_LAMP_REACH_M = 3.2
_LAMP_HEIGHT_M = 5.2
_SIDE_WALL_PX_PER_M = 24
_LEAF_CLUSTERS = 130


@dataclass(frozen=True, slots=True, eq=False)
class Occluder:
    """Something that stands still at one distance and hides what passes behind it."""

    z: float
    x: int
    y: int
    """Upper left corner of the mask in the panorama."""
    mask: NDArray[np.uint8]
    """(H, W) 255 where it hides."""

    def overlaps(self, box: tuple[float, float, float, float], offset: tuple[int, int]) -> bool:
        """May it hide something in a box of frame pixels, the frame being at `offset` in the panorama?"""
        height, width = self.mask.shape
        x, y = self.x - offset[0], self.y - offset[1]
        return box[0] < x + width and box[2] > x and box[1] < y + height and box[3] > y

    def covers(self, xs: NDArray[np.float32], ys: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Does it hide the panorama pixel, at each crossing of `ys` (R,) and `xs` (C,)? (R, C)."""
        height, width = self.mask.shape
        columns, rows = np.floor(xs).astype(np.intp) - self.x, np.floor(ys).astype(np.intp) - self.y
        inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None, :]
        picked = self.mask[rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)[None, :]]
        return (picked > 0) & inside


class Scene:
    """The panorama with everything that stands still. Read-only once built."""

    def __init__(self, config: StreetConfig, view: View, tile: NDArray[np.float32]) -> None:
        self.view = view
        self.layout = Layout.of(config.seed, view.half_width_m(FACADE_M), has_posts=config.occluders)
        self._is_night = config.night
        rng = np.random.default_rng((config.seed, 5))
        self.panorama: NDArray[np.uint8] = np.empty((view.size.height, view.size.width, 3), np.uint8)
        """(H, W, 3) blue, green, red."""
        self._paint_sky()
        paint_ground(self.panorama, view, self.layout, tile)
        end_wall = self._paint_side_street(rng, tile)
        front = self._paint_fronts(rng, tile)
        posts = [(post, _draw_post(post, view, tile)) for post in self.layout.posts]
        for _, placed in posts:
            blit(self.panorama, placed)
        sigma = 0.55 * view.frame.height / 1080
        if sigma > 0.3:
            self.panorama = cv2.GaussianBlur(self.panorama, (0, 0), sigma)
        facade = self._front_mask(front)
        if config.night:
            self._fall_night(front, [placed for _, placed in posts])
        self.occluders: tuple[Occluder, ...] = (
            end_wall,
            Occluder(FACADE_M, 0, 0, facade),
            *(_hide(post.z, placed, view) for post, placed in posts),
        )
        """Farthest first."""

    def brightness(self, x: float, z: float) -> float:
        """How much light falls on something that stands at x, z, as a share of daylight."""
        if z > FACADE_M and not self._is_in_side_street(x):
            return 0.5 if not self._is_night else _AMBIENT_NIGHT
        if not self._is_night:
            return 1.0
        pools = (
            np.exp(-((x - lamp.x) ** 2 + (z - lamp.z) ** 2) / (2 * _LAMP_REACH_M**2)) for lamp in self.layout.lamps
        )
        return float(min(_AMBIENT_NIGHT + 0.6 * sum(pools), 1.0))

    def _is_in_side_street(self, x: float) -> bool:
        return self.layout.side_street[0] < x < self.layout.side_street[1]

    def _paint_sky(self) -> None:
        height, width = self.panorama.shape[:2]
        rows = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
        upper, lower = np.array((232, 208, 186), np.float32), np.array((240, 234, 228), np.float32)
        fade = np.minimum(rows * height / max(self.view.horizon_px, 1), 1)
        self.panorama[:] = np.broadcast_to((1 - fade) * upper + fade * lower, (height, width, 3)).astype(np.uint8)

    def _paint_side_street(self, rng: np.random.Generator, tile: NDArray[np.float32]) -> Occluder:
        left, right = self.layout.side_street
        far = SIDE_STREET_END_M
        end = Wall(self.panorama, self.view.centre_px, self.view.ground(0, far)[1], self.view.px_per_m(far), tile)
        door, half = self.layout.end_door, END_DOOR_WIDTH_M / 2
        house = House(door - 4.5, door + 4.5, (172, 178, 186), 3.1, False, door, END_DOOR_WIDTH_M)
        for side, x in ((-1, left - 6), (1, right + 6)):
            edge = door + side * 4.5
            neighbour = House(min(x, edge), max(x, edge), (120, 132, 150), 3.3, False, x, END_DOOR_WIDTH_M)
            paint_house(end, neighbour, rng, float(rng.uniform(5.5, 8.0)))
        paint_house(end, house, rng, 7.0)
        mask = np.full((round(end.base_px), self.view.size.width), 255, np.uint8)
        x1, y1, x2, y2 = end.region(door - half, 0, door + half, DOOR_HEIGHT_M)
        mask[y1:y2, x1:x2] = 0
        end_wall = Occluder(far, 0, 0, mask)
        length = SIDE_STREET_END_M - FACADE_M
        for x in (left, right):
            flat = Wall(
                np.zeros((12 * _SIDE_WALL_PX_PER_M, int(length) * _SIDE_WALL_PX_PER_M, 3), np.uint8),
                0,
                12 * _SIDE_WALL_PX_PER_M,
                _SIDE_WALL_PX_PER_M,
                tile,
            )
            at = 0.0
            for _, wide in zip(range(9), rng.uniform(7, 11, 9).tolist(), strict=True):
                grey = rng.uniform(110, 165)
                paint_house(
                    flat, House(at, at + wide, (grey, grey * 1.04, grey * 1.1), 3.2, False, at + 2, 1.2), rng, 12
                )
                at += wide
            self._hang(flat.pixels, x, 12.0)
        return end_wall

    def _hang(self, flat: NDArray[np.uint8], x: float, height_m: float) -> None:
        """Put a picture of a wall on the plane at `x` that runs away from the camera."""
        rows, columns = flat.shape[:2]
        source = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32)
        near, far = FACADE_M, SIDE_STREET_END_M
        target = np.array(
            [
                self.view.point(x, height_m, near),
                self.view.point(x, height_m, far),
                self.view.point(x, 0, far),
                self.view.point(x, 0, near),
            ],
            np.float32,
        )
        size = self.view.size
        warp = cv2.getPerspectiveTransform(source, target)
        hung = cv2.warpPerspective(flat, warp, tuple(size), flags=cv2.INTER_AREA)
        mask = cv2.warpPerspective(np.full((rows, columns), 255, np.uint8), warp, tuple(size))
        np.copyto(self.panorama, cv2.convertScaleAbs(hung, alpha=0.85), where=(mask > 127)[..., None])

    def _paint_fronts(self, rng: np.random.Generator, tile: NDArray[np.float32]) -> Wall:
        base = self.view.ground(0, FACADE_M)[1]
        wall = Wall(self.panorama, self.view.centre_px, base, self.view.px_per_m(FACADE_M), tile)
        height_m = base / wall.px_per_m + 1
        for house in self.layout.houses:
            paint_house(wall, house, rng, height_m)
        return wall

    def _front_mask(self, wall: Wall) -> NDArray[np.uint8]:
        base = round(wall.base_px)
        mask = np.full((base, self.view.size.width), 255, np.uint8)
        left, right = self.layout.side_street
        x1, _, x2, _ = wall.region(left, 0, right, 1)
        mask[:, x1:x2] = 0
        for x1, y1, x2, y2 in wall.doors:
            mask[y1:y2, x1:x2] = 0
        return mask

    def _fall_night(self, wall: Wall, posts: list[Placed]) -> None:
        """Darken the panorama; keep lamps, their pools of light, and lit windows."""
        height, width = self.panorama.shape[:2]
        step = 8
        light = np.empty((-(-height // step), -(-width // step)), np.float32)
        base = self.view.ground(0, FACADE_M)[1]
        for row, y in enumerate(range(0, height, step)):
            z = FACADE_M - 0.5
            if y > base:
                z = min(self.view.focal_px * 3.5 / (y - self.view.horizon_px), z)
            for column, x_px in enumerate(range(0, width, step)):
                light[row, column] = self.brightness((x_px - self.view.centre_px) / self.view.px_per_m(z), z)
        gain = cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
        tint = np.array((0.92, 0.95, 1.05), np.float32)
        day = self.panorama
        dark = np.clip(day * (gain * tint), 0, 255).astype(np.uint8)
        for x1, y1, x2, y2 in wall.lit:
            glow = day[y1:y2, x1:x2].astype(np.float32) * 0.6 + np.array((60, 130, 165), np.float32)
            dark[y1:y2, x1:x2] = np.clip(glow, 0, 255).astype(np.uint8)
        self.panorama = dark
        for post in posts:
            blit(self.panorama, post, gain=0.45)


def _draw_post(post: Post, view: View, tile: NDArray[np.float32]) -> Placed:
    px_per_m = view.px_per_m(post.z)
    sprite = _draw_tree(post.seed, px_per_m, tile) if post.is_tree else _draw_lamp(px_per_m, tile)
    x, y = view.ground(post.x, post.z)
    ax, ay = sprite.anchor
    return Placed(sprite, round(x - ax) + ax, round(y - ay) + ay, 1.0)


def _draw_lamp(px_per_m: float, tile: NDArray[np.float32]) -> Sprite:
    sheet = Sketch(round(1.6 * px_per_m), round((_LAMP_HEIGHT_M + 0.4) * px_per_m), tile, 1)
    x, y = 0.5 * px_per_m, (_LAMP_HEIGHT_M + 0.25) * px_per_m
    iron = (70, 66, 62)
    top = y - _LAMP_HEIGHT_M * px_per_m
    sheet.limb((x, y), (x, top), (0.075 * px_per_m, 0.055 * px_per_m, 0.045 * px_per_m), iron, weave=0.02)
    sheet.limb((x, y), (x, y - 0.6 * px_per_m), (0.11 * px_per_m, 0.1 * px_per_m), iron, weave=0.02)
    sheet.limb((x, top), (x + 0.7 * px_per_m, top + 0.02 * px_per_m), (0.04 * px_per_m,) * 2, iron, weave=0)
    sheet.limb((x + 0.5 * px_per_m, top), (x + 0.9 * px_per_m, top), (0.08 * px_per_m,) * 2, (225, 235, 238), weave=0)
    return sheet.cut((x, y), px_per_m)


def _draw_tree(seed: int, px_per_m: float, tile: NDArray[np.float32]) -> Sprite:
    rng = np.random.default_rng((seed, 17))
    width, height = 4.4, 6.6
    sheet = Sketch(round(width * px_per_m), round(height * px_per_m), tile, seed % 997)
    x, y = width / 2 * px_per_m, (height - 0.15) * px_per_m
    bark = (52, 68, 84)
    crown = float(rng.uniform(2.9, 3.4))
    thick = float(rng.uniform(0.11, 0.17))
    sheet.limb(
        (x, y),
        (x, y - crown * px_per_m),
        (1.35 * thick * px_per_m, thick * px_per_m, 0.8 * thick * px_per_m),
        bark,
        weave=0.25,
    )
    for lean in (-0.8, -0.3, 0.4, 0.9):
        tip = (x + lean * px_per_m, y - (crown + 1.0) * px_per_m)
        sheet.limb((x, y - (crown - 0.5) * px_per_m), tip, (0.07 * px_per_m, 0.04 * px_per_m), bark, weave=0.25)
    for index in range(_LEAF_CLUSTERS):
        share = index / _LEAF_CLUSTERS
        angle, reach = float(rng.uniform(0, 2 * np.pi)), math.sqrt(rng.random()) * (1.05 - 0.2 * share)
        cx = x + 1.75 * reach * math.cos(angle) * px_per_m
        cy = y - (crown + 1.25 + 1.2 * reach * math.sin(angle)) * px_per_m
        size = float(rng.uniform(0.10, 0.34)) * px_per_m
        tone = (0.55 + 0.5 * share + 0.16 * math.sin(angle)) * float(rng.uniform(0.8, 1.2))
        sheet.limb((cx, cy), (cx + size * 0.4, cy), (size, size * 0.8), (46 * tone, 90 * tone, 72 * tone), weave=0.3)
    return sheet.cut((x, y), px_per_m)


def _hide(z: float, placed: Placed, view: View) -> Occluder:
    ax, ay = placed.sprite.anchor
    x, y = round(placed.x - ax), round(placed.y - ay)
    alpha = placed.sprite.alpha
    x1, y1 = max(x, 0), max(y, 0)
    x2, y2 = min(x + alpha.shape[1], view.size.width), min(y + alpha.shape[0], view.size.height)
    part = alpha[max(y1 - y, 0) : max(y2 - y, 0), max(x1 - x, 0) : max(x2 - x, 0)]
    mask = np.ascontiguousarray((part >= 128).astype(np.uint8) * 255)
    return Occluder(z, x1, y1, mask if mask.size else np.zeros((1, 1), np.uint8))
