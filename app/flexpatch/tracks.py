"""The live tracks of one stream, one array a property."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from app.core.types import FrameBoxes

POINT_GRID = (3, 3)
"""Columns and rows of points followed in each box."""
POINTS_PER_TRACK = POINT_GRID[0] * POINT_GRID[1]


@dataclass(slots=True)
class TrackTable:
    """N tracks. Row i of every array belongs to the same track; rows keep their order, oldest first."""

    ids: NDArray[np.int64]
    boxes: FrameBoxes
    """(N, 4); may reach beyond the frame."""
    velocity: NDArray[np.float32]
    """(N, 2) px/s of the centre, the camera's motion taken out."""
    class_scores: NDArray[np.float32]
    """(N, C) summed detector scores for each class."""
    evidence: NDArray[np.float32]
    """(N,) running mean of the scores of all looks, a miss counting as 0."""
    n_looks: NDArray[np.float32]
    """(N,) looks so far, each weighted by how well it could see the object."""
    n_hits: NDArray[np.float32]
    """(N,) looks that found it, weighted likewise."""
    miss_log_odds: NDArray[np.float32]
    """(N,) what the misses since the last hit say for a failure, in log-odds."""
    n_misses: NDArray[np.int32]
    """(N,) looks in a row that could see it and came back empty."""
    missed_height_px: NDArray[np.float32]
    """(N,) tallest height on a canvas at which the latest looks missed; 0 after a hit."""
    clarity: NDArray[np.float32]
    """(N,) how clearly the object was last seen, 0 to 1, fading with time."""
    shown_height_px: NDArray[np.float32]
    """(N,) how tall the object was on the canvas of the last look at it."""
    shown_score: NDArray[np.float32]
    """(N,) what the detector gave it then; 0 for a miss."""
    shown_pts_s: NDArray[np.float64]
    """(N,) when that was."""
    patch_growth: NDArray[np.float32]
    """(N,) factor on the margin of the next patch; above 1 after a detection was cut by a patch edge."""
    detected_pts_s: NDArray[np.float64]
    """(N,) when a detector last confirmed the object."""
    seeded_pts_s: NDArray[np.float64]
    """(N,) when fresh points were last looked for."""
    points: NDArray[np.float32]
    """(N, P, 2) points followed; NaN where there is none."""
    templates: NDArray[np.float32]
    """(N, T, T) luma at the last confirmation."""
    min_eigenvalue: NDArray[np.float32]
    ncc: NDArray[np.float32]
    acceleration: NDArray[np.float32]
    flow_std: NDArray[np.float32]
    confidence: NDArray[np.float32]
    round_trip: NDArray[np.float32]
    inlier_ratio: NDArray[np.float32]
    confirmed_boxes: FrameBoxes
    """(N, 4) where the object was when a detector last confirmed it."""
    worst_ncc: NDArray[np.float32]
    """(N,) least since then; so with the others of this kind."""
    worst_flow_std: NDArray[np.float32]
    worst_inlier_ratio: NDArray[np.float32]
    total_acceleration: NDArray[np.float32]
    """(N,) summed since then."""
    total_round_trip: NDArray[np.float32]
    credibility: NDArray[np.float32]
    """(N,) chance that there is an object at all."""
    failure: NDArray[np.float32]
    """(N,) probability that the box no longer overlaps its object by half."""

    def __len__(self) -> int:
        return len(self.ids)

    def keep(self, is_kept: NDArray[np.bool_]) -> None:
        """Drop the rows where `is_kept` (N,) is false."""
        if not is_kept.all():
            for item in fields(self):
                setattr(self, item.name, getattr(self, item.name)[is_kept])

    def begin_anew(self, rows: NDArray[np.intp]) -> None:
        """A detector confirmed these rows: what is counted since the last confirmation starts again."""
        self.confirmed_boxes[rows] = self.boxes[rows]
        self.worst_ncc[rows] = 1
        self.worst_flow_std[rows] = 0
        self.worst_inlier_ratio[rows] = 1
        self.total_acceleration[rows] = 0
        self.total_round_trip[rows] = 0

    def append(self, other: "TrackTable") -> None:
        """Add the rows of another table at the end."""
        for item in fields(self):
            joined = np.concatenate([getattr(self, item.name), getattr(other, item.name)])
            setattr(self, item.name, joined)

    @property
    def class_ids(self) -> NDArray[np.intp]:
        """(N,) the class with the most evidence."""
        return self.class_scores.argmax(axis=1) if len(self) else np.zeros(0, np.intp)

    @property
    def heights(self) -> NDArray[np.float32]:
        return self.boxes[:, 3] - self.boxes[:, 1]


def new_tracks(
    ids: NDArray[np.int64],
    boxes: FrameBoxes,
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int32],
    *,
    n_classes: int,
    pts_s: float,
    shown_height_px: NDArray[np.float32],
    clarity: NDArray[np.float32],
    templates: NDArray[np.float32],
) -> TrackTable:
    """Tracks just born from detections (N of them), seen once, at rest, without points yet."""
    n = len(ids)
    class_scores = np.zeros((n, n_classes), np.float32)
    class_scores[np.arange(n), class_ids] = scores
    zeros, ones = np.zeros(n, np.float32), np.ones(n, np.float32)
    return TrackTable(
        ids=ids,
        boxes=boxes,
        velocity=np.zeros((n, 2), np.float32),
        class_scores=class_scores,
        evidence=scores.astype(np.float32),
        n_looks=clarity.copy(),
        n_hits=clarity.copy(),
        miss_log_odds=zeros.copy(),
        n_misses=np.zeros(n, np.int32),
        missed_height_px=zeros.copy(),
        clarity=clarity,
        shown_height_px=shown_height_px,
        shown_score=scores.astype(np.float32),
        shown_pts_s=np.full(n, pts_s),
        patch_growth=ones.copy(),
        detected_pts_s=np.full(n, pts_s),
        seeded_pts_s=np.full(n, -np.inf),
        points=np.full((n, POINTS_PER_TRACK, 2), np.nan, np.float32),
        templates=templates,
        min_eigenvalue=zeros.copy(),
        ncc=ones.copy(),
        acceleration=zeros.copy(),
        flow_std=zeros.copy(),
        confidence=scores.astype(np.float32),
        round_trip=zeros.copy(),
        inlier_ratio=ones.copy(),
        confirmed_boxes=FrameBoxes(boxes.copy()),
        worst_ncc=ones.copy(),
        worst_flow_std=zeros.copy(),
        worst_inlier_ratio=ones.copy(),
        total_acceleration=zeros.copy(),
        total_round_trip=zeros.copy(),
        credibility=ones.copy(),
        failure=zeros.copy(),
    )


def no_tracks(n_classes: int) -> TrackTable:
    """An empty table. Its templates have no size yet: the first rows replace it rather than join it."""
    return new_tracks(
        np.zeros(0, np.int64),
        FrameBoxes(np.zeros((0, 4), np.float32)),
        np.zeros(0, np.float32),
        np.zeros(0, np.int32),
        n_classes=n_classes,
        pts_s=0.0,
        shown_height_px=np.zeros(0, np.float32),
        clarity=np.zeros(0, np.float32),
        templates=np.zeros((0, 0, 0), np.float32),
    )
