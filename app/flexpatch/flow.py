"""From points followed between two frames to the motion of boxes and of the camera.

Median displacement and scale from point spread after Kalal et al., "Forward-Backward Error: Automatic
Detection of Tracking Failures" (ICPR 2010).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_ROUND_TRIP_PX = 2.0
"""A point that comes back farther from its start than this was lost, whatever the box's size."""
ROUND_TRIP_SHARE = 0.02
"""The same, as a share of the box's height; the larger of both holds."""
CONSISTENT_SHARE = 0.06
"""Points that leave the median motion by more than this share of the height belong to something else."""
MIN_POINTS = 3
MIN_INLIER_RATIO = 0.4
"""Share of the background points that must follow one motion for it to be the camera's."""
MIN_CAMERA_POINTS = 8
"""Fewer background points tell nothing."""
STILL_SHARE = 0.6 / 1280
"""A camera is at rest when no corner of the picture moves by this share of its width."""
SCALE_FULL_TRUST_PX = 320.0
"""Box height from which the spread of points is trusted in full; half of it at a quarter, and so on."""
MAX_SCALE_STEP = 0.08
"""A box grows or shrinks by at most this share between two frames."""


@dataclass(frozen=True, slots=True)
class BoxMotion:
    """How N boxes moved between two frames."""

    shift: NDArray[np.float32]
    """(N, 2) pixels; 0 where not reliable."""
    scale: NDArray[np.float32]
    """(N,) growth about the centre; 1 where not reliable."""
    is_reliable: NDArray[np.bool_]
    """(N,) enough points agree."""
    inliers: NDArray[np.bool_]
    """(N, P) points that came back and move with the box."""
    flow_std: NDArray[np.float32]
    """(N,) standard deviation of the flow vectors of found points, as a share of the height."""
    round_trip: NDArray[np.float32]
    """(N,) median round trip of found points, as a share of the height."""
    inlier_ratio: NDArray[np.float32]
    """(N,) inliers among the points that set out."""
    min_eigenvalue: NDArray[np.float32]
    """(N,) mean over the points that set out."""


