"""What a vision says of two frames, and how two visions are compared."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.types import FrameBoxes, Picture, PreparedFrame, Size, Vision
from app.vision.moving import Wishes
from tests.vision.pictures import bgr, moved, scene, shift_of

MakePicture = Callable[[NDArray[np.uint8]], Picture]
ON_GPU = Wishes(lambda: True, lambda: True, lambda: True)
"""Of streams that are worked on there for good."""


def boxes(size: Size) -> FrameBoxes:
    """In the frame, across its edge, and beyond."""
    share = np.array([[0.1, 0.1, 0.4, 0.6], [0.3, 0.5, 0.35, 0.6], [0.8, 0.7, 1.2, 1.1], [1.5, 1.5, 1.7, 1.6]])
    return FrameBoxes((share * np.tile(size, 2)).astype(np.float32))


@dataclass(frozen=True)
class Seen:
    """What a vision says of two frames."""

    corners: NDArray[np.float32]
    points: NDArray[np.float32]
    is_found: NDArray[np.bool_]
    round_trip_px: NDArray[np.float32]
    min_eigenvalue: NDArray[np.float32]
    templates: NDArray[np.float32]
    edges: NDArray[np.float32]
    motion_at_rest: NDArray[np.float32]
    motion: NDArray[np.float32]
    shift_px: NDArray[np.float32]
    difference: float


CAMERA = shift_of(6, -4)


def seen(vision: Vision, earlier: PreparedFrame, later: PreparedFrame) -> Seen:
    whole = FrameBoxes(np.array([[0, 0, *earlier.size]], np.float32))
    corners = vision.corners(earlier, whole, (12, 8))[0]
    points = corners[~np.isnan(corners[:, 0])]
    flow = vision.flow(earlier, later, points, points + np.float32(2), reach_px=60)
    alignment = vision.alignment(earlier, later, np.zeros(2))
    return Seen(
        corners,
        flow.points,
        flow.is_found,
        flow.round_trip_px,
        flow.min_eigenvalue,
        vision.templates(later, boxes(later.size)),
        vision.edge_map(later),
        vision.motion_map(earlier, later, None),
        vision.motion_map(earlier, later, CAMERA),
        alignment.shift_px,
        alignment.difference,
    )


def assert_alike(mine: Seen, theirs: Seen) -> None:
    """The same, but for the last digits of flow, and pixels just on the threshold of motion."""
    np.testing.assert_array_equal(mine.corners, theirs.corners)
    np.testing.assert_array_equal(mine.is_found, theirs.is_found)
    np.testing.assert_allclose(mine.points[mine.is_found], theirs.points[mine.is_found], atol=0.02)
    np.testing.assert_allclose(mine.round_trip_px[mine.is_found], theirs.round_trip_px[mine.is_found], atol=0.02)
    np.testing.assert_allclose(mine.min_eigenvalue, theirs.min_eigenvalue, rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(mine.templates, theirs.templates)
    np.testing.assert_array_equal(mine.edges, theirs.edges)
    np.testing.assert_array_equal(mine.motion_at_rest, theirs.motion_at_rest)
    off = np.abs(mine.motion - theirs.motion)
    assert np.mean(off > 0) < 0.01
    assert off.max() <= 2 / 64
    np.testing.assert_array_equal(mine.shift_px, theirs.shift_px)
    assert mine.difference == theirs.difference


def pair(size: Size, make: MakePicture = bgr) -> tuple[Picture, Picture]:
    """Two pictures, between which the camera panned and something appeared."""
    pixels = scene(size, grain_px=size.width // 40)
    panned = moved(pixels, CAMERA)
    panned[20:60, 30:90] = 255 - panned[20:60, 30:90]
    return make(pixels), make(panned)
