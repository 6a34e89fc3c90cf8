"""Annotated pictures of a session, for people who look."""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence

import simplejpeg

from app.core.types import CandidateReport
from app.sessions.model import LatestFrame
from app.vision.annotate import draw
from app.vision.cpu import to_bgr

_CACHE_SIZE = 16
_LEAST_SCORE = 0.25
"""Fainter objects would only clutter the picture; results have them all the same."""


class PreviewRenderer:
    """Draws and encodes, once for all who look at the same frame. Any thread, never an event loop."""

    def __init__(self, quality: int) -> None:
        """
        Args:
            quality: of the JPEGs, 1 to 100.
        """
        self._quality = quality
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[str, bool], tuple[weakref.ref[LatestFrame], bytes]] = OrderedDict()

    def render(self, session_id: str, latest: LatestFrame, patches: Sequence[CandidateReport] | None) -> bytes:
        """A JPEG of the frame with its objects.

        Args:
            patches: regions considered on the frame, of which those taken are drawn; None: no patches.
        """
        key = (session_id, patches is not None)
        with self._lock:
            cached = self._cache.get(key)
        if cached and cached[0]() is latest:
            return cached[1]
        boxes = [patch.box for patch in patches or () if patch.is_taken]
        likely = [item for item in latest.objects if item.score >= _LEAST_SCORE]
        picture = draw(to_bgr(latest.picture), likely, boxes)
        jpeg = simplejpeg.encode_jpeg(picture, quality=self._quality, colorspace="BGR")
        with self._lock:
            self._cache[key] = (weakref.ref(latest), jpeg)
            self._cache.move_to_end(key)
            while len(self._cache) > _CACHE_SIZE:
                self._cache.popitem(last=False)
        return jpeg
