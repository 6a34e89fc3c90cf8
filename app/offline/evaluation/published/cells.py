"""Where new objects may have appeared: cells of the frame, ranked by edges and by time since they were seen."""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.types import FrameBoxes, Size

CELL_PX = 8
WINDOW_CELLS = Size(20, 22)
"""A new-object patch: 160 by 176 px."""
MAX_REFRESH_INTERVAL = 50
"""Frames beyond which a cell grows no more urgent."""
EDGE_WEIGHT = 50.0
"""W. The paper gives no value: an edge is worth as much as the longest wait, so that both decide."""
EDGE_THRESHOLD = 8
"""T, edge pixels of the cell's 64. The paper gives no value: one straight line across the cell does not suffice."""


class Cells:
    """The refresh interval of every cell of a stream's frames."""

    def __init__(self, frame: Size) -> None:
        self._frame = frame
        rows, columns = -(-frame.height // CELL_PX), -(-frame.width // CELL_PX)
        self.refresh_interval = np.zeros((rows, columns), np.int32)
        """(rows, columns) frames since the cell was last inside a canvas."""

    def advance(self) -> None:
        """One more frame has passed."""
        self.refresh_interval += 1

    def record_look(self, inspected: FrameBoxes) -> None:
        """The detector has seen these patches (K, 4), whatever it found in them."""
        self.refresh_interval[self._inside(inspected)] = 0

    def priority(self, edge_pixels: NDArray[np.float32], tracked: FrameBoxes) -> NDArray[np.float32]:
        """Priority (rows, columns): `min(50, RI) + W·[EI > T]`, 0 inside tracked boxes.

        Args:
            edge_pixels: (rows, columns) EI, edge pixels in each cell, 0 to 64.
            tracked: (N, 4)
        """
        waiting = np.minimum(self.refresh_interval, MAX_REFRESH_INTERVAL).astype(np.float32)
        priority = waiting + np.float32(EDGE_WEIGHT) * (edge_pixels > EDGE_THRESHOLD)
        return np.where(self._inside(tracked), np.float32(0), priority)

    def edge_pixels(self, edge_share: NDArray[np.float32], cell_px: int) -> NDArray[np.float32]:
        """EI of every cell, from the share of edge pixels in the vision's cells of `cell_px`, a multiple of 8.

        Edges are found on the luma at reduced size, so the four cells of a 16 px square of 1080p share one count.
        """
        times = cell_px // CELL_PX
        rows, columns = self.refresh_interval.shape
        spread = edge_share.repeat(times, axis=0).repeat(times, axis=1)[:rows, :columns]
        return spread * np.float32(CELL_PX * CELL_PX)

    def windows(self, priority: NDArray[np.float32]) -> Iterator[FrameBoxes]:
        """The windows (1, 4) of greatest summed priority, each counting only cells that no earlier one holds.

        The paper leaves open where windows may lie: anywhere on the grid of cells, whole inside it.
        """
        rows, columns = priority.shape
        height, width = min(WINDOW_CELLS.height, rows), min(WINDOW_CELLS.width, columns)
        left_over = priority.copy()
        limit = np.tile(np.array(self._frame, np.float32), 2)
        while True:
            sums = window_sums(left_over, width, height)
            row, column = divmod(int(sums.argmax()), sums.shape[1])
            if sums[row, column] <= 0:
                return
            left_over[row : row + height, column : column + width] = 0
            window = np.array([[column, row, column + width, row + height]], np.float32) * CELL_PX
            yield FrameBoxes(np.minimum(window, limit))

    def _inside(self, boxes: FrameBoxes) -> NDArray[np.bool_]:
        """(rows, columns) is the cell's centre in any of the boxes?"""
        inside = np.zeros(self.refresh_interval.shape, bool)
        limits = np.ceil(np.maximum(boxes, 0) / CELL_PX - 0.5).astype(int)
        for x1, y1, x2, y2 in limits.tolist():
            inside[y1:y2, x1:x2] = True
        return inside


def window_sums(values: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Sum of the values (R, C) in every window that lies inside: (R − height + 1, C − width + 1)."""
    sums = cv2.boxFilter(values, -1, (width, height), anchor=(0, 0), normalize=False)
    rows, columns = values.shape
    return sums[: rows - height + 1, : columns - width + 1]
