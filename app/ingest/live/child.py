"""The decoding process of one live stream: `python -m app.ingest.live.child FD`, with its orders on that socket.

It can be killed at any moment: a read of FFmpeg's may hang, and damaged streams have crashed it. It ends by itself as
soon as nobody holds the other end of the socket.
"""

import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

from av.video.frame import VideoFrame

from app.core.errors import SourceError
from app.core.types import YuvPicture
from app.ingest.file import frame_of, picture_of
from app.ingest.live.planes import PlaneFormat, PlaneSlots
from app.ingest.live.stream import Stream, StreamLost
from app.ingest.live.timing import CaptureClock, LiveClock
from app.ingest.live.wire import Decoded, Ended, Failed, Opened, Order, Reformatted, receive, send

_USUAL_FPS = 25.0
_LARGEST_DELAY_S = 0.5
_MICROSECOND = Fraction(1, 1_000_000)


class Outlet:
    """Pictures on their way to the parent: into slots that it has given back."""

    def __init__(self, sock: socket.socket, n_slots: int) -> None:
        self._sock, self._n_slots = sock, n_slots
        self._free: deque[int] = deque(range(n_slots))
        self._slots: PlaneSlots | None = None
        self._generation = 0
        self._lock = threading.Lock()
        """Of `_free` and `_generation`."""
        self.n_unslotted = 0
        threading.Thread(target=self._watch, name="parent", daemon=True).start()

    def put(self, picture: YuvPicture) -> int | None:
        """Copy a picture into a free slot; None, and counted, if there is none."""
        shape = PlaneFormat(picture.size, picture.is_full_range)
        if self._slots is None or self._slots.shape != shape:
            self._reformat(shape)
        assert self._slots is not None  # noqa: S101 - made above
        with self._lock:
            slot = self._free.popleft() if self._free else None
        if slot is None:
            self.n_unslotted += 1
            return None
        self._slots.write(slot, picture)
        return slot

    def _reformat(self, shape: PlaneFormat) -> None:
        self._slots = PlaneSlots(shape, self._n_slots)
        with self._lock:
            self._generation += 1
            self._free = deque(range(self._n_slots))
        send(self._sock, Reformatted(*shape.size, shape.is_full_range), self._slots.fd)
        self._slots.close_descriptor()

    def _watch(self) -> None:
        """Take slots back, each told as its number and the generation of its memory; end with the parent."""
        with suppress(OSError):
            while data := self._sock.recv(64):
                slot, generation = data[0], int.from_bytes(data[1:], "big")
                with self._lock:
                    if generation == self._generation:
                        self._free.append(slot)
        os._exit(0)


def main() -> None:
    """Until the stream ends, or the parent does."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    order, _ = receive(sock)
    if not isinstance(order, Order):
        return
    try:
        _serve(order, sock)
        send(sock, Ended())
    except StreamLost as error:
        send(sock, Failed(error.fault, str(error)))
    except BrokenPipeError:
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent must know why there is no more
        send(sock, Failed("internal", f"{type(error).__name__}: {error}"))


def _serve(order: Order, sock: socket.socket) -> None:
    if order.kind == "file" and Path(order.address).is_dir():
        _show(_Images(order.address), order, sock)
    else:
        _show(Stream(order), order, sock)


def _show(source: "_Images | Stream", order: Order, sock: socket.socket) -> None:
    """Decode and pass on, until the stream ends."""
    send(sock, Opened(source.codec, source.fps, source.hwaccel))
    outlet = Outlet(sock, order.n_slots)
    period_s = 1 / (source.fps or _USUAL_FPS)
    stream_clock, capture_clock = LiveClock(period_s), CaptureClock()
    pace = _Pace(period_s) if order.kind == "file" else None
    for frame in source.frames():
        picture = picture_of(frame)
        decode_ms = 1000 * (time.perf_counter() - source.began_s)
        noted_s = None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
        if pace:
            pace.wait(noted_s)
        pts_s = stream_clock.tick(noted_s, time.perf_counter())
        reported = frame.opaque if isinstance(frame.opaque, float) else None
        captured = capture_clock.of(pts_s, reported, time.time(), has_pts=noted_s is not None)
        slot = outlet.put(picture)
        if slot is not None:
            counts = (source.n_corrupt, outlet.n_unslotted, stream_clock.n_jumps)
            send(sock, Decoded(slot, pts_s, captured.unix_s, captured.source, decode_ms, *counts))


class _Images:
    """A folder of images, as a stream."""

    codec = "images"
    hwaccel = None

    def __init__(self, folder: str) -> None:
        """Raises:
        StreamLost: there are none.
        """
        from app.ingest.source import open_source  # noqa: PLC0415 - takes time that streams need not wait

        try:
            self._source = open_source(folder)
        except SourceError as error:
            raise StreamLost("codec", str(error)) from error
        self.fps = self._source.fps
        self.began_s = 0.0

    @property
    def n_corrupt(self) -> int:
        return self._source.n_corrupt

    def frames(self) -> Iterator[VideoFrame]:
        """Raises:
        StreamLost: an image cannot be read.
        """
        self.began_s = time.perf_counter()
        try:
            for frame in self._source:
                made = frame_of(frame.picture)
                made.pts, made.time_base = round(frame.pts_s * 1e6), _MICROSECOND
                yield made
                self.began_s = time.perf_counter()
        except SourceError as error:
            raise StreamLost("codec", str(error)) from error


class _Pace:
    """Holds pictures of a recording back until they are due."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._due_s: float | None = None
        self._noted_s: float | None = None

    def wait(self, noted_s: float | None) -> None:
        """Until the next picture is due; a recording that is read too slowly is not caught up with."""
        now_s = time.perf_counter()
        if self._due_s is None:
            self._due_s = now_s
        else:
            step_s = self._period_s if noted_s is None or self._noted_s is None else noted_s - self._noted_s
            self._due_s = max(self._due_s + max(step_s, 0.0), now_s - _LARGEST_DELAY_S)
        self._noted_s = noted_s
        time.sleep(max(0.0, self._due_s - now_s))


if __name__ == "__main__":
    main()
    # A thread may be waiting for the network, and nothing that is left needs an orderly end.
    os._exit(0)
