"""Rivals that look at the whole frame every k-th time, and carry the boxes over the frames between."""

import time

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import area, centres, clip, sizes
from app.core.types import Frame, FrameBoxes, PreparedFrame, Size
from app.flexpatch.association import associate
from app.flexpatch.canvas import FrameDetections
from app.flexpatch.flow import box_motion
from app.flexpatch.tracks import POINT_GRID
from app.offline.evaluation.looks import Look, Looks, whole_layout
from app.offline.evaluation.outputs import FrameCost, FrameOutput
from app.vision.cpu import CpuVision

POINT_MARGIN = 0.1
"""Share of a box at each side where no points are set: mostly background there."""
MIN_IN_FRAME = 0.15
LOST_S = 1.0
"""ByteTrack's: a track that no detection confirms is kept for so long, but not put out."""


class Interval:
    """Counts frames, and says on which the detector looks."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._index = -1

    def is_due(self) -> bool:
        """Count the next frame."""
        self._index += 1
        return self._index % self._every == 0


class IdentityLedger:
    """Gives a detection the id of the box it lies on, or a new one."""

    def __init__(self) -> None:
        self._next_id = 1

    def assign(self, boxes: FrameBoxes, ids: NDArray[np.int64], found: FrameDetections) -> NDArray[np.int64]:
        """Ids (M,) for detections, given the boxes (N, 4) that were believed and their ids (N,)."""
        zeros = np.zeros(len(boxes))
        matches = associate(boxes, zeros.astype(np.intp), zeros.astype(np.float32), _one_class(found))
        assigned = np.zeros(len(found), np.int64)
        assigned[matches.detections] = ids[matches.tracks]
        is_new = assigned == 0
        assigned[is_new] = np.arange(self._next_id, self._next_id + is_new.sum())
        self._next_id += int(is_new.sum())
        return assigned


class FlowEveryKth:
    """Detect on every k-th frame, follow by optical flow between, checked forward and back as FlexPatch's is."""

    def __init__(self, looks: Looks, canvas: Size, every: int, class_id: int) -> None:
        self._looks = looks
        self._canvas = canvas
        self._class_id = class_id
        self._interval = Interval(every)
        self._ledger = IdentityLedger()
        self._vision = CpuVision()
        self._earlier: PreparedFrame | None = None
        self._boxes = FrameBoxes(np.zeros((0, 4), np.float32))
        self._scores = np.zeros(0, np.float32)
        self._ids = np.zeros(0, np.int64)
        self._points = np.zeros((0, POINT_GRID[0] * POINT_GRID[1], 2), np.float32)

    def step(self, frame: Frame) -> tuple[FrameOutput, FrameCost]:
        started_s = time.perf_counter()
        prepared = self._vision.prepare(frame.picture)
        if self._earlier is not None:
            self._follow(self._earlier, prepared)
        self._earlier = prepared
        flow_ms = (time.perf_counter() - started_s) * 1e3
        look = None
        if self._interval.is_due():
            look = self._looks.look(frame, whole_layout(frame.size, self._canvas))
            self._take(prepared, look.found(frame.size, self._class_id))
        return self._output(frame.size), _cost(look, flow_ms)

    def _follow(self, earlier: PreparedFrame, later: PreparedFrame) -> None:
        exists = ~np.isnan(self._points[..., 0])
        own = self._points[exists]
        flow = self._vision.flow(earlier, later, own, own)
        after = np.full_like(self._points, np.nan)
        after[exists] = flow.points
        is_found, round_trip, eigenvalue = (np.zeros(exists.shape, kind) for kind in (bool, np.float32, np.float32))
        is_found[exists], round_trip[exists], eigenvalue[exists] = (
            flow.is_found,
            flow.round_trip_px,
            flow.min_eigenvalue,
        )
        heights = self._boxes[:, 3] - self._boxes[:, 1]
        motion = box_motion(self._points, after, is_found, round_trip, min_eigenvalue=eigenvalue, heights=heights)
        middle = centres(self._boxes) + motion.shift
        half = sizes(self._boxes) * np.float32(0.5) * motion.scale[:, None]
        self._boxes = FrameBoxes(np.concatenate([middle - half, middle + half], axis=1).astype(np.float32))
        self._points = np.where(motion.inliers[..., None], after, np.nan).astype(np.float32)

    def _take(self, prepared: PreparedFrame, found: FrameDetections) -> None:
        self._ids = self._ledger.assign(self._boxes, self._ids, found)
        self._boxes, self._scores = found.boxes, found.scores
        margin = sizes(found.boxes) * np.float32(POINT_MARGIN)
        inner = FrameBoxes(np.concatenate([found.boxes[:, :2] + margin, found.boxes[:, 2:] - margin], axis=1))
        self._points = self._vision.corners(prepared, inner, POINT_GRID)

    def _output(self, frame: Size) -> FrameOutput:
        shown = clip(self._boxes, *frame)
        stays = area(shown) >= MIN_IN_FRAME * np.maximum(area(self._boxes), 1e-3)
        return FrameOutput(FrameBoxes(shown[stays]), self._scores[stays], self._ids[stays])


