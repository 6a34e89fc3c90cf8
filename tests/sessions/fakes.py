"""A detector, a pipeline and a service that do as they are told."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from app.core.boxes import empty_boxes
from app.core.clock import ManualClock
from app.core.errors import FrameSizeChanged, StreamUnreachable
from app.core.types import (
    Answer,
    Ask,
    BgrPicture,
    CandidateReport,
    Canvas,
    CanvasBoxes,
    CanvasDetections,
    CaptureTime,
    Detector,
    Explanation,
    Frame,
    FrameResult,
    InputSizes,
    Picture,
    Size,
    TrackedObject,
    Work,
)
from app.flexpatch.config import PipelineConfig, PointPredicate
from app.ingest.image import decode
from app.ingest.live.process import Event, LiveFrame
from app.sessions.detectors import DetectorCatalogue
from app.sessions.filters import FilterSpec
from app.sessions.manager import RegistryLimits, SessionRegistry
from app.sessions.model import SessionSpec, SessionTools, StreamSpec
from app.telemetry.metrics import Metrics

WAIT_S = 5.0
"""Longer than anything here takes; only a failing test waits so long."""
SMALL = Size(64, 48)
START_UNIX_S = 1_767_225_600.0
"""2026-01-01T00:00:00Z."""


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask again and again, other threads in between, until the condition holds; fail if it never does."""
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        threading.Event().wait(0.001)


def jpeg(width: int = 64, height: int = 48, grey: int = 90) -> bytes:
    """A plain picture as JPEG."""
    picture = np.full((height, width, 3), grey, np.uint8)
    return simplejpeg.encode_jpeg(picture, colorspace="BGR")


def tracked(
    track_id: int = 1,
    box: tuple[float, float, float, float] = (10, 10, 20, 30),
    *,
    class_id: int = 0,
    label: str = "person",
    score: float = 0.9,
) -> TrackedObject:
    """An object."""
    return TrackedObject(track_id, class_id, label, box, score, "detected", 0.0, 0.1)


def nothing_seen() -> CanvasDetections:
    """Of an empty canvas."""
    return CanvasDetections(CanvasBoxes(empty_boxes()), np.zeros(0, np.float32), np.zeros(0, np.int32))


class BlindDetector:
    """Sees nothing."""

    name = "blind"
    backend = "none"
    class_names: tuple[str, ...] = ("person", "car")
    input_sizes = InputSizes()
    pad_value = (114, 114, 114)

    def detect(self, canvases: NDArray[np.uint8]) -> Sequence[CanvasDetections]:
        return [nothing_seen()] * len(canvases)


class ScriptedPipeline:
    """Gives the objects it was told, when it is let, and remembers what it was asked."""

    def __init__(self, config: PipelineConfig | None = None) -> None:
        self.configs = [config or PipelineConfig()]
        self.focuses: list[tuple[frozenset[int] | None, PointPredicate | None]] = []
        self.frames: list[Frame] = []
        self.objects: tuple[TrackedObject, ...] = (tracked(),)
        self.errors: list[Exception | None] = []
        """Raised by the next frames, one each; None: no error."""
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        """Released whenever a frame is begun."""
        self._size: Size | None = None
        self.asks = False
        """Whether frames that are begun ask the detector."""
        self.savings: list[int] = []
        """What it was told to go without."""
        self.usual_interval_s = 0.1
        self.detect_ms = 4.0
        """Of every frame."""
        self._begun: Frame

    def begin(self, frame: Frame, ask: Ask) -> "Future[Answer] | None":
        self._begun = frame
        return ask(np.zeros((32, 64, 3), np.uint8)) if self.asks else None

    def finish(self) -> FrameResult:
        return self.step(self._begun)

    def save(self, steps: int) -> None:
        self.savings.append(steps)

    def step(self, frame: Frame) -> FrameResult:
        self.entered.release()
        if not self.gate.wait(WAIT_S):
            raise TimeoutError("nobody opened the gate")
        if error := self.errors.pop(0) if self.errors else None:
            raise error
        if self._size not in {None, frame.size}:
            raise FrameSizeChanged(f"The frame is {frame.size}, not {self._size}.")
        self._size = frame.size
        self.frames.append(frame)
        work = Work("patch", 2, Size(64, 32), 0.5, 2048, "none")
        return FrameResult(frame.seq, frame.pts_s, frame.size, self.objects, work, {"detect": self.detect_ms})

    def explain(self, seq: int) -> Explanation | None:
        if all(frame.seq != seq for frame in self.frames):
            return None
        taken = CandidateReport("object", (5, 5, 25, 35), 1.0, 0.7, 600, (1,), True, "worth it", (0, 0, 20, 30))
        left = CandidateReport("tile", (0, 0, 32, 32), 0.5, 0.01, 256, (), False, "not worth its price")
        return Explanation(seq, 2.0, Size(64, 32), "the smallest that holds them", (taken, left))

    def reconfigure(self, config: PipelineConfig) -> None:
        self.configs.append(config)

    next_track_id = 1

    n_closed = 0

    def close(self) -> None:
        self.n_closed += 1

    def continue_ids(self, first: int) -> None:
        self.next_track_id = max(self.next_track_id, first)

    def focus(self, class_ids: frozenset[int] | None, is_ignored: PointPredicate | None) -> None:
        self.focuses.append((class_ids, is_ignored))


