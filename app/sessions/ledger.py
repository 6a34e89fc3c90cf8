"""What a session counts and measures."""

import threading
from collections import Counter, deque
from collections.abc import Callable
from contextvars import Context
from statistics import median

from app.core.types import Explanation, FrameResult
from app.sessions.model import FrameCounts
from app.telemetry.metrics import FrameSample, Metrics

_FPS_WINDOW = 60
_FPS_STALE_S = 5.0


class Ledger:
    """The counters of one session, which also go to the service's metrics. Any thread may call."""

    def __init__(
        self, session_id: str, model: str, metrics: Metrics, trace: Callable[[FrameSample], None] = lambda _: None
    ) -> None:
        """
        Args:
            model: the detector's name.
            trace: told of each frame that has its result.
        """
        self._trace = trace
        self._session_id = session_id
        self._model = model
        self._metrics = metrics
        self._lock = threading.Lock()
        self._counts = Counter[str]()
        self._failures = Counter[str]()
        self._n_dropped = 0
        self._completions_s: deque[float] = deque(maxlen=_FPS_WINDOW)
        self._last_unix_s: float | None = None
        self._is_closed = False

    @property
    def last_frame_unix_s(self) -> float | None:
        """Wall-clock time of the newest result."""
        return self._last_unix_s

    def counts(self) -> FrameCounts:
        """All counters as they are now."""
        with self._lock:
            return FrameCounts(
                received=self._counts["received"],
                processed=self._counts["processed"],
                rejected=self._counts["rejected"],
                cancelled=self._counts["cancelled"],
                failed=dict(self._failures),
            )

    def rate(self, now_s: float) -> float:
        """Results a second over the last of them; 0 when the newest is long ago."""
        with self._lock:
            times = self._completions_s
            if len(times) < 2 or now_s - times[-1] > _FPS_STALE_S:
                return 0.0
            span_s = times[-1] - times[0]
            return (len(times) - 1) / span_s if span_s > 0 else 0.0

    def received(self) -> None:
        """A frame was offered."""
        with self._lock:
            self._counts["received"] += 1

    def rejected(self, code: str, *, is_drop: bool) -> None:
        """The frame was refused; as a drop if it was fine but came at a bad time."""
        with self._lock:
            self._counts["rejected"] += 1
            self._n_dropped += is_drop
        self._metrics.frame_dropped(self._session_id, code)

    def dropped(self, reason: str, n_frames: int) -> None:
        """Frames of a live source were never looked at."""
        with self._lock:
            self._counts["received"] += n_frames
            self._counts["rejected"] += n_frames
            self._n_dropped += n_frames
        self._metrics.frame_dropped(self._session_id, reason, n_frames)

    def cancelled(self) -> None:
        """The sender gave the frame up before its turn."""
        with self._lock:
            self._counts["cancelled"] += 1
            self._n_dropped += 1
        self._metrics.frame_dropped(self._session_id, "cancelled")

    def abandoned(self) -> None:
        """The session ended before the frame's turn."""
        self._metrics.frame_dropped(self._session_id, "session_ended")

    def failed(self, code: str) -> None:
        """The frame has no result."""
        with self._lock:
            self._failures[code] += 1
        self._metrics.frame_failed(self._session_id, code)

    def take_drops(self) -> int:
        """Frames dropped since this was last asked."""
        with self._lock:
            n_dropped, self._n_dropped = self._n_dropped, 0
            return n_dropped

    def processed(
        self,
        result: FrameResult,
        explanation: Explanation | None,
        *,
        arrival_s: float,
        started_s: float,
        completed_s: float,
        completed_unix_s: float,
        n_tracks: int,
        n_waiting: int,
        context: Context | None = None,
    ) -> None:
        """The frame has its result. The first three times are of the monotonic clock.

        Args:
            context: of the request that brought the frame, whose trace it belongs to.
        """
        with self._lock:
            self._counts["processed"] += 1
            self._completions_s.append(completed_s)
            self._last_unix_s = completed_unix_s
            if self._is_closed:
                return
        candidates = explanation.candidates if explanation else ()
        ages = [item.detection_age_s for item in result.objects]
        stages_s = {stage: ms / 1000 for stage, ms in result.stage_ms.items()}
        sample = FrameSample(
            session=self._session_id,
            latency_s=completed_s - arrival_s,
            age_s=completed_unix_s - result.capture.unix_s if result.capture else None,
            stage_s={"queue": started_s - arrival_s} | stages_s,
            mode=result.work.mode,
            source_pixels=result.size.pixels,
            detector_pixels=result.work.detector_pixels,
            canvas_fill=result.work.canvas_fill,
            has_canvas=result.work.canvas is not None,
            model=self._model,
            backend=result.work.backend,
            n_tracks=n_tracks,
            detection_age_s=median(ages) if ages else None,
            audit=result.audit,
            n_waiting=n_waiting,
            completed_unix_s=completed_unix_s,
            patches=Counter[tuple[str, bool]]((c.kind, c.is_taken) for c in candidates),
        )
        self._metrics.frame_processed(sample)
        if context:
            context.run(self._trace, sample)
        else:
            self._trace(sample)

    def close(self) -> None:
        """Publish nothing more: the session's series are about to go and must not come back."""
        with self._lock:
            self._is_closed = True
