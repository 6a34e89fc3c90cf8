"""Canvases drawn on the processor: patches cut from a picture, resized and put in their places."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.types import BgrPicture, PatchCopy, Picture, Size, YuvPicture
from app.vision.colour import planes_to_bgr


class ScaledPicture:
    """A picture, and the same at half size once somebody asks for that. Any thread may use it."""

    __slots__ = ("_half", "picture")

    def __init__(self, picture: Picture, half: Picture | None = None) -> None:
        """
        Args:
            half: the picture at half size, where it is known.
        """
        self.picture = picture
        self._half = half

    def at_most(self, scale: float) -> Picture:
        """The picture itself, or at half size if it is wanted at `scale` of half or less."""
        if scale > 0.5:
            return self.picture
        if self._half is None:
            self._half = _halve(self.picture)
        return self._half


class Drawer:
    """Draws canvases of one stream. Any thread may use it."""

    def __init__(self) -> None:
        self._paddings: dict[tuple[Size, tuple[int, int, int]], NDArray[np.uint8]] = {}

    def draw(
        self, picture: ScaledPicture, copies: Sequence[PatchCopy], size: Size, pad_value: tuple[int, int, int]
    ) -> NDArray[np.uint8]:
        """A canvas (H, W, 3), filled with `pad_value` (BGR) where no patch is."""
        canvas = self._padding(size, pad_value).copy()
        for copy in copies:
            x1, y1, x2, y2 = copy.target
            canvas[y1:y2, x1:x2] = _cut(picture, copy)
        return canvas

    def _padding(self, size: Size, pad_value: tuple[int, int, int]) -> NDArray[np.uint8]:
        """An empty canvas, made once for each size: filling one is slower than copying it."""
        key = (size, pad_value)
        if key not in self._paddings:
            self._paddings[key] = np.full((size.height, size.width, 3), pad_value, np.uint8)
        return self._paddings[key]


def to_bgr(picture: Picture) -> NDArray[np.uint8]:
    """The whole picture as (H, W, 3) BGR; the picture's own pixels where it already is."""
    if isinstance(picture, BgrPicture):
        return picture.pixels
    return planes_to_bgr(picture, (0, 0, *picture.size), picture.size)


def halved(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half the width and height, rounded up, by averaging 2×2 pixels; an odd last row or column is repeated.

    Only sizes that divide exactly have a fast way through OpenCV.
    """
    height, width = plane.shape[:2]
    if height % 2 or width % 2:
        plane = cv2.copyMakeBorder(plane, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return cv2.resize(plane, (-(-width // 2), -(-height // 2)), interpolation=cv2.INTER_AREA)


def _cut(scaled: ScaledPicture, copy: PatchCopy) -> NDArray[np.uint8]:
    """One patch, resized: bilinear, from the half-size picture where it is reduced by two or more."""
    x1, y1, x2, y2 = copy.source
    target = Size(copy.target[2] - copy.target[0], copy.target[3] - copy.target[1])
    scale = max(target.width / (x2 - x1), target.height / (y2 - y1))
    picture = scaled.at_most(scale)
    if picture is not scaled.picture:
        x1, y1 = x1 // 2, y1 // 2
        x2, y2 = -(-x2 // 2), -(-y2 // 2)
    if isinstance(picture, YuvPicture):
        return planes_to_bgr(picture, (x1, y1, x2, y2), target)
    return _resize(picture.pixels[y1:y2, x1:x2], target)


def _resize(pixels: NDArray[np.uint8], target: Size) -> NDArray[np.uint8]:
    if (pixels.shape[1], pixels.shape[0]) == target:
        return pixels
    return cv2.resize(pixels, target, interpolation=cv2.INTER_LINEAR)


def _halve(picture: Picture) -> Picture:
    if isinstance(picture, BgrPicture):
        return BgrPicture(halved(picture.pixels))
    return YuvPicture(
        y=halved(picture.y),
        u=halved(picture.u),
        v=halved(picture.v),
        is_full_range=picture.is_full_range,
    )