def masked_median(values: NDArray[np.float32], is_valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Median over the last axis of the valid entries; 0 where none is.

    Args:
        values: (..., P).
        is_valid: what `values` can be broadcast with; (..., P).
    """
    ordered = np.sort(np.where(is_valid, values, np.float32(np.inf)), axis=-1)
    n_places = ordered.shape[-1]
    count = np.broadcast_to(is_valid.sum(axis=-1), ordered.shape[:-1]).ravel()
    rows = ordered.reshape(-1, n_places)
    each = np.arange(len(rows))
    middle = rows[each, np.maximum(count - 1, 0) // 2] + rows[each, np.minimum(count // 2, n_places - 1)]
    return np.where(count > 0, middle * np.float32(0.5), 0).reshape(ordered.shape[:-1]).astype(np.float32)


def box_motion(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    is_found: NDArray[np.bool_],
    round_trip_px: NDArray[np.float32],
    *,
    min_eigenvalue: NDArray[np.float32],
    heights: NDArray[np.float32],
) -> BoxMotion:
    """Robust motion of each box from its own points.

    Args:
        before, after: (N, P, 2) positions; NaN where there is no point.
        is_found: (N, P) flow converged there and back.
        round_trip_px: (N, P).
        min_eigenvalue: (N, P).
        heights: (N,) of the boxes, in pixels.
    """
    heights = np.maximum(heights, 1)
    exists = ~np.isnan(before[..., 0])
    n_points = np.maximum(exists.sum(axis=1), 1)
    tolerance = np.maximum(MAX_ROUND_TRIP_PX, ROUND_TRIP_SHARE * heights)[:, None]
    found = exists & is_found & (round_trip_px <= tolerance)
    vectors = np.where(found[..., None], after - before, 0)
    median = _median_vectors(vectors, found)
    off = np.linalg.norm(vectors - median[:, None, :], axis=2)
    inliers = found & (off <= np.maximum(2.0, CONSISTENT_SHARE * heights)[:, None])
    n_inliers = inliers.sum(axis=1)
    is_reliable = (n_inliers >= MIN_POINTS) & (n_inliers >= 0.3 * n_points)
    shift = _median_vectors(vectors, inliers)
    scale = _scale_from_spread(before, after, inliers, heights)
    return BoxMotion(
        shift=np.where(is_reliable[:, None], shift, 0).astype(np.float32),
        scale=np.where(is_reliable, scale, 1).astype(np.float32),
        is_reliable=is_reliable,
        inliers=inliers,
        flow_std=_spread(vectors, found) / heights,
        round_trip=masked_median(round_trip_px, exists & is_found) / heights,
        inlier_ratio=(n_inliers / n_points).astype(np.float32),
        min_eigenvalue=(np.where(exists, min_eigenvalue, 0).sum(axis=1) / n_points).astype(np.float32),
    )


def _median_vectors(vectors: NDArray[np.float32], is_valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Median (..., N, 2) over the points of vectors (..., N, P, 2), each axis for itself."""
    medians = masked_median(np.moveaxis(vectors, -1, 0), is_valid)
    return np.moveaxis(medians, 0, -1)


def _spread(vectors: NDArray[np.float32], is_valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Root mean squared distance (N,) of valid vectors (N, P, 2) from their mean."""
    count = np.maximum(is_valid.sum(axis=1), 1)
    weights = is_valid[..., None] / count[:, None, None]
    mean = (vectors * weights).sum(axis=1, keepdims=True)
    variance = ((vectors - mean) ** 2 * weights).sum(axis=(1, 2))
    return np.sqrt(variance).astype(np.float32)


def _scale_from_spread(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    inliers: NDArray[np.bool_],
    heights: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Growth (N,) of the points' median distance from their middle, trusted by the box's size."""
    points = np.where(inliers[..., None], np.stack([before, after]), 0)
    distance = np.linalg.norm(points - _median_vectors(points, inliers)[:, :, None, :], axis=3)
    spread_before, spread_after = masked_median(distance.astype(np.float32), inliers[None])
    enough = (inliers.sum(axis=1) >= 6) & (spread_before > 2)
    growth = np.divide(spread_after, spread_before, out=np.ones_like(spread_before), where=enough) - 1
    trust = np.clip(heights / SCALE_FULL_TRUST_PX, 0, 1)
    return (1 + np.clip(growth * trust, -MAX_SCALE_STEP, MAX_SCALE_STEP)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class CameraMotion:
    """How the camera moved between two frames: a similarity of the picture."""

    affine: NDArray[np.float64]
    """(2, 3): later = affine[:, :2] @ earlier + affine[:, 2]."""
    inlier_ratio: float
    """Background points that follow it."""
    is_still: bool
    """No corner of the picture moved by a visible amount."""

    @property
    def has_few_inliers(self) -> bool:
        """Too few points agree for it to be known from them."""
        return self.inlier_ratio < MIN_INLIER_RATIO

    def shift_at(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Displacement (N, 2) that the camera alone gives to points (N, 2)."""
        if self.is_still:
            return np.zeros_like(points)
        moved = points @ self.affine[:, :2].T + self.affine[:, 2]
        return (moved - points).astype(np.float32)


STILL = CameraMotion(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), 1.0, is_still=True)


def one_after_the_other(first: CameraMotion, second: CameraMotion) -> CameraMotion:
    """What two motions of the camera make together."""
    linear = second.affine[:, :2]
    shift = linear @ first.affine[:, 2] + second.affine[:, 2]
    return CameraMotion(
        np.concatenate([linear @ first.affine[:, :2], shift[:, None]], axis=1),
        min(first.inlier_ratio, second.inlier_ratio),
        is_still=first.is_still and second.is_still,
    )


def camera_shift(shift_px: NDArray[np.floating], inlier_ratio: float) -> CameraMotion:
    """A camera of which no more is known than by how much it shifted the picture (2,)."""
    return CameraMotion(
        np.array([[1.0, 0.0, shift_px[0]], [0.0, 1.0, shift_px[1]]]), inlier_ratio, is_still=not np.any(shift_px)
    )


def camera_motion(before: NDArray[np.float32], after: NDArray[np.float32], width: int, height: int) -> CameraMotion:
    """The similarity that most background points follow, by iteratively reweighted least squares.

    Args:
        before, after: (M, 2) found background points.
        width, height: of the frame in pixels.
    Returns:
        The motion; `STILL` with its own inlier ratio where too few points agree to tell.
    """
    if len(before) < MIN_CAMERA_POINTS:
        return CameraMotion(STILL.affine, 0.0, is_still=True)
    centre = np.array([width / 2, height / 2])
    source, target = before - centre, after - centre
    median = np.median(target - source, axis=0)
    residual = np.linalg.norm(target - source - median, axis=1)
    still_px = STILL_SHARE * width
    if np.abs(median).max() < still_px / 2 and np.mean(residual < still_px / 2) > 0.75:
        # The usual case, a camera at rest, needs no fit; what little it drifts is kept for those who add it up.
        return CameraMotion(np.array([[1, 0, median[0]], [0, 1, median[1]]]), 1.0, is_still=True)
    spread = width / 100
    affine = STILL.affine
    for _ in range(4):
        weights = 1 / (1 + (residual / spread) ** 2) ** 2
        affine = _weighted_similarity(source, target, weights)
        residual = np.linalg.norm(source @ affine[:, :2].T + affine[:, 2] - target, axis=1)
        spread = max(1.0, spread / 2)
    ratio = float(np.mean(residual <= max(1.5, width / 640)))
    if ratio < MIN_INLIER_RATIO:
        return CameraMotion(STILL.affine, ratio, is_still=True)
    linear = affine[:, :2]
    whole = np.concatenate([linear, (affine[:, 2] + centre - linear @ centre)[:, None]], axis=1)
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    largest = float(np.abs(corners @ whole[:, :2].T + whole[:, 2] - corners).max())
    return CameraMotion(whole, ratio, is_still=largest < still_px)


def _weighted_similarity(
    source: NDArray[np.floating], target: NDArray[np.floating], weights: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Least-squares rotation, uniform scale and shift (2, 3) that takes source (M, 2) to target (M, 2)."""
    share = (weights / weights.sum())[:, None]
    mean_source, mean_target = (source * share).sum(axis=0), (target * share).sum(axis=0)
    s, t = source - mean_source, target - mean_target
    norm = float((share * s * s).sum())
    if norm < 1e-6:
        a, b = 1.0, 0.0
    else:
        a = float((share * s * t).sum()) / norm
        b = float((share[:, 0] * (s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0])).sum()) / norm
    linear = np.array([[a, -b], [b, a]])
    return np.concatenate([linear, (mean_target - linear @ mean_source)[:, None]], axis=1)
