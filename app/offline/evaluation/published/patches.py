"""Patches of the frame put on one canvas, in the order in which they are wanted."""

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import clip, pad, sizes
from app.core.types import CanvasBoxes, FrameBoxes, Size
from app.flexpatch.canvas import CanvasLayout
from app.offline.evaluation.published.guillotine import GUTTER_PX, GuillotineBin


def object_patches(boxes: FrameBoxes) -> FrameBoxes:
    """Boxes padded by their own width and height on every side, for the object may have drifted."""
    return pad(boxes, sizes(boxes))


class PatchCanvas:
    """One canvas in the making."""

    def __init__(self, frame: Size, canvas: Size) -> None:
        self._frame = frame
        self._canvas = canvas
        self._bin = GuillotineBin(canvas)
        self._source: list[tuple[int, int, int, int]] = []
        self._target: list[tuple[int, int, int, int]] = []

    def add(self, patches: FrameBoxes) -> bool:
        """Place patches (K, 4), most wanted first; one larger than the canvas is reduced to fit, the shape kept.

        One that finds no room is left out and the next is tried.

        Returns:
            Whether all that touch the frame found room.
        """
        cut = clip(patches, *self._frame)
        outer = np.concatenate([np.floor(cut[:, :2]), np.ceil(cut[:, 2:])], axis=1).astype(int)
        touching = outer[(outer[:, :2] < outer[:, 2:]).all(axis=1)]
        placed = [self._place(x1, y1, x2, y2) for x1, y1, x2, y2 in touching.tolist()]
        return all(placed)

    def _place(self, x1: int, y1: int, x2: int, y2: int) -> bool:
        scale = min(1.0, self._canvas.width / (x2 - x1), self._canvas.height / (y2 - y1))
        width, height = max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale))
        origin = self._bin.place(width, height)
        if origin is None:
            return False
        self._source.append((x1, y1, x2, y2))
        self._target.append((*origin, origin[0] + width, origin[1] + height))
        return True

    def add_new_object(self, window: FrameBoxes) -> bool:
        """Place a window of cells (1, 4). The gutter is taken from the window: else three in a row, not four, fit.

        Returns:
            Whether it found room.
        """
        return self.add(FrameBoxes(window - np.array([0, 0, GUTTER_PX, GUTTER_PX], np.float32)))

    @property
    def sources(self) -> FrameBoxes:
        """(K, 4) what was placed so far."""
        return FrameBoxes(_rectangles(self._source))

    def layout(self) -> CanvasLayout | None:
        """The canvas as it is; None if nothing was placed."""
        if not self._source:
            return None
        return CanvasLayout(self._canvas, self.sources, CanvasBoxes(_rectangles(self._target)))


def _rectangles(items: list[tuple[int, int, int, int]]) -> NDArray[np.float32]:
    return np.array(items, np.float32).reshape(-1, 4)
