"""Annotated pictures of a session, for people who look."""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from app.core.types import CandidateReport
from app.sessions.model import LatestFrame
from app.vision.annotate import draw
from app.vision.drawing import to_bgr

_CACHE_SIZE = 16
_LEAST_SCORE = 0.25
"""Fainter objects would only clutter the picture; results have them all the same."""


@dataclass(frozen=True, slots=True)
class PreviewStyle:
    """How a picture is shown."""

    with_objects: bool = True
    with_patches: bool = False
    """The regions that the detector looked at."""
    width: int | None = None
    """Of the picture, in pixels, where the frame is wider; None: as the frame."""


class PreviewRenderer:
    """Draws and encodes, once for all who look at the same frame. Any thread, never an event loop."""

    def __init__(self, quality: int) -> None:
        """
        Args:
            quality: of the JPEGs, 1 to 100.
        """
        self._quality = quality
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[str, PreviewStyle], tuple[weakref.ref[LatestFrame], bytes]] = OrderedDict()

    def render(
        self,
        session_id: str,
        latest: LatestFrame,
        style: PreviewStyle = PreviewStyle(),
        patches: Sequence[CandidateReport] = (),
    ) -> bytes:
        """A JPEG of the frame.

        Args:
            patches: regions considered on the frame, of which those taken are drawn if the style says so.
        """
        key = (session_id, style)
        with self._lock:
            cached = self._cache.get(key)
        if cached and cached[0]() is latest:
            return cached[1]
        boxes = [patch.box for patch in patches if patch.is_taken and style.with_patches]
        likely = [item for item in latest.objects if item.score >= _LEAST_SCORE and style.with_objects]
        picture = to_bgr(latest.picture)
        if boxes or likely:
            picture = draw(picture, likely, boxes)
        picture = _reduced(picture, style.width)
        jpeg = simplejpeg.encode_jpeg(picture, quality=self._quality, colorspace="BGR")
        with self._lock:
            self._cache[key] = (weakref.ref(latest), jpeg)
            self._cache.move_to_end(key)
            while len(self._cache) > _CACHE_SIZE:
                self._cache.popitem(last=False)
        return jpeg


def _reduced(picture: NDArray[np.uint8], width: int | None) -> NDArray[np.uint8]:
    """The picture (H, W, 3) at no more than a width."""
    if width is None or picture.shape[1] <= width:
        return picture
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
