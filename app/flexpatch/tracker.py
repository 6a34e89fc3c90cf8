"""Follows every object from frame to frame, and learns from each look whether it was right."""

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import area, centres, clip, contains, iou, sizes
from app.core.types import FailureAudit, FrameBoxes, PreparedFrame, Size, Vision
from app.flexpatch.acuity import SEEN, Acuity, Sightings
from app.flexpatch.association import Matches, associate
from app.flexpatch.canvas import CanvasLayout, FrameDetections
from app.flexpatch.config import PipelineConfig, PointPredicate
from app.flexpatch.credibility import Credibility
from app.flexpatch.failure import FailureModel, correlation, failure_features
from app.flexpatch.flow import (
    MIN_CAMERA_POINTS,
    STILL,
    BoxMotion,
    CameraMotion,
    box_motion,
    camera_motion,
    camera_shift,
)
from app.flexpatch.look import Beliefs, Look, moved_along
from app.flexpatch.tracks import POINT_GRID, POINTS_PER_TRACK, TrackTable, new_tracks, no_tracks

Scalar = TypeVar("Scalar", bound=np.generic)

BACKGROUND_GRID = (9, 5)
MIN_BACKGROUND_POINTS = 24
SEED_BELOW = 6
"""A track with fewer points than this gets a fresh set..."""
SEED_INTERVAL_S = 0.2
"""...but not more often than this: where nothing can be followed now, nothing can a frame later."""
SEED_PAUSE_S = 0.09
"""Between two searches for points of any tracks but new ones."""
SEED_MARGIN = (0.18, 0.08)
"""Share of width and height at each side of a box where no points are set: mostly background there."""
SURPRISE_SHARE = 0.4
"""Widths of the frame a second by which a point may move otherwise than its track did so far."""
ALIGN_FROM_S = 0.06
"""Between frames closer in time than this, flow finds where the camera turned by itself."""
VELOCITY_GAIN = 0.35
"""Weight of the newest frame in a track's velocity."""
SHORTEST_STEP_S = 0.02
"""Between frames closer in time than this, noise of flow and of time stamps outweighs motion."""
COAST_DECAY_S = 0.6
"""Without flow, a track keeps moving but slows down with this time constant."""
MIN_VISIBLE = 0.15
"""A track with a smaller share of its box inside the frame has left."""
EVIDENCE_MEMORY = 0.2
"""Weight that the newest look has at least in a track's evidence."""
BIRTH_SCORE, PATCH_BIRTH_SCORE = 0.05, 0.15
"""Fainter detections start no tracks: on whole frames, and on patches. Patches lack surroundings: with NanoDet-m (two
clips, two streets) a pixel of theirs shows 3 to 57 times as much that is nothing, at mean scores of 0.05 to 0.09.
Tiles, which show no more of it than whole frames, could be excepted: that made no difference."""
MIN_EVIDENCE = 0.03
DUPLICATE_IOU = 0.7
CLEAR, FOUNDED = 0.8, 0.3
"""A look with at least this clarity tells whether a track was right; one with less evidence may never have had an
object, and says nothing of how failures are predicted."""
RIGHT_IOU, FAILING = 0.5, 0.5
"""A box that overlaps its object by so much was right; a track of such a failure probability is predicted failing."""
BLEND_BELOW_FAILURE = 0.3
"""A track this unlikely to have failed is only corrected by a detection, not replaced."""
MIN_CORRECTION = 0.4
"""Share by which a faint detection corrects a settled track; a clear one corrects it in full."""
MAX_FOUND_RATE = 0.9
"""Even the clearest object is sometimes not found."""
CLARITY_MEMORY_S = 1.5
COMPARABLE_S = 2.0
"""Looks at an object further apart than this are not compared: it may have turned or gone behind another."""
MAX_GROWTH = 4.0
FORGET_FACTOR = 4.0
"""A track is given up after so many lifetimes even if nobody looked for it."""


@dataclass(frozen=True, slots=True)
class MergeOutcome:
    """What a look changed."""

    hits: NDArray[np.int64]
    """Ids of tracks that it confirmed."""
    born: FrameBoxes
    """(B, 4) boxes of new tracks."""
    born_scores: NDArray[np.float32]
    """(B,)"""
    cut: FrameBoxes
    """(C, 4) boxes that a patch edge cut and that no track explains: worth a larger patch."""
    cut_scores: NDArray[np.float32]
    """(C,)"""
    audit: FailureAudit
    """Of the tracks that were clearly shown."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was believed of N tracks before the detector was asked."""

    ids: NDArray[np.int64]
    boxes: FrameBoxes
    evidence: NDArray[np.float32]


