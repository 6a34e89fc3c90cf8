"""All measurements that the service publishes, behind one owner."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector, generate_latest

from app.core.errors import (
    DetectorFailed,
    FrameCorrupt,
    FrameEmpty,
    FrameFormatUnknown,
    FrameSizeChanged,
    FrameTooLarge,
    SourceError,
)
from app.core.types import FailureAudit
from app.core.wire import error_code
from app.telemetry.children import ChildMemoryCollector

SECONDS = (0.001, 0.002, 0.004, 0.008, 0.0167, 0.0333, 0.0667, 0.125, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Bucket edges in seconds, with the periods of 60, 30 and 15 frames a second."""
AGES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0)
_OUTCOMES = ("tp", "fp", "fn", "tn")
_FRAME_OUTCOMES = ("processed", "failed", "dropped")
_FRAME_ERRORS = (FrameEmpty, FrameFormatUnknown, FrameTooLarge, FrameCorrupt, FrameSizeChanged, DetectorFailed)
_CONNECTION_ERRORS: tuple[type[SourceError], ...] = (SourceError, *SourceError.__subclasses__())
_FAILURES = (*map(error_code, _FRAME_ERRORS), "internal_error")
_DROPS = ("cancelled", "frame_corrupt", "frame_out_of_order", "no_slot", "queue_full", "replaced", "session_ended")
"""What is known beforehand begins at 0, since to Prometheus a counter that begins at 1 has not increased."""
_CONNECTING = "connecting"
"""The state that only sessions have which fetch their frames."""
FILL = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

MAX_LABELLED_SESSIONS = 200
"""Sessions with series of their own; each has about a dozen."""


@dataclass(frozen=True, slots=True)
class FrameSample:
    """What there is to count about one processed frame."""

    session: str
    latency_s: float
    """From the frame's arrival to its result."""
    age_s: float | None
    """From the frame's capture to its result, where the capture time is known."""
    stage_s: Mapping[str, float]
    mode: str
    source_pixels: int
    detector_pixels: int
    canvas_fill: float
    has_canvas: bool
    model: str
    backend: str
    n_tracks: int
    detection_age_s: float | None
    """Median over the frame's objects, since a detector last confirmed each; None without objects."""
    audit: FailureAudit
    n_waiting: int
    """Frames in the queue."""
    completed_unix_s: float
    patches: Mapping[tuple[str, bool], int]
    """Candidate patches by kind and whether they were taken."""


