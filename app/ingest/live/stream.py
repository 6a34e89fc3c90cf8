"""What FFmpeg reads: a camera's stream or a recording, as decoded pictures."""

import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
from av.codec.context import Flags
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from app.ingest.live.assembly import ASSEMBLED_CODECS, Assembler, Piece, WholePictures
from app.ingest.live.wire import Order, StreamFault

_CORRUPT_IN_A_ROW = 250
"""Packets that cannot be decoded, after which the stream is given up."""
_OPTIONS = {
    "allowed_media_types": "video",
    "fpsprobesize": "0",
    "max_delay": "300000",
    "protocol_whitelist": "rtsp,rtsps,rtp,rtcp,tcp,udp,tls,crypto,srtp",
}
"""`max_delay` is what UDP packets may be late, in microseconds."""
_AS_PARSED = {"fflags": "nobuffer+discardcorrupt", "analyzeduration": "500000"}
_IN_PIECES = {"fflags": "nobuffer+discardcorrupt+noparse+nofillin", "probesize": "32"}
"""As it comes from the network, and nothing looked into before that."""
_READ_TIMEOUT_S = 120.0
"""The parent's deadlines are shorter; this one ends a process whose parent forgot it."""
_UNREACHABLE = frozenset(
    {errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPIPE, errno.EIO, errno.ENOENT}
)


class StreamLost(Exception):
    """The stream cannot be read, or no longer."""

    def __init__(self, fault: StreamFault, detail: str) -> None:
        super().__init__(detail)
        self.fault: StreamFault = fault


class Stream:
    """One connection to a camera, or an open recording. Belongs to one thread."""

    def __init__(self, order: Order) -> None:
        """Raises:
        StreamLost: it cannot be opened, or has no video.
        """
        self._is_tls = order.address.startswith("rtsps:")
        self._n_undecodable = 0
        self.began_s = 0.0
        """When the newest picture began to be decoded: not before all of it was there."""
        try:
            self._container, self._is_in_pieces = _open(order)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._lost(error) from error
        if order.only_host and (strangers := _peers() - {order.only_host}):
            raise StreamLost("forbidden", f"it sends us to {', '.join(sorted(strangers))}")
        if not self._container.streams.video:
            raise StreamLost("codec", "the stream has no video")
        self._video = self._container.streams.video[0]
        self._context = self._video.codec_context
        # More threads would each keep a picture back.
        self._context.thread_count = 1
        self._context.flags |= Flags.copy_opaque | Flags.low_delay
        self.codec = self._context.name
        self.hwaccel = order.hwaccel if self._context.is_hwaccel else None
        """What decodes it; None: the processor."""
        self.fps = next((float(rate) for rate in (self._video.average_rate, self._video.guessed_rate) if rate), None)
        self._assembler = Assembler(self.codec)

    @property
    def n_corrupt(self) -> int:
        """Pictures so far that were damaged, or not whole."""
        return self._n_undecodable + self._assembler.n_torn

    def frames(self) -> Iterator[VideoFrame]:
        """All that can be decoded; `opaque` is the time of day of capture, if the sender tells it.

        Raises:
            StreamLost: the stream broke off.
        """
        n_in_a_row = 0
        for packet in self._assembled() if self._is_in_pieces else self._parsed():
            self.began_s = time.perf_counter()
            try:
                decoded = self._context.decode(packet)
            except (av.FFmpegError, OSError):
                self._n_undecodable += 1
                n_in_a_row += 1
                if n_in_a_row > _CORRUPT_IN_A_ROW:
                    raise StreamLost("codec", f"{n_in_a_row} packets in a row cannot be decoded") from None
                continue
            for frame in decoded:
                if frame.is_corrupt:
                    self._n_undecodable += 1
                else:
                    n_in_a_row = 0
                    yield frame

    def _assembled(self) -> "Iterator[av.Packet[Any] | None]":
        """A picture each, of a stream that comes in pieces; at its end None, for the decoder to give out the last."""
        packets = (packet for packet in self._packets() if packet.size)
        pieces = (Piece(bytes(packet), packet.pts, _reported(packet)) for packet in packets)
        for picture in WholePictures(pieces, self._assembler):
            packet = av.Packet(picture.data)
            packet.pts, packet.opaque = picture.pts, picture.reported_s
            if self._video.time_base is not None:
                packet.time_base = self._video.time_base
            yield packet
        yield None

    def _parsed(self) -> "Iterator[av.Packet[Any]]":
        """A picture each, as FFmpeg tells them apart."""
        for packet in self._packets():
            packet.opaque = _reported(packet)
            yield packet

    def _packets(self) -> "Iterator[av.Packet[VideoStream]]":
        """As they come.

        Raises:
            StreamLost: the stream broke off.
        """
        packets = self._container.demux(self._video)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.EOFError):
                return
            except (av.FFmpegError, OSError) as error:
                raise self._lost(error) from error
            yield packet

    def _lost(self, error: Exception) -> StreamLost:
        return StreamLost(_fault(error, is_tls=self._is_tls), str(error).partition(":")[0].strip())


def _open(order: Order) -> tuple[InputContainer, bool]:
    """The open stream, and whether its packets are pieces of pictures rather than whole ones."""

    def opened(options: dict[str, str]) -> InputContainer:
        timeouts = (order.open_timeout_s, _READ_TIMEOUT_S)
        if order.hwaccel:
            try:
                hardware = HWAccel(order.hwaccel, allow_software_fallback=True)
                return av.open(order.address, options=options, timeout=timeouts, hwaccel=hardware)
            except (av.FFmpegError, OSError) as error:
                # Without such a device FFmpeg does not get as far as software that may take its place.
                if _fault(error, is_tls=False) != "internal":
                    raise
        return av.open(order.address, options=options, timeout=timeouts)

    if order.kind == "file":
        return opened({}), False
    options = {**_OPTIONS, "rtsp_transport": order.transport}
    if order.certified_host:
        options |= {"tls_verify": "1", "verifyhost": order.certified_host}
        options |= {"ca_file": order.ca_file} if order.ca_file else {}
    # Where it tells no parameters and we come in the midst of a picture, FFmpeg cannot begin with a piece.
    with suppress(av.InvalidDataError):
        container = opened(options | _IN_PIECES)
        if _is_assembled(container):
            return container, True
        container.close()
    return opened(options | _AS_PARSED), False


def _is_assembled(container: InputContainer) -> bool:
    """Whether its pieces can be put together here; of several streams FFmpeg tells the times by its own lights."""
    streams = container.streams
    return len(streams) == 1 and all(stream.codec_context.name in ASSEMBLED_CODECS for stream in streams.video)


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
