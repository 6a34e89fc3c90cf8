"""RTSP's messages (RFC 2326): requests read, answers written, and the description of a stream (SDP, RFC 8866)."""

import base64
import re
from asyncio import IncompleteReadError, LimitOverrunError, StreamReader
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from app.ingest.camera.rtp import CLOCK_HZ, PAYLOAD_TYPE

LARGEST_HEAD = 16 * 1024
_LARGEST_BODY = 64 * 1024
_INTERLEAVED = b"$"
_REASONS = {454: "Session Not Found", 455: "Method Not Valid in This State", 461: "Unsupported Transport"}
_SPS, _PPS = 7, 8


class BadRequest(Exception):
    """What came is no RTSP."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for."""

    method: str
    url: str
    headers: Mapping[str, str]
    """By name in lower case."""

    @property
    def path(self) -> str:
        """Of the address, without slashes at its ends."""
        return urlsplit(self.url).path.strip("/")


@dataclass(frozen=True, slots=True)
class Transport:
    """How a client wants its packets."""

    channels: tuple[int, int] | None
    """For RTP and RTCP inside the RTSP connection;"""
    ports: tuple[int, int] | None
    """or UDP ports of the client's."""


async def read_request(reader: StreamReader) -> Request | None:
    """The next request; receiver reports that come between requests are skipped. None once the client is gone.

    Raises:
        BadRequest: what comes is no RTSP, or too long.
    """
    try:
        while (first := await reader.readexactly(1)) == _INTERLEAVED:
            head = await reader.readexactly(3)
            await reader.readexactly(int.from_bytes(head[1:], "big"))
        head = first + await reader.readuntil(b"\r\n\r\n")
        request = _parsed(head.decode("utf-8", "replace"))
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > _LARGEST_BODY:
            raise BadRequest("The body is too long.")
        await reader.readexactly(int(length))
    except LimitOverrunError as error:
        raise BadRequest("The head is too long.") from error
    except (IncompleteReadError, ConnectionError):
        return None
    return request


def _parsed(head: str) -> Request:
    first, *lines = head.strip().split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("RTSP/1."):
        raise BadRequest("The first line is no RTSP request.")
    try:
        urlsplit(words[1])
    except ValueError as error:
        raise BadRequest("The address cannot be read.") from error
    pairs = (line.partition(":") for line in lines)
    return Request(words[0], words[1], {name.strip().lower(): value.strip() for name, _, value in pairs})


def answer(request: Request | None, status: int, headers: Mapping[str, str], body: str = "") -> bytes:
    """An answer, with the request's number."""
    reason = _REASONS.get(status) or HTTPStatus(status).phrase
    lines = [f"RTSP/1.0 {status} {reason}"]
    if request and "cseq" in request.headers:
        lines.append(f"CSeq: {request.headers['cseq']}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body.encode())}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def transport_of(text: str) -> Transport | None:
    """The first of the offered ways that a camera of ours knows: unicast RTP over TCP or UDP."""
    for offer in text.split(","):
        protocol, *options = (word.strip() for word in offer.split(";"))
        found = dict(option.partition("=")[::2] for option in options)
        if "multicast" in found:
            continue
        if protocol == "RTP/AVP/TCP":
            return Transport(_pair(found.get("interleaved", "0-1"), 255) or (0, 1), None)
        if protocol in {"RTP/AVP", "RTP/AVP/UDP"} and (ports := _pair(found.get("client_port", ""), 65535)):
            return Transport(None, ports)
    return None


def _pair(text: str, largest: int) -> tuple[int, int] | None:
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text)
    if match is None:
        return None
    first = int(match[1])
    second = int(match[2] or first + 1)
    return (first, second) if max(first, second) <= largest else None


def description(parameters: tuple[bytes, ...], fps: float, host: str) -> str:
    """The SDP of one video stream.

    Args:
        parameters: its parameter sets, NAL units.
        fps: frames a second.
        host: address of the camera.
    """
    sets = [nal for nal in parameters if nal[0] & 0x1F in {_SPS, _PPS}]
    profile = next((nal[1:4].hex().upper() for nal in sets if nal[0] & 0x1F == _SPS), "42E01F")
    encoded = ",".join(base64.b64encode(nal).decode() for nal in sets)
    family = "IP6" if ":" in host else "IP4"
    lines = [
        "v=0",
        f"o=- 1 1 IN {family} {host}",
        "s=FlexPatch camera",
        "t=0 0",
        "a=control:*",
        "a=range:npt=now-",
        f"m=video 0 RTP/AVP {PAYLOAD_TYPE}",
        f"c=IN {family} {'::' if family == 'IP6' else '0.0.0.0'}",  # noqa: S104 - the client's own
        f"a=rtpmap:{PAYLOAD_TYPE} H264/{CLOCK_HZ}",
        f"a=fmtp:{PAYLOAD_TYPE} packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={encoded}",
        f"a=framerate:{fps:g}",
        "a=control:trackID=0",
    ]
    return "\r\n".join(lines) + "\r\n"