class Metrics:
    """Counts and times. Any thread may call; each instance has the registry it was given."""

    def __init__(
        self, registry: CollectorRegistry, version: str, max_labelled_sessions: int = MAX_LABELLED_SESSIONS
    ) -> None:
        """
        Args:
            max_labelled_sessions: sessions with series of their own; further ones count in the totals only.
        """
        self.registry = registry
        self._make_frame_metrics()
        self._make_detector_metrics()
        self._make_http_metrics()
        self._sessions = self._gauge("sessions", "Sessions by state.", "state")
        self._reconnects = self._counter(
            "reconnects", "Connections to cameras that failed, stalled or broke off, by error.", "reason"
        )
        for reason in map(error_code, _CONNECTION_ERRORS):
            self._reconnects.labels(reason)
        self.own = SessionSeries(registry, max_labelled_sessions)
        """Of single sessions."""
        self._info = self._gauge("build_info", "Always 1; the version is a label.", "version")
        self._info.labels(version).set(1)
        ProcessCollector(registry=registry)
        registry.register(ChildMemoryCollector())

    def _make_frame_metrics(self) -> None:
        self._frames = self._counter(
            "frames",
            "Frames by outcome: `processed`, `failed`, `dropped`; the reason is empty for processed ones.",
            "outcome",
            "reason",
        )
        self._latency = self._histogram(
            "frame_latency_seconds", "From a frame's arrival to its result, waiting included.", SECONDS
        )
        self._age = self._histogram(
            "frame_age_seconds", "From a frame's capture to its result, where the capture time is known.", SECONDS
        )
        self._stages = self._histogram(
            "stage_duration_seconds", "Time a frame spent in one stage; `queue` is waiting.", SECONDS, "stage"
        )
        self._modes = self._counter("frame_modes", "Processed frames by the detector's task.", "mode")
        self._detection_age = self._histogram(
            "detection_age_seconds",
            "Since a detector last confirmed a frame's objects: the median object of each frame.",
            AGES,
        )
        self._failure_predictions = self._counter(
            "failure_predictions",
            "Founded tracks that a clear look examined again, by prediction and truth: tp (failing, and the look did "
            "not find the object in its box), fp, fn, tn. What the detector itself overlooks counts as lost: watch "
            "the trend, not the level.",
            "outcome",
        )
        for outcome in _OUTCOMES:
            self._failure_predictions.labels(outcome)
        self._frames.labels("processed", "")
        for reason in _FAILURES:
            self._frames.labels("failed", reason)
        for reason in _DROPS:
            self._frames.labels("dropped", reason)

    def _make_detector_metrics(self) -> None:
        self._detector = self._histogram(
            "detector_duration_seconds",
            "From asking the detector about a canvas to its answer.",
            SECONDS,
            "model",
            "backend",
        )
        self._detector_pixels = self._counter("detector_pixels", "Pixels the detector looked at.")
        self._source_pixels = self._counter("source_pixels", "Pixels of processed frames.")
        self._fill = self._histogram("canvas_fill_ratio", "Share of the canvas covered by patches.", FILL)
        self._patches = self._counter(
            "patches", "Candidate patches by kind, and whether they found a place on the canvas.", "kind", "placed"
        )
        self._fallbacks = self._counter(
            "backend_fallbacks",
            "Detectors, and streams' vision as model `vision`, that moved on from a backend that failed, by error.",
            "model",
            "backend",
            "successor",
            "reason",
        )
        self._upgrades = self._counter(
            "backend_upgrades", "Detectors that moved to a better backend once it was ready.", "model", "backend"
        )

    def _make_http_metrics(self) -> None:
        self._http_requests = self._counter(
            "http_requests", "HTTP requests by route template, method and status.", "route", "method", "status"
        )
        self._http_duration = self._histogram(
            "http_request_duration_seconds",
            "Time from a request's first byte to the last byte of its response.",
            SECONDS,
            "route",
            "method",
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"flexpatch_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"flexpatch_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, edges: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"flexpatch_{name}", text, labels, buckets=edges, registry=self.registry)

    def exposition(self) -> bytes:
        """Everything in Prometheus's text format."""
        return generate_latest(_WithoutCreationTimes(self.registry))

    # ------------------------------------------------------------------------------------------- frames

    def frame_processed(self, sample: FrameSample) -> None:
        """A frame has its result."""
        self._frames.labels("processed", "").inc()
        self._modes.labels(sample.mode).inc()
        self._latency.observe(sample.latency_s)
        if sample.age_s is not None:
            self._age.observe(sample.age_s)
        for stage, seconds in sample.stage_s.items():
            self._stages.labels(stage).observe(seconds)
        self._source_pixels.inc(sample.source_pixels)
        if sample.has_canvas:
            self._detector_pixels.inc(sample.detector_pixels)
            self._fill.observe(sample.canvas_fill)
        if "detect" in sample.stage_s:
            self._detector.labels(sample.model, sample.backend).observe(sample.stage_s["detect"])
        for (kind, is_taken), count in sample.patches.items():
            self._patches.labels(kind, "true" if is_taken else "false").inc(count)
        if sample.detection_age_s is not None:
            self._detection_age.observe(sample.detection_age_s)
        self._count_audit(sample.audit)
        self.own.frame_processed(sample)

    def _count_audit(self, audit: FailureAudit) -> None:
        counts = (audit.true_positives, audit.false_positives, audit.false_negatives, audit.true_negatives)
        for outcome, count in zip(_OUTCOMES, counts, strict=True):
            if count:
                self._failure_predictions.labels(outcome).inc(count)

    def frame_failed(self, session: str, reason: str) -> None:
        """A frame was accepted but has no result; `reason` is the name of the error."""
        self._frames.labels("failed", reason).inc()
        self.own.frames(session, "failed")

    def frame_dropped(self, session: str, reason: str, n_frames: int = 1) -> None:
        """Frames were never looked at."""
        self._frames.labels("dropped", reason).inc(n_frames)
        self.own.frames(session, "dropped", n_frames)

    def stream_lost(self, session: str, reason: str) -> None:
        """A connection to a camera failed or broke off; `reason` is the name of the error."""
        self._reconnects.labels(reason).inc()
        self.own.stream_lost(session)

    # ----------------------------------------------------------------------------------------- backends

    def backend_failed(self, model: str, backend: str, successor: str, reason: str) -> None:
        """A detector moved on from a backend that failed; `reason` is the name of the error."""
        self._fallbacks.labels(model, backend, successor, reason).inc()

    def backend_ready(self, model: str, backend: str) -> None:
        """A detector moved to a better backend."""
        self._upgrades.labels(model, backend).inc()

    # ----------------------------------------------------------------------------------------- sessions

    def session_states(self, states: Iterable[str]) -> None:
        """All that sessions can be in, which begin at 0: the first sessions are then seen to be more than before."""
        for state in states:
            self._sessions.labels(state)

    def session_state(self, session: str, before: str | None, after: str) -> None:
        """A session changed its state; `before` is None for a new one."""
        if before is not None:
            self._sessions.labels(before).dec()
        self._sessions.labels(after).inc()
        self.own.state(session, before, after)

    def session_thrift(self, session: str, step: int) -> None:
        """What a session goes without because the machine cannot keep up."""
        self.own.thrift(session, step)

    def forget_session(self, session: str, state: str) -> None:
        """A session in that state is gone, and all its series with it."""
        self._sessions.labels(state).dec()
        self.own.forget(session)

    # --------------------------------------------------------------------------------------------- HTTP

    def http_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._http_requests.labels(route, method, str(status)).inc()
        self._http_duration.labels(route, method).observe(seconds)


