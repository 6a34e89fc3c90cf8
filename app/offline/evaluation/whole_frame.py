"""Rivals that look at all of every frame: the whole frame on one canvas, or tile by tile."""

import math
import time

from app.core.boxes import clip
from app.core.types import Frame, Size
from app.flexpatch.canvas import CanvasLayout, joined, without_duplicates
from app.offline.evaluation.looks import Looks, region_layout, whole_layout
from app.offline.evaluation.outputs import FrameCost, FrameOutput

TILE_OVERLAP = 0.2
"""Share of a tile that the next one shows again, as SAHI has it (Akyon et al., ICIP 2022)."""


class WholeFrame:
    """The whole frame at one canvas size, every frame."""

    def __init__(self, looks: Looks, canvas: Size, class_id: int) -> None:
        self._looks = looks
        self._canvas = canvas
        self._class_id = class_id

    def step(self, frame: Frame) -> tuple[FrameOutput, FrameCost]:
        look = self._looks.look(frame, whole_layout(frame.size, self._canvas))
        found = look.found(frame.size, self._class_id)
        cost = FrameCost(look.pixels, 1, {"canvas": look.canvas_ms, "detect": look.detect_ms})
        return FrameOutput.untracked(clip(found.boxes, *frame.size), found.scores), cost


class Tiled:
    """Overlapping tiles at native size and the whole frame beside them, every frame (SAHI)."""

    def __init__(self, looks: Looks, tile: Size, class_id: int) -> None:
        self._looks = looks
        self._tile = tile
        self._class_id = class_id

    def step(self, frame: Frame) -> tuple[FrameOutput, FrameCost]:
        looks = [self._looks.look(frame, layout) for layout in tile_layouts(frame.size, self._tile)]
        started_s = time.perf_counter()
        found = without_duplicates(joined([look.found(frame.size, self._class_id) for look in looks]))
        stages = {
            "canvas": sum(look.canvas_ms for look in looks),
            "detect": sum(look.detect_ms for look in looks),
            "merge": (time.perf_counter() - started_s) * 1e3,
        }
        cost = FrameCost(sum(look.pixels for look in looks), len(looks), stages)
        return FrameOutput.untracked(clip(found.boxes, *frame.size), found.scores), cost


def tile_layouts(frame: Size, tile: Size) -> list[CanvasLayout]:
    """The whole frame on one tile-sized canvas, and tiles at native size that overlap by `TILE_OVERLAP` or more."""
    layouts = [whole_layout(frame, tile)]
    if frame.width <= tile.width and frame.height <= tile.height:
        return layouts
    for top in _stations(frame.height, tile.height):
        for left in _stations(frame.width, tile.width):
            right, bottom = min(left + tile.width, frame.width), min(top + tile.height, frame.height)
            layouts.append(region_layout((left, top, right, bottom), tile))
    return layouts


def _stations(length: int, tile: int) -> list[int]:
    if length <= tile:
        return [0]
    n_tiles = math.ceil((length - tile) / (tile * (1 - TILE_OVERLAP)) - 1e-9) + 1
    return [round(index * (length - tile) / (n_tiles - 1)) for index in range(n_tiles)]


def native_canvas(frame: Size, stride: int) -> Size:
    """The smallest canvas that holds the frame at its own size."""
    return Size(-(-frame.width // stride) * stride, -(-frame.height // stride) * stride)
