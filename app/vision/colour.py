"""From 4:2:0 planes to BGR, for just the pixels that are wanted."""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.types import Size, YuvPicture


def planes_to_bgr(picture: YuvPicture, source: tuple[int, int, int, int], target: Size) -> NDArray[np.uint8]:
    """Cut a rectangle x1, y1, x2, y2 of the planes and resize it to `target`, as (H, W, 3) BGR.

    Luma and chroma are resized first and converted at the target's size. Colours after ITU-R BT.601.
    """
    x1, y1, x2, y2 = source
    luma = _resize(picture.y[y1:y2, x1:x2], target)
    chroma_rows = slice(y1 // 2, max(y1 // 2 + 1, -(-y2 // 2)))
    chroma_columns = slice(x1 // 2, max(x1 // 2 + 1, -(-x2 // 2)))
    blue = _resize(picture.u[chroma_rows, chroma_columns], target)
    red = _resize(picture.v[chroma_rows, chroma_columns], target)
    if not picture.is_full_range:
        luma = cv2.LUT(luma, _LUMA_TO_FULL)
        blue, red = cv2.LUT(blue, _CHROMA_TO_FULL), cv2.LUT(red, _CHROMA_TO_FULL)
    return cv2.cvtColor(cv2.merge([luma, red, blue]), cv2.COLOR_YCrCb2BGR)


def _resize(plane: NDArray[np.uint8], target: Size) -> NDArray[np.uint8]:
    if (plane.shape[1], plane.shape[0]) == target:
        return plane
    return cv2.resize(plane, target, interpolation=cv2.INTER_LINEAR)


def _stretch(low: float, span: float, centre: float) -> NDArray[np.uint8]:
    """A table from the studio range to 0..255."""
    codes = np.arange(256, dtype=np.float64)
    return np.clip(np.round((codes - low) * 255 / span + centre), 0, 255).astype(np.uint8)


_LUMA_TO_FULL = _stretch(16, 219, 0)
_CHROMA_TO_FULL = _stretch(128, 224, 128)
