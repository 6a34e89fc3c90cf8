"""What a session is told, what it works with, and what it tells about itself."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from app.core.clock import Clock
from app.core.types import (
    Answer,
    Ask,
    Canvas,
    Detector,
    Explanation,
    Frame,
    FrameResult,
    Picture,
    Size,
    TrackedObject,
    VisionPlace,
)
from app.flexpatch.config import PipelineConfig, PointPredicate
from app.ingest.live.process import Event
from app.ingest.live.wire import Kind, Transport
from app.sessions.filters import FilterSpec
from app.sessions.state import Status
from app.telemetry.metrics import FrameSample, Metrics


class FramePipeline(Protocol):
    """What a session needs of `app.flexpatch.pipeline.Pipeline`."""

    def step(self, frame: Frame) -> FrameResult: ...

    def begin(self, frame: Frame, ask: Ask) -> "Future[Answer] | None": ...

    def finish(self) -> FrameResult: ...

    def save(self, steps: int) -> None: ...

    @property
    def usual_interval_s(self) -> float: ...

    def explain(self, seq: int) -> Explanation | None: ...

    def reconfigure(self, config: PipelineConfig) -> None: ...

    def focus(self, class_ids: frozenset[int] | None, is_ignored: PointPredicate | None) -> None: ...

    @property
    def next_track_id(self) -> int: ...

    def continue_ids(self, first: int) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """A stream that the service itself fetches."""

    kind: Kind
    address: str = field(repr=False)
    """Of the stream, perhaps with a password; or a file's or folder's name below the allowed root."""
    transport: Transport = "tcp"
    is_trusted: bool = False
    """Named by the operator, not by a client: any address may be opened."""

    @property
    def name(self) -> str:
        """What to call it, without user and password."""
        if self.kind == "file":
            return self.address
        with suppress(ValueError):
            return urlsplit(self.address).hostname or "The camera"
        return "The camera"


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """What a client asked for."""

    id: str
    flexpatch: PipelineConfig
    filters: FilterSpec
    queue_depth: int
    """Frames that may wait."""
    idle_ttl_s: float
    """Without a frame for so long, in seconds, the session ends."""
    detector: str | None = None
    """Name of the detector asked for; None: the service's own."""
    source: StreamSpec | None = None
    """None: frames are pushed."""


class Stream(Protocol):
    """What a session needs of `app.ingest.live.process.DecoderProcess`."""

    def take(self, timeout_s: float) -> Event | None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class LiveTiming:
    """How long is waited for cameras; all in seconds."""

    open_s: float = 10.0
    """For the first picture of a connection."""
    least_stall_s: float = 4.0
    """Without a picture for so long, and for so many of the stream's own intervals, the connection is given up."""
    stall_frames: float = 25.0
    first_backoff_s: float = 0.5
    """Before the next attempt, on average half of it; doubled with each failure,"""
    longest_backoff_s: float = 30.0
    """up to this."""
    steady_s: float = 20.0
    """A connection that lasted so long was none of a series of failures."""


@dataclass(frozen=True, slots=True)
class SessionTools:
    """What all sessions of a service share. Everything here may be used from any thread."""

    clock: Clock
    wall_s: Callable[[], float]
    """Unix time in seconds."""
    decode: Callable[[bytes, Size | None], Picture]
    """Takes an encoded image and the size it must have, if that is known."""
    make_pipeline: Callable[[Detector, PipelineConfig], FramePipeline]
    ask: "Callable[[Detector, Canvas], Future[Answer]]"
    """Has a detector look at a canvas in the background; raises DetectorFailed, or its future does."""
    metrics: Metrics
    give_back_memory: Callable[[], None]
    """Called when sessions have ended; may take some milliseconds."""
    result_log_size: int
    stale_after_s: float
    check_stream: Callable[[StreamSpec], None]
    """Raises a SourceError if a stream can or may never be opened; may take as long as a resolver does."""
    check_room: Callable[[Detector], None]
    """Raises GpuMemoryShort if there is no room for the vision of another session, with that detector."""
    open_stream: Callable[[StreamSpec], Stream]
    """Starts to open a stream, after the same check."""
    live: LiveTiming = LiveTiming()
    trace: Callable[[FrameSample], None] = lambda _: None
    """Told of each frame that has its result."""
    share_cores: Callable[[int], None] = lambda _: None
    """Told how many sessions there are, whenever that changes."""


@dataclass(frozen=True, slots=True)
class FrameCounts:
    """What became of the frames pushed to a session."""

    received: int = 0
    """All that were offered."""
    processed: int = 0
    rejected: int = 0
    """Refused at once: the queue was full, or the number was out of order."""
    cancelled: int = 0
    """Given up by their sender before their turn."""
    failed: dict[str, int] = field(default_factory=dict)
    """By error code."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session at one moment."""

    spec: SessionSpec
    status: Status
    created_unix_s: float
    detector_name: str
    detector_backend: str
    class_names: tuple[str, ...]
    frames: FrameCounts
    fps: float
    """Results a second, over the last of them."""
    last_seq: int
    """Number of the newest result, 0 if there is none."""
    last_frame_unix_s: float | None
    frame_size: Size | None
    queue_length: int
    n_connections: int
    """To the stream so far; 0 where frames are pushed."""
    vision: VisionPlace | None
    """Where the work on pixels of the newest frame was done; None: there is none yet."""
    thrift: int
    """What the session goes without because the machine cannot keep up: steps of `Overload`, 0 for nothing."""


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class LatestFrame:
    """The newest picture, and what was put out for it."""

    seq: int
    picture: Picture
    objects: tuple[TrackedObject, ...]
