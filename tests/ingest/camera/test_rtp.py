"""Access units to packets, and reports that tell the time."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from app.ingest.camera.rtp import CLOCK_HZ, LARGEST_PAYLOAD, AccessUnit, RtpStream, payloads_of, split_annex_b

# Of what a decoder would need it is only the first byte that matters here: importance and type, never those of packets.
NALS = st.lists(
    st.tuples(st.sampled_from([0x67, 0x68, 0x65, 0x41, 0x06]), st.binary(min_size=1, max_size=5000)).map(
        lambda parts: bytes([parts[0]]) + parts[1] + b"\x80"
    ),
    min_size=1,
    max_size=5,
)


def put_together(payloads: list[bytes]) -> list[bytes]:
    """What a receiver makes of payloads (RFC 6184, 5.6 and 5.8)."""
    nals: list[bytes] = []
    for payload in payloads:
        if payload[0] & 0x1F != 28:
            nals.append(payload)
        elif payload[1] & 0x80:
            nals.append(bytes([payload[0] & 0xE0 | payload[1] & 0x1F]) + payload[2:])
        else:
            nals[-1] += payload[2:]
    return nals


@given(NALS)
def test_a_receiver_gets_the_units_back(nals: list[bytes]) -> None:
    payloads = payloads_of(AccessUnit(tuple(nals), 0.0, is_key=True))
    assert put_together(payloads) == nals
    assert max(map(len, payloads)) <= LARGEST_PAYLOAD


@given(NALS)
def test_each_long_unit_has_one_first_and_one_last_piece(nals: list[bytes]) -> None:
    pieces = [p for p in payloads_of(AccessUnit(tuple(nals), 0.0, is_key=True)) if p[0] & 0x1F == 28]
    n_long = sum(len(nal) > LARGEST_PAYLOAD for nal in nals)
    assert sum(bool(p[1] & 0x80) for p in pieces) == sum(bool(p[1] & 0x40) for p in pieces) == n_long
    assert not any(p[1] & 0xC0 == 0xC0 for p in pieces)


@given(st.lists(st.binary(min_size=1, max_size=30).map(lambda b: b"\x65" + b.replace(b"\x00", b"\x01")), max_size=4))
def test_start_codes_of_three_and_four_bytes_part_units(nals: list[bytes]) -> None:
    stream = b"".join(code + nal for code, nal in zip([b"\0\0\0\1", b"\0\0\1"] * 2, nals, strict=False))
    assert split_annex_b(stream) == tuple(nals)


def test_packets_are_numbered_and_marked() -> None:
    stream = RtpStream(ssrc=7, first_number=0xFFFF, first_timestamp=0xFFFFFFFF)
    packets = list(stream.packets([b"a", b"b", b"c"], pts_s=2 / CLOCK_HZ))
    headers = [struct.unpack("!BBHII", packet[:12]) for packet in packets]
    assert [packet[12:] for packet in packets] == [b"a", b"b", b"c"]
    assert [header[2] for header in headers] == [0xFFFF, 0, 1]
    assert [bool(header[1] & 0x80) for header in headers] == [False, False, True]
    assert {(header[0], header[1] & 0x7F, header[3], header[4]) for header in headers} == {(0x80, 96, 1, 7)}


def test_a_report_says_at_what_time_of_day_a_picture_was_taken() -> None:
    stream = RtpStream(ssrc=7, first_number=0, first_timestamp=1000)
    list(stream.packets([b"abc", b"de"], 0.0))
    report = stream.sender_report(pts_s=2.0, unix_s=1_000_000_000.25)
    head, kind, length, *fields = struct.unpack("!BBHIIIIII", report[:28])
    assert (head, kind, length) == (0x80, 200, 6)
    assert fields == [7, 1_000_000_000 + 2_208_988_800, 2**30, 1000 + 2 * CLOCK_HZ, 2, 5]
    assert report[29] == 202, "the description of the source follows"
    assert len(report) % 4 == 0


def test_a_goodbye_ends_with_one() -> None:
    goodbye = RtpStream(ssrc=7, first_number=0, first_timestamp=0).goodbye()
    assert struct.unpack("!BBHI", goodbye[-8:]) == (0x81, 203, 1, 7)