class KalmanEveryKth:
    """Detect on every k-th frame, coast on constant velocity between: ByteTrack's motion model (ECCV 2022)."""

    def __init__(self, looks: Looks, canvas: Size, every: int, class_id: int, fps: float) -> None:
        """
        Args:
            fps: frames a second of the sequence.
        """
        self._looks = looks
        self._canvas = canvas
        self._class_id = class_id
        self._interval = Interval(every)
        self._ledger = IdentityLedger()
        self._max_lost_frames = LOST_S * fps
        self._tracks = KalmanBoxes()

    def step(self, frame: Frame) -> tuple[FrameOutput, FrameCost]:
        started_s = time.perf_counter()
        self._tracks.predict()
        own_ms = (time.perf_counter() - started_s) * 1e3
        look = None
        if self._interval.is_due():
            look = self._looks.look(frame, whole_layout(frame.size, self._canvas))
            self._take(look.found(frame.size, self._class_id))
        return self._output(frame.size), _cost(look, own_ms)

    def _take(self, found: FrameDetections) -> None:
        tracks = self._tracks
        ids = self._ledger.assign(tracks.boxes, tracks.ids, found)
        row_of = {identity: row for row, identity in enumerate(tracks.ids.tolist())}
        rows = np.array([row_of.get(identity, -1) for identity in ids.tolist()], np.intp)
        known = rows >= 0
        tracks.is_lost[:] = True
        tracks.correct(rows[known], FrameBoxes(found.boxes[known]), found.scores[known])
        tracks.start(ids[~known], FrameBoxes(found.boxes[~known]), found.scores[~known])
        tracks.keep(tracks.lost_frames <= self._max_lost_frames)

    def _output(self, frame: Size) -> FrameOutput:
        tracks = self._tracks
        shown = clip(tracks.boxes, *frame)
        put_out = ~tracks.is_lost & (area(shown) >= MIN_IN_FRAME * np.maximum(area(tracks.boxes), 1e-3))
        return FrameOutput(FrameBoxes(shown[put_out]), tracks.scores[put_out], tracks.ids[put_out])


POSITION_STD, VELOCITY_STD = 1 / 20, 1 / 160
"""ByteTrack's: shares of the box's height; of the aspect ratio, the constants below."""
ASPECT_STD, ASPECT_VELOCITY_STD, ASPECT_MEASURED_STD = 1e-2, 1e-5, 1e-1