class ScriptedStream:
    """A connection to a camera: events, one after the other, and then silence."""

    def __init__(self, *events: Event) -> None:
        self.events = deque(events)
        self.is_closed = False

    def take(self, timeout_s: float) -> Event | None:
        if self.events:
            return self.events.popleft()
        threading.Event().wait(min(timeout_s, 0.005))
        return None

    def close(self) -> None:
        self.is_closed = True


def live(seq: int, pts_s: float, *, size: Size = SMALL, n_replaced: int = 0) -> LiveFrame:
    """A picture of a live source."""
    picture = BgrPicture(np.full((size.height, size.width, 3), 90, np.uint8))
    frame = Frame(seq, pts_s, picture, CaptureTime(START_UNIX_S + pts_s, "rtcp"), 2.0)
    return LiveFrame(frame, 0.0, n_replaced, 0, 0, 0)


class Bench:
    """What a session needs, with a clock that stands still and the pipelines in reach."""

    def __init__(self, *, result_log_size: int = 20, detector: Detector | None = None) -> None:
        self.clock = ManualClock()
        self.detector = detector or BlindDetector()
        self.metrics = Metrics(CollectorRegistry(), "test")
        self.pipelines: list[ScriptedPipeline] = []
        self.n_memory_given_back = 0
        self.streams: deque[ScriptedStream | Exception] = deque()
        """What the next attempts to open a stream come to."""
        self.asked: list[StreamSpec] = []
        self.questions: list[Future[Answer]] = []
        """Put to the detector in the background."""
        self.tools = SessionTools(
            clock=self.clock,
            wall_s=self.wall_s,
            decode=decode_small,
            make_pipeline=self.make_pipeline,
            ask=self.ask,
            metrics=self.metrics,
            give_back_memory=self._count_memory_given_back,
            result_log_size=result_log_size,
            stale_after_s=5.0,
            check_stream=lambda _: None,
            check_room=lambda _: None,
            open_stream=self.open_stream,
        )

    def open_stream(self, spec: StreamSpec) -> "ScriptedStream":
        """The next of the scripted connections; without one, nobody answers."""
        self.asked.append(spec)
        if not self.streams:
            raise StreamUnreachable("Nobody answers.")
        stream = self.streams.popleft()
        if isinstance(stream, Exception):
            raise stream
        return stream

    def ask(self, _detector: Detector, _canvas: Canvas) -> "Future[Answer]":
        """A detector that answers when the test does."""
        self.questions.append(Future())
        return self.questions[-1]

    def _count_memory_given_back(self) -> None:
        self.n_memory_given_back += 1

    def wall_s(self) -> float:
        return START_UNIX_S + self.clock.now_s()

    def make_pipeline(self, _detector: Detector, config: PipelineConfig) -> ScriptedPipeline:
        self.pipelines.append(ScriptedPipeline(config))
        return self.pipelines[-1]

    @property
    def pipeline(self) -> ScriptedPipeline:
        """The newest session's."""
        return self.pipelines[-1]

    def sample(self, name: str, **labels: str) -> float | None:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(name, labels)

    def registry(self, *, max_sessions: int = 60, stop_timeout_s: float = WAIT_S) -> SessionRegistry:
        catalogue = DetectorCatalogue(self.detector, (), _no_models)
        return SessionRegistry(RegistryLimits(max_sessions, stop_timeout_s), catalogue, self.tools)


def decode_small(data: bytes, expected_size: Size | None) -> Picture:
    """The real decoder, for pictures of at most 1000 x 1000."""
    return decode(data, max_pixels=1_000_000, expected_size=expected_size)


def spec(session_id: str = "a", *, queue_depth: int = 4, filters: FilterSpec | None = None) -> SessionSpec:
    """A session's specification."""
    return SessionSpec(session_id, PipelineConfig(), filters or FilterSpec(), queue_depth, idle_ttl_s=60.0)


def named(make: Callable[..., SessionSpec] = spec, **values: int) -> Callable[[str], SessionSpec]:
    """From an id to a specification, as the registry wants it."""
    return lambda session_id: make(session_id, **values)


def session_threads() -> list[str]:
    """Names of the workers that are alive."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("session-")]


def _no_models(path: Path) -> Detector:
    raise AssertionError(f"asked for {path}")