@dataclass(slots=True)
class _Known:
    """A session, as its series would begin now."""

    state: str
    thrift_step: int = 0
    has_connected: bool = False


class SessionSeries:
    """The series that sessions have of their own: only so many sessions, and none once they are gone.

    Any thread may call. Of those without series, who has waited longest gets the place of one that is gone.
    """

    def __init__(self, registry: CollectorRegistry, max_sessions: int) -> None:
        self._max_sessions = max_sessions
        self._lock = threading.Lock()
        self._labelled: dict[str, _Known] = {}
        self._waiting: dict[str, _Known] = {}
        """In the order in which they came."""

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"flexpatch_session_{name}", text, ("session", *labels), registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"flexpatch_session_{name}", text, ("session", *labels), registry=registry)

        self._state = gauge("state", "1 for a session's state.", "state")
        self._tracks = gauge("tracks", "Objects in the session's newest result.")
        self._queue = gauge("queue_depth", "Frames waiting in the session.")
        self._thrift = gauge(
            "thrift_step",
            "What the session goes without under overload: 0 nothing, 1 and 2 large canvases, 3 and 4 looks too.",
        )
        self._last_frame = gauge("last_frame_timestamp_seconds", "Unix time of the newest result.")
        self._age = gauge("frame_age_seconds", "From capture to result, of the newest frame whose capture is known.")
        self._frames = counter("frames", "Frames by outcome: `processed`, `failed`, `dropped`.", "outcome")
        self._detector_pixels = counter("detector_pixels", "Pixels that the detector looked at for the session.")
        self._source_pixels = counter("source_pixels", "Pixels of the session's processed frames.")
        self._reconnects = counter("reconnects", "Connections to the session's camera that failed or broke off.")
        self._left_out = Gauge(
            "flexpatch_sessions_without_series",
            f"Sessions beyond {max_sessions}, which count in the totals alone until others end.",
            registry=registry,
        )

    def state(self, session: str, before: str | None, after: str) -> None:
        """A session changed its state; the first time it gets its series, if there is room."""
        with self._lock:
            known = self._labelled.get(session) or self._waiting.setdefault(session, _Known(after))
            known.state = after
            known.has_connected |= after == _CONNECTING
            if session in self._labelled:
                if before is not None:
                    self._state.remove(session, before)
                self._show(session, known)
            self._fill_places()

    def _fill_places(self) -> None:
        while self._waiting and len(self._labelled) < self._max_sessions:
            session = next(iter(self._waiting))
            self._labelled[session] = self._waiting.pop(session)
            self._show(session, self._labelled[session])
        self._left_out.set(len(self._waiting))

    def _show(self, session: str, known: _Known) -> None:
        self._state.labels(session, known.state).set(1)
        self._thrift.labels(session).set(known.thrift_step)
        for outcome in _FRAME_OUTCOMES:
            self._frames.labels(session, outcome)
        if known.has_connected:
            self._reconnects.labels(session)

    def frame_processed(self, sample: FrameSample) -> None:
        """A frame has its result."""
        name = sample.session
        with self._lock:
            if name not in self._labelled:
                return
            self._frames.labels(name, "processed").inc()
            self._tracks.labels(name).set(sample.n_tracks)
            self._queue.labels(name).set(sample.n_waiting)
            self._last_frame.labels(name).set(sample.completed_unix_s)
            self._source_pixels.labels(name).inc(sample.source_pixels)
            self._detector_pixels.labels(name).inc(sample.detector_pixels)
            if sample.age_s is not None:
                self._age.labels(name).set(sample.age_s)

    def frames(self, session: str, outcome: str, n_frames: int = 1) -> None:
        """Frames came to nothing."""
        with self._lock:
            if session in self._labelled:
                self._frames.labels(session, outcome).inc(n_frames)

    def stream_lost(self, session: str) -> None:
        """Its connection failed or broke off."""
        with self._lock:
            if session in self._labelled:
                self._reconnects.labels(session).inc()

    def thrift(self, session: str, step: int) -> None:
        """What it goes without."""
        with self._lock:
            known = self._labelled.get(session) or self._waiting.get(session)
            if known is None:
                return
            known.thrift_step = step
            if session in self._labelled:
                self._thrift.labels(session).set(step)

    def forget(self, session: str) -> None:
        """It is gone, and its place is another's; what comes late is not counted here."""
        with self._lock:
            self._labelled.pop(session, None)
            self._waiting.pop(session, None)
            for series in self._all():
                series.remove_by_labels({"session": session})
            self._fill_places()

    def _all(self) -> tuple[Gauge | Counter, ...]:
        gauges = (self._state, self._tracks, self._queue, self._thrift, self._last_frame, self._age)
        return (*gauges, self._frames, self._detector_pixels, self._source_pixels, self._reconnects)


class _WithoutCreationTimes:
    """A registry without the `_created` series, which double the output and tell Prometheus nothing.

    The library can leave them out only for all registries of the process at once.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family
