"""How often something may be asked for."""

import threading

from app.core.clock import Clock
from app.core.errors import SessionsTooFast


class CreationLimit:
    """Lets so many sessions be made at once, and so many a second after that. Any thread may ask."""

    def __init__(self, clock: Clock, per_s: float, burst: int) -> None:
        self._clock = clock
        self._per_s = per_s
        self._burst = burst
        self._lock = threading.Lock()
        self._left = float(burst)
        self._asked_s = clock.now_s()

    def take(self) -> None:
        """One more is about to be made.

        Raises:
            SessionsTooFast: not now; the error says when.
        """
        with self._lock:
            now_s = self._clock.now_s()
            self._left = min(self._burst, self._left + (now_s - self._asked_s) * self._per_s)
            self._asked_s = now_s
            if self._left < 1:
                raise SessionsTooFast(
                    f"Sessions are made too fast; {self._burst} at once and {self._per_s:g} a second are admitted.",
                    (1 - self._left) / self._per_s,
                )
            self._left -= 1
