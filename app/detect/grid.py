"""The cells of a detector's feature maps: how many there are, and where a prediction's cell lies."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.types import Size


def n_cells(size: Size, strides: Sequence[int]) -> int:
    """How many cells all feature maps of a canvas have together."""
    return sum(columns * rows for columns, rows in _maps(size, strides))


def locate(
    indices: NDArray[np.intp], size: Size, strides: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where predictions lie, when the maps' cells are listed one map after another, row by row.

    Args:
        indices: (K,) positions in that list.
        size: of the canvas, in pixels.
        strides: canvas pixels per cell of each map.
    Returns:
        Column and row of each cell (K, 2), and its stride (K, 1).
    """
    maps = _maps(size, strides)
    first = np.cumsum([0, *(columns * rows for columns, rows in maps)])
    level = np.searchsorted(first, indices, side="right") - 1
    columns = np.array([columns for columns, _ in maps])[level]
    row, column = np.divmod(indices - first[level], columns)
    cells = np.stack([column, row], axis=1).astype(np.float32)
    return cells, np.array(strides, np.float32)[level][:, None]


def _maps(size: Size, strides: Sequence[int]) -> list[tuple[int, int]]:
    return [(-(-size.width // stride), -(-size.height // stride)) for stride in strides]
