"""The ground of the street in perspective: pavements of slabs, asphalt, markings, kerbs."""

import numpy as np
from numpy.typing import NDArray

from app.ingest.street_layout import FACADE_M, FAR_KERB_M, LANES_M, NEAR_KERB_M, PARKING_M, Layout
from app.ingest.street_view import CAMERA_HEIGHT_M, View

_ROWS_AT_ONCE = 64
_GRAINS_PER_M = 34


def paint_ground(pixels: NDArray[np.uint8], view: View, layout: Layout, tile: NDArray[np.float32]) -> None:
    """Paint everything below the horizon of a panorama (H, W, 3) in place; `tile` from `street_sprites.grain`."""
    first = int(view.horizon_px) + 2
    for top in range(first, view.size.height, _ROWS_AT_ONCE):
        rows = np.arange(top, min(top + _ROWS_AT_ONCE, view.size.height))
        z = (view.focal_px * CAMERA_HEIGHT_M / (rows + 0.5 - view.horizon_px))[:, None].astype(np.float32)
        columns = np.arange(view.size.width, dtype=np.float32)[None, :] + np.float32(0.5 - view.centre_px)
        x = columns * z / np.float32(view.focal_px)
        pixels[rows] = _paint_band(x, z, view, layout, tile)


def _paint_band(
    x: NDArray[np.float32], z: NDArray[np.float32], view: View, layout: Layout, tile: NDArray[np.float32]
) -> NDArray[np.uint8]:
    is_road = (z > NEAR_KERB_M) & (z < FAR_KERB_M)
    is_side = z > FACADE_M
    is_asphalt = np.broadcast_to(is_road | is_side, x.shape)
    grain = _sample(tile, x, z, _GRAINS_PER_M) * 0.6 + _sample(tile, x, z, 5.0) * 0.8
    light = np.where(is_asphalt, 92 + 5.5 * grain, 158 + 6 * grain).astype(np.float32)
    slabs = _joint(x, z, 0.9, view) | _joint(z + 0 * x, z, 0.9, view)
    light = np.where(slabs & ~is_asphalt & (z < FACADE_M), light * 0.86, light)
    light = np.where(is_road & (_sample(tile, x + 9, z * 0.3, 1.4) > 1.7), light * 0.88, light)
    paint = _markings(x, z, layout)
    light = np.where(paint, 208 + 8 * _sample(tile, x, z, 20.0), light)
    for kerb in (NEAR_KERB_M, FAR_KERB_M):
        light = np.where(np.abs(z - kerb) < 0.16, 178.0, light)
        light = np.where((z > kerb + 0.16) & (z < kerb + 0.24), light * 0.6, light)
    tint = np.where(is_asphalt[..., None], (1.02, 1.0, 0.99), (0.94, 0.99, 1.03)).astype(np.float32)
    return np.clip(light[..., None] * tint, 0, 255).astype(np.uint8)


def _sample(
    tile: NDArray[np.float32], x: NDArray[np.float32], z: NDArray[np.float32], per_m: float
) -> NDArray[np.float32]:
    columns = (x * per_m).astype(np.int32) % tile.shape[1]
    rows = (z * per_m).astype(np.int32) % tile.shape[0]
    return tile[rows, columns]


def _joint(along: NDArray[np.float32], z: NDArray[np.float32], every_m: float, view: View) -> NDArray[np.bool_]:
    """Lines between slabs, at least about half a pixel wide."""
    wide = np.maximum(0.02, 0.6 * z / view.focal_px)
    return np.mod(along, every_m) < wide


def _markings(x: NDArray[np.float32], z: NDArray[np.float32], layout: Layout) -> NDArray[np.bool_]:
    middle = sum(LANES_M) / 2
    dashes = (np.abs(z - middle) < 0.08) & (np.mod(x, 6.0) < 3.0)
    bays = (np.abs(z - (PARKING_M - 1.6)) < 0.07) & (np.mod(x, 1.6) < 0.9)
    paint = dashes | bays
    for crossing in layout.crossings:
        is_on = (np.abs(x - crossing) < 1.7) & (z > NEAR_KERB_M + 0.5) & (z < FAR_KERB_M - 0.5)
        stripes = np.mod(z, 1.1) < 0.55
        paint = np.where(is_on, stripes, paint & (np.abs(x - crossing) > 2.2))
    return paint
