"""One stream's FlexPatch: from a frame to all its tracked objects."""

from collections import deque
from collections.abc import Container
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from app.core.boxes import clip
from app.core.clock import Clock
from app.core.errors import FrameOutOfOrder, FrameSizeChanged
from app.core.types import (
    Answer,
    Ask,
    Canvas,
    Detector,
    Explanation,
    FailureAudit,
    Frame,
    FrameBoxes,
    FrameResult,
    PreparedFrame,
    Size,
    TrackedObject,
    Vision,
    Work,
    look_at,
)
from app.flexpatch.acuity import Acuity
from app.flexpatch.budget import Budget
from app.flexpatch.canvas import FrameDetections, canvas_ladder, map_back, without_duplicates
from app.flexpatch.config import PipelineConfig, PointPredicate
from app.flexpatch.discovery import Discovery
from app.flexpatch.failure import FailureModel
from app.flexpatch.flow import STILL, CameraMotion
from app.flexpatch.look import Beliefs, Look
from app.flexpatch.scheduler import Plan, Planner, Scene, plan_look
from app.flexpatch.thrift import STEPS
from app.flexpatch.tracker import Prediction, Tracker, is_wanted

N_EXPLANATIONS = 300
CUT_DIFFERENCE = 0.5
CUT_INLIERS = 0.25
"""A scene cut: the pictures are unlike each other and the background does not follow any one motion."""
INTERVAL_SHARE = 0.1
"""Weight of the newest interval between frames in the stream's usual one."""
MUST_LOOK_INTERVAL_S = 1.0
"""A new scene is looked at whatever it costs, but not more often than this: not every such change is a cut."""
LONG_GAP_S = 5.0
"""After a longer pause in the stream the scene is taken as new."""
_ANY_FRAME = Size(1920, 1080)
"""Stands for a stream's frames, to check a canvas before the first one comes."""
_NO_CUT = (FrameBoxes(np.zeros((0, 4), np.float32)), np.zeros(0, np.float32))


@dataclass(slots=True)
class _Stopwatch:
    """Milliseconds by stage of one frame."""

    clock: Clock
    started_s: float = field(init=False)
    stage_ms: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started_s = self.clock.now_s()

    def lap(self, stage: str) -> None:
        now_s = self.clock.now_s()
        self.add(stage, (now_s - self.started_s) * 1e3)
        self.started_s = now_s

    def add(self, stage: str, ms: float) -> None:
        self.stage_ms[stage] = self.stage_ms.get(stage, 0.0) + ms

    def restart(self) -> None:
        """What happened since the last lap counts nowhere."""
        self.started_s = self.clock.now_s()


@dataclass(slots=True)
class _Stream:
    """What is known once the first frame told the size."""

    size: Size
    ladder: tuple[Size, ...]
    budget: Budget
    discovery: Discovery


@dataclass(slots=True)
class _Turn:
    """One frame, from `begin` to `finish`."""

    frame: Frame
    prepared: PreparedFrame
    watch: _Stopwatch
    plan: Plan
    hits: set[int] = field(default_factory=set)
    """Tracks that an answer of the detector confirmed."""
    audit: FailureAudit = field(default_factory=FailureAudit)


