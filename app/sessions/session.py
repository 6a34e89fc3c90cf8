"""One stream: its queue, its worker thread, its pipeline and its results."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from app.core.errors import (
    DetectorFailed,
    FlexPatchError,
    FrameError,
    QueueFull,
    ResultNotFound,
    SessionEnded,
    SessionFetches,
    SourceError,
)
from app.core.types import (
    CaptureTime,
    Detector,
    Explanation,
    Frame,
    FrameResult,
    Picture,
    Size,
    VisionPlace,
    close_detector,
)
from app.core.wire import error_code, result_json
from app.ingest.live.process import LiveFrame
from app.sessions.feeder import Feeder
from app.sessions.filters import Filters
from app.sessions.ledger import Ledger
from app.sessions.mailbox import Mailbox
from app.sessions.model import LatestFrame, SessionInfo, SessionSpec, SessionTools
from app.sessions.overload import Overload, was_late
from app.sessions.result_log import ResultLog, ResultRecord
from app.sessions.state import SessionState, StateMachine, Status
from app.sessions.timeline import LiveTimeline, Stamp, Timeline
from app.telemetry.logs import bind_log_context

logger = logging.getLogger(__name__)

_MAX_DEFECTS_IN_A_ROW = 3
_PATIENCE = 0.5
"""Share of the time from frame to frame for which a camera's frame waits for the detector, unless the next one comes:
a result that has what was seen on its own frame is worth that."""
_SETTLING_S = 3.0
"""After a connection was made, lateness says nothing of the machine."""
_OWN_FAULT = frozenset({"replaced", "no_slot"})
"""Reasons for lost frames that lie with this machine, not with the camera or the network."""
_FIRST_PATIENCE_S = 0.5
"""Stands for that time while it is unknown."""
_ENDABLE = frozenset(SessionState) - {SessionState.DRAINING, SessionState.STOPPED}
_FED = _ENDABLE - {SessionState.FAILED}

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Pushed:
    """An encoded image, whose sender waits for the result."""

    data: bytes
    stamp: Stamp
    capture: CaptureTime
    future: "Future[ResultRecord]"
    context: Context
    """Of the request that it came with."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    """A picture of a live source."""

    picture: Picture
    decode_ms: float
    stamp: Stamp
    capture: CaptureTime
    future: "Future[ResultRecord]"
    """Nobody waits for it."""


_FrameJob = _Pushed | _Fetched


@dataclass(frozen=True, slots=True)
class _Errand:
    function: Callable[[], object]
    future: "Future[object]"


class Session:
    """One stream. Public methods may be called from any thread; only `join` waits.

    The worker thread alone touches the pipeline; the lock guards the timeline and the specification.
    """

    def __init__(self, spec: SessionSpec, detector: Detector, tools: SessionTools) -> None:
        """Raises SettingsError if the filters do not fit the detector."""
        self._tools = tools
        self._spec = spec
        self._detector = detector
        self._filters = Filters(spec.filters, detector.class_names)
        self._pipeline = tools.make_pipeline(detector, spec.flexpatch)
        self._lock = threading.Lock()
        self._timeline = Timeline()
        self._live = LiveTimeline()
        self._feeder = Feeder(spec.source, self, tools) if spec.source else None
        self._lost = _LostFrames()
        self._overload = Overload()
        self._n_left_out = 0
        """Frames that the machine was too slow for, since the newest result."""
        self._connected_s = -float("inf")
        self._ledger = Ledger(spec.id, detector.name, tools.metrics, tools.trace)
        self._n_defects = 0
        self._size: Size | None = None
        self._latest: LatestFrame | None = None
        self._vision: VisionPlace | None = None
        self._last_activity_s = tools.clock.now_s()
        self._in_hand: _FrameJob | _Errand | None = None
        self._mailbox: Mailbox[_FrameJob | _Errand] = Mailbox(spec.queue_depth)
        self.log = ResultLog(tools.result_log_size)
        self.created_unix_s = tools.wall_s()
        self.is_unwanted = False
        """Deleted: it is not to come back with the service."""
        self._published_state: SessionState | None = None
        self._is_forgotten = False
        self._publishing = threading.Lock()
        self._machine = StateMachine(self._on_status)
        self._thread = threading.Thread(target=self._work, name=f"session-{spec.id}", daemon=True)

    # ------------------------------------------------------------------------------------------ asking

    @property
    def id(self) -> str:
        return self._spec.id

    @property
    def spec(self) -> SessionSpec:
        return self._spec

    @property
    def status(self) -> Status:
        return self._machine.status

    @property
    def latest(self) -> LatestFrame:
        """The newest picture with its objects.

        Raises:
            ResultNotFound: no frame has been processed yet.
        """
        latest = self._latest
        if latest is None:
            raise ResultNotFound("The session has no picture yet; push a frame first.")
        return latest

    def describe(self) -> SessionInfo:
        """The session as it is now."""
        return SessionInfo(
            spec=self._spec,
            status=self._machine.status,
            created_unix_s=self.created_unix_s,
            detector_name=self._detector.name,
            detector_backend=self._detector.backend,
            class_names=tuple(self._detector.class_names),
            frames=self._ledger.counts(),
            fps=self._ledger.rate(self._tools.clock.now_s()),
            last_seq=self.log.last_seq,
            last_frame_unix_s=self._ledger.last_frame_unix_s,
            frame_size=self._size,
            queue_length=len(self._mailbox),
            n_connections=self._live.n_connections,
            thrift=self._overload.step,
            vision=self._vision,
        )

    def explain(self, seq: int) -> "Future[Explanation]":
        """Why each region of that frame was looked at or not.

        The future raises ResultNotFound when the frame was not processed, or is long gone.
        """

        def ask() -> Explanation:
            explanation = self._pipeline.explain(seq)
            if explanation is None:
                raise ResultNotFound(f"Frame {seq} was not processed, or is no longer remembered.")
            return explanation

        return self._run_errand(ask)

    # ------------------------------------------------------------------------------------------ telling

    def start(self) -> None:
        """Start the worker; once."""
        self._on_status(self._machine.status)
        self._thread.start()
        if self._feeder:
            self._feeder.start()

    def submit(
        self, data: bytes, *, seq: int | None = None, capture: CaptureTime | None = None
    ) -> "Future[ResultRecord]":
        """Queue one encoded image; the future gives its result, or raises a FrameError or DetectorFailed.

        Args:
            seq: the sender's own number; None: the next one.
            capture: the sender's capture time; None: now.
        Raises:
            FrameOutOfOrder: `seq` is not above the last frame's.
            QueueFull: too many frames wait.
            SessionEnded: the session takes no more frames.
            SessionFetches: the session fetches its frames from a camera.
        """
        if self._feeder:
            raise SessionFetches("This session fetches its frames itself; open another one to push frames.")
        tools = self._tools
        future: Future[ResultRecord] = Future()
        self._ledger.received()
        with self._lock:
            try:
                self._mailbox.check_open()
                stamp = self._timeline.stamp(seq, capture, tools.clock.now_s())
                taken = capture or CaptureTime(tools.wall_s(), "arrival")
                self._mailbox.put(_Pushed(data, stamp, taken, future, copy_context()))
            except FlexPatchError as error:
                self._ledger.rejected(error_code(error), is_drop=isinstance(error, QueueFull))
                raise
            self._timeline.accept(stamp)
            self._last_activity_s = stamp.arrival_s
        if self._machine.status.state is SessionState.STALE:
            self._machine.to_if(SessionState.RUNNING, when=frozenset({SessionState.STALE}))
        return future

    def update(self, change: Callable[[SessionSpec], SessionSpec]) -> "Future[None]":
        """Change filters, tuning, queue or idle time, from the next frame on.

        The future is done once the change is in force. It raises SettingsError if the new values make no sense;
        then nothing has changed.

        Args:
            change: from the present specification to the new one; id and detector stay as they are.
        Raises:
            SessionEnded: the session is over.
        """

        def adopt() -> None:
            spec = replace(change(self._spec), id=self._spec.id, detector=self._spec.detector)
            filters = Filters(spec.filters, self._detector.class_names)
            self._pipeline.reconfigure(spec.flexpatch)
            self._filters = filters
            self._focus()
            self._mailbox.resize(spec.queue_depth)
            self._spec = spec
            self._last_activity_s = self._tools.clock.now_s()

        return self._run_errand(adopt)

    def tick(self) -> bool:
        """Notice that no frame comes any more; says whether the session has outlived its idle time.

        One that fetches its frames waits for its camera for ever.
        """
        if self._feeder:
            return False
        idle_s = self._tools.clock.now_s() - self._last_activity_s
        if idle_s >= self._tools.stale_after_s:
            self._machine.to_if(
                SessionState.STALE,
                when=frozenset({SessionState.RUNNING}),
                reason=f"No frame for {self._tools.stale_after_s:g} s.",
            )
        return idle_s >= self._spec.idle_ttl_s

    def forget(self) -> None:
        """Take back what was published: the session is gone, and whatever its threads still do is told no more."""
        with self._publishing:
            is_first, self._is_forgotten = not self._is_forgotten, True
            if is_first and self._published_state is not None:
                self._tools.metrics.forget_session(self.id, self._published_state)

    def discard(self) -> None:
        """Give back what the session alone has; once, for sessions that were never started, or are over."""
        self._pipeline.close()
        # Tens of megabytes of pictures, which the session's reference cycles would keep for long.
        del self._pipeline
        close_detector(self._detector)

    def begin_stop(self, reason: str) -> None:
        """Take no more frames and have the worker end after the one in hand. Legal in every state."""
        self._machine.to_if(SessionState.DRAINING, when=_ENDABLE, reason=reason)
        if self._feeder:
            self._feeder.begin_stop()
        self._abandon(self._mailbox.close(), reason)

    def join(self, timeout_s: float) -> bool:
        """Wait for the worker to end after `begin_stop`; says whether it did. Never on an event loop."""
        deadline_s = time.monotonic() + timeout_s
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        is_ended = not self._thread.is_alive()
        if self._feeder:
            is_ended &= self._feeder.join(max(0.0, deadline_s - time.monotonic()))
        reason = self._machine.status.reason
        if is_ended:
            self._machine.to_if(SessionState.STOPPED, when=frozenset({SessionState.DRAINING}), reason=reason)
        else:
            logger.error("worker did not end in time", extra={"session_id": self.id, "timeout_s": timeout_s})
            self._machine.to_if(
                SessionState.FAILED,
                when=frozenset({SessionState.DRAINING}),
                reason=f"The worker did not end within {timeout_s:g} s.",
            )
            if in_hand := self._in_hand:
                self._abandon([in_hand], reason)
        self.log.close()
        self._ledger.close()
        self._latest = None
        return is_ended

    # ---------------------------------------------------------------------------------- the worker's own

    def _work(self) -> None:
        with bind_log_context(session_id=self.id):
            self._focus()
            if not self._feeder:
                self._machine.to_if(SessionState.RUNNING, when=frozenset({SessionState.STARTING}))
            while (job := self._mailbox.take()) is not None:
                self._in_hand = job
                if isinstance(job, _Errand):
                    _settle(job.future, job.function)
                else:
                    self._process(job)
                self._in_hand = None
                del job
            self.discard()

    def _focus(self) -> None:
        filters = self._filters
        self._pipeline.focus(filters.class_ids, filters.is_masked if filters.has_masks else None)

    def _process(self, job: _FrameJob) -> None:
        if not job.future.set_running_or_notify_cancel():
            self._ledger.cancelled()
            return
        started_s = self._tools.clock.now_s()
        try:
            record = self._step(job, started_s)
        except (FrameError, DetectorFailed) as error:
            self._n_defects = 0
            self._fail(job, error)
        except Exception as error:
            logger.exception("frame failed unexpectedly", extra={"seq": job.stamp.seq})
            self._n_defects += 1
            self._fail(job, error)
            if self._n_defects >= _MAX_DEFECTS_IN_A_ROW:
                self._give_up(error)
        else:
            self._n_defects = 0
            self._mailbox.note_duration(self._tools.clock.now_s() - started_s)
            with suppress(InvalidStateError):
                job.future.set_result(record)

    def _step(self, job: _FrameJob, started_s: float) -> ResultRecord:
        tools = self._tools
        picture, decode_ms = self._decoded(job, started_s)
        frame = Frame(job.stamp.seq, job.stamp.pts_s, picture, job.capture, decode_ms)
        result = self._stepped(frame)
        self._vision = result.work.vision
        result = replace(result, capture=job.capture, stage_ms={"decode": decode_ms} | dict(result.stage_ms))
        objects, zones = self._filters.apply(result.objects)
        completed_unix_s = tools.wall_s()
        if self._feeder:
            self._note_load(result, job, started_s)
        payload = result_json(
            self.id,
            result,
            objects,
            zones,
            completed_unix_s=completed_unix_s,
            n_dropped=self._ledger.take_drops(),
        )
        record = ResultRecord(frame.seq, payload)
        self._size = picture.size
        self._latest = LatestFrame(frame.seq, picture, objects)
        self._ledger.processed(
            result,
            self._pipeline.explain(frame.seq),
            arrival_s=job.stamp.arrival_s,
            started_s=started_s,
            completed_s=tools.clock.now_s(),
            completed_unix_s=completed_unix_s,
            n_tracks=len(objects),
            n_waiting=len(self._mailbox),
            context=job.context if isinstance(job, _Pushed) else None,
        )
        self.log.append(record)
        return record

    def _stepped(self, frame: Frame) -> FrameResult:
        """The pipeline's result: for who pushes frames with all that the detector saw, for cameras without delay."""
        if not self._feeder:
            return self._pipeline.step(frame)
        answer = self._pipeline.begin(frame, partial(self._tools.ask, self._detector))
        if answer is not None:
            interval_s = self._pipeline.usual_interval_s or _FIRST_PATIENCE_S
            self._mailbox.wait_for(answer, _PATIENCE * interval_s)
        return self._pipeline.finish()

    def _note_load(self, result: FrameResult, job: _FrameJob, started_s: float) -> None:
        """Go without something if frames come too late, and no longer if they do not."""
        with self._lock:
            n_lost, self._n_left_out = self._n_left_out, 0
        # A camera's first frames often come all at once.
        is_late = started_s - self._connected_s > _SETTLING_S and was_late(
            self._pipeline.usual_interval_s,
            n_lost=n_lost,
            waited_s=started_s - job.stamp.arrival_s,
            detect_s=result.stage_ms.get("detect", 0.0) / 1e3,
        )
        if self._overload.note(started_s, is_late=is_late):
            self._pipeline.save(self._overload.step)
            self._tools.metrics.session_thrift(self.id, self._overload.step)

    def _decoded(self, job: _FrameJob, started_s: float) -> tuple[Picture, float]:
        """The frame's picture, and the milliseconds that decoding took."""
        if isinstance(job, _Pushed):
            picture = self._tools.decode(job.data, self._size)
            return picture, (self._tools.clock.now_s() - started_s) * 1000
        if self._size not in {None, job.picture.size}:
            self._renew_pipeline()
        return job.picture, job.decode_ms

    def _renew_pipeline(self) -> None:
        """A camera changed its picture's size: begin anew, but never with ids that were used."""
        logger.warning("the picture's size changed; zones and masks stay where they are, in pixels")
        first = self._pipeline.next_track_id
        self._pipeline.close()
        self._pipeline = self._tools.make_pipeline(self._detector, self._spec.flexpatch)
        self._pipeline.continue_ids(first)
        self._pipeline.save(self._overload.step)
        self._size = None
        self._focus()

    def _fail(self, job: _FrameJob, error: Exception) -> None:
        code = error_code(error) if isinstance(error, FlexPatchError) else "internal_error"
        self._ledger.failed(code)
        with suppress(InvalidStateError):
            # Its traceback would keep the frame, and what the GPU holds of it, alive in a circle.
            job.future.set_exception(error.with_traceback(None))

    def _give_up(self, error: Exception) -> None:
        reason = f"{_MAX_DEFECTS_IN_A_ROW} frames in a row failed for an internal reason."
        known = error if isinstance(error, FlexPatchError) else None
        self._machine.to_if(SessionState.FAILED, when=_ENDABLE, reason=reason, error=known)
        self._abandon(self._mailbox.close(), reason)
        self.log.close()

    # ---------------------------------------------------------------------------------- the feeder's own

    def connected(self) -> None:
        """The first picture of another connection is about to be offered."""
        with self._lock:
            self._live.begin()
            self._lost = _LostFrames()
            self._connected_s = self._tools.clock.now_s()

    def offer(self, live: LiveFrame) -> None:
        """Take the newest picture of a live source; one that still waits is given up for it."""
        frame = live.frame
        captured = frame.capture or CaptureTime(self._tools.wall_s(), "arrival")
        lost = self._lost.since(live)
        with self._lock:
            stamp = self._live.stamp(frame.pts_s, self._tools.clock.now_s(), captured.unix_s)
            self._n_left_out += sum(n_frames for reason, n_frames in lost if reason in _OWN_FAULT)
        for reason, n_frames in lost:
            self._ledger.dropped(reason, n_frames)
        self._ledger.received()
        job = _Fetched(frame.picture, frame.decode_ms, stamp, captured, Future())
        try:
            replaced = self._mailbox.put_newest(job)
        except SessionEnded:
            return
        if replaced is not None:
            self._ledger.rejected("replaced", is_drop=True)
            with self._lock:
                self._n_left_out += 1
        self.source_is(SessionState.RUNNING)

    def source_is(self, state: SessionState, reason: str = "", error: SourceError | None = None) -> None:
        """The source connects, sends, is silent, failed or has ended."""
        if error is not None:
            self._tools.metrics.stream_lost(self.id, error_code(error))
        if self._machine.status.state is not state or reason:
            self._machine.to_if(state, when=_FED - {state}, reason=reason, error=error)

    # ------------------------------------------------------------------------------------------- common

    def _run_errand(self, function: Callable[[], Answer]) -> "Future[Answer]":
        future: Future[Answer] = Future()
        self._mailbox.put_first(_Errand(function, future))  # type: ignore[arg-type]
        return future

    def _abandon(self, jobs: "list[_FrameJob | _Errand]", reason: str) -> None:
        for job in jobs:
            with suppress(InvalidStateError):
                job.future.set_exception(SessionEnded(f"The session ended before its turn came. {reason}"))
            if not isinstance(job, _Errand):
                self._ledger.abandoned()

    def _on_status(self, status: Status) -> None:
        before, self._published_state = self._published_state, status.state
        if before is not status.state:
            with self._publishing:
                if not self._is_forgotten:
                    self._tools.metrics.session_state(self.id, before, status.state)
            logger.info(
                "session state",
                extra={"session_id": self.id, "state": str(status.state), "reason": status.reason},
            )
        self.log.publish(status)


@dataclass(slots=True)
class _LostFrames:
    """What a decoding process counts, as it was last told: totals of one connection."""

    replaced: int = 0
    no_slot: int = 0
    corrupt: int = 0

    def since(self, live: LiveFrame) -> list[tuple[str, int]]:
        """Frames lost since this was last asked, by reason."""
        now = _LostFrames(live.n_replaced, live.n_unslotted, live.n_corrupt)
        lost = {
            "replaced": now.replaced - self.replaced,
            "no_slot": now.no_slot - self.no_slot,
            "frame_corrupt": now.corrupt - self.corrupt,
        }
        self.replaced, self.no_slot, self.corrupt = now.replaced, now.no_slot, now.corrupt
        return [(reason, n_frames) for reason, n_frames in lost.items() if n_frames > 0]


def _settle(future: "Future[object]", function: Callable[[], object]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        answer = function()
    except Exception as error:  # noqa: BLE001 - whoever waits for the future gets it
        with suppress(InvalidStateError):
            future.set_exception(error)
    else:
        with suppress(InvalidStateError):
            future.set_result(answer)
