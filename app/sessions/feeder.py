"""Frames of a live source for one session: connects, watches that pictures come, and connects again for ever."""

import logging
import random
import threading
from typing import Protocol

from app.core.errors import SourceError, StreamBroken, StreamStalled, StreamTimedOut
from app.ingest.live.failures import stream_error
from app.ingest.live.process import LiveFrame
from app.ingest.live.wire import Ended, Failed, Opened
from app.sessions.model import SessionTools, Stream, StreamSpec
from app.sessions.state import SessionState
from app.telemetry.logs import bind_log_context

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.25
"""Longest wait for a picture before deadlines, and being told to end, are thought of."""
_INTERVAL_SHARE = 0.1


class Fed(Protocol):
    """What a feeder tells its session. All on the feeder's thread."""

    @property
    def id(self) -> str: ...

    def connected(self) -> None:
        """A new connection's first picture is there."""
        ...

    def offer(self, live: LiveFrame) -> None:
        """The newest picture."""
        ...

    def source_is(self, state: SessionState, reason: str = "", error: SourceError | None = None) -> None:
        """What became of the source."""
        ...


class Feeder:
    """Runs on a thread of its own from `start` to `stop`."""

    def __init__(self, spec: StreamSpec, fed: Fed, tools: SessionTools) -> None:
        self._spec, self._name, self._fed = spec, spec.name, fed
        self._open_stream, self._clock = tools.open_stream, tools.clock
        self._timing, self._fresh_s = tools.live, tools.stale_after_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)
        self._interval_s = 0.0

    def start(self) -> None:
        """Begin; once."""
        self._thread.start()

    def begin_stop(self) -> None:
        """Have it end soon; does not wait."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for its end; says whether it came."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with bind_log_context(session_id=self._fed.id):
            self._keep_connected()

    def _keep_connected(self) -> None:
        n_failures = 0
        while not self._stop.is_set():
            began_s = self._clock.now_s()
            try:
                self._fed.source_is(SessionState.CONNECTING)
                self._connect()
            except SourceError as error:
                lasted_s = self._clock.now_s() - began_s
                n_failures = 1 if lasted_s >= self._timing.steady_s else n_failures + 1
                delay_s = self._delay(n_failures)
                self._fed.source_is(SessionState.BACKOFF, f"{error} Next attempt in {delay_s:.1f} s.", error)
                self._stop.wait(delay_s)
            else:
                return

    def _delay(self, n_failures: int) -> float:
        """Anything up to a limit that doubles, so that cameras that failed together do not come back together."""
        limit_s = self._timing.first_backoff_s * 2.0 ** min(n_failures - 1, 30)
        return random.uniform(0.0, min(limit_s, self._timing.longest_backoff_s))

    def _connect(self) -> None:
        """One connection, to its end; returns when told to end, or when a recording has ended.

        Raises:
            SourceError: it failed, or broke off.
        """
        try:
            stream = self._open_stream(self._spec)
        except OSError as error:
            raise StreamBroken(f"No process could be started to decode {self._name} ({error.strerror}).") from error
        try:
            self._watch(stream)
        finally:
            stream.close()

    def _watch(self, stream: Stream) -> None:
        last_s = self._clock.now_s()
        is_first = True
        while not self._stop.is_set():
            match stream.take(_LOOK_EVERY_S):
                case LiveFrame() as live:
                    now_s = self._clock.now_s()
                    if is_first:
                        self._fed.connected()
                    else:
                        self._interval_s += _INTERVAL_SHARE * (now_s - last_s - self._interval_s)
                    is_first, last_s = False, now_s
                    self._fed.offer(live)
                    del live  # while the next one is awaited, only who needs it holds its memory
                case Opened() as opened:
                    logger.info("stream opened", extra={"codec": opened.codec, "hwaccel": opened.hwaccel})
                    self._interval_s = 1 / opened.fps if opened.fps else 0.0
                case Ended():
                    if self._spec.kind == "file":
                        self._fed.source_is(SessionState.PAUSED, "The recording has ended.")
                        return
                    raise StreamBroken(f"{self._name} ended the stream.")
                case Failed() as failed:
                    raise stream_error(self._name, failed)
                case None:
                    self._wait_on(self._clock.now_s() - last_s, is_first=is_first)

    def _wait_on(self, silent_s: float, *, is_first: bool) -> None:
        """
        Raises:
            StreamTimedOut, StreamStalled: it has been waited long enough.
        """
        timing = self._timing
        if is_first:
            if silent_s > timing.open_s:
                raise StreamTimedOut(f"{self._name} sent no picture for {timing.open_s:g} s.")
            return
        if silent_s > max(timing.least_stall_s, timing.stall_frames * self._interval_s):
            raise StreamStalled(f"{self._name} sent no picture for {silent_s:.1f} s.")
        if silent_s > self._fresh_s:
            self._fed.source_is(SessionState.STALE, f"No frame for {self._fresh_s:g} s.")
