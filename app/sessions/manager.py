"""All sessions of one service: who may come in, who must go."""

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.core.errors import FlexPatchError, SessionExists, SessionLimitReached, SessionNotFound
from app.core.types import Detector, close_detector
from app.sessions.model import SessionSpec, SessionTools
from app.sessions.session import Session
from app.sessions.state import SessionState
from app.sessions.store import SessionStore

logger = logging.getLogger(__name__)

_LONGEST_ID = 64
"""Of those that are repeated to who asked for them."""


class Detectors(Protocol):
    """Where sessions get their detectors."""

    def get(self, name: str | None) -> Detector:
        """The detector of that name, or the service's own, for one session; may take seconds.

        Raises:
            ModelError: there is none of that name, or it cannot be used.
            GpuMemoryShort: there is no room for another session.
            DetectorFailed: nothing can run it.
        """
        ...


@dataclass(frozen=True, slots=True)
class RegistryLimits:
    """What the service admits."""

    max_sessions: int
    stop_timeout_s: float = 4.5
    """How long deleting waits for a worker, in seconds."""


class SessionRegistry:
    """Makes, finds and ends sessions. Any thread may call, but `create`, `remove`, `reap` and `close` wait
    for models and threads: never call those on an event loop.
    """

    def __init__(
        self,
        limits: RegistryLimits,
        detectors: Detectors,
        tools: SessionTools,
        store: SessionStore | None = None,
    ) -> None:
        """
        Args:
            store: keeps sessions that clients had fetch their frames, for `restore`; None: they end with the service.
        """
        self._limits = limits
        self._detectors = detectors
        self._tools = tools
        self._store = store
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._reserved: set[str] = set()
        self._recording = threading.Lock()
        self._admitting = threading.Lock()
        self._is_closed = False
        self._has_ended = False
        """Whether a session has ended since memory was last given back."""
        tools.metrics.session_states(SessionState)

    @property
    def is_open(self) -> bool:
        """Whether new sessions are admitted, room permitting."""
        return not self._is_closed

    @property
    def max_sessions(self) -> int:
        return self._limits.max_sessions

    def __len__(self) -> int:
        return len(self._sessions)

    def create(
        self,
        make_spec: Callable[[str], SessionSpec],
        session_id: str | None = None,
        *,
        admit: Callable[[], None] = lambda: None,
        is_kept: bool = False,
    ) -> Session:
        """Make and start a session.

        Args:
            make_spec: takes the session's id.
            session_id: None: a new one is chosen.
            admit: called when nothing else speaks against the session; raises if it may not be made now.
            is_kept: it is recorded already, and stays so if it cannot be made.
        Raises:
            SessionExists, SessionLimitReached, ModelError, SettingsError, SourceError, GpuError, DetectorFailed.
            StoreFailed: it cannot be recorded; then it is not made.
        """
        name = self._reserve(session_id)
        try:
            spec = make_spec(name)
            if spec.source:
                self._tools.check_stream(spec.source)
            admit()
            session = self._made(spec)
            try:
                self.keep(session)
                with self._lock:
                    self._check_open()
                    session.start()
                    self._sessions[name] = session
                    self._tools.share_cores(len(self._sessions))
            except BaseException:
                session.forget()
                session.discard()
                if not is_kept:
                    self._forget(session)
                raise
        finally:
            with self._lock:
                self._reserved.discard(name)
        return session

    def _made(self, spec: SessionSpec) -> Session:
        """A session that is not started yet, with a detector of its own."""
        detector = self._detectors.get(spec.detector)
        try:
            # One after the other: who was admitted must count when the next one asks.
            with self._admitting:
                self._tools.check_room(detector)
                return Session(spec, detector, self._tools)
        except BaseException:
            close_detector(detector)
            raise

    def restore(self) -> None:
        """Make the sessions that were kept when the service last ran. What cannot be made is logged, and kept."""
        for spec in self._store.all() if self._store else ():
            try:
                self.create(lambda _, spec=spec: spec, spec.id, is_kept=True)  # type: ignore[misc]
            except FlexPatchError as error:
                logger.error(  # noqa: TRY400 - its message says what is wrong
                    "session cannot be restored", extra={"session_id": spec.id, "reason": str(error)}
                )

    def keep(self, session: Session) -> None:
        """Record what a session is now, if it is to outlive the service.

        Raises:
            StoreFailed: it cannot be written.
        """
        source = session.spec.source
        if self._store and source and not source.is_trusted:
            with self._recording:
                if not session.is_unwanted:
                    self._store.save(session.spec)

    def _forget(self, session: Session) -> None:
        if self._store and session.spec.source:
            with self._recording:
                self._store.forget(session.id)

    def get(self, session_id: str) -> Session:
        """The session of that id.

        Raises:
            SessionNotFound
        """
        session = self._sessions.get(session_id)
        if session is None:
            name = session_id if len(session_id) <= _LONGEST_ID else f"{session_id[:_LONGEST_ID]}…"
            raise SessionNotFound(f"There is no session {name!r}; POST /sessions creates one.")
        return session

    def all(self) -> list[Session]:
        """All sessions, oldest first."""
        with self._lock:
            return list(self._sessions.values())

    def remove(self, session_id: str, reason: str = "Deleted.") -> None:
        """End a session and forget it.

        Raises:
            SessionNotFound
            StoreFailed: it has ended, but will come back with the service.
        """
        session = self.get(session_id)
        session.is_unwanted = True
        self._end([session], reason)
        if self._is_closed:
            # The service's own end may have taken it out before that was known; no id is used again then.
            self._forget(session)

    def reap(self) -> list[str]:
        """End the sessions that have been idle for too long; returns their ids. To be called every second or so."""
        idle = [session for session in self.all() if session.tick()]
        for session in idle:
            self._end([session], f"Idle for {session.spec.idle_ttl_s:g} s.")
        # Here and not where they end, so that deleting many at once costs this once.
        if self._has_ended:
            self._has_ended = False
            self._tools.give_back_memory()
        return [session.id for session in idle]

    def begin_close(self) -> None:
        """Admit nobody and have all sessions end; does not wait, so that streams of results can finish."""
        with self._lock:
            self._is_closed = True
        for session in self.all():
            session.begin_stop("The service is shutting down.")

    def close(self) -> None:
        """End all sessions, and leave their record to others."""
        self.begin_close()
        self._end(self.all(), "The service is shutting down.")
        if self._store:
            self._store.release()

    def _reserve(self, session_id: str | None) -> str:
        with self._lock:
            self._check_open()
            taken = self._sessions.keys() | self._reserved
            if session_id in taken:
                raise SessionExists(f"There is a session {session_id!r} already; delete it or choose another id.")
            if len(taken) >= self._limits.max_sessions:
                raise SessionLimitReached(
                    f"The service admits {self._limits.max_sessions} sessions and has them; delete one first."
                )
            name = session_id or f"s-{secrets.token_hex(5)}"
            self._reserved.add(name)
            return name

    def _check_open(self) -> None:
        if self._is_closed:
            raise SessionLimitReached("The service is shutting down and admits no more sessions.")

    def _end(self, sessions: Sequence[Session], reason: str) -> None:
        clock = self._tools.clock
        for session in sessions:
            session.begin_stop(reason)
        deadline_s = clock.now_s() + self._limits.stop_timeout_s
        for session in sessions:
            session.join(max(deadline_s - clock.now_s(), 0.1))
            self._has_ended = True
            self._take_out(session)

    def _take_out(self, session: Session) -> None:
        """Once, whoever asks. The id stays taken until its record is gone, which else might be a new session's."""
        with self._lock:
            if self._sessions.get(session.id) is not session:
                return
            del self._sessions[session.id]
            self._reserved.add(session.id)
            self._tools.share_cores(len(self._sessions))
            session.forget()
        try:
            if session.is_unwanted:
                self._forget(session)
        finally:
            with self._lock:
                self._reserved.discard(session.id)
