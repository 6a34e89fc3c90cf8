"""The decoding process of one live stream: `python -m app.ingest.live.child FD`, with its orders on that socket.

It can be killed at any moment: a read of FFmpeg's may hang, and damaged streams have crashed it. It ends by itself as
soon as nobody holds the other end of the socket.
"""

import errno
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

import av
from av.codec.context import Flags
from av.codec.hwaccel import HWAccel
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from app.core.errors import SourceError
from app.core.types import YuvPicture
from app.ingest.file import frame_of, picture_of
from app.ingest.live.planes import PlaneFormat, PlaneSlots
from app.ingest.live.timing import CaptureClock, LiveClock
from app.ingest.live.wire import Decoded, Ended, Failed, Opened, Order, Reformatted, StreamFault, receive, send

_USUAL_FPS = 25.0
_CORRUPT_IN_A_ROW = 250
"""Packets that cannot be decoded, after which the stream is given up."""
_OPTIONS = {
    "allowed_media_types": "video",
    "analyzeduration": "500000",
    "fpsprobesize": "0",
    "fflags": "nobuffer+discardcorrupt",
    "max_delay": "300000",
    "protocol_whitelist": "rtsp,rtsps,rtp,rtcp,tcp,udp,tls,crypto,srtp",
}
"""`max_delay` is what UDP packets may be late, in microseconds."""
_READ_TIMEOUT_S = 120.0
"""The parent's deadlines are shorter; this one ends a process whose parent forgot it."""
_LARGEST_DELAY_S = 0.5
_MICROSECOND = Fraction(1, 1_000_000)
_UNREACHABLE = frozenset(
    {errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPIPE, errno.EIO, errno.ENOENT}
)


class StreamLost(Exception):
    """The stream cannot be read, or no longer."""

    def __init__(self, fault: StreamFault, detail: str) -> None:
        super().__init__(detail)
        self.fault: StreamFault = fault


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
        _show(_Stream(order), order, sock)


def _show(source: "_Images | _Stream", order: Order, sock: socket.socket) -> None:
    """Decode and pass on, until the stream ends."""
    send(sock, Opened(source.codec, source.fps))
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


class _Stream:
    """What FFmpeg reads."""

    def __init__(self, order: Order) -> None:
        """Raises:
        StreamLost: it cannot be opened, or has no video.
        """
        self._is_tls = order.address.startswith("rtsps:")
        self.n_corrupt = 0
        self.began_s = 0.0
        """When the newest picture began to be decoded: not before all of it was there."""
        hardware = HWAccel(order.hwaccel, allow_software_fallback=True) if order.hwaccel else None
        live = {**_OPTIONS, "rtsp_transport": order.transport} if order.kind == "rtsp" else {}
        try:
            timeouts = (order.open_timeout_s, _READ_TIMEOUT_S)
            self._container = av.open(order.address, options=live, timeout=timeouts, hwaccel=hardware)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._lost(error) from error
        if order.only_host and (strangers := _peers() - {order.only_host}):
            raise StreamLost("forbidden", f"it sends us to {', '.join(sorted(strangers))}")
        if not self._container.streams.video:
            raise StreamLost("codec", "the stream has no video")
        stream = self._container.streams.video[0]
        # More threads would each keep a picture back.
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= Flags.copy_opaque | Flags.low_delay
        self._video = stream
        self.codec = stream.codec_context.name
        self.fps = next((float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate), None)

    def frames(self) -> Iterator[VideoFrame]:
        """All that can be decoded; `opaque` is the time of day of capture, if the sender tells it.

        Raises:
            StreamLost: the stream broke off.
        """
        n_in_a_row = 0
        packets = self._container.demux(self._video)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.EOFError):
                return
            except (av.FFmpegError, OSError) as error:
                raise self._lost(error) from error
            packet.opaque = _reported(packet)
            self.began_s = time.perf_counter()
            try:
                decoded = packet.decode()
            except (av.FFmpegError, OSError):
                self.n_corrupt += 1
                n_in_a_row += 1
                if n_in_a_row > _CORRUPT_IN_A_ROW:
                    raise StreamLost("codec", f"{n_in_a_row} packets in a row cannot be decoded") from None
                continue
            for frame in decoded:
                if frame.is_corrupt:
                    self.n_corrupt += 1
                else:
                    n_in_a_row = 0
                    yield frame

    def _lost(self, error: Exception) -> StreamLost:
        return StreamLost(_fault(error, is_tls=self._is_tls), str(error).partition(":")[0].strip())


class _Images:
    """A folder of images, as a stream."""

    codec = "images"

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


def _peers() -> set[str]:
    """Numbers of all hosts that this process is connected to by TCP."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as copy:
            if copy.family in {socket.AF_INET, socket.AF_INET6} and copy.type == socket.SOCK_STREAM:
                found.add(str(copy.getpeername()[0]).removeprefix("::ffff:"))
    return found


def _reported(packet: "av.Packet[VideoStream]") -> float | None:
    """Time of day of capture, as the sender's reports have it."""
    if not packet.has_sidedata("prft"):
        return None
    microseconds = int.from_bytes(bytes(packet.get_sidedata("prft"))[:8], sys.byteorder, signed=True)
    return microseconds / 1e6


def _fault(error: Exception, *, is_tls: bool) -> StreamFault:
    """What an error of FFmpeg's means."""
    kinds: tuple[tuple[tuple[type[Exception], ...], StreamFault], ...] = (
        ((av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError), "authentication"),
        ((av.error.HTTPNotFoundError,), "not_found"),
        ((av.error.HTTPError, av.error.ProtocolNotFoundError), "protocol"),
        ((av.error.TimeoutError, av.error.ExitError), "timeout"),
        ((av.error.DecoderNotFoundError, av.error.DemuxerNotFoundError, av.error.PatchWelcomeError), "codec"),
    )
    for types, fault in kinds:
        if isinstance(error, types):
            return fault
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return "tls" if is_tls and error.errno == errno.EIO else "unreachable"
    return "protocol" if isinstance(error, av.InvalidDataError) else "internal"


if __name__ == "__main__":
    main()
