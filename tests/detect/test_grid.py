"""Cells of feature maps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.core.types import Size
from app.detect.grid import locate, n_cells
from tests.detect.encoders import cells

_sizes = st.builds(Size, st.integers(1, 300), st.integers(1, 300))


@given(_sizes, st.sampled_from([(8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16,)]))
def test_cells_are_listed_map_by_map_and_row_by_row(size: Size, strides: tuple[int, ...]) -> None:
    expected = cells(size, strides)
    assert n_cells(size, strides) == len(expected)
    position, stride = locate(np.arange(len(expected)), size, strides)
    assert np.array_equal(np.concatenate([position, stride], axis=1), expected)
