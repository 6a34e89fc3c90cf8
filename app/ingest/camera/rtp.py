"""H.264 over RTP: access units to packets (RFC 6184), and the sender's reports that tell the time (RFC 3550)."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

PAYLOAD_TYPE = 96
CLOCK_HZ = 90_000
LARGEST_PAYLOAD = 1400
"""Bytes; with all headers below what an Ethernet frame carries."""

_VERSION = 2 << 6
_MARKER = 0x80
_FU_A = 28
_FU_START, _FU_END = 0x80, 0x40
_NAL_TYPE, _NAL_IMPORTANCE = 0x1F, 0xE0
_SENDER_REPORT, _SOURCE_DESCRIPTION, _BYE = 200, 202, 203
_CNAME = 1
_NTP_EPOCH_S = 2_208_988_800
"""Seconds from 1900, where NTP counts from, to 1970."""


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One encoded picture."""

    nals: tuple[bytes, ...]
    """Its NAL units, without start codes; before a key frame with the parameter sets."""
    pts_s: float
    """When it is shown, in the stream's own time."""
    is_key: bool


def split_annex_b(data: bytes) -> tuple[bytes, ...]:
    """The NAL units of a byte stream with start codes (H.264, annex B)."""
    # No NAL unit ends in a zero byte: zeros before a start code belong to it.
    return tuple(nal for part in data.split(b"\x00\x00\x01") if (nal := part.rstrip(b"\x00")))


def payloads_of(unit: AccessUnit) -> list[bytes]:
    """What the packets of a unit carry, in order; the last one's packet gets the marker."""
    return [payload for nal in unit.nals for payload in _fragments(nal)]


def _fragments(nal: bytes) -> Iterator[bytes]:
    """The unit itself, or pieces of it (FU-A) if it is too long for one packet."""
    if len(nal) <= LARGEST_PAYLOAD:
        yield nal
        return
    indicator = (nal[0] & _NAL_IMPORTANCE) | _FU_A
    step = LARGEST_PAYLOAD - 2
    for first in range(1, len(nal), step):
        header = nal[0] & _NAL_TYPE
        header |= _FU_START if first == 1 else 0
        header |= _FU_END if first + step >= len(nal) else 0
        yield bytes((indicator, header)) + nal[first : first + step]


class RtpStream:
    """What one receiver gets: its packets are numbered from a number of its own."""

    def __init__(self, ssrc: int, first_number: int, first_timestamp: int) -> None:
        self.ssrc = ssrc
        self._number = first_number
        self._first_timestamp = first_timestamp
        self._n_packets = 0
        self._n_bytes = 0

    @property
    def next_number(self) -> int:
        """Sequence number of the next packet."""
        return self._number

    def timestamp(self, pts_s: float) -> int:
        """Of a picture, in ticks of `CLOCK_HZ`, 32 bits."""
        return (self._first_timestamp + round(pts_s * CLOCK_HZ)) & 0xFFFFFFFF

    def packets(self, payloads: Sequence[bytes], pts_s: float) -> Iterator[bytes]:
        """The packets of one picture."""
        timestamp = self.timestamp(pts_s)
        for number, payload in enumerate(payloads, 1):
            kind = PAYLOAD_TYPE | (_MARKER if number == len(payloads) else 0)
            yield struct.pack("!BBHII", _VERSION, kind, self._number, timestamp, self.ssrc) + payload
            self._number = (self._number + 1) & 0xFFFF
            self._n_packets += 1
            self._n_bytes += len(payload)

    def sender_report(self, pts_s: float, unix_s: float) -> bytes:
        """A compound RTCP packet: a picture of that stream time was taken at that time of day."""
        ntp_s = unix_s + _NTP_EPOCH_S
        whole = int(ntp_s)
        report = struct.pack(
            "!IIIIII",
            self.ssrc,
            whole & 0xFFFFFFFF,
            int((ntp_s - whole) * 2**32) & 0xFFFFFFFF,
            self.timestamp(pts_s),
            self._n_packets & 0xFFFFFFFF,
            self._n_bytes & 0xFFFFFFFF,
        )
        return _rtcp(_SENDER_REPORT, 0, report) + self._description()

    def goodbye(self) -> bytes:
        """A compound RTCP packet: nothing more will come."""
        empty_report = _rtcp(201, 0, struct.pack("!I", self.ssrc))
        return empty_report + self._description() + _rtcp(_BYE, 1, struct.pack("!I", self.ssrc))

    def _description(self) -> bytes:
        name = b"flexpatch-camera"
        chunk = struct.pack("!IBB", self.ssrc, _CNAME, len(name)) + name + b"\x00"
        return _rtcp(_SOURCE_DESCRIPTION, 1, chunk + b"\x00" * (-len(chunk) % 4))


def _rtcp(kind: int, count: int, body: bytes) -> bytes:
    return struct.pack("!BBH", _VERSION | count, kind, len(body) // 4) + body
