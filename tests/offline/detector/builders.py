"""Small scenes and people to make canvases from."""

import numpy as np
from numpy.typing import NDArray

from app.offline.detector.scenes import Scene

PERSON_BGR = (40, 60, 200)


def scene(size: tuple[int, int] = (320, 200), n_people: int = 2) -> Scene:
    """A grey picture with red blocks that count as people, in a row."""
    width, height = size
    pixels = np.full((height, width, 3), 90, np.uint8)
    boxes = []
    for number in range(n_people):
        x1, y1, x2, y2 = 20 + 70 * number, 60, 50 + 70 * number, 150
        pixels[y1:y2, x1:x2] = PERSON_BGR
        boxes.append((x1, y1, x2, y2))
    return Scene(
        pixels,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.zeros(n_people, np.int64),
        np.zeros((0, 4), np.float32),
    )


def figure(height: int = 60, width: int = 24) -> NDArray[np.uint8]:
    """A red block with a transparent rim of two pixels at its sides, opaque at top and bottom."""
    cut_out = np.zeros((height, width, 4), np.uint8)
    cut_out[..., :3] = PERSON_BGR
    cut_out[:, 2:-2, 3] = 255
    return cut_out
