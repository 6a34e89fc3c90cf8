"""The drawn pictures of everyone in the street: made when first needed, kept as long as there is room."""

import math
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.ingest.street_figures import STANDING, VIEWS, Look, draw_figure
from app.ingest.street_sprites import Sprite, mirrored
from app.ingest.street_traffic import N_LOOKS, PERSON, Mover
from app.ingest.street_vehicles import VehicleLook, draw_vehicle

_ROOM_BYTES = 256 << 20
_FINEST_LEVEL = 16
"""Sprites are drawn at most at 2 ** (16 / 2) pixels a metre; nearer objects are enlarged."""
_COARSE_LEVEL = 11
"""Up to this level, where a figure is less than 80 pixels tall, every other step of its gait is enough."""
_LARGEST_SCALE = 1.25
"""How far a sprite may be enlarged before a finer one is drawn."""


class _Key(NamedTuple):
    class_id: int
    look: int
    phase: int
    view: int
    level: int


class Wardrobe:
    """Pictures by who, how they move and how near they are. The same picture whenever asked. Not thread-safe."""

    def __init__(self, tile: NDArray[np.float32]) -> None:
        self._tile = tile
        self._people = [Look.of(number) for number in range(N_LOOKS)]
        self._vehicles = [VehicleLook.of(number) for number in range(N_LOOKS)]
        self._sprites: OrderedDict[_Key, Sprite] = OrderedDict()
        self._bytes = 0

    def sprite(self, mover: Mover, px_per_m: float) -> Sprite:
        """The mover's picture, about as large as it appears at `px_per_m` frame pixels a metre."""
        level = min(math.ceil(2 * math.log2(px_per_m / _LARGEST_SCALE)), _FINEST_LEVEL)
        phase = mover.phase
        if level <= _COARSE_LEVEL and mover.class_id == PERSON and phase != STANDING:
            phase -= phase % 2
        return self._find(_Key(mover.class_id, mover.look, phase, mover.view, level))

    def _find(self, key: _Key) -> Sprite:
        sprite = self._sprites.get(key)
        if sprite is not None:
            self._sprites.move_to_end(key)
            return sprite
        sprite = self._make(key)
        self._sprites[key] = sprite
        self._bytes += sprite.n_bytes
        while self._bytes > _ROOM_BYTES:
            _, oldest = self._sprites.popitem(last=False)
            self._bytes -= oldest.n_bytes
        return sprite

    def _make(self, key: _Key) -> Sprite:
        """Draw it, or turn over what faces the other way: who goes to the left mirrors who goes to the right."""
        if VIEWS // 4 < key.view < 3 * VIEWS // 4:
            return mirrored(self._find(key._replace(view=(VIEWS // 2 - key.view) % VIEWS)))
        px_per_m = 2 ** (key.level / 2)
        if key.class_id == PERSON:
            return draw_figure(self._people[key.look], key.phase, key.view, px_per_m, self._tile)
        return draw_vehicle(self._vehicles[key.look], key.phase, px_per_m, self._tile)
