"""A session to try the service with: a synthetic street, pushed in real time as a client would push it."""

import logging
import threading
from contextlib import suppress

import simplejpeg

from app.core.clock import Clock
from app.core.errors import FlexPatchError, QueueFull
from app.ingest.street import Street
from app.ingest.street_config import StreetConfig
from app.sessions.session import Session

logger = logging.getLogger(__name__)

_JPEG_QUALITY = 90
_STOP_TIMEOUT_S = 5.0
"""More than a frame takes to render, or the street to build."""


class DemoCamera:
    """Renders a street at its frame rate on a thread of its own and pushes it to a session, until either ends.

    A machine that cannot keep up sees fewer frames; those that find the session's queue full are lost.
    """

    def __init__(self, session: Session, street: StreetConfig, clock: Clock) -> None:
        self._session = session
        self._street = street
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-camera", daemon=True)

    def start(self) -> None:
        """Begin; once."""
        self._thread.start()

    def stop(self) -> None:
        """End and wait for it, some seconds at most. Never on an event loop."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_TIMEOUT_S)
            if self._thread.is_alive():
                logger.error("demo camera did not end in time", extra={"timeout_s": _STOP_TIMEOUT_S})

    def _run(self) -> None:
        street = Street(self._street)
        started_s = self._clock.now_s()
        index = 0
        while not self._stop.is_set():
            jpeg = simplejpeg.encode_jpeg(street.render(index), quality=_JPEG_QUALITY, colorspace="BGR")
            try:
                with suppress(QueueFull):
                    self._session.submit(jpeg)
            except FlexPatchError as error:
                logger.info("demo camera ends", extra={"session_id": self._session.id, "reason": str(error)})
                return
            index = max(index + 1, int((self._clock.now_s() - started_s) * self._street.fps))
            self._stop.wait(max(0.0, started_s + index / self._street.fps - self._clock.now_s()))
