"""What a session is told, what it works with, and what it tells about itself."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from app.core.clock import Clock
from app.core.types import Detector, Explanation, Frame, FrameResult, Picture, Size, TrackedObject
from app.flexpatch.config import PipelineConfig, PointPredicate
from app.sessions.filters import FilterSpec
from app.sessions.state import Status
from app.telemetry.metrics import Metrics


class FramePipeline(Protocol):
    """What a session needs of `app.flexpatch.pipeline.Pipeline`."""

    def step(self, frame: Frame) -> FrameResult: ...

    def explain(self, seq: int) -> Explanation | None: ...

    def reconfigure(self, config: PipelineConfig) -> None: ...

    def focus(self, class_ids: frozenset[int] | None, is_ignored: PointPredicate | None) -> None: ...


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


@dataclass(frozen=True, slots=True)
class SessionTools:
    """What all sessions of a service share. Everything here may be used from any thread."""

    clock: Clock
    wall_s: Callable[[], float]
    """Unix time in seconds."""
    decode: Callable[[bytes, Size | None], Picture]
    """Takes an encoded image and the size it must have, if that is known."""
    make_pipeline: Callable[[Detector, PipelineConfig], FramePipeline]
    metrics: Metrics
    give_back_memory: Callable[[], None]
    """Called when sessions have ended; may take some milliseconds."""
    result_log_size: int
    stale_after_s: float


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


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class LatestFrame:
    """The newest picture, and what was put out for it."""

    seq: int
    picture: Picture
    objects: tuple[TrackedObject, ...]
