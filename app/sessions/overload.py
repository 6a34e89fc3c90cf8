"""What a camera's session goes without while the machine cannot keep up."""

from collections import deque

from app.flexpatch.thrift import STEPS

WINDOW_S = 2.0
"""Lateness is judged over so long,"""
LATE_SHARE = 0.1
"""and more late frames than this are too many."""
_FEWEST_FRAMES = 5
CALM_S = 8.0
"""Without a late frame for so long, one thing is taken back..."""
LONGEST_CALM_S = 120.0
"""...and if that proves too early, only after twice as long the next time, up to this."""
_WAITED_SHARE = 0.5
_DETECTED_SHARE = 2.0


class Overload:
    """Goes one step further while too many frames are late, and back in calm times. Used by one thread.

    In the order of `thrift.STEPS`. What then is still too much is left out frame by frame, as the newest one takes the
    place of one that waits.
    """

    def __init__(self) -> None:
        self.step = 0
        """Of `thrift.STEPS`."""
        self._recent: deque[tuple[float, bool]] = deque()
        self._late_s = self._eased_s = -float("inf")
        self._calm_s = CALM_S
        self._changed_s = -float("inf")

    def note(self, now_s: float, *, is_late: bool) -> bool:
        """A frame is done; says whether the step has changed.

        Args:
            is_late: see `was_late`.
        """
        self._recent.append((now_s, is_late))
        while self._recent[0][0] < now_s - WINDOW_S:
            self._recent.popleft()
        if is_late:
            self._late_s = now_s
        if now_s - self._changed_s < WINDOW_S:
            return False
        if self.step < len(STEPS) - 1 and self._has_too_many():
            if now_s - self._eased_s < self._calm_s:
                self._calm_s = min(2 * self._calm_s, LONGEST_CALM_S)
            self._change(now_s, self.step + 1)
            return True
        if self.step and now_s - max(self._late_s, self._changed_s) >= self._calm_s:
            self._eased_s = now_s
            self._change(now_s, self.step - 1)
            return True
        return False

    def _has_too_many(self) -> bool:
        n_late = sum(is_late for _, is_late in self._recent)
        return len(self._recent) >= _FEWEST_FRAMES and n_late > LATE_SHARE * len(self._recent)

    def _change(self, now_s: float, step: int) -> None:
        self.step = step
        self._changed_s = now_s
        self._recent.clear()


def was_late(interval_s: float, *, n_lost: int, waited_s: float, detect_s: float) -> bool:
    """Whether a frame shows that the machine cannot keep up.

    Args:
        interval_s: usual time from frame to frame; 0 while unknown.
        n_lost: frames that were left out since the one before.
        waited_s: that this one waited for its turn.
        detect_s: that the detector took for the answer that came with this frame, waiting included; 0 without one.
    """
    if not interval_s:
        return False
    return n_lost > 0 or waited_s > _WAITED_SHARE * interval_s or detect_s > _DETECTED_SHARE * interval_s
