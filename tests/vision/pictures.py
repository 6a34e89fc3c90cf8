"""Textured pictures that move by a known amount, and the same picture in both forms."""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.types import BgrPicture, Size, YuvPicture


def scene(size: Size, seed: int = 1, grain_px: int = 14) -> NDArray[np.uint8]:
    """(H, W, 3) colourful blotches of about `grain_px`."""
    shape = (-(-size.height // grain_px) + 2, -(-size.width // grain_px) + 2, 3)
    coarse = np.random.default_rng(seed).integers(40, 216, shape, np.uint8)
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def moved(pixels: NDArray[np.uint8], affine: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The picture after (2, 3) `affine`, given for continuous coordinates (a pixel's centre is at +0.5)."""
    linear = affine[:, :2]
    offset = affine[:, 2] + linear @ np.array([0.5, 0.5]) - 0.5
    matrix = np.concatenate([linear, offset[:, None]], axis=1)
    height, width = pixels.shape[:2]
    return np.asarray(
        cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT), np.uint8
    )


def shift_of(x: float, y: float) -> NDArray[np.float64]:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y]])


def bgr(pixels: NDArray[np.uint8]) -> BgrPicture:
    return BgrPicture(np.ascontiguousarray(pixels))


def yuv(pixels: NDArray[np.uint8], *, is_full_range: bool = True) -> YuvPicture:
    """The picture as planes with chroma at half size, by the formulas of ITU-R BT.601."""
    blue, green, red = np.moveaxis(pixels.astype(np.float64), 2, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    u, v = (blue - luma) * 0.564, (red - luma) * 0.713
    if not is_full_range:
        luma, u, v = luma * 219 / 255 + 16, u * 224 / 255, v * 224 / 255
    return YuvPicture(
        y=_rounded(luma), u=_rounded(_half(u + 128)), v=_rounded(_half(v + 128)), is_full_range=is_full_range
    )


def _half(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each square of four pixels; the last row and column may be cut."""
    height, width = plane.shape
    even = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    return even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2).mean(axis=(1, 3))


def _rounded(plane: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.round(plane), 0, 255).astype(np.uint8)
