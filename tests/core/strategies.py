"""Random boxes for property tests, and the settings that make these tests repeatable."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=20)
"""The same examples on every run, however slow the machine."""

COORDINATES = st.integers(-200, 800).map(lambda eighths: eighths / 8)
"""Eighths of pixels: exact in float32, and equal edges and shared corners come up often."""
LENGTHS = st.integers(0, 480).map(lambda eighths: eighths / 8)


def box_arrays(max_boxes: int = 8, min_boxes: int = 0) -> st.SearchStrategy[NDArray[np.float32]]:
    """(N, 4) float32 xyxy; boxes may be empty but never inverted."""
    box = st.tuples(COORDINATES, COORDINATES, LENGTHS, LENGTHS).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
    return st.lists(box, min_size=min_boxes, max_size=max_boxes).map(
        lambda boxes: np.array(boxes, np.float32).reshape(-1, 4)
    )
