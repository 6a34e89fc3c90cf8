"""The live tracks, and how they follow the optical flow."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import centres, pad, sizes
from app.core.types import FrameBoxes, PreparedFrame, Vision
from app.flexpatch.failure import correlation
from app.flexpatch.flow import masked_median

POINT_GRID = (4, 5)
"""Columns and rows of feature points in each box, the best corner in each cell."""
POINT_MARGIN = 0.15
"""Share of a box's width and height at each side without points, mostly background; the paper does not say."""
N_POINTS = POINT_GRID[0] * POINT_GRID[1]
MIN_POINTS = N_POINTS // 2
"""A track with fewer gets new ones; the paper does not say when. So does one whose box a detection has set."""


@dataclass(slots=True)
class PublishedTracks:
    """N tracks. Row i of every array belongs to the same track; rows keep their order, oldest first."""

    ids: NDArray[np.int64]
    boxes: FrameBoxes
    """(N, 4); may reach beyond the frame."""
    scores: NDArray[np.float32]
    """(N,) the detector's, when it last found the object."""
    class_ids: NDArray[np.int32]
    detected_pts_s: NDArray[np.float64]
    """(N,) stream time at which the detector last found the object."""
    n_misses: NDArray[np.int32]
    """(N,) looks in a row that held the whole box and found nothing there."""
    points: NDArray[np.float32]
    """(N, P, 2) feature points; NaN where there is none."""
    shift: NDArray[np.float32]
    """(N, 2) pixels by which the box moved on the last frame; NaN before the first."""
    templates: NDArray[np.float32]
    """(N, T, T) luma of the box at its last detection."""
    features: NDArray[np.float64]
    """(N, 5) in the order of `priority.FEATURES`."""

    def __len__(self) -> int:
        return len(self.ids)

    def keep(self, is_kept: NDArray[np.bool_]) -> None:
        """Drop the rows where `is_kept` (N,) is false."""
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name)[is_kept])

    def append(self, other: "PublishedTracks") -> None:
        """Add the rows of another table at the end."""
        for item in fields(self):
            setattr(self, item.name, np.concatenate([getattr(self, item.name), getattr(other, item.name)]))


def born_tracks(  # noqa: PLR0917 - one for each property that a detection gives
    ids: NDArray[np.int64],
    boxes: FrameBoxes,
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int32],
    templates: NDArray[np.float32],
    pts_s: float,
) -> PublishedTracks:
    """Tracks just found, N of them; they get feature points when they are first followed."""
    n = len(ids)
    return PublishedTracks(
        ids=ids,
        boxes=boxes,
        scores=scores,
        class_ids=class_ids,
        detected_pts_s=np.full(n, pts_s),
        n_misses=np.zeros(n, np.int32),
        points=np.full((n, N_POINTS, 2), np.nan, np.float32),
        shift=np.full((n, 2), np.nan, np.float32),
        templates=templates,
        features=np.zeros((n, 5)),
    )


def follow(tracks: PublishedTracks, vision: Vision, earlier: PreparedFrame, later: PreparedFrame) -> None:
    """Move every box by the median flow of its points, one call of the flow for all, and measure its features.

    A box without a point that was found stays where it is.
    """
    if not len(tracks):
        return
    _set_points(tracks, vision, earlier)
    exists = ~np.isnan(tracks.points[..., 0])
    own = tracks.points[exists]
    flow = vision.flow(earlier, later, own, own)
    ends = np.full_like(tracks.points, np.nan)
    ends[exists] = np.where(flow.is_found[:, None], flow.points, np.float32(np.nan))
    is_found = ~np.isnan(ends[..., 0])
    vectors = np.where(is_found[..., None], ends - tracks.points, 0)
    shift = np.moveaxis(masked_median(np.moveaxis(vectors, -1, 0), is_found), 0, -1)
    eigenvalues = np.zeros(exists.shape)
    eigenvalues[exists] = flow.min_eigenvalue
    # Lengths are shares of the box's height, so that one tree holds at every resolution.
    height = np.maximum(tracks.boxes[:, 3] - tracks.boxes[:, 1], 1)
    change = np.nan_to_num(shift - tracks.shift)
    tracks.boxes = FrameBoxes(tracks.boxes + np.tile(shift, 2))
    tracks.points, tracks.shift = ends, shift
    tracks.features = np.stack(
        [
            eigenvalues.sum(axis=1) / np.maximum(exists.sum(axis=1), 1),
            correlation(tracks.templates, vision.templates(later, tracks.boxes)),
            np.linalg.norm(change, axis=1) / height,
            _deviation(vectors, is_found) / height,
            tracks.scores,
        ],
        axis=1,
    ).astype(np.float64)


def drop_departed(tracks: PublishedTracks, width: int, height: int) -> None:
    """Remove the tracks whose centre has left the frame; the paper does not say when one has gone."""
    middle = centres(tracks.boxes)
    tracks.keep(np.all((middle >= 0) & (middle <= np.array([width, height])), axis=1))


def _set_points(tracks: PublishedTracks, vision: Vision, frame: PreparedFrame) -> None:
    is_poor = (~np.isnan(tracks.points[..., 0])).sum(axis=1) < MIN_POINTS
    if is_poor.any():
        boxes = tracks.boxes[is_poor]
        inner = pad(boxes, sizes(boxes) * np.float32(-POINT_MARGIN))
        tracks.points[is_poor] = vision.corners(frame, FrameBoxes(inner), POINT_GRID)


def _deviation(vectors: NDArray[np.float32], is_found: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Root mean squared distance (N,) of the found vectors (N, P, 2), others being 0, from their mean."""
    count = np.maximum(is_found.sum(axis=1), 1)
    mean = vectors.sum(axis=1) / count[:, None]
    off = np.where(is_found[..., None], vectors - mean[:, None, :], 0)
    return np.sqrt((off**2).sum(axis=(1, 2)) / count)