class KalmanBoxes:
    """Boxes as centre, aspect ratio and height, each with a constant velocity of its own, in frames.

    ByteTrack's filter couples none of the four with another, so that each is a filter of position and velocity,
    and all of all tracks are updated at once.
    """

    def __init__(self) -> None:
        self.ids = np.zeros(0, np.int64)
        self.scores = np.zeros(0, np.float32)
        self.is_lost = np.zeros(0, bool)
        """(N,) the last look did not confirm it."""
        self.lost_frames = np.zeros(0)
        self._position = np.zeros((0, 4))
        self._velocity = np.zeros((0, 4))
        self._covariance = np.zeros((0, 4, 3))
        """(N, 4, 3) variance of the position, covariance, variance of the velocity."""

    @property
    def boxes(self) -> FrameBoxes:
        x, y, aspect, height = self._position.T
        half_width, half_height = np.maximum(aspect, 0.01) * np.maximum(height, 1) / 2, np.maximum(height, 1) / 2
        return FrameBoxes(
            np.stack([x - half_width, y - half_height, x + half_width, y + half_height], axis=1).astype(np.float32)
        )

    def predict(self) -> None:
        """One frame passes."""
        position_std, velocity_std = self._noise()
        variance, shared, velocity_variance = np.moveaxis(self._covariance, 2, 0)
        self._position = self._position + self._velocity
        self._covariance = np.stack(
            [
                variance + 2 * shared + velocity_variance + position_std**2,
                shared + velocity_variance,
                velocity_variance + velocity_std**2,
            ],
            axis=2,
        )
        self.lost_frames = np.where(self.is_lost, self.lost_frames + 1, 0)

    def correct(self, rows: NDArray[np.intp], boxes: FrameBoxes, scores: NDArray[np.float32]) -> None:
        """Tracks (rows) were seen as `boxes`."""
        measured_std = self._noise()[0][rows]
        measured_std[:, 2] = ASPECT_MEASURED_STD
        variance, shared, velocity_variance = np.moveaxis(self._covariance[rows], 2, 0)
        total = variance + measured_std**2
        innovation = _measurement(boxes) - self._position[rows]
        self._position[rows] += variance / total * innovation
        self._velocity[rows] += shared / total * innovation
        self._covariance[rows] = np.stack(
            [
                variance - variance**2 / total,
                shared - variance * shared / total,
                velocity_variance - shared**2 / total,
            ],
            axis=2,
        )
        self.scores[rows] = scores
        self.is_lost[rows] = False
        self.lost_frames[rows] = 0

    def start(self, ids: NDArray[np.int64], boxes: FrameBoxes, scores: NDArray[np.float32]) -> None:
        """New tracks, at rest as far as is known."""
        n_old, n_new = len(self.ids), len(ids)
        self.ids = np.concatenate([self.ids, ids])
        self.scores = np.concatenate([self.scores, scores]).astype(np.float32)
        self.is_lost = np.concatenate([self.is_lost, np.zeros(n_new, bool)])
        self.lost_frames = np.concatenate([self.lost_frames, np.zeros(n_new)])
        self._position = np.concatenate([self._position, _measurement(boxes)])
        self._velocity = np.concatenate([self._velocity, np.zeros((n_new, 4))])
        position_std, velocity_std = (std[n_old:] for std in self._noise())
        fresh = np.stack(
            [(2 * position_std) ** 2, np.zeros_like(position_std), (10 * velocity_std) ** 2],
            axis=2,
        )
        self._covariance = np.concatenate([self._covariance, fresh])

    def keep(self, is_kept: NDArray[np.bool_]) -> None:
        """Drop the other tracks."""
        for name in ("ids", "scores", "is_lost", "lost_frames", "_position", "_velocity", "_covariance"):
            setattr(self, name, getattr(self, name)[is_kept])

    def _noise(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Standard deviations (N, 4) that a frame adds to positions and to velocities."""
        height = np.maximum(self._position[:, 3:4], 1)
        position_std = np.repeat(POSITION_STD * height, 4, axis=1)
        velocity_std = np.repeat(VELOCITY_STD * height, 4, axis=1)
        position_std[:, 2], velocity_std[:, 2] = ASPECT_STD, ASPECT_VELOCITY_STD
        return position_std, velocity_std


def _measurement(boxes: FrameBoxes) -> NDArray[np.float64]:
    """Centre, aspect ratio and height (N, 4) of boxes (N, 4)."""
    width_height = np.maximum(sizes(boxes), 1e-3).astype(np.float64)
    return np.concatenate(
        [centres(boxes), width_height[:, :1] / width_height[:, 1:], width_height[:, 1:]],
        axis=1,
        dtype=np.float64,
    )


def _one_class(found: FrameDetections) -> FrameDetections:
    """The same detections, their class forgotten: rivals follow one class only."""
    return FrameDetections(
        found.boxes, found.scores, np.zeros(len(found), np.int32), np.zeros(len(found), bool), found.scale
    )


def _cost(look: Look | None, own_ms: float) -> FrameCost:
    if look is None:
        return FrameCost(stage_ms={"flow": own_ms})
    return FrameCost(look.pixels, 1, {"flow": own_ms, "canvas": look.canvas_ms, "detect": look.detect_ms})
