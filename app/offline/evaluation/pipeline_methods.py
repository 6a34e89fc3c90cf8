"""The service's own pipeline under evaluation: as it is, with parts left out, and with a fixed schedule."""

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import iou
from app.core.clock import SystemClock
from app.core.types import (
    Answer,
    Canvas,
    CanvasDetections,
    Detector,
    Frame,
    FrameBoxes,
    FrameResult,
    InputSizes,
    Size,
    look_at,
)
from app.flexpatch.config import Parts, PipelineConfig
from app.flexpatch.failure import FEATURES, FailureModel, LogisticFailure
from app.flexpatch.pipeline import Pipeline
from app.flexpatch.scheduler import Plan, Scene, plan_look
from app.offline.annotations import FrameTruth
from app.offline.evaluation.every_kth import Interval
from app.offline.evaluation.looks import Looks, whole_layout
from app.offline.evaluation.methods import Context
from app.offline.evaluation.outputs import FrameCost, FrameOutput
from app.offline.evaluation.overlap import MIN_IOU
from app.vision.cpu import CpuVision

ABLATIONS: Mapping[str, Parts] = MappingProxyType(
    {
        "no-patches": Parts(patches=False),
        "no-tiles": Parts(tiles=False),
        "no-motion": Parts(motion=False),
        "no-patch-scaling": Parts(patch_scaling=False),
        "no-small-canvases": Parts(small_canvases=False),
        "no-fused-looks": Parts(fused_looks=False),
        "no-weak-matches": Parts(weak_matches=False),
        "no-credibility": Parts(credibility=False),
        "no-camera-motion": Parts(camera_motion=False),
    }
)
"""Each leaves one part out."""
NO_FAILURE_MODEL = "no-failure-model"
"""The ablation whose tracks fail by their age alone."""
LATE = "late"
"""FlexPatch whose detector answers late."""
KNOWN_FAILURES = "known-failures"
"""FlexPatch whose schedule is told which tracks have slipped off their object."""


class PipelineRunner:
    """FlexPatch as the service runs it."""

    def __init__(self, pipeline: Pipeline, class_id: int) -> None:
        self._pipeline = pipeline
        pipeline.focus(frozenset([class_id]), None)

    def step(self, frame: Frame) -> tuple[FrameOutput, FrameCost]:
        result = self._stepped(frame)
        output = FrameOutput(
            FrameBoxes(np.array([item.box for item in result.objects], np.float32).reshape(-1, 4)),
            np.array([item.score for item in result.objects], np.float32),
            np.array([item.track_id for item in result.objects], np.int64),
        )
        stage_ms = {stage: ms for stage, ms in result.stage_ms.items() if stage != "decode"}
        return output, FrameCost(result.work.detector_pixels, int(result.work.canvas is not None), stage_ms)

    def _stepped(self, frame: Frame) -> FrameResult:
        return self._pipeline.step(frame)


class FixedScheduleRunner:
    """The same pipeline, made to look at the whole frame every k-th time and never else: rival (c+).

    Tracker, association and fused looks are FlexPatch's own, so that only the schedule is different.
    """

    def __init__(self, context: Context, canvas: Size, every: int) -> None:
        self._remembered = _RememberedDetector(context.looks)
        self._runner = PipelineRunner(
            Pipeline(
                CpuVision(),
                self._remembered,
                PipelineConfig(max_canvas=canvas, parts=Parts(motion=False)),  # nothing asks where it moves
                context.failure_model,
                SystemClock(),
                planner=_EveryKthWholeFrame(canvas, every),
            ),
            context.class_id,
        )

    def step(self, frame: Frame) -> tuple[FrameOutput, FrameCost]:
        self._remembered.frame = frame
        output, cost = self._runner.step(frame)
        if not cost.calls:
            return output, cost
        return output, replace(cost, stage_ms=dict(cost.stage_ms) | {"detect": self._remembered.detect_ms})


class KnownFailuresRunner:
    """FlexPatch, its schedule told by the ground truth which tracks a look would mend; nothing else is told.

    What a better failure model could gain. No upper bound: the schedule weighs what it knows as always.
    """

    def __init__(self, context: Context, megapixels_per_frame: float) -> None:
        self._truth = context.sequence.truth
        self._planner = _KnowingPlanner()
        config = PipelineConfig(megapixels_per_frame=megapixels_per_frame)
        pipeline = Pipeline(
            CpuVision(), context.detector, config, context.failure_model, SystemClock(), planner=self._planner
        )
        self._runner = PipelineRunner(pipeline, context.class_id)

    def step(self, frame: Frame) -> tuple[FrameOutput, FrameCost]:
        self._planner.objects = self._truth.get(frame.seq, FrameTruth.empty()).boxes
        return self._runner.step(frame)


