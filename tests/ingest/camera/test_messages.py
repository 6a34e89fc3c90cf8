"""RTSP's words."""

import asyncio
import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ingest.camera.messages import (
    LARGEST_HEAD,
    BadRequest,
    Request,
    Transport,
    answer,
    description,
    read_request,
    transport_of,
)


def read(*parts: bytes) -> list[Request | None]:
    """All requests, until the client is gone."""

    async def all_of_them() -> list[Request | None]:
        reader = asyncio.StreamReader(limit=LARGEST_HEAD)
        for part in parts:
            reader.feed_data(part)
        reader.feed_eof()
        found: list[Request | None] = []
        while not found or found[-1] is not None:
            found.append(await read_request(reader))
        return found

    return asyncio.run(all_of_them())


def test_requests_are_read_one_after_the_other() -> None:
    first, second, end = read(
        b"OPTIONS rtsp://h:1/a RTSP/1.0\r\nCSeq: 1\r\n\r\n"
        b"SET_PARAMETER rtsp://h:1/a/ RTSP/1.0\r\ncseq:2\r\nContent-Length: 5\r\n\r\nhello"
    )
    assert first == Request("OPTIONS", "rtsp://h:1/a", {"cseq": "1"})
    assert second
    assert (second.method, second.path, second.headers["cseq"]) == ("SET_PARAMETER", "a", "2")
    assert end is None


def test_reports_between_requests_are_skipped() -> None:
    found = read(b"$\x01\x00\x03abc", b"$\x01\x00\x00", b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
    assert [item and item.method for item in found] == ["OPTIONS", None]


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
        b"PLAY\r\n\r\n",
        b"PLAY rtsp://[::1 RTSP/1.0\r\n\r\n",
        b"X rtsp://h/s RTSP/1.0\r\nContent-Length: 99999999\r\n\r\n",
        b"X rtsp://h/s RTSP/1.0\r\nContent-Length: -1\r\n\r\n",
        b"X" * (2 * LARGEST_HEAD),
    ],
)
def test_garbage_is_told_from_requests(garbage: bytes) -> None:
    with pytest.raises(BadRequest):
        read(garbage)


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail_otherwise(data: bytes) -> None:
    with suppress(BadRequest):
        assert read(data)[-1] is None


def test_an_answer_repeats_the_number() -> None:
    request = Request("PLAY", "rtsp://h/s", {"cseq": "9"})
    assert answer(request, 454, {"A": "b"}) == b"RTSP/1.0 454 Session Not Found\r\nCSeq: 9\r\nA: b\r\n\r\n"
    assert answer(None, 200, {}, "é").endswith(b"Content-Length: 2\r\n\r\n\xc3\xa9")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RTP/AVP/TCP;unicast;interleaved=2-3", Transport((2, 3), None)),
        ("RTP/AVP/TCP;unicast", Transport((0, 1), None)),
        ("RTP/AVP;unicast;client_port=5000-5001", Transport(None, (5000, 5001))),
        ("RTP/AVP/UDP;unicast;client_port=5000", Transport(None, (5000, 5001))),
        ("RTP/AVP;multicast;client_port=5000-5001,RTP/AVP/TCP;interleaved=0-1", Transport((0, 1), None)),
        ("RTP/SAVP;unicast;client_port=1-2", None),
        ("RTP/AVP;unicast;client_port=99999-100000", None),
        ("RTP/AVP;unicast", None),
        ("", None),
    ],
)
def test_the_first_way_that_is_known_is_taken(text: str, expected: Transport | None) -> None:
    assert transport_of(text) == expected


def test_a_description_tells_what_a_decoder_needs() -> None:
    sps, pps = b"\x67\x42\xc0\x1fxyz", b"\x68ab"
    text = description((sps, pps, b"\x06sei"), 12.5, "127.0.0.1")
    assert "profile-level-id=42C01F" in text
    encoded = ",".join(base64.b64encode(nal).decode() for nal in (sps, pps))
    assert f"sprop-parameter-sets={encoded}\r\n" in text
    assert "a=framerate:12.5\r\n" in text
    assert "IN IP6 ::1" in description((sps, pps), 25, "::1")