class Pipeline:
    """Follows objects on every frame and spends detector pixels where they are worth most.

    One instance per stream, used by one thread at a time. `step` waits for the detector, and is deterministic: the
    same frames give the same tracks. `begin` and `finish` do not wait: what the detector saw is merged on whatever
    frame it comes, carried there from the frame that was looked at; meanwhile nothing else is asked.

    Raises:
        SettingsError: the detector cannot take the largest canvas.
    """

    def __init__(
        self,
        vision: Vision,
        detector: Detector,
        config: PipelineConfig,
        failure_model: FailureModel,
        clock: Clock,
        *,
        planner: Planner = plan_look,
    ) -> None:
        self._detector = detector
        self._ladder(_ANY_FRAME, config)
        self._vision = vision
        self._config = config
        self._thrift = STEPS[0]
        self._clock = clock
        self._planner = planner
        self._acuity = Acuity()
        self._tracker = Tracker(vision, len(detector.class_names), failure_model, self._acuity)
        self._class_ids: frozenset[int] | None = None
        self._is_ignored: PointPredicate | None = None
        self._stream: _Stream | None = None
        self._turn: _Turn | None = None
        self._look: Look | None = None
        """That the detector has not answered yet."""
        self._owes_look = False
        """The scene is new, and has not been looked at for want of a free detector."""
        self._earlier: PreparedFrame | None = None
        self._seq = 0
        self._pts_s = -np.inf
        self._looked_pts_s = -np.inf
        self._must_look_pts_s = -np.inf
        self._is_unseen = True
        """Nothing was looked at since the scene began."""
        self._interval_s = 0.0
        """Usual stream time between frames; 0 before the second one."""
        self._cut = _NO_CUT
        self.last_prediction = Prediction(np.zeros(0, np.int64), *_NO_CUT)
        """What flow alone made of the tracks on the last frame: for training and audits."""
        self._explanations: deque[Explanation] = deque(maxlen=N_EXPLANATIONS)

    @property
    def config(self) -> PipelineConfig:
        return self._config

    @property
    def next_track_id(self) -> int:
        """The number of the next new track."""
        return self._tracker.next_id

    def continue_ids(self, first: int) -> None:
        """Number new tracks from `first` on: what a pipeline that takes the place of another one has to do."""
        self._tracker.next_id = max(self._tracker.next_id, first)

    def reconfigure(self, config: PipelineConfig) -> None:
        """Take other settings from the next frame on; tracks are kept.

        Raises:
            SettingsError: the canvas does not fit the detector; the old settings stay.
        """
        self._ladder(self._stream.size if self._stream else _ANY_FRAME, config)
        self._config = config
        self._set_limits()

    @property
    def usual_interval_s(self) -> float:
        """Stream time from frame to frame; 0 before the second one."""
        return self._interval_s

    def save(self, steps: int) -> None:
        """Spend less than the settings allow, because the machine cannot keep up.

        Args:
            steps: index into `thrift.STEPS`; 0: as set.
        """
        self._thrift = STEPS[steps]
        self._set_limits()

    def _set_limits(self) -> None:
        """Have settings and thrift take effect on the stream."""
        if self._stream is not None:
            self._stream.ladder = self._thrift.canvases(self._ladder(self._stream.size, self._config))
            megapixels = self._thrift.settings(self._config).megapixels_per_frame
            self._stream.budget.retarget(megapixels * 1e6, self._stream.ladder[-1].pixels)

    def focus(self, class_ids: frozenset[int] | None, is_ignored: PointPredicate | None) -> None:
        """Spend pixels only on some classes (None: all) and outside ignored regions (None: none).

        An object is in an ignored region if the middle of its lower edge is. Tracks of other classes or in ignored
        regions are dropped.
        """
        self._class_ids = class_ids
        self._is_ignored = is_ignored
        self._tracker.restrict(class_ids, is_ignored)
        self._cut = _NO_CUT
        if self._stream is not None:
            self._apply_ignored(self._stream.discovery)
            self._stream.discovery.forget_births()

    def step(self, frame: Frame) -> FrameResult:
        """Process the next frame, looked at or not.

        Raises:
            FrameSizeChanged: the frame has another size than the first one.
            FrameOutOfOrder: `seq` or `pts_s` is not above the last frame's.
            DetectorFailed: the detector failed; tracks are as flow left them, and the next frame may be given.
        """
        self.begin(frame, self._detect)
        return self.finish()

    def begin(self, frame: Frame, ask: Ask) -> "Future[Answer] | None":
        """Follow all objects to the next frame, and ask the detector if that is worth it and it is not busy yet.

        Returns:
            The answer that is still awaited, if one is.
        Raises:
            FrameSizeChanged, FrameOutOfOrder: as `step`.
            DetectorFailed: the detector failed on an earlier frame or, if `ask` does not wait, on this one; otherwise
                as `step`.
        """
        stream = self._admit(frame)
        watch = _Stopwatch(self._clock)
        watch.stage_ms["decode"] = frame.decode_ms
        prepared = self._vision.prepare(frame.picture)
        watch.lap("prepare")
        dt_s = min(frame.pts_s - self._pts_s, LONG_GAP_S)
        self._learn_interval(dt_s)
        camera = self._follow(prepared, frame.pts_s, dt_s)
        watch.lap("flow")
        if camera is None:
            self._restart(stream, frame.pts_s)
        else:
            self._watch_scene(stream.discovery, prepared, frame.pts_s, dt_s, camera)
        self.last_prediction = self._tracker.judge(
            prepared, frame.pts_s, dt_s, with_credibility=self._config.parts.credibility
        )
        self._earlier, self._seq, self._pts_s = prepared, frame.seq, frame.pts_s
        turn = self._turn = _Turn(frame, prepared, watch, Plan(None, "track", "", 0.0, ()))
        self._merge_answer(stream, turn)
        turn.plan = self._plan(stream)
        self._note_plan(turn)
        watch.lap("plan")
        self._launch(stream, turn, ask)
        return self._look.answer if self._look else None

    def finish(self) -> FrameResult:
        """The result of the frame that was begun, with the detector's answer if that has come.

        Raises:
            DetectorFailed: as `step`.
        """
        turn, stream = self._turn, self._stream
        if turn is None or stream is None:
            raise RuntimeError("no frame was begun")
        self._turn = None
        self._merge_answer(stream, turn)
        turn.watch.restart()
        objects = self._objects(turn.frame, turn.hits)
        turn.watch.lap("merge")
        return FrameResult(
            seq=turn.frame.seq,
            pts_s=turn.frame.pts_s,
            size=turn.frame.size,
            objects=objects,
            work=self._work(turn.plan),
            stage_ms=turn.watch.stage_ms,
            capture=turn.frame.capture,
            audit=turn.audit,
        )

    def explain(self, seq: int) -> Explanation | None:
        """Why each region was or was not looked at on that frame; None if it is not among the last 300."""
        return next((item for item in self._explanations if item.seq == seq), None)

    def close(self) -> None:
        """Give back what the vision holds; no frame may be given afterwards."""
        self._vision.close()

    # ------------------------------------------------------------------------------------------ before a look

    def _admit(self, frame: Frame) -> _Stream:
        if frame.seq <= self._seq or not self._pts_s < frame.pts_s < np.inf:
            raise FrameOutOfOrder(
                f"Frame {frame.seq} at {frame.pts_s:.3f} s comes after frame {self._seq} at {self._pts_s:.3f} s; "
                "both numbers must grow."
            )
        if self._stream is None:
            ladder = self._ladder(frame.size, self._config)
            # The vision learns the frame's size, and with it the size of a cell, from the first picture.
            self._vision.prepare(frame.picture)
            discovery = Discovery(frame.size, self._vision.cell_px, self._acuity)
            self._apply_ignored(discovery)
            budget = Budget(self._config.megapixels_per_frame * 1e6, ladder[-1].pixels)
            self._stream = _Stream(frame.size, ladder, budget, discovery)
            self._set_limits()
        elif frame.size != self._stream.size:
            raise FrameSizeChanged(
                f"The frame is {frame.size}, but this stream's frames are {self._stream.size}. "
                "Open another session for another size."
            )
        return self._stream

    def _ladder(self, frame: Size, config: PipelineConfig) -> tuple[Size, ...]:
        ladder = canvas_ladder(frame, self._detector.input_sizes, config.max_canvas)
        return ladder if config.parts.small_canvases else ladder[-1:]

    def _apply_ignored(self, discovery: Discovery) -> None:
        if self._is_ignored is None:
            discovery.ignore(np.zeros(discovery.shape, bool))
        else:
            discovery.ignore(self._is_ignored(discovery.cell_centres).reshape(discovery.shape))

    def _learn_interval(self, dt_s: float) -> None:
        """One late frame, or a pause, does not change what the stream's usual pace is."""
        if dt_s >= LONG_GAP_S:
            return
        if not self._interval_s:
            self._interval_s = dt_s
        self._interval_s += INTERVAL_SHARE * (dt_s - self._interval_s)

    def _follow(self, prepared: PreparedFrame, pts_s: float, dt_s: float) -> CameraMotion | None:
        """Move the tracks to this frame; None if it shows a new scene."""
        if self._earlier is None or dt_s >= LONG_GAP_S:
            return None
        with_camera = self._config.parts.camera_motion
        camera = self._tracker.propagate(self._earlier, prepared, pts_s, dt_s, with_camera=with_camera)
        if (
            camera.inlier_ratio < CUT_INLIERS
            and self._vision.alignment(self._earlier, prepared).difference > CUT_DIFFERENCE
        ):
            return None
        camera = camera if with_camera else STILL
        if self._look is not None:
            self._look.camera_moved(camera)
        return camera

    def _restart(self, stream: _Stream, pts_s: float) -> None:
        """A new scene: nothing that was known of the old one holds. Ids and the budget go on."""
        if self._look is not None:
            self._look.is_void = True
        if pts_s - self._must_look_pts_s >= MUST_LOOK_INTERVAL_S:
            self._must_look_pts_s = pts_s
            self._owes_look = True
        self._tracker.forget_all()
        self._cut = _NO_CUT
        self._is_unseen = True
        stream.discovery = Discovery(stream.size, self._vision.cell_px, self._acuity)
        self._apply_ignored(stream.discovery)

    def _watch_scene(
        self, discovery: Discovery, prepared: PreparedFrame, pts_s: float, dt_s: float, camera: CameraMotion
    ) -> None:
        discovery.advance(dt_s, camera)
        if discovery.wants_edges(pts_s):
            discovery.set_edges(self._vision.edge_map(prepared), pts_s)
        if self._earlier is None or not discovery.wants_motion(pts_s):
            return
        if self._config.parts.motion:
            affine = None if camera.is_still else camera.affine
            motion = self._vision.motion_map(self._earlier, prepared, affine)
            discovery.observe_motion(motion, self._tracker.tracks.boxes, pts_s)
        else:
            discovery.observe_tracks(self._tracker.tracks.boxes, pts_s)

    def _plan(self, stream: _Stream) -> Plan:
        stream.budget.accrue(self._interval_s)
        price_per_pixel = stream.budget.price_per_pixel
        if self._look is not None:
            reason = f"the detector is still busy with frame {self._look.seq}"
            return Plan(None, "track", reason, price_per_pixel, ())
        must_look, self._owes_look = self._owes_look, False
        scene = Scene(
            frame=stream.size,
            tracks=self._tracker.tracks,
            discovery=stream.discovery,
            acuity=self._acuity,
            ladder=stream.ladder,
            cut=self._cut[0],
            cut_scores=self._cut[1],
            frame_interval_s=self._interval_s,
            since_look_s=self._pts_s - self._looked_pts_s,
        )
        config = self._thrift.settings(self._config)
        plan = self._planner(scene, config, price_per_pixel, must_look=must_look)
        if not (plan.going_rate and self._interval_s):
            return plan
        was_guess = not stream.budget.knows_rate
        stream.budget.learn(plan.going_rate, self._interval_s)
        # The price of the first choice is a mere guess, at which one look may cost the budget of seconds.
        if was_guess:
            return self._planner(scene, config, stream.budget.price_per_pixel, must_look=must_look)
        return plan

    def _note_plan(self, turn: _Turn) -> None:
        plan = turn.plan
        self._explanations.append(
            Explanation(
                seq=turn.frame.seq,
                price_per_megapixel=plan.price_per_pixel * 1e6,
                canvas=plan.layout.size if plan.layout else None,
                reason=plan.reason,
                candidates=plan.candidates,
            )
        )

    # -------------------------------------------------------------------------------------------- look, merge

    def _launch(self, stream: _Stream, turn: _Turn, ask: Ask) -> None:
        """Ask the detector what was planned."""
        layout, frame = turn.plan.layout, turn.frame
        if layout is None:
            return
        stream.budget.spend(layout.size.pixels)
        self._looked_pts_s = frame.pts_s
        canvas = self._vision.canvas(turn.prepared, layout.copies(), layout.size, self._detector.pad_value)
        turn.watch.lap("canvas")
        beliefs = Beliefs.of(self._tracker.tracks)
        self._look = Look(frame.seq, frame.pts_s, turn.prepared, layout, beliefs, ask(canvas))

    def _detect(self, canvas: Canvas) -> "Future[Answer]":
        """Have the detector look, and wait for it."""
        asked_s = self._clock.now_s()
        seen = look_at(self._detector, [canvas])[0]
        answer: Future[Answer] = Future()
        answer.set_result(Answer(seen, (self._clock.now_s() - asked_s) * 1e3))
        return answer

    def _merge_answer(self, stream: _Stream, turn: _Turn) -> None:
        """Merge what the detector saw, if its answer has come."""
        look = self._look
        if look is None or not look.answer.done():
            return
        self._look = None
        try:
            answer = look.answer.result()
        except BaseException:
            # The answer holds the error, which holds this call: its pictures would stay until they are searched for.
            del look
            raise
        turn.watch.add("detect", answer.took_ms)
        if look.is_void:
            return
        turn.watch.restart()
        found = self._wanted(without_duplicates(map_back(look.layout, answer.seen, stream.size)))
        outcome = self._tracker.merge(turn.prepared, turn.frame.pts_s, look, found, self._config)
        stream.discovery.record_look(look.layout)
        record = stream.discovery.record_stock if self._is_unseen else stream.discovery.record_births
        record(outcome.born, outcome.born_scores)
        self._is_unseen = False
        self._cut = (outcome.cut, outcome.cut_scores)
        turn.hits.update(outcome.hits.tolist())
        turn.audit += outcome.audit
        turn.watch.lap("merge")

    def _wanted(self, found: FrameDetections) -> FrameDetections:
        """Detections of the classes and regions that the stream is about."""
        return found[is_wanted(found.boxes, found.class_ids, self._class_ids, self._is_ignored)]

    # ------------------------------------------------------------------------------------------------- output

    def _objects(self, frame: Frame, hits: Container[int]) -> tuple[TrackedObject, ...]:
        tracks = self._tracker.tracks
        scores = tracks.evidence * (1 - tracks.failure)
        rows = np.flatnonzero(scores >= self._config.min_output_score)
        boxes = clip(tracks.boxes[rows], *frame.size)
        class_ids = tracks.class_ids[rows]
        names = self._detector.class_names
        return tuple(
            TrackedObject(
                track_id=track_id,
                class_id=class_id,
                label=names[class_id],
                box=(x1, y1, x2, y2),
                score=score,
                origin="detected" if track_id in hits else "tracked",
                detection_age_s=age_s,
                failure_probability=failure,
            )
            for track_id, class_id, (x1, y1, x2, y2), score, age_s, failure in zip(
                tracks.ids[rows].tolist(),
                class_ids.tolist(),
                boxes.tolist(),
                scores[rows].tolist(),
                (frame.pts_s - tracks.detected_pts_s[rows]).tolist(),
                tracks.failure[rows].tolist(),
                strict=True,
            )
        )

    def _work(self, plan: Plan) -> Work:
        if plan.layout is None:
            return Work(mode="track", backend=self._detector.backend, vision=self._vision.place)
        return Work(
            mode=plan.mode,
            patches=len(plan.layout.source),
            canvas=plan.layout.size,
            canvas_fill=plan.layout.fill,
            detector_pixels=plan.layout.size.pixels,
            backend=self._detector.backend,
            vision=self._vision.place,
        )
