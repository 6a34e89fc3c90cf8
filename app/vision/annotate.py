"""Boxes drawn on a picture, for people: snapshots, previews and annotated video."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.types import TrackedObject

PATCH_COLOUR = (255, 255, 255)
GOLDEN_RATIO = 0.618033988749895


def draw(
    bgr: NDArray[np.uint8],
    objects: Sequence[TrackedObject],
    patches: Sequence[tuple[float, float, float, float]] = (),
) -> NDArray[np.uint8]:
    """Draw objects, and the regions the detector looked at, on a copy of the picture.

    A box confirmed by the detector on this frame is a full line; one carried by optical flow is thin.

    Args:
        bgr: (H, W, 3).
        objects: what to draw; the colour is the track's own.
        patches: rectangles x1, y1, x2, y2 in pixels, drawn thin and white.
    Returns:
        (H, W, 3), a new array.
    """
    picture = bgr.copy()
    unit = max(1, round(picture.shape[0] / 540))
    for patch in patches:
        x1, y1, x2, y2 = (round(value) for value in patch)
        cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), PATCH_COLOUR, 1)
    for item in objects:
        _draw_object(picture, item, unit)
    return picture


def track_colour(track_id: int) -> tuple[int, int, int]:
    """A BGR colour that stays with the track and differs from its neighbours' in number."""
    red, green, blue = colorsys.hsv_to_rgb((track_id * GOLDEN_RATIO) % 1.0, 0.75, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


def _draw_object(picture: NDArray[np.uint8], item: TrackedObject, unit: int) -> None:
    x1, y1, x2, y2 = (round(value) for value in item.box)
    colour = track_colour(item.track_id)
    cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), colour, 2 * unit if item.origin == "detected" else unit)
    text = f"{item.track_id} {item.label} {item.score:.2f}"
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.4 * unit
    (width, height), baseline = cv2.getTextSize(text, font, size, unit)
    top = y1 - height - baseline if y1 - height - baseline >= 0 else y1
    cv2.rectangle(picture, (x1, top), (x1 + width, top + height + baseline), colour, cv2.FILLED)
    cv2.putText(picture, text, (x1, top + height), font, size, (0, 0, 0), unit, cv2.LINE_AA)
