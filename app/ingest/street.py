"""The synthetic street: a rendered scene with people and vehicles, and the exact truth about each frame.

Same configuration, same pixels; every frame can be asked for on its own.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.types import FrameBoxes
from app.ingest.street_config import StreetConfig
from app.ingest.street_layout import FACADE_M
from app.ingest.street_light import Light
from app.ingest.street_scene import Occluder, Scene
from app.ingest.street_sprites import Placed, blit, cast_shadow, grain
from app.ingest.street_traffic import Mover, Traffic
from app.ingest.street_view import View, camera_offset
from app.ingest.street_wardrobe import Wardrobe

_SHADOW = 0.42
_VISIBILITY_ROWS = 56


@dataclass(frozen=True, slots=True, eq=False)
class StreetTruth:
    """What is in one frame. N objects, farthest first."""

    ids: NDArray[np.int64]
    """(N,) one number for the whole time that an object is in the street; never used again."""
    class_ids: NDArray[np.int32]
    """(N,) indices into `street_config.LABELS`."""
    boxes: FrameBoxes
    """(N, 4) around the whole object, hidden parts too, clipped to the frame."""
    visible: NDArray[np.float32]
    """(N,) share of the object's pixels that are in the frame and not hidden, 0 to 1."""

    def __len__(self) -> int:
        return len(self.ids)


class Street:
    """Renders any frame of one street. Keeps drawn sprites: not thread-safe."""

    def __init__(self, config: StreetConfig) -> None:
        self.config = config
        self._view = View.of(config)
        tile = grain(config.seed)
        self._scene = Scene(config, self._view, tile)
        self._traffic = Traffic(config, self._view, self._scene.layout)
        self._light = Light(config)
        self._wardrobe = Wardrobe(tile)

    def render(self, index: int) -> NDArray[np.uint8]:
        """Frame `index` ≥ 0 as (H, W, 3) uint8 BGR, C-contiguous and the caller's own."""
        t = index / self.config.fps
        x, y = camera_offset(self.config, self._view, t)
        width, height = self.config.size
        still = self._scene.panorama[y : y + height, x : x + width]
        frame = still.copy()
        cast = self._cast(t, (x, y))
        shadow = min(_SHADOW * self.config.shadows * (0.5 if self.config.night else 1.0), 0.9)
        if shadow:
            for mover, placed in cast:
                if mover.z < FACADE_M - 0.5:
                    cast_shadow(frame, placed, shadow)
        occluders = list(self._scene.occluders)
        drawn: list[tuple[int, int, int, int]] = []
        for mover, placed in cast:
            while occluders and occluders[0].z >= mover.z:
                _cover(frame, still, occluders.pop(0), drawn, (x, y))
            blit(frame, placed, self._scene.brightness(mover.x, mover.z))
            drawn.append(placed.region)
        for occluder in occluders:
            _cover(frame, still, occluder, drawn, (x, y))
        self._light.apply(frame, index)
        return frame

    def truth(self, index: int) -> StreetTruth:
        """What frame `index` ≥ 0 shows."""
        offset = camera_offset(self.config, self._view, index / self.config.fps)
        cast = self._cast(index / self.config.fps, offset)
        width, height = self.config.size
        ids, class_ids, boxes, visible = [], [], [], []
        for order, (mover, placed) in enumerate(cast):
            x1, y1, x2, y2 = placed.box
            box = (max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height))
            if box[2] - box[0] < 1 or box[3] - box[1] < 1:
                continue
            share = self._visible(mover, placed, cast[order + 1 :], offset)
            if share == 0 and mover.z > FACADE_M:
                continue
            ids.append(mover.track_id)
            class_ids.append(mover.class_id)
            boxes.append(box)
            visible.append(share)
        return StreetTruth(
            np.array(ids, np.int64),
            np.array(class_ids, np.int32),
            FrameBoxes(np.array(boxes, np.float32).reshape(-1, 4)),
            np.array(visible, np.float32),
        )

    def _cast(self, t: float, offset: tuple[int, int]) -> list[tuple[Mover, Placed]]:
        """Everyone that may touch the frame, farthest first, placed in frame pixels."""
        width, height = self.config.size
        cast = []
        for mover in self._traffic.at(t):
            x, y = self._view.ground(mover.x, mover.z)
            px_per_m = self._view.px_per_m(mover.z)
            if not -4 * px_per_m < x - offset[0] < width + 4 * px_per_m:
                continue
            sprite = self._wardrobe.sprite(mover, px_per_m)
            placed = Placed(sprite, x - offset[0], y - offset[1], px_per_m / sprite.px_per_m)
            x1, y1, x2, y2 = placed.region
            if x1 < width and x2 > 0 and y1 < height and y2 > 0:
                cast.append((mover, placed))
        return cast

    def _visible(
        self, mover: Mover, placed: Placed, nearer: list[tuple[Mover, Placed]], offset: tuple[int, int]
    ) -> float:
        """Share of the object's pixels that nothing hides, counted on a grid over its box."""
        x1, y1, x2, y2 = placed.box
        step = max((y2 - y1) / _VISIBILITY_ROWS, 1.0)
        xs = np.arange(x1 + step / 2, x2, step).astype(np.float32)
        ys = np.arange(y1 + step / 2, y2, step).astype(np.float32)
        own = placed.covers(xs, ys)
        width, height = self.config.size
        seen = own & ((ys >= 0) & (ys < height))[:, None] & ((xs >= 0) & (xs < width))[None, :]
        for _, other in nearer:
            ox1, oy1, ox2, oy2 = other.box
            if ox1 < x2 and ox2 > x1 and oy1 < y2 and oy2 > y1:
                seen &= ~other.covers(xs, ys)
        for occluder in self._scene.occluders:
            if occluder.z < mover.z and occluder.overlaps((x1, y1, x2, y2), offset):
                seen &= ~occluder.covers(xs + offset[0], ys + offset[1])
        return float(seen.sum() / max(int(own.sum()), 1))


def _cover(
    frame: NDArray[np.uint8],
    still: NDArray[np.uint8],
    occluder: Occluder,
    drawn: list[tuple[int, int, int, int]],
    offset: tuple[int, int],
) -> None:
    """Bring an occluder, which is part of the still picture, before the regions drawn so far."""
    height, width = frame.shape[:2]
    left, top = occluder.x - offset[0], occluder.y - offset[1]
    rows, columns = occluder.mask.shape
    for x1, y1, x2, y2 in drawn:
        a, b = max(x1, left, 0), max(y1, top, 0)
        c, d = min(x2, left + columns, width), min(y2, top + rows, height)
        if a < c and b < d:
            part = np.s_[b:d, a:c]
            cv2.copyTo(still[part], occluder.mask[b - top : d - top, a - left : c - left], frame[part])
