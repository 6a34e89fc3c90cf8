"""When a live picture was taken: cameras' clocks jump, stand still and lie, and arrival is only an upper bound."""

from dataclasses import dataclass, field

from app.core.types import CaptureTime

_LARGEST_DISAGREEMENT_S = 2.0
"""Of the stream's clock and ours about the time between two pictures; more is a jump."""
_OLDEST_S, _NEWEST_S = 60.0, -2.0
"""Age on arrival that is believed of a camera that tells the time of day."""
_ANCHOR_DRIFT_S_PER_S = 0.001
"""By which the anchor is let rise, for clocks that run apart."""


@dataclass(slots=True)
class LiveClock:
    """Stream time from 0 that moves forward as the stream's clock does, and over its jumps as ours does."""

    period_s: float
    """Usual time between two pictures."""
    n_jumps: int = 0
    _pts_s: float | None = field(default=None, init=False)
    _noted_s: float | None = field(default=None, init=False)
    _arrival_s: float = field(default=0.0, init=False)

    def tick(self, noted_s: float | None, arrival_s: float) -> float:
        """Stream time of the next picture.

        Args:
            noted_s: by the stream's clock; None: it says nothing.
            arrival_s: by ours, monotonic.
        """
        if self._pts_s is None:
            self._pts_s = 0.0
        else:
            self._pts_s += self._step(noted_s, arrival_s)
        self._noted_s, self._arrival_s = noted_s, arrival_s
        return self._pts_s

    def _step(self, noted_s: float | None, arrival_s: float) -> float:
        waited_s = arrival_s - self._arrival_s
        if noted_s is None or self._noted_s is None:
            return max(waited_s, self.period_s / 10)
        step_s = noted_s - self._noted_s
        if step_s > 0 and abs(step_s - waited_s) <= _LARGEST_DISAGREEMENT_S:
            return step_s
        self.n_jumps += 1
        return max(min(waited_s, _LARGEST_DISAGREEMENT_S), self.period_s)


@dataclass(slots=True)
class CaptureClock:
    """The time of day at which pictures were taken."""

    _anchor_s: float | None = field(default=None, init=False)
    """Time of day of stream time 0, by the picture that came fastest."""
    _pts_s: float = field(default=0.0, init=False)

    def of(self, pts_s: float, reported_unix_s: float | None, arrival_unix_s: float, *, has_pts: bool) -> CaptureTime:
        """When the picture was taken, and how that is known.

        Args:
            reported_unix_s: as the sender's reports say; None: there are none.
            has_pts: the stream has a clock of its own.
        """
        if reported_unix_s is not None and _NEWEST_S <= arrival_unix_s - reported_unix_s <= _OLDEST_S:
            return CaptureTime(reported_unix_s, "rtcp")
        if not has_pts:
            return CaptureTime(arrival_unix_s, "arrival")
        anchor_s = arrival_unix_s - pts_s
        if self._anchor_s is not None:
            anchor_s = min(anchor_s, self._anchor_s + _ANCHOR_DRIFT_S_PER_S * (pts_s - self._pts_s))
        self._anchor_s, self._pts_s = anchor_s, pts_s
        return CaptureTime(anchor_s + pts_s, "pts")
