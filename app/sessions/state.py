"""The states of a session, and which may follow which."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from app.core.errors import FlexPatchError


class SessionState(StrEnum):
    """What a session is doing."""

    STARTING = "starting"
    """Being made; takes no frames yet."""
    CONNECTING = "connecting"
    """Opening its source."""
    RUNNING = "running"
    """Takes frames."""
    STALE = "stale"
    """Would take frames, but none has come for a while."""
    BACKOFF = "backoff"
    """The source failed; waiting before the next attempt."""
    PAUSED = "paused"
    """Told to leave its source alone."""
    DRAINING = "draining"
    """Told to end; the frame in hand is finished, nothing else is taken."""
    FAILED = "failed"
    """Gave up; only deleting it is left."""
    STOPPED = "stopped"
    """Ended, with its thread."""


_S = SessionState

TRANSITIONS: Mapping[SessionState, frozenset[SessionState]] = MappingProxyType(
    {
        _S.STARTING: frozenset({_S.CONNECTING, _S.RUNNING, _S.DRAINING, _S.FAILED}),
        _S.CONNECTING: frozenset({_S.RUNNING, _S.BACKOFF, _S.PAUSED, _S.DRAINING, _S.FAILED}),
        _S.RUNNING: frozenset({_S.STALE, _S.BACKOFF, _S.PAUSED, _S.DRAINING, _S.FAILED}),
        _S.STALE: frozenset({_S.RUNNING, _S.BACKOFF, _S.PAUSED, _S.DRAINING, _S.FAILED}),
        _S.BACKOFF: frozenset({_S.CONNECTING, _S.PAUSED, _S.DRAINING, _S.FAILED}),
        _S.PAUSED: frozenset({_S.RUNNING, _S.CONNECTING, _S.DRAINING, _S.FAILED}),
        _S.DRAINING: frozenset({_S.STOPPED, _S.FAILED}),
        _S.FAILED: frozenset({_S.DRAINING}),
        _S.STOPPED: frozenset(),
    }
)
"""Every state can be left for `draining`, save the last two: deleting is legal always."""


@dataclass(frozen=True, slots=True)
class Status:
    """A state, and why."""

    state: SessionState
    reason: str = ""
    """One sentence for a person; empty when there is nothing to explain."""
    error: FlexPatchError | None = None
    """What went wrong, where something did."""


class IllegalTransition(RuntimeError):
    """A defect of ours: a state was asked for that cannot follow the present one."""


class StateMachine:
    """The state of one session. Any thread may call; the listener runs on the caller's thread."""

    def __init__(self, on_change: Callable[[Status], None]) -> None:
        self._lock = threading.Lock()
        self._status = Status(SessionState.STARTING)
        self._on_change = on_change

    @property
    def status(self) -> Status:
        return self._status

    def to(self, state: SessionState, reason: str = "", error: FlexPatchError | None = None) -> None:
        """Change to another state; asking for the present one only replaces the reason.

        Raises:
            IllegalTransition: `state` cannot follow the present one.
        """
        with self._lock:
            now = self._status.state
            if state is not now and state not in TRANSITIONS[now]:
                raise IllegalTransition(f"A session that is {now} cannot become {state}.")
            self._status = Status(state, reason, error)
            self._on_change(self._status)

    def to_if(
        self,
        state: SessionState,
        *,
        when: frozenset[SessionState],
        reason: str = "",
        error: FlexPatchError | None = None,
    ) -> bool:
        """Change to `state` only out of one of the states `when`; says whether it did."""
        with self._lock:
            if self._status.state not in when:
                return False
            if state not in TRANSITIONS[self._status.state]:
                raise IllegalTransition(f"A session that is {self._status.state} cannot become {state}.")
            self._status = Status(state, reason, error)
            self._on_change(self._status)
            return True
