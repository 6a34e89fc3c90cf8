"""All measurements that the service publishes, behind one owner."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest

SECONDS = (0.001, 0.002, 0.004, 0.008, 0.0167, 0.0333, 0.0667, 0.125, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Bucket edges in seconds, with the periods of 60, 30 and 15 frames a second."""

FILL = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class FrameSample:
    """What there is to count about one processed frame."""

    session: str
    latency_s: float
    """From the frame's arrival to its result."""
    stage_s: Mapping[str, float]
    mode: str
    source_pixels: int
    detector_pixels: int
    canvas_fill: float
    has_canvas: bool
    model: str
    backend: str
    n_tracks: int
    n_waiting: int
    """Frames in the queue."""
    completed_unix_s: float
    patches: Mapping[tuple[str, bool], int]
    """Candidate patches by kind and whether they were taken."""


class Metrics:
    """Counts and times. Any thread may call; each instance has the registry it was given."""

    def __init__(self, registry: CollectorRegistry, version: str) -> None:
        self.registry = registry
        self._make_frame_metrics(registry)
        self._make_session_metrics(registry)
        self._http_requests = Counter(
            "flexpatch_http_requests",
            "HTTP requests by route template, method and status.",
            ("route", "method", "status"),
            registry=registry,
        )
        self._http_duration = Histogram(
            "flexpatch_http_request_duration_seconds",
            "Time from a request's first byte to the last byte of its response.",
            ("route", "method"),
            buckets=SECONDS,
            registry=registry,
        )
        info = Gauge("flexpatch_build_info", "Always 1; the version is a label.", ("version",), registry=registry)
        info.labels(version).set(1)

    def _make_frame_metrics(self, registry: CollectorRegistry) -> None:
        self._frames = Counter(
            "flexpatch_frames",
            "Frames by outcome: `processed`, `failed`, `dropped`; the reason is empty for processed ones.",
            ("outcome", "reason"),
            registry=registry,
        )
        self._latency = Histogram(
            "flexpatch_frame_latency_seconds",
            "From a frame's arrival to its result, waiting included.",
            buckets=SECONDS,
            registry=registry,
        )
        self._stages = Histogram(
            "flexpatch_stage_duration_seconds",
            "Time a frame spent in one stage; `queue` is waiting.",
            ("stage",),
            buckets=SECONDS,
            registry=registry,
        )
        self._detector = Histogram(
            "flexpatch_detector_duration_seconds",
            "From asking the detector about a canvas to its answer.",
            ("model", "backend"),
            buckets=SECONDS,
            registry=registry,
        )
        self._detector_pixels = Counter(
            "flexpatch_detector_pixels", "Pixels the detector looked at.", registry=registry
        )
        self._source_pixels = Counter("flexpatch_source_pixels", "Pixels of processed frames.", registry=registry)
        self._fill = Histogram(
            "flexpatch_canvas_fill_ratio",
            "Share of the canvas covered by patches.",
            buckets=FILL,
            registry=registry,
        )
        self._patches = Counter(
            "flexpatch_patches",
            "Candidate patches by kind, and whether they found a place on the canvas.",
            ("kind", "placed"),
            registry=registry,
        )
        self._reconnects = Counter(
            "flexpatch_reconnects",
            "Connections to cameras that failed or broke off, by error.",
            ("reason",),
            registry=registry,
        )
        self._fallbacks = Counter(
            "flexpatch_backend_fallbacks",
            "Detectors that moved on from a backend that failed, by error.",
            ("model", "backend", "successor", "reason"),
            registry=registry,
        )
        self._upgrades = Counter(
            "flexpatch_backend_upgrades",
            "Detectors that moved to a better backend once it was ready.",
            ("model", "backend"),
            registry=registry,
        )
        self._modes = Counter(
            "flexpatch_frame_modes", "Processed frames by the detector's task.", ("mode",), registry=registry
        )

    def _make_session_metrics(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        self._sessions = gauge("flexpatch_sessions", "Sessions by state.", "state")
        self._session_state = gauge("flexpatch_session_state", "1 for a session's state.", "session", "state")
        self._tracks = gauge("flexpatch_session_tracks", "Objects in the session's newest result.", "session")
        self._queue = gauge("flexpatch_session_queue_depth", "Frames waiting in the session.", "session")
        self._thrift = gauge(
            "flexpatch_session_thrift_step",
            "What the session goes without under overload: 0 nothing, 1 and 2 large canvases, 3 and 4 looks too.",
            "session",
        )
        self._last_frame = gauge(
            "flexpatch_session_last_frame_timestamp_seconds", "Unix time of the newest result.", "session"
        )

    def exposition(self) -> bytes:
        """Everything in Prometheus's text format."""
        return generate_latest(_WithoutCreationTimes(self.registry))

    # ------------------------------------------------------------------------------------------- frames

    def frame_processed(self, sample: FrameSample) -> None:
        """A frame has its result."""
        self._frames.labels("processed", "").inc()
        self._modes.labels(sample.mode).inc()
        self._latency.observe(sample.latency_s)
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
        self._tracks.labels(sample.session).set(sample.n_tracks)
        self._queue.labels(sample.session).set(sample.n_waiting)
        self._last_frame.labels(sample.session).set(sample.completed_unix_s)

    def frame_failed(self, reason: str) -> None:
        """A frame was accepted but has no result; `reason` is the name of the error."""
        self._frames.labels("failed", reason).inc()

    def frame_dropped(self, reason: str, n_frames: int = 1) -> None:
        """Frames were never looked at."""
        self._frames.labels("dropped", reason).inc(n_frames)

    def stream_lost(self, reason: str) -> None:
        """A connection to a camera failed or broke off; `reason` is the name of the error."""
        self._reconnects.labels(reason).inc()

    # ----------------------------------------------------------------------------------------- backends

    def backend_failed(self, model: str, backend: str, successor: str, reason: str) -> None:
        """A detector moved on from a backend that failed; `reason` is the name of the error."""
        self._fallbacks.labels(model, backend, successor, reason).inc()

    def backend_ready(self, model: str, backend: str) -> None:
        """A detector moved to a better backend."""
        self._upgrades.labels(model, backend).inc()

    # ----------------------------------------------------------------------------------------- sessions

    def session_state(self, session: str, before: str | None, after: str) -> None:
        """A session changed its state; `before` is None for a new one."""
        if before is not None:
            self._sessions.labels(before).dec()
            self._session_state.remove(session, before)
        self._sessions.labels(after).inc()
        self._session_state.labels(session, after).set(1)

    def session_thrift(self, session: str, step: int) -> None:
        """What a session goes without because the machine cannot keep up."""
        self._thrift.labels(session).set(step)

    def forget_session(self, session: str, state: str) -> None:
        """A session in that state is gone, and all its series with it."""
        self._sessions.labels(state).dec()
        self._session_state.remove(session, state)
        for series in (self._tracks, self._queue, self._last_frame, self._thrift):
            series.remove_by_labels({"session": session})

    # --------------------------------------------------------------------------------------------- HTTP

    def http_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._http_requests.labels(route, method, str(status)).inc()
        self._http_duration.labels(route, method).observe(seconds)


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