class LateRunner(PipelineRunner):
    """FlexPatch whose detector answers so many frames after it was asked, as on a machine that is slow or busy."""

    def __init__(self, context: Context, megapixels_per_frame: float, n_frames: int) -> None:
        config = PipelineConfig(megapixels_per_frame=megapixels_per_frame)
        pipeline = Pipeline(CpuVision(), context.detector, config, context.failure_model, SystemClock())
        super().__init__(pipeline, context.class_id)
        self._detector, self._clock = context.detector, SystemClock()
        self._n_frames = n_frames
        self._due: deque[tuple[int, Future[Answer], Answer]] = deque()
        self._n_begun = 0

    def _stepped(self, frame: Frame) -> FrameResult:
        self._n_begun += 1
        if self._due and self._due[0][0] <= self._n_begun:
            _, future, answer = self._due.popleft()
            future.set_result(answer)
        self._pipeline.begin(frame, self._ask)
        return self._pipeline.finish()

    def _ask(self, canvas: Canvas) -> "Future[Answer]":
        asked_s = self._clock.now_s()
        seen = look_at(self._detector, [canvas])[0]
        future: Future[Answer] = Future()
        answer = Answer(seen, (self._clock.now_s() - asked_s) * 1e3)
        self._due.append((self._n_begun + self._n_frames, future, answer))
        return future


def flexpatch_runner(context: Context, megapixels_per_frame: float) -> PipelineRunner:
    """FlexPatch at one budget."""
    return ablated_runner(context, megapixels_per_frame, "")


def ablated_runner(context: Context, megapixels_per_frame: float, ablation: str) -> PipelineRunner:
    """FlexPatch at one budget, less the part that `ablation` names; empty: as it is."""
    parts = ABLATIONS[ablation] if ablation not in {"", NO_FAILURE_MODEL} else Parts()
    config = PipelineConfig(megapixels_per_frame=megapixels_per_frame, parts=parts)
    model = _age_alone() if ablation == NO_FAILURE_MODEL else context.failure_model
    return PipelineRunner(Pipeline(CpuVision(), context.detector, config, model, SystemClock()), context.class_id)


class _EveryKthWholeFrame:
    """A planner with a fixed policy."""

    def __init__(self, canvas: Size, every: int) -> None:
        self._canvas = canvas
        self._interval = Interval(every)

    def __call__(self, scene: Scene, config: PipelineConfig, price_per_pixel: float, *, must_look: bool) -> Plan:  # noqa: ARG002 - a planner's signature
        if not (self._interval.is_due() or must_look):
            return Plan(None, "track", "not this frame's turn", price_per_pixel, ())
        return Plan(whole_layout(scene.frame, self._canvas), "full", "this frame's turn", price_per_pixel, ())


class _KnowingPlanner:
    """The pipeline's own planner, told which tracks a look would mend."""

    def __init__(self) -> None:
        self.objects = FrameTruth.empty().boxes
        """(G, 4) where they are on the frame to come."""

    def __call__(self, scene: Scene, config: PipelineConfig, price_per_pixel: float, *, must_look: bool) -> Plan:
        tracks = scene.tracks
        believed = tracks.failure
        tracks.failure = lost_tracks(tracks.boxes, self.objects).astype(np.float32)
        try:
            return plan_look(scene, config, price_per_pixel, must_look=must_look)
        finally:
            tracks.failure = believed


def lost_tracks(boxes: FrameBoxes, objects: FrameBoxes) -> NDArray[np.bool_]:
    """Which of N tracks lost one of G objects.

    For each object that no box holds, it is the track that overlaps it most, among those that hold no other object.
    Tracks that overlap no object at all are told from sound ones by nobody: looking at them mends nothing.
    """
    is_lost = np.zeros(len(boxes), bool)
    if len(boxes) and len(objects):
        overlap = iou(boxes, objects)
        is_missed = overlap.max(axis=0) < MIN_IOU
        overlap = np.where(overlap.max(axis=1, keepdims=True) < MIN_IOU, overlap, 0)
        is_missed &= overlap.max(axis=0) > 0
        is_lost[overlap.argmax(axis=0)[is_missed]] = True
    return is_lost


class _RememberedDetector:
    """Answers for whole frames from what is remembered."""

    pad_value: tuple[int, int, int]

    def __init__(self, looks: Looks) -> None:
        detector: Detector = looks.detector
        self._looks = looks
        self.frame: Frame | None = None
        self.detect_ms = 0.0
        """What the last answer took when it was first given."""
        self.name = detector.name
        self.backend = detector.backend
        self.class_names = detector.class_names
        self.input_sizes: InputSizes = detector.input_sizes
        self.pad_value = detector.pad_value

    def detect(self, canvases: NDArray[np.uint8]) -> Sequence[CanvasDetections]:
        if self.frame is None or len(canvases) != 1:
            raise ValueError("whole frames are remembered one by one")
        canvas = Size(canvases.shape[2], canvases.shape[1])
        look = self._looks.look(self.frame, whole_layout(self.frame.size, canvas))
        self.detect_ms = look.detect_ms
        return [look.seen]


def _age_alone() -> FailureModel:
    """Knows nothing of a track but how long ago it was confirmed."""
    weights = np.where(np.array(FEATURES) == "detection_age_s", 2.6, 0.0)
    return LogisticFailure(weights, -1.0, np.array(FEATURES) == "detection_age_s")
