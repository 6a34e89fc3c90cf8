"""Pictures of figures: surfaces drawn as clouds of points, near ones over far ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.offline.detector.figures import FloatArray, Surface

_OVERSAMPLING = 2
"""Drawn at this multiple of the size, then averaged."""
_POINTS_PER_PIXEL = 1.6
"""Along an edge: enough that no gap stays between points."""
_SPLITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 96, 192, 384, 768)
"""Points along a quad's edges."""


@dataclass(frozen=True, slots=True)
class View:
    """Where the camera stands and where the light comes from."""

    yaw: float
    """How the figure is turned, radians."""
    elevation: float
    """Of the camera over the figure's middle, radians."""
    distance: float
    """Of the camera from the figure's middle, in figure heights."""
    light: FloatArray
    """(3,) towards the light, as seen from the camera: right, up, towards it."""
    ambient: float
    """Share of the light that comes from everywhere."""


def draw(surfaces: Sequence[Surface], view: View, height: int) -> NDArray[np.uint8]:
    """The figure (H, W, 4) BGR and opacity, cut to its outline, `height` pixels tall."""
    everything = np.concatenate([surface.vertices[np.unique(surface.quads)] for surface in surfaces])
    middle = (everything.min(0) + everything.max(0)) / 2
    tall = float(np.ptp(everything[:, 1]))
    turn = _turn(view)
    seen = [((surface.vertices - middle) / tall) @ turn.T for surface in surfaces]
    flat = [points[:, :2] * (view.distance / (view.distance - points[:, 2:])) for points in seen]
    shown = np.concatenate(
        [points[surface.quads].reshape(-1, 2) for points, surface in zip(flat, surfaces, strict=True)]
    )
    low, high = shown.min(0), shown.max(0)
    scale = height * _OVERSAMPLING / float(high[1] - low[1])
    width, rows = (np.ceil((high - low) * scale).astype(int) + 2).tolist()
    pixels: list[NDArray[np.int64]] = []
    depths: list[FloatArray] = []
    colours: list[NDArray[np.uint8]] = []
    for surface, points, plane in zip(surfaces, seen, flat, strict=True):
        place = np.stack([(plane[:, 0] - low[0]) * scale, (high[1] - plane[:, 1]) * scale], axis=1)
        bright = _brightness(points, surface.quads, view)
        for pixel, depth, colour in _points(surface, place, points[:, 2], bright, width):
            pixels.append(pixel)
            depths.append(depth)
            colours.append(colour)
    nearest = _nearest(np.concatenate(pixels), np.concatenate(depths), np.concatenate(colours), (rows, width))
    size = (-(-width // _OVERSAMPLING), -(-rows // _OVERSAMPLING))
    return outlined(_averaged(nearest, size))


def outlined(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 4) cut to what is opaque: its sides are those of the box round the figure."""
    opaque = picture[..., 3] > 127
    rows, columns = np.flatnonzero(opaque.any(axis=1)), np.flatnonzero(opaque.any(axis=0))
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _turn(view: View) -> FloatArray:
    cy, sy, ce, se = np.cos(view.yaw), np.sin(view.yaw), np.cos(view.elevation), np.sin(view.elevation)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, ce, -se], [0, se, ce]])
    return np.asarray(about_x @ about_y, np.float32)


def _brightness(points: FloatArray, quads: NDArray[np.int32], view: View) -> FloatArray:
    """(N,) of each vertex: light from everywhere and from one side."""
    across = points[quads[:, 2]] - points[quads[:, 0]]
    along = points[quads[:, 3]] - points[quads[:, 1]]
    normals = np.zeros_like(points)
    of_quads = np.cross(across, along)
    for corner in range(4):
        for axis in range(3):
            normals[:, axis] += np.bincount(quads[:, corner], of_quads[:, axis], len(points)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    direct = np.clip(normals @ view.light, 0, 1)
    return np.asarray(view.ambient + (1 - view.ambient) * direct, np.float32)


def _points(
    surface: Surface, place: FloatArray, depth: FloatArray, bright: FloatArray, width: int
) -> Iterator[tuple[NDArray[np.int64], FloatArray, NDArray[np.uint8]]]:
    """Pixel, depth and colour of points that cover every quad, for quads of like size at a time."""
    corners = place[surface.quads]
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1)
    split = np.searchsorted(_SPLITS, edges * _POINTS_PER_PIXEL).clip(max=len(_SPLITS) - 1)
    side = np.array(surface.texture.shape[1::-1], np.float32)
    values = np.concatenate(
        [corners, depth[surface.quads][..., None], bright[surface.quads][..., None], surface.corners], axis=2
    )
    for step in np.unique(split):
        n = _SPLITS[step]
        grid = (np.arange(n, dtype=np.float32) + 0.5) / n
        u, v = (axis.ravel() for axis in np.meshgrid(grid, grid))
        weights = np.stack([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v], axis=1)
        spread = np.einsum("pk,fkc->fpc", weights, values[split == step]).reshape(-1, 6)
        texel = np.mod(spread[:, 4:] * (1, -1), 1) * side
        rows, columns = texel[:, 1].astype(int) % int(side[1]), texel[:, 0].astype(int) % int(side[0])
        colour = surface.texture[rows, columns]
        solid = colour[:, 3] > 127
        lit = colour[solid, :3] * spread[solid, 3:4]
        xy = spread[solid, :2].astype(np.int64)
        yield xy[:, 1] * width + xy[:, 0], spread[solid, 2], np.clip(lit, 0, 255).astype(np.uint8)


def _nearest(
    pixels: NDArray[np.int64], depths: FloatArray, colours: NDArray[np.uint8], shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """(H, W, 4) with the point nearest to the camera in each pixel."""
    scaled = (depths - depths.min()) * (65535 / (np.ptp(depths) + 1e-9))
    order = np.argsort(scaled.astype(np.uint16), kind="stable")
    picture = np.zeros((shape[0] * shape[1], 4), np.uint8)
    picture[pixels[order], :3] = colours[order]
    picture[pixels, 3] = 255
    return picture.reshape(*shape, 4)


def _averaged(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Smaller, each colour averaged over what is opaque only."""
    opaque = (picture[..., 3:] > 0).astype(np.float32)
    small = cv2.resize(picture[..., :3] * opaque, size, interpolation=cv2.INTER_AREA)
    share = cv2.resize(opaque, size, interpolation=cv2.INTER_AREA)[..., None]
    return np.concatenate([small / np.maximum(share, 1e-3), share * 255], axis=2).clip(0, 255).astype(np.uint8)
