"""The last results of a session, for those who ask later and those who watch."""

import asyncio
import contextlib
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter

from app.core.errors import ResultNotFound, SessionEnded
from app.sessions.state import SessionState, Status

_BATCH = 32


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """One frame's result as it goes out."""

    seq: int
    payload: bytes
    """The JSON document, encoded once for every reader."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Results that a reader missed: the log holds so many and no more."""

    from_seq: int
    """First missing sequence number."""
    to_seq: int
    """Last missing sequence number."""


LogEvent = ResultRecord | Gap | Status


@dataclass(frozen=True, slots=True)
class Page:
    """Some consecutive results."""

    records: tuple[ResultRecord, ...]
    last_seq: int
    """Highest sequence number in the log, 0 if none."""
    discarded_to_seq: int
    """Highest sequence number that is no longer in the log, 0 if none."""


class ResultLog:
    """A bounded ring of results. The worker appends; any thread may read; subscriptions belong to a loop."""

    def __init__(self, size: int) -> None:
        self._lock = threading.Lock()
        self._records: deque[ResultRecord] = deque(maxlen=size)
        self._discarded_to_seq = 0
        self._status = Status(SessionState.STARTING)
        self._n_statuses = 1
        self._is_closed = False
        self._subscriptions: list[Subscription] = []

    # ------------------------------------------------------------------------------------------ writing

    def append(self, record: ResultRecord) -> None:
        """Add the newest result, discarding the oldest one if the ring is full."""
        with self._lock:
            if len(self._records) == self._records.maxlen:
                self._discarded_to_seq = self._records[0].seq
            self._records.append(record)
            self._wake()

    def publish(self, status: Status) -> None:
        """Tell the subscribers about another state."""
        with self._lock:
            self._status = status
            self._n_statuses += 1
            self._wake()

    def close(self) -> None:
        """No more results will come; subscribers read what is left and then end."""
        with self._lock:
            self._is_closed = True
            self._wake()

    # ------------------------------------------------------------------------------------------ reading

    @property
    def last_seq(self) -> int:
        """Sequence number of the newest result, 0 if there is none."""
        with self._lock:
            return self._last_seq()

    def latest(self) -> ResultRecord:
        """The newest result.

        Raises:
            ResultNotFound: there is none yet.
        """
        with self._lock:
            if not self._records:
                raise ResultNotFound("The session has no result yet; push a frame first.")
            return self._records[-1]

    def after(self, seq: int, limit: int) -> Page:
        """Up to `limit` results with a higher sequence number than `seq`, oldest first."""
        with self._lock:
            return Page(self._after(seq, limit), self._last_seq(), self._discarded_to_seq)

    def read(self, cursor: "Cursor") -> list[LogEvent]:
        """What is new beyond the cursor, which moves on; a batch at most.

        Raises:
            SessionEnded: everything has been read and no more will come.
        """
        with self._lock:
            events: list[LogEvent] = []
            if self._discarded_to_seq > cursor.seq:
                events.append(Gap(cursor.seq + 1, self._discarded_to_seq))
                cursor.seq = self._discarded_to_seq
            records = self._after(cursor.seq, _BATCH)
            events.extend(records)
            if records:
                cursor.seq = records[-1].seq
            if cursor.n_statuses != self._n_statuses and not (self._is_closed and len(records) == _BATCH):
                cursor.n_statuses = self._n_statuses
                # The last state comes after the last result, any other before.
                events.insert(len(events) if self._is_closed else 0, self._status)
            if not events:
                self._check_open()
            return events

    def read_newest(self, cursor: "Cursor") -> ResultRecord | None:
        """The newest result if it lies beyond the cursor, which moves on to it.

        Raises:
            SessionEnded: there is none and no more will come.
        """
        with self._lock:
            if self._last_seq() > cursor.seq:
                cursor.seq = self._last_seq()
                return self._records[-1]
            self._check_open()
            return None

    @contextlib.contextmanager
    def subscribe(self, after_seq: int | None = None) -> Iterator["Subscription"]:
        """Follow the log from the running event loop, from the first result above `after_seq`.

        None follows only what is yet to come.
        """
        with self._lock:
            subscription = Subscription(self, Cursor(self._last_seq() if after_seq is None else after_seq))
            self._subscriptions.append(subscription)
        try:
            yield subscription
        finally:
            with self._lock:
                self._subscriptions.remove(subscription)

    @property
    def n_subscriptions(self) -> int:
        """How many follow the log."""
        with self._lock:
            return len(self._subscriptions)

    def _check_open(self) -> None:
        if self._is_closed:
            raise SessionEnded(f"The session has ended. {self._status.reason}".strip())

    def _last_seq(self) -> int:
        return self._records[-1].seq if self._records else 0

    def _after(self, seq: int, limit: int) -> tuple[ResultRecord, ...]:
        start = bisect_right(self._records, seq, key=attrgetter("seq"))
        return tuple(islice(self._records, start, start + limit))

    def _wake(self) -> None:
        for subscription in self._subscriptions:
            subscription.wake()


@dataclass(slots=True)
class Cursor:
    """How far one reader has come."""

    seq: int
    n_statuses: int = 0


class Subscription:
    """One reader's place in a log. Only the event loop that made it may call it, save for `wake`.

    It keeps no buffer: the ring is the buffer, and a reader that falls behind by more gets a gap.
    """

    def __init__(self, log: ResultLog, cursor: Cursor) -> None:
        self._log = log
        self._cursor = cursor
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Let the reader look again. Any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._event.set)

    async def next(self, timeout_s: float | None) -> list[LogEvent]:
        """Wait for events; an empty list if none came in time.

        Raises:
            SessionEnded: everything has been read and no more will come.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    self._event.clear()
                    if events := self._log.read(self._cursor):
                        return events
                    await self._event.wait()
        return []

    async def newest(self, timeout_s: float | None) -> ResultRecord | None:
        """Wait for a result beyond the last one read and return the newest; None if none came in time.

        Raises:
            SessionEnded: no more will come.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    self._event.clear()
                    if record := self._log.read_newest(self._cursor):
                        return record
                    await self._event.wait()
        return None
