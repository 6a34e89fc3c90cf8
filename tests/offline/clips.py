"""Small recordings made on the spot: a folder of images with squares that move."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.types import BgrPicture, CanvasBoxes, CanvasDetections, Frame, InputSizes, Size

BLUE, GREEN = (255, 0, 0), (0, 255, 0)
SIDE_PX = 40
SIZE = Size(320, 180)
ANY_SIZE = InputSizes()


def clear_environment(patch: pytest.MonkeyPatch) -> None:
    """Whatever is set on the machine that runs the tests, the command line reads defaults."""
    for name in ("DETECTOR", "DETECTOR_FAMILY", "DATA", "HOST", "PORT"):
        patch.delenv(f"FLEXPATCH_{name}", raising=False)


def picture(index: int, size: Size = SIZE) -> NDArray[np.uint8]:
    """Two squares on textured grey, of which the blue one moves 2 pixels a frame to the right."""
    noise = np.random.default_rng(7).integers(90, 120, (size.height // 4 + 1, size.width // 4 + 1), np.uint8)
    grey = cv2.resize(noise, (size.width, size.height), interpolation=cv2.INTER_LINEAR)
    pixels = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)
    pixels[30 : 30 + SIDE_PX, 20 + 2 * index : 20 + 2 * index + SIDE_PX] = BLUE
    pixels[100 : 100 + SIDE_PX, 200 : 200 + SIDE_PX] = GREEN
    return pixels


def image_folder(folder: Path, n_frames: int, size: Size = SIZE) -> Path:
    """A folder of so many PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(n_frames):
        assert cv2.imwrite(str(folder / f"{index + 1:04d}.png"), picture(index, size))
    return folder


@dataclass(slots=True)
class ColourDetector:
    """Finds blue and green areas on a canvas by their colour."""

    name: str = "colours"
    backend: str = "test"
    class_names: tuple[str, ...] = ("blue", "green")
    input_sizes: InputSizes = ANY_SIZE
    pad_value: tuple[int, int, int] = (114, 114, 114)

    def detect(self, canvases: NDArray[np.uint8]) -> Sequence[CanvasDetections]:
        return [self._look(canvas.astype(np.int32)) for canvas in canvases]

    def _look(self, canvas: NDArray[np.int32]) -> CanvasDetections:
        boxes, class_ids = [], []
        for class_id, channel in enumerate((0, 1)):
            others = canvas.sum(axis=2) - canvas[..., channel]
            mask = ((canvas[..., channel] > 180) & (others < 120)).astype(np.uint8)
            _, _, found, _ = cv2.connectedComponentsWithStats(mask)
            for x, y, width, height, n_pixels in found[1:].tolist():
                if n_pixels > 20:
                    boxes.append((x, y, x + width, y + height))
                    class_ids.append(class_id)
        array = np.array(boxes, np.float32).reshape(-1, 4)
        scores = np.full(len(boxes), 0.9, np.float32)
        return CanvasDetections(CanvasBoxes(array), scores, np.array(class_ids, np.int32))


class ListSource:
    """A source that gives frames from memory and remembers how many were taken."""

    fps = 25.0
    n_corrupt = 0

    def __init__(self, n_frames: int, *, fails_at: int | None = None) -> None:
        self.size = SIZE
        self.n_frames = n_frames
        self.n_taken = 0
        self._fails_at = fails_at

    def __iter__(self) -> "ListSource":
        self.n_taken = 0
        return self

    def __next__(self) -> Frame:
        if self.n_taken == self._fails_at:
            raise ConnectionError("the camera is gone")
        if self.n_taken == self.n_frames:
            raise StopIteration
        self.n_taken += 1
        return Frame(self.n_taken, (self.n_taken - 1) / self.fps, BgrPicture(picture(self.n_taken - 1)))

    def close(self) -> None:
        """Nothing to release."""

    def __enter__(self) -> "ListSource":
        return self

    def __exit__(self, *details: object) -> None:
        self.close()
