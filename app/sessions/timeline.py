"""The numbers and times that a session gives to its frames."""

import math
from dataclasses import dataclass

from app.core.errors import FrameOutOfOrder
from app.core.types import CaptureTime

_MIN_STEP_S = 1e-6
_NEW_START_S = 1.0
"""A capture time this far behind its place begins a new count; a smaller step back is just a frame out of order."""


LAST_SEQ = 2**53
"""Larger numbers do not survive in JSON readers."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What one frame got."""

    seq: int
    pts_s: float
    arrival_s: float
    capture_unix_s: float | None


class Timeline:
    """Gives strictly increasing numbers and times. Not thread-safe: the session holds its lock.

    With a client's capture times, stream time is the time since the first of them, rounded to microseconds,
    so that a clip pushed twice gives the same tracks twice. A frame without one, or with one that is not
    later than the frame before, is placed by its arrival; after a long step back, as when a client plays a clip in
    a loop, capture times go on from there.
    """

    def __init__(self) -> None:
        self._last: Stamp | None = None
        self._anchor: tuple[float, float] | None = None
        """Unix and stream time of the frame from which capture times are counted."""

    @property
    def last_seq(self) -> int:
        """The number of the newest frame accepted, 0 if there is none."""
        return self._last.seq if self._last else 0

    def stamp(self, seq: int | None, capture: CaptureTime | None, arrival_s: float) -> Stamp:
        """What the next frame would get; nothing is remembered before `accept`.

        Args:
            seq: the client's own number, if it gave one.
            arrival_s: now, on the monotonic clock.
        Raises:
            FrameOutOfOrder: `seq` is not above the last frame's, or no number is left.
        """
        if self.last_seq >= LAST_SEQ:
            raise FrameOutOfOrder(f"Frame {self.last_seq} has the last number that there is; open another session.")
        if seq is not None and seq <= self.last_seq:
            raise FrameOutOfOrder(
                f"Frame {seq} comes after frame {self.last_seq}; numbers must increase within a session."
            )
        number = self.last_seq + 1 if seq is None else seq
        unix_s = capture.unix_s if capture else None
        return Stamp(number, self._pts_s(unix_s, arrival_s), arrival_s, unix_s)

    def accept(self, stamp: Stamp) -> None:
        """The frame with this stamp is in the session."""
        self._last = stamp
        if stamp.capture_unix_s is None:
            return
        counted_s = self._counted(stamp.capture_unix_s)
        if counted_s is None or abs(counted_s - stamp.pts_s) > _NEW_START_S:
            self._anchor = (stamp.capture_unix_s, stamp.pts_s)

    def _counted(self, capture_unix_s: float) -> float | None:
        """Stream time by capture time alone; None as long as there is nothing to count from."""
        return None if self._anchor is None else round(self._anchor[1] + capture_unix_s - self._anchor[0], 6)

    def _pts_s(self, capture_unix_s: float | None, arrival_s: float) -> float:
        if self._last is None:
            return 0.0
        pts_s = None if capture_unix_s is None else self._counted(capture_unix_s)
        if pts_s is not None and pts_s > self._last.pts_s:
            return pts_s
        step_s = max(arrival_s - self._last.arrival_s, _MIN_STEP_S)
        # Far from 0 a microsecond is less than a float can tell; the next number it can tell has to do.
        return max(round(self._last.pts_s + step_s, 6), math.nextafter(self._last.pts_s, math.inf))


class LiveTimeline:
    """Numbers and times of a live source's frames, which go on over its connections. Not thread-safe.

    Within a connection frames are as far apart as the source says, between connections as they arrive.
    """

    def __init__(self) -> None:
        self._last: Stamp | None = None
        self._offset_s: float | None = None
        self.n_connections = 0

    def begin(self) -> None:
        """The next frame is the first of another connection, whose own time begins anew."""
        self._offset_s = None
        self.n_connections += 1

    def stamp(self, pts_s: float, arrival_s: float, capture_unix_s: float | None) -> Stamp:
        """What the next frame gets.

        Args:
            pts_s: in the connection's own time, strictly increasing within it.
            arrival_s: now, on the monotonic clock.
        """
        last = self._last
        if self._offset_s is None:
            since_s = max(arrival_s - last.arrival_s, _MIN_STEP_S) if last else 0.0
            self._offset_s = (last.pts_s + since_s if last else 0.0) - pts_s
        placed_s = round(self._offset_s + pts_s, 6)
        if last is not None:
            placed_s = max(placed_s, math.nextafter(last.pts_s, math.inf))
        self._last = Stamp((last.seq if last else 0) + 1, placed_s, arrival_s, capture_unix_s)
        return self._last