class Tracker:
    """The live tracks of one stream. Used by one thread at a time."""

    def __init__(self, vision: Vision, n_classes: int, failure_model: FailureModel, acuity: Acuity) -> None:
        self.tracks = no_tracks(n_classes)
        self._background_pts_s = -np.inf
        self._seeded_pts_s = -np.inf
        self._vision = vision
        self._failure_model = failure_model
        self._acuity = acuity
        self._credibility = Credibility()
        self.next_id = 1
        """Of the next new track."""
        self._n_classes = n_classes
        self._background = np.zeros((0, 2), np.float32)
        self._camera_velocity = np.zeros(2, np.float32)
        """(2,) px/s at the middle of the frame, as background points last told; 0 where they told nothing."""

    def forget_all(self) -> None:
        """Drop every track, as at a scene cut. Ids go on from where they were."""
        self.tracks = no_tracks(self._n_classes)
        self._background = np.zeros((0, 2), np.float32)
        self._camera_velocity = np.zeros(2, np.float32)

    def restrict(self, class_ids: frozenset[int] | None, is_ignored: PointPredicate | None) -> None:
        """Drop the tracks of other classes (None: none) and those that stand in ignored regions.

        What scores were worth is learned anew: those of other classes tell nothing of it.
        """
        self._credibility = Credibility()
        if len(self.tracks):
            self.tracks.keep(is_wanted(self.tracks.boxes, self.tracks.class_ids, class_ids, is_ignored))

    # --------------------------------------------------------------------------------------------- propagate

    def propagate(
        self,
        earlier: PreparedFrame,
        later: PreparedFrame,
        pts_s: float,
        dt_s: float,
        *,
        with_camera: bool = True,
    ) -> CameraMotion:
        """Move every box to the later frame: one call of optical flow for all points of all tracks.

        Args:
            pts_s: stream time of the later frame.
            dt_s: stream time between the frames, above 0.
            with_camera: whether tracks without flow of their own go with the camera.
        """
        tracks = self.tracks
        self._seed(earlier, pts_s)
        exists = ~np.isnan(tracks.points[..., 0])
        own = tracks.points[exists]
        shift = self._rough_shift(earlier, later, dt_s) if with_camera else np.zeros(2, np.float32)
        guess = own + np.broadcast_to((tracks.velocity * dt_s)[:, None, :], tracks.points.shape)[exists] + shift
        n_own, n_background = len(own), len(self._background)
        flow = self._vision.flow(
            earlier,
            later,
            np.concatenate([own, self._background]),
            np.concatenate([guess, self._background + shift]).astype(np.float32),
            reach_px=SURPRISE_SHARE * later.size.width * dt_s,
        )
        camera = self._camera(
            earlier.size, flow.points[n_own:], flow.is_found[n_own:] & (flow.round_trip_px[n_own:] < 2)
        )
        middle = np.array([earlier.size], np.float32) * np.float32(0.5)
        self._camera_velocity = camera.shift_at(middle)[0] / max(dt_s, SHORTEST_STEP_S)
        if camera.has_few_inliers and n_background >= MIN_CAMERA_POINTS:
            # Points were set and none could be followed. Without points, what moves may be one large object.
            camera = camera_shift(shift, camera.inlier_ratio)
        after = np.full_like(tracks.points, np.nan)
        after[exists] = flow.points[:n_own]
        motion = box_motion(
            tracks.points,
            after,
            _scatter(exists, flow.is_found[:n_own]),
            _scatter(exists, flow.round_trip_px[:n_own]),
            min_eigenvalue=_scatter(exists, flow.min_eigenvalue[:n_own]),
            heights=tracks.heights,
        )
        self._move(motion, camera if with_camera else STILL, after, dt_s)
        return camera

    def _seed(self, frame: PreparedFrame, pts_s: float) -> None:
        """Give points to tracks that have too few, and to the background."""
        tracks = self.tracks
        is_poor = (~np.isnan(tracks.points[..., 0])).sum(axis=1) < SEED_BELOW
        is_new = np.isneginf(tracks.seeded_pts_s)
        is_due = pts_s - tracks.seeded_pts_s >= SEED_INTERVAL_S
        if pts_s - self._seeded_pts_s < SEED_PAUSE_S:
            is_due = is_new  # the others wait for one another: a search for many costs little more than for one
        poor = np.flatnonzero(is_poor & is_due)
        if len(poor):
            self._seeded_pts_s = pts_s
            tracks.seeded_pts_s[poor] = pts_s
            boxes = tracks.boxes[poor]
            margin = sizes(boxes) * np.array(SEED_MARGIN, np.float32)
            inner = np.concatenate([boxes[:, :2] + margin, boxes[:, 2:] - margin], axis=1)
            tracks.points[poor] = self._vision.corners(frame, FrameBoxes(inner), POINT_GRID)
        if len(self._background) < MIN_BACKGROUND_POINTS and pts_s - self._background_pts_s >= SEED_INTERVAL_S:
            self._background_pts_s = pts_s
            whole = FrameBoxes(np.array([[0, 0, *frame.size]], np.float32))
            points = self._vision.corners(frame, whole, BACKGROUND_GRID)[0]
            self._background = points[~np.isnan(points[:, 0])]

    def _rough_shift(self, earlier: PreparedFrame, later: PreparedFrame, dt_s: float) -> NDArray[np.float32]:
        """(2,) where the search for points begins: a camera that swings moves them further than flow reaches."""
        if dt_s < ALIGN_FROM_S:
            return np.zeros(2, np.float32)
        return self._vision.alignment(earlier, later, self._camera_velocity * dt_s).shift_px

    def _camera(self, size: Size, ends: NDArray[np.float32], is_found: NDArray[np.bool_]) -> CameraMotion:
        """The camera's motion from background points outside all tracks; the points go on from where they are."""
        starts = self._background
        points = np.concatenate([starts, starts], axis=1)
        on_track = contains(self.tracks.boxes, points).any(axis=0)
        is_used = is_found & ~on_track
        camera = camera_motion(starts[is_used], ends[is_used], size.width, size.height)
        # With a still camera the points stay where they were set, so that rounding never makes them creep.
        self._background = starts[is_found] if camera.is_still else ends[is_found]
        return camera

    def _move(self, motion: BoxMotion, camera: CameraMotion, points: NDArray[np.float32], dt_s: float) -> None:
        tracks = self.tracks
        if not len(tracks):
            return
        middle = centres(tracks.boxes)
        by_camera = camera.shift_at(middle)
        coasting = by_camera + tracks.velocity * np.float32(dt_s)
        reliable = motion.is_reliable[:, None]
        shift = np.where(reliable, motion.shift, coasting)
        velocity = (shift - by_camera) / np.float32(dt_s)
        change = np.where(reliable, velocity - tracks.velocity, 0) * np.float32(min(1.0, dt_s / SHORTEST_STEP_S))
        half = sizes(tracks.boxes) * np.float32(0.5) * motion.scale[:, None]
        middle = middle + shift
        tracks.boxes = FrameBoxes(np.concatenate([middle - half, middle + half], axis=1).astype(np.float32))
        slowing = np.float32(np.exp(-dt_s / COAST_DECAY_S))
        followed = tracks.velocity + np.float32(VELOCITY_GAIN) * change
        tracks.velocity = np.where(reliable, followed, tracks.velocity * slowing).astype(np.float32)
        tracks.acceleration = (np.linalg.norm(change, axis=1) / np.maximum(tracks.heights, 1)).astype(np.float32)
        tracks.points = np.where(motion.inliers[..., None], points, np.nan).astype(np.float32)
        tracks.clarity *= np.float32(np.exp(-dt_s / CLARITY_MEMORY_S))
        tracks.flow_std = motion.flow_std
        tracks.round_trip = motion.round_trip
        tracks.inlier_ratio = motion.inlier_ratio
        tracks.min_eigenvalue = motion.min_eigenvalue

    def judge(self, frame: PreparedFrame, pts_s: float, dt_s: float, *, with_credibility: bool = True) -> Prediction:
        """Drop what left the frame, and predict for the rest whether the box still holds its object.

        Args:
            dt_s: stream time since the frame before, above 0.
            with_credibility: whether the chance that there is an object at all is learned; else it is the evidence.
        """
        tracks = self.tracks
        if len(tracks):
            visible = area(clip(tracks.boxes, *frame.size)) / np.maximum(area(tracks.boxes), 1e-3)
            tracks.keep(visible >= MIN_VISIBLE)
        if len(tracks):
            tracks.ncc = correlation(tracks.templates, self._vision.templates(frame, tracks.boxes))
            self._remember_worst()
            tracks.failure = self._failure_model.predict(failure_features(tracks, pts_s, frame.size))
            tracks.credibility = tracks.evidence.copy()
            if with_credibility:
                self._credibility.learn(tracks.evidence, dt_s)
                tracks.credibility = self._credibility.of(tracks.evidence)
        return Prediction(tracks.ids.copy(), FrameBoxes(tracks.boxes.copy()), tracks.evidence.copy())

    def _remember_worst(self) -> None:
        """How the flow went since a detector last confirmed the track: one bad frame is enough to lose an object."""
        tracks = self.tracks
        tracks.worst_ncc = np.minimum(tracks.worst_ncc, tracks.ncc)
        tracks.worst_flow_std = np.maximum(tracks.worst_flow_std, tracks.flow_std)
        tracks.worst_inlier_ratio = np.minimum(tracks.worst_inlier_ratio, tracks.inlier_ratio)
        tracks.total_acceleration = tracks.total_acceleration + tracks.acceleration
        tracks.total_round_trip = tracks.total_round_trip + tracks.round_trip

    # ------------------------------------------------------------------------------------------------- merge

    def merge(
        self,
        frame: PreparedFrame,
        pts_s: float,
        look: Look,
        detections: FrameDetections,
        config: PipelineConfig,
    ) -> MergeOutcome:
        """Take what the detector saw: confirm, correct, count misses, start and end tracks.

        Tracks and detections are compared where both were on the frame that was looked at. What was seen there is
        then carried to the present frame: with the track that it confirms, or by a flow of its own.

        Args:
            frame, pts_s: the present frame, the looked at or a later one.
            detections: on the frame that was looked at.
        """
        tracks = self.tracks
        ids_before, first_new_id = tracks.ids, self.next_id
        parts = config.parts
        then = look.beliefs.of_those(tracks.ids)
        matches = associate(then.boxes, tracks.class_ids, then.failure, detections, with_weak=parts.weak_matches)
        examined_px = examined_height(look.layout, then.boxes, frame.size)
        is_clear = (self._acuity.clarity(examined_px) >= CLEAR) & (tracks.evidence >= FOUNDED)
        audit = audit_failures(then, matches, detections.boxes, is_clear)
        if pts_s > look.pts_s:
            detections = self._carried(frame, pts_s, look, detections, matches)
        evidence_before = None if parts.fused_looks else tracks.evidence.copy()
        self._learn_acuity(look.pts_s, matches, detections, examined_px)
        self._count_misses(matches.tracks, examined_px)
        self._confirm(frame, look.pts_s, matches.tracks, detections[matches.detections])
        if evidence_before is not None:
            tracks.evidence = evidence_before
            tracks.evidence[matches.tracks] = detections.scores[matches.detections]
        fresh = detections[matches.new]
        doubts = parts.credibility and not look.layout.shows_all_of(frame.size)
        least_score = PATCH_BIRTH_SCORE if doubts else BIRTH_SCORE
        fresh = fresh[self._is_unexplained(fresh) & (fresh.scores >= least_score)]
        self._start(frame, look.pts_s, fresh)
        unexplained_cut = detections[detections.is_cut & ~np.isin(np.arange(len(detections)), matches.detections)]
        unexplained_cut = unexplained_cut[self._is_unexplained(unexplained_cut)]
        self._end(pts_s, config)
        is_born = self.tracks.ids >= first_new_id
        return MergeOutcome(
            hits=np.concatenate([ids_before[matches.tracks], self.tracks.ids[is_born]]),
            born=FrameBoxes(self.tracks.boxes[is_born]),
            born_scores=self.tracks.evidence[is_born],
            cut=unexplained_cut.boxes,
            cut_scores=unexplained_cut.scores,
            audit=audit,
        )

    def _carried(
        self, frame: PreparedFrame, pts_s: float, look: Look, detections: FrameDetections, matches: Matches
    ) -> FrameDetections:
        """Detections (M) on the frame that was looked at, where they are on the present one."""
        tracks = self.tracks
        boxes, growth = detections.boxes.copy(), np.ones(len(detections), np.float32)
        own, rows = matches.detections, matches.tracks
        then = look.beliefs.of_those(tracks.ids[rows]).boxes
        boxes[own], growth[own] = moved_along(boxes[own], then, tracks.boxes[rows])
        others = np.setdiff1d(np.arange(len(detections)), own)
        boxes[others], growth[others] = self._followed(frame, pts_s, look, FrameBoxes(boxes[others]))
        return replace(detections, boxes=FrameBoxes(boxes), scale=detections.scale / growth)

    def _followed(
        self, frame: PreparedFrame, pts_s: float, look: Look, boxes: FrameBoxes
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Where boxes (K, 4) that no track explains went since the look, and by how much each grew (K,)."""
        middle = centres(boxes)
        shift = look.camera.shift_at(middle)
        grid = self._vision.corners(look.frame, boxes, POINT_GRID)
        exists = ~np.isnan(grid[..., 0])
        points = grid[exists]
        flow = self._vision.flow(
            look.frame,
            frame,
            points,
            points + look.camera.shift_at(points),
            reach_px=SURPRISE_SHARE * frame.size.width * (pts_s - look.pts_s),
        )
        after = np.full_like(grid, np.nan)
        after[exists] = flow.points
        motion = box_motion(
            grid,
            after,
            _scatter(exists, flow.is_found),
            _scatter(exists, flow.round_trip_px),
            min_eigenvalue=_scatter(exists, flow.min_eigenvalue),
            heights=boxes[:, 3] - boxes[:, 1],
        )
        middle = middle + np.where(motion.is_reliable[:, None], motion.shift, shift)
        half = sizes(boxes) * np.float32(0.5) * motion.scale[:, None]
        return np.concatenate([middle - half, middle + half], axis=1).astype(np.float32), motion.scale

    def _learn_acuity(
        self, pts_s: float, matches: Matches, detections: FrameDetections, examined_px: NDArray[np.float32]
    ) -> None:
        """Compare what this look made of each track with what the look before did."""
        tracks = self.tracks
        found = detections[matches.detections]
        heights, scores = examined_px.copy(), np.zeros(len(tracks), np.float32)
        heights[matches.tracks] = np.where(found.is_cut, 0, (found.boxes[:, 3] - found.boxes[:, 1]) * found.scale)
        scores[matches.tracks] = found.scores
        # A look at a box that has lost its object says nothing of the object.
        heights[(scores == 0) & (tracks.failure >= BLEND_BELOW_FAILURE)] = 0
        is_shown = heights > 0
        told = is_shown & (tracks.shown_height_px > 0) & (pts_s - tracks.shown_pts_s <= COMPARABLE_S)
        self._acuity.learn(
            Sightings(tracks.shown_height_px[told], tracks.shown_score[told]),
            Sightings(heights[told], scores[told]),
        )
        tracks.shown_height_px[is_shown] = heights[is_shown]
        tracks.shown_score[is_shown] = scores[is_shown]
        tracks.shown_pts_s[is_shown] = pts_s

    def _count_misses(self, hit_rows: NDArray[np.intp], examined_px: NDArray[np.float32]) -> None:
        """A miss counts only where a patch held the whole track at a scale at which it could be seen."""
        tracks = self.tracks
        missed = examined_px > 0
        missed[hit_rows] = False
        if not missed.any():
            return
        weight = self._acuity.clarity(examined_px[missed]).astype(np.float32)
        # An object that most looks find and this one did not is probably not where the box is (Bayes' rule).
        found_rate = (tracks.n_hits[missed] + 1) / (tracks.n_looks[missed] + 1.5)
        odds = -np.log(1 - weight * np.minimum(found_rate, MAX_FOUND_RATE))
        tracks.miss_log_odds[missed] += odds
        tracks.failure[missed] = _with_odds(tracks.failure[missed], odds)
        tracks.n_looks[missed] += weight
        gain = np.maximum(weight / tracks.n_looks[missed], EVIDENCE_MEMORY * weight)
        tracks.evidence[missed] *= 1 - gain
        tracks.missed_height_px[missed] = np.maximum(tracks.missed_height_px[missed], examined_px[missed])
        tracks.n_misses[missed] += (self._acuity.detectability(examined_px[missed]) >= SEEN).astype(np.int32)

    def _confirm(self, frame: PreparedFrame, pts_s: float, rows: NDArray[np.intp], found: FrameDetections) -> None:
        tracks = self.tracks
        if not len(rows):
            return
        seen = self._acuity.clarity((found.boxes[:, 3] - found.boxes[:, 1]) * found.scale).astype(np.float32)
        tracks.n_looks[rows] += seen
        tracks.n_hits[rows] += seen
        tracks.miss_log_odds[rows] = 0
        gain = np.maximum(seen / tracks.n_looks[rows], EVIDENCE_MEMORY * seen)
        tracks.evidence[rows] += gain * (found.scores - tracks.evidence[rows])
        tracks.clarity[rows] = np.maximum(tracks.clarity[rows], seen)
        tracks.class_scores[rows, found.class_ids] += found.scores
        tracks.confidence[rows] = found.scores
        tracks.n_misses[rows] = 0
        tracks.missed_height_px[rows] = 0
        growth = np.where(found.is_cut, np.minimum(tracks.patch_growth[rows] * 1.6, MAX_GROWTH), 1)
        tracks.patch_growth[rows] = growth
        tracks.detected_pts_s[rows] = pts_s
        whole, confirmed = ~found.is_cut, rows
        rows, boxes, seen = rows[whole], found.boxes[whole], seen[whole]
        settled = tracks.failure[rows] < BLEND_BELOW_FAILURE
        share = np.where(settled, MIN_CORRECTION + (1 - MIN_CORRECTION) * seen, 1)[:, None].astype(np.float32)
        tracks.boxes[rows] += share * (boxes - tracks.boxes[rows])
        tracks.failure[rows] = 0
        tracks.ncc[rows] = 1
        tracks.templates[rows] = self._vision.templates(frame, FrameBoxes(tracks.boxes[rows]))
        tracks.begin_anew(confirmed)
        self._drop_points_outside(rows)

    def _drop_points_outside(self, rows: NDArray[np.intp]) -> None:
        """After a correction, points that are no longer on the object are given up."""
        tracks = self.tracks
        points, boxes = tracks.points[rows], tracks.boxes[rows]
        with np.errstate(invalid="ignore"):
            inside = (points >= boxes[:, None, :2]) & (points <= boxes[:, None, 2:])
        tracks.points[rows] = np.where(inside.all(axis=2, keepdims=True), points, np.nan)

    def _is_unexplained(self, found: FrameDetections) -> NDArray[np.bool_]:
        """(M,) detections that do not just repeat a track of their class."""
        tracks = self.tracks
        if not len(tracks):
            return np.ones(len(found), bool)
        same = tracks.class_ids[:, None] == found.class_ids[None, :]
        return ~((iou(tracks.boxes, found.boxes) > 0.5) & same).any(axis=0)

    def _start(self, frame: PreparedFrame, pts_s: float, found: FrameDetections) -> None:
        ids = np.arange(self.next_id, self.next_id + len(found), dtype=np.int64)
        if not len(found):
            return
        self.next_id += len(found)
        templates = self._vision.templates(frame, found.boxes)
        shown_height_px = ((found.boxes[:, 3] - found.boxes[:, 1]) * found.scale).astype(np.float32)
        fresh = new_tracks(
            ids,
            FrameBoxes(found.boxes.copy()),
            found.scores,
            found.class_ids,
            n_classes=self._n_classes,
            pts_s=pts_s,
            shown_height_px=shown_height_px,
            clarity=self._acuity.clarity(shown_height_px).astype(np.float32),
            templates=templates,
        )
        if len(self.tracks):
            self.tracks.append(fresh)
        else:
            self.tracks = fresh

    def _end(self, pts_s: float, config: PipelineConfig) -> None:
        """Remove tracks without evidence, long unconfirmed ones, duplicates, and the weakest beyond the limit."""
        tracks = self.tracks
        if not len(tracks):
            return
        age = pts_s - tracks.detected_pts_s
        expired = (age > config.track_lifetime_s) & (tracks.n_misses > 0)
        expired |= age > FORGET_FACTOR * config.track_lifetime_s
        kept = (tracks.evidence >= MIN_EVIDENCE) & ~expired & ~_is_duplicate(tracks)
        if kept.sum() > config.max_tracks:
            ranked = np.argsort(np.where(kept, -_standing(tracks), np.inf), kind="stable")
            kept[ranked[config.max_tracks :]] = False
        tracks.keep(kept)


def is_wanted(
    boxes: FrameBoxes,
    own_class_ids: NDArray[np.integer],
    class_ids: frozenset[int] | None,
    is_ignored: PointPredicate | None,
) -> NDArray[np.bool_]:
    """(N,) boxes of wanted classes (None: all) whose foot, the middle of the lower edge, is in no ignored region."""
    wanted = np.ones(len(boxes), bool)
    if class_ids is not None:
        wanted &= np.isin(own_class_ids, list(class_ids))
    if is_ignored is not None and len(boxes):
        wanted &= ~is_ignored(np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], axis=1))
    return wanted


def examined_height(layout: CanvasLayout, boxes: FrameBoxes, frame: Size) -> NDArray[np.float32]:
    """How tall each track was on the canvas, in the patch that held all of it at the largest scale.

    Args:
        boxes: (N, 4) of tracks; a part beyond the frame cannot be shown and is not asked for.
    Returns:
        (N,) canvas pixels; 0 where no patch contained the track.
    """
    if not len(boxes):
        return np.zeros(0, np.float32)
    shown = clip(boxes, *frame)
    inside = contains(layout.source, shown)
    heights = layout.scale[:, 1:2] * (shown[:, 3] - shown[:, 1])[None, :]
    return np.where(inside, heights, 0).max(axis=0).astype(np.float32)


def audit_failures(then: Beliefs, matches: Matches, found: FrameBoxes, is_clear: NDArray[np.bool_]) -> FailureAudit:
    """Compare what was predicted of N tracks with what a look showed of them.

    Args:
        then: what was believed on the frame that was looked at.
        found: (M, 4) detections on that frame.
        is_clear: (N,) the look would have shown the object.
    """
    has_failed = np.ones(len(is_clear), bool)
    pairs = FrameBoxes(then.boxes[matches.tracks]), FrameBoxes(found[matches.detections])
    has_failed[matches.tracks] = np.diagonal(iou(*pairs)) < RIGHT_IOU
    was_predicted, has_failed = then.failure[is_clear] >= FAILING, has_failed[is_clear]
    return FailureAudit(
        true_positives=int((was_predicted & has_failed).sum()),
        false_positives=int((was_predicted & ~has_failed).sum()),
        false_negatives=int((~was_predicted & has_failed).sum()),
        true_negatives=int((~was_predicted & ~has_failed).sum()),
    )


def _with_odds(probability: NDArray[np.float32], log_odds: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities (N,) once more evidence, in log-odds (N,), is added."""
    factor = np.exp(log_odds)
    return (probability * factor / (1 - probability + probability * factor)).astype(np.float32)


def _standing(tracks: TrackTable) -> NDArray[np.float32]:
    """(N,) how well a track is founded: evidence of several looks counts for more than that of one."""
    return tracks.evidence * np.minimum(tracks.n_looks, 5)


def _is_duplicate(tracks: TrackTable) -> NDArray[np.bool_]:
    """(N,) tracks that lie on another of the same class with more evidence; the older one wins a tie."""
    weight = _standing(tracks)
    same = (iou(tracks.boxes, tracks.boxes) > DUPLICATE_IOU) & (tracks.class_ids[:, None] == tracks.class_ids[None, :])
    order = np.arange(len(tracks))
    beaten_by = (weight[None, :] > weight[:, None]) | (
        (weight[None, :] == weight[:, None]) & (order[None, :] < order[:, None])
    )
    return np.asarray((same & beaten_by).any(axis=1))


def _scatter(exists: NDArray[np.bool_], values: NDArray[Scalar]) -> NDArray[Scalar]:
    """Values of existing points, back in their (N, P) places; 0 elsewhere."""
    table = np.zeros((len(exists), POINTS_PER_TRACK), values.dtype)
    table[exists] = values
    return table
