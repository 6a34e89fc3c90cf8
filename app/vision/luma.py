"""The plane that flow, corners, templates and maps are made from: luma at reduced size.

Source-frame coordinates are continuous (a pixel's centre is at +0.5); those of the plane count from pixel centres.
"""

import math

import numpy as np
from numpy.typing import NDArray

from app.core.types import FrameBoxes, PointFlow, Size

LUMA_WIDTH_PX = 1280
"""Luma is reduced by the smallest whole number that brings it to that width: 2 for 1080p, 3 for 4K."""
CELL_LUMA_PX = 8
"""The paper's cell, on the reduced plane."""
WINDOW_PX = 11
MAX_PYRAMID_LEVELS = 3
SEARCH_STEPS = 12
"""Of a point, on each level of the pyramid."""
SEARCH_END_PX = 0.03
"""A step as short as that is the last one."""
TEMPLATE_SIDE = 16
CORNER_BLOCK_PX = 7
"""Wide enough for a corner to be felt at the samples beside it."""
SAMPLES_PER_CELL = 6
MIN_CORNER_EIGENVALUE = 1e-5
"""Below this a corner has no texture to follow (luma in 0..1, per window pixel)."""
MOTION_THRESHOLD = 12
"""Change of luma, of 255, that counts as motion; above the noise of a compressed stream."""
CANNY_LOW, CANNY_HIGH = 60, 160
_FAR_PX = np.float32(1e6)


def divisor_of(frame: Size) -> int:
    """By how much luma is reduced."""
    return -(-frame.width // LUMA_WIDTH_PX)


def reduced_size(frame: Size, divisor: int) -> Size:
    """Of the plane; what is left over at the right and at the bottom makes a pixel more."""
    return Size(-(-frame.width // divisor), -(-frame.height // divisor))


def map_shape(luma: Size) -> tuple[int, int]:
    """Rows and columns of cells; the last ones may be cut."""
    return -(-luma.height // CELL_LUMA_PX), -(-luma.width // CELL_LUMA_PX)


def to_luma(points: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Points of the frame on the plane.

    Args:
        scale: pixels of the plane per pixel of the frame.
    """
    return points * np.float32(scale) - np.float32(0.5)


def to_frame(points: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Points of the plane on the frame."""
    return (points + np.float32(0.5)) / np.float32(scale)


def pyramid_levels(reach_px: float) -> int:
    """Halvings after which the search window covers so many pixels of the plane."""
    doublings = reach_px / (WINDOW_PX / 2)
    return MAX_PYRAMID_LEVELS if doublings >= 2**MAX_PYRAMID_LEVELS else max(1, math.ceil(math.log2(max(doublings, 1))))


def camera_on_luma(camera: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """The camera's affine (2, 3) in coordinates of the plane."""
    linear = camera[:, :2]
    offset = camera[:, 2] * scale + linear @ np.array([0.5, 0.5]) - 0.5
    return np.concatenate([linear, offset[:, None]], axis=1)


def no_flow() -> PointFlow:
    """Of no points."""
    nothing = np.zeros(0, np.float32)
    return PointFlow(np.zeros((0, 2), np.float32), np.zeros(0, bool), nothing, nothing)


def point_flow(
    start: NDArray[np.float32],
    there: NDArray[np.float32],
    back: NDArray[np.float32],
    has_converged: NDArray[np.bool_],
    *,
    min_eigenvalue: NDArray[np.float32],
    scale: float,
    frame: Size,
) -> PointFlow:
    """What a search on the plane says of the frame.

    Args:
        start, there, back: (M, 2) where points set out, where they were found, and where these were found again.
        has_converged: (M,) both times.
        min_eigenvalue: (M,).
        scale: pixels of the plane per pixel of the frame.
    """
    ends = to_frame(there, scale)
    inside = np.all((ends >= 0) & (ends <= np.asarray(frame, np.float32)), axis=1)
    round_trip = np.linalg.norm((back - start) / scale, axis=1).astype(np.float32)
    return PointFlow(
        points=ends,
        is_found=has_converged & inside,
        round_trip_px=np.where(np.isfinite(round_trip), round_trip, _FAR_PX),
        min_eigenvalue=min_eigenvalue,
    )


def sample_fractions(n_samples: int) -> NDArray[np.float32]:
    """(n_samples,) middles of equal parts of a side, 0 to 1."""
    return (np.arange(n_samples, dtype=np.float32) + np.float32(0.5)) / np.float32(n_samples)


def on_luma(boxes: FrameBoxes, scale: float) -> NDArray[np.float32]:
    """Boxes (N, 4) on the plane, their edges counted from its edges."""
    return boxes * np.float32(scale)
