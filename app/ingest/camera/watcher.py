"""One client of a simulated camera: its requests answered, and pictures sent the way it asked for."""

import asyncio
import errno
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from app.ingest.camera.credentials import Credentials
from app.ingest.camera.faults import Effects, Kind
from app.ingest.camera.feed import Feed
from app.ingest.camera.messages import BadRequest, Request, Transport, answer, description, read_request, transport_of
from app.ingest.camera.rtp import AccessUnit, RtpStream

_TIMEOUT_S = 60
"""What clients are told; they say that they are there twice as often."""
_REPORT_EVERY_S = 2.0
_LARGEST_BACKLOG = 4 * 1024 * 1024
"""Bytes that wait for a client; more, and it gets no pictures until the next key frame."""
_RTP_HEADER = 12
_METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER: closing the socket resets the connection."""
_PORT_ATTEMPTS = 50


class Watched(Protocol):
    """What a client sees of the camera."""

    effects: Effects
    feed: Feed
    start_unix_s: float

    def watched(self) -> None:
        """A client begins to play."""
        ...


class _Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str = ""


class _Outlet(Protocol):
    """The way packets take to a client."""

    def rtp(self, packet: bytes) -> None: ...

    def rtcp(self, packet: bytes) -> None: ...

    def close(self) -> None: ...


class Watcher:
    """A client's connection, from its first request to its end."""

    def __init__(
        self,
        camera: Watched,
        path: str,
        credentials: Credentials | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._camera, self._path, self._credentials = camera, path, credentials
        self._reader, self._writer = reader, writer
        random = camera.effects.random
        self._stream = RtpStream(random.getrandbits(32), random.getrandbits(16), random.getrandbits(32))
        self._session = f"{random.getrandbits(64):016x}"
        self._outlet: _Outlet | None = None
        self._needs_key = True
        self._reported_s: float | None = None
        self.is_playing = False

    async def run(self) -> None:
        """Answer requests until either side ends the connection."""
        try:
            while (request := await read_request(self._reader)) is not None and not self._writer.is_closing():
                if Kind.HALF_OPEN not in self._camera.effects.active:
                    await self._respond(request)
        except BadRequest:
            self._writer.write(answer(None, 400, {"Connection": "close"}))
            self._writer.close()
        except ConnectionError:
            return  # the client is gone

    async def _respond(self, request: Request) -> None:
        status, headers, body = await self._answer(request)
        self._writer.write(answer(request, status, headers, body))
        await self._writer.drain()
        if status != 200:
            return
        if request.method == "PLAY" and not self.is_playing:
            self.is_playing, self._needs_key = True, True
            self._camera.watched()
        elif request.method in {"PAUSE", "TEARDOWN"}:
            self.is_playing = False
        if request.method == "TEARDOWN":
            self._writer.close()

    # ---------------------------------------------------------------------------------------------------- answers

    async def _answer(self, request: Request) -> _Answer:
        answers: dict[str, Callable[[Request], Awaitable[_Answer]]] = {
            "DESCRIBE": self._describe,
            "SETUP": self._set_up,
            "PLAY": self._in_session,
            "PAUSE": self._in_session,
            "TEARDOWN": self._in_session,
            "GET_PARAMETER": self._nothing_more,
            "SET_PARAMETER": self._nothing_more,
        }
        if request.method == "OPTIONS":
            return _Answer(200, {"Public": _METHODS})
        if request.method not in answers:
            return _Answer(405, {"Allow": _METHODS})
        if refusal := self._refusal(request):
            return refusal
        if request.path != self._path and not request.path.startswith(f"{self._path}/"):
            return _Answer(404, {})
        return await answers[request.method](request)

    def _refusal(self, request: Request) -> _Answer | None:
        """401, if the client may not watch."""
        if Kind.UNAUTHORISED in self._camera.effects.active:
            return _Answer(401, {"WWW-Authenticate": 'Basic realm="nobody"'})
        allowed = self._credentials
        if allowed is None or allowed.accept(request.headers.get("authorization"), request.method):
            return None
        return _Answer(401, {"WWW-Authenticate": allowed.challenge()})

    async def _describe(self, request: Request) -> _Answer:
        if slow := self._camera.effects.active.get(Kind.SLOW_START):
            await asyncio.sleep(slow.by_s)
        feed = self._camera.feed
        host = self._writer.get_extra_info("sockname")[0]
        headers = {"Content-Base": request.url.rstrip("/") + "/", "Content-Type": "application/sdp"}
        return _Answer(200, headers, description(feed.parameters, feed.fps, host))

    async def _set_up(self, request: Request) -> _Answer:
        wanted = transport_of(request.headers.get("transport", ""))
        if wanted is None:
            return _Answer(461, {})
        if self.is_playing:
            return _Answer(455, {})
        if self._outlet is not None:
            self._outlet.close()
        self._outlet, described = await self._opened(wanted)
        transport = f"{described};ssrc={self._stream.ssrc:08X}"
        return _Answer(200, {"Transport": transport, "Session": f"{self._session};timeout={_TIMEOUT_S}"})

    async def _opened(self, wanted: Transport) -> tuple[_Outlet, str]:
        if wanted.channels is not None:
            first, second = wanted.channels
            outlet = _Interleaved(self._writer, wanted.channels)
            return outlet, f"RTP/AVP/TCP;unicast;interleaved={first}-{second}"
        assert wanted.ports is not None  # noqa: S101 - a transport has one of the two
        own = self._writer.get_extra_info("sockname")[0]
        client = self._writer.get_extra_info("peername")[0]
        datagrams = await _Datagrams.opened(own, client, wanted.ports)
        ports = f"client_port={wanted.ports[0]}-{wanted.ports[1]};server_port={datagrams.port}-{datagrams.port + 1}"
        return datagrams, f"RTP/AVP;unicast;{ports}"

    async def _in_session(self, request: Request) -> _Answer:
        if request.headers.get("session", "").partition(";")[0] != self._session:
            return _Answer(454, {})
        if self._outlet is None:
            return _Answer(455, {})
        headers = {"Session": f"{self._session};timeout={_TIMEOUT_S}"}
        if request.method == "PLAY":
            track = f"{request.url.rstrip('/')}/trackID=0"
            headers |= {"Range": "npt=0.000-", "RTP-Info": f"url={track};seq={self._stream.next_number}"}
        return _Answer(200, headers)

    async def _nothing_more(self, _request: Request) -> _Answer:
        return _Answer(200, {"Session": self._session})

    # --------------------------------------------------------------------------------------------------- pictures

    def send(self, unit: AccessUnit, payloads: list[bytes]) -> bool:
        """Send a picture; False if the client is too slow for it, or waits for a key frame because it was."""
        if self._outlet is None or self._writer.is_closing():
            return False
        if self._writer.transport.get_write_buffer_size() > _LARGEST_BACKLOG:
            self._needs_key = True
        elif unit.is_key:
            self._needs_key = False
        if self._needs_key:
            return False
        effects = self._camera.effects
        pts_s = unit.pts_s + effects.shift_s
        if self._reported_s is None or not 0 <= pts_s - self._reported_s < _REPORT_EVERY_S:
            self._outlet.rtcp(self._stream.sender_report(pts_s, self._camera.start_unix_s + unit.pts_s))
            self._reported_s = pts_s
        for packet in self._stream.packets(payloads, pts_s):
            if effects.strikes(Kind.LOSS):
                continue
            if effects.strikes(Kind.GARBAGE):
                self._outlet.rtp(packet[:_RTP_HEADER] + effects.scrambled(len(packet) - _RTP_HEADER))
            else:
                self._outlet.rtp(packet)
        return True

    def wait_for_key(self) -> None:
        """What comes next is another stream, of which only a key frame is a beginning."""
        self._needs_key = True

    def say_goodbye(self) -> None:
        """Tell the client that the stream has ended, and close."""
        if self._outlet is not None and self.is_playing:
            self._outlet.rtcp(self._stream.goodbye())
        self.is_playing = False
        self._writer.close()

    def cut(self, *, is_reset: bool = False) -> None:
        """End the connection at once."""
        self.is_playing = False
        if self._outlet is not None:
            self._outlet.close()
            self._outlet = None
        if is_reset and not self._writer.is_closing():
            sock = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()


class _Interleaved:
    """Packets inside the RTSP connection."""

    def __init__(self, writer: asyncio.StreamWriter, channels: tuple[int, int]) -> None:
        self._writer, self._channels = writer, channels

    def rtp(self, packet: bytes) -> None:
        self._write(self._channels[0], packet)

    def rtcp(self, packet: bytes) -> None:
        self._write(self._channels[1], packet)

    def close(self) -> None:
        """The connection is the client's."""

    def _write(self, channel: int, packet: bytes) -> None:
        self._writer.write(struct.pack("!cBH", b"$", channel, len(packet)) + packet)


_Pair = tuple[asyncio.DatagramTransport, asyncio.DatagramTransport]


class _Datagrams:
    """Packets by UDP, from a pair of ports of the camera's."""

    def __init__(self, pair: _Pair, client: str, to: tuple[int, int]) -> None:
        self._pair, self._client, self._to = pair, client, to

    @classmethod
    async def opened(cls, own: str, client: str, to: tuple[int, int]) -> "_Datagrams":
        """Take a pair of ports.

        Raises:
            OSError: there is none.
        """
        for _ in range(_PORT_ATTEMPTS):
            if pair := await _neighbours(own):
                return cls(pair, client, to)
        raise OSError(errno.EADDRINUSE, "no two neighbouring UDP ports are free")

    @property
    def port(self) -> int:
        """The first of the two."""
        return int(self._pair[0].get_extra_info("sockname")[1])

    def rtp(self, packet: bytes) -> None:
        self._pair[0].sendto(packet, (self._client, self._to[0]))

    def rtcp(self, packet: bytes) -> None:
        self._pair[1].sendto(packet, (self._client, self._to[1]))

    def close(self) -> None:
        for transport in self._pair:
            transport.close()


async def _neighbours(own: str) -> _Pair | None:
    """Two neighbouring ports, the first one even, as RTP wants it; None if chance gave others."""
    loop = asyncio.get_running_loop()
    first, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(own, 0))
    port = first.get_extra_info("sockname")[1]
    if port % 2 == 0:
        with suppress(OSError):
            second, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(own, port + 1))
            return first, second
    first.close()
    return None
