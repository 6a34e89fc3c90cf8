"""A live stream as a source of frames: whoever asks gets the newest one."""

from collections.abc import Iterator
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from app.core.errors import SourceError, StreamStalled
from app.core.types import Frame, Size
from app.ingest.live.failures import stream_error
from app.ingest.live.process import DecoderProcess, LiveFrame
from app.ingest.live.wire import Ended, Failed, Opened, Order

_OPEN_TIMEOUT_S = 10.0
_STALL_TIMEOUT_S = 10.0
_N_SLOTS = 8


class LiveSource:
    """Frames of one connection to an RTSP stream, from opening to its end. Not thread-safe."""

    n_frames: int | None = None

    def __init__(self, url: str) -> None:
        """Connect, and wait for the first picture.

        Raises:
            SourceError: there is none; the message says why, without user and password.
        """
        self._host = urlsplit(url).hostname or "the camera"
        self.fps: float | None = None
        self.n_corrupt = 0
        self._process = DecoderProcess(Order("rtsp", url, None, "tcp", _OPEN_TIMEOUT_S, None, _N_SLOTS))
        try:
            first = self._begin()
        except BaseException:
            self._process.close()
            raise
        self._first: Frame | None = first
        self.size: Size = first.size

    def __iter__(self) -> Iterator[Frame]:
        """The newest frame each time, until the stream ends; `seq` counts those that were taken."""
        seq = 0
        first_s: float | None = None
        frame, self._first = self._first, None
        while frame is not None or (frame := self._next(_STALL_TIMEOUT_S)) is not None:
            if frame.size != self.size:
                raise SourceError(f"{self._host} sends pictures of {frame.size} now, and sent {self.size} before.")
            seq += 1
            first_s = frame.pts_s if first_s is None else first_s
            yield Frame(seq, frame.pts_s - first_s, frame.picture, frame.capture, frame.decode_ms)
            frame = None

    def close(self) -> None:
        """End the connection; pictures already given out stay valid."""
        self._first = None
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def _begin(self) -> Frame:
        first = self._next(_OPEN_TIMEOUT_S)
        if first is None:
            raise SourceError(f"{self._host} ended the stream before its first picture.")
        return first

    def _next(self, timeout_s: float) -> Frame | None:
        """The next frame; None once the stream has ended."""
        while True:
            match self._process.take(timeout_s):
                case LiveFrame() as live:
                    self.n_corrupt = live.n_corrupt
                    return live.frame
                case Opened() as opened:
                    self.fps = opened.fps
                case Ended():
                    return None
                case Failed() as failed:
                    raise stream_error(self._host, failed)
                case None:
                    raise StreamStalled(f"{self._host} sent no picture for {timeout_s:g} s.")
