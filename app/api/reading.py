"""What comes in with a frame: its bytes, and when it was taken."""

import math
import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import Request

from app.core.errors import FrameTooLarge, InputError
from app.core.types import CaptureTime
from app.sessions.timeline import LAST_SEQ

IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp")
_RAW_TYPES = frozenset({*IMAGE_TYPES, "image/jpg", "application/octet-stream", ""})
_FORM_TYPE = "multipart/form-data"
FORM_FIELD = "frame"
_FORM_SLACK_BYTES = 64 * 1024
"""What a form may hold besides the frame."""

_SECONDS = re.compile(r"(?=\.?\d)\d{0,14}(?:\.\d{0,30})?", re.ASCII)
_LATEST_UNIX_S = 253_402_300_799.0


async def read_frame(request: Request, max_bytes: int) -> bytes:
    """The encoded image in the request's body, raw or as the form field `frame`, held in memory.

    Raises:
        FrameTooLarge: it has more than `max_bytes`; noticed while reading.
        InputError: the form is damaged, or has no field `frame`, or two.
        HTTPException: 415, the body is of another type; 413, the form holds much else.
    """
    content_type = request.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in _RAW_TYPES:
        return b"".join([chunk async for chunk in _limited(request, max_bytes, max_bytes)])
    if media_type == _FORM_TYPE:
        form = _FrameForm(content_type, max_bytes)
        async for chunk in _limited(request, max_bytes + _FORM_SLACK_BYTES, max_bytes):
            form.feed(chunk)
        return form.finish()
    accepted = ", ".join((*IMAGE_TYPES, _FORM_TYPE))
    raise HTTPException(415, f"Content-Type {media_type!r} is not one of {accepted}.", {"Accept": accepted})


def too_large(max_bytes: int) -> FrameTooLarge:
    """The error for a frame of too many bytes."""
    return FrameTooLarge(f"The frame has more than {max_bytes} bytes; compress it more or send fewer pixels.")


def parse_seq(value: str) -> int:
    """A frame's number, as its sender says it.

    Raises:
        InputError: it is no whole number from 1 to `LAST_SEQ`.
    """
    text = value.strip()
    # No Python integer of unbounded length is ever made from what a client sends.
    if text.isascii() and text.isdecimal() and len(text) <= len(str(LAST_SEQ)) and 1 <= int(text) <= LAST_SEQ:
        return int(text)
    raise InputError(f"The frame number {value[:100]!r} is not a whole number from 1 to {LAST_SEQ}.")


def parse_capture_time(value: str | float) -> CaptureTime:
    """When a frame was taken, as its sender says it: RFC 3339, or Unix time in seconds.

    Raises:
        InputError: it is neither, or before 1970, or absurdly late.
    """
    unix_s = _unix_s(value)
    if unix_s is None or not math.isfinite(unix_s):
        raise InputError(
            f"The capture time {str(value)[:100]!r} is neither RFC 3339 (2026-01-01T00:00:00.000Z) nor "
            "Unix time in seconds."
        )
    if not 0 <= unix_s <= _LATEST_UNIX_S:
        raise InputError(
            f"The capture time {str(value)[:100]!r} is out of range; Unix time is in seconds, not milliseconds."
        )
    return CaptureTime(unix_s, "client")


def _unix_s(value: str | float) -> float | None:
    if not isinstance(value, str):
        return float(value)
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        moment = datetime.fromisoformat(text.upper())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


async def _limited(request: Request, limit: int, max_bytes: int) -> AsyncIterator[bytes]:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large(max_bytes)
    n_bytes = 0
    async for chunk in request.stream():
        n_bytes += len(chunk)
        if n_bytes > limit:
            raise too_large(max_bytes)
        yield chunk


class _FrameForm:
    """Picks the field `frame` out of a form while it comes in; other fields are passed over."""

    def __init__(self, content_type: str, max_bytes: int) -> None:
        boundary = _parameters(content_type).get(b"boundary")
        if not boundary:
            raise InputError("The multipart Content-Type has no boundary.")
        self._max_bytes = max_bytes
        self._chunks: list[bytes] = []
        self._n_bytes = 0
        self._n_others = 0
        """Bytes that are none of the frame's: a form of many small parts takes long to read."""
        self._n_frames = 0
        self._is_frame = False
        self._is_complete = False
        self._header_name = b""
        self._header_value = b""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begin,
                    "on_part_data": self._part_data,
                    "on_header_field": self._on_header_name,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._header_end,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise InputError(f"The form cannot be read: {error}.") from error

    def feed(self, chunk: bytes) -> None:
        n_frame_bytes = self._n_bytes
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InputError(f"The form cannot be read: {error}.") from error
        self._n_others += len(chunk) - (self._n_bytes - n_frame_bytes)
        if self._n_others > _FORM_SLACK_BYTES:
            raise HTTPException(
                413,
                f"The form has more than {_FORM_SLACK_BYTES} bytes besides the field {FORM_FIELD!r}; send that alone.",
            )

    def finish(self) -> bytes:
        if not self._is_complete:
            raise InputError("The form ends before its closing boundary.")
        if self._n_frames != 1:
            raise InputError(f"The form has {self._n_frames} fields {FORM_FIELD!r}; it needs exactly one.")
        return b"".join(self._chunks)

    def _part_begin(self) -> None:
        self._is_frame = False

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._is_frame = _parameters(self._header_value).get(b"name") == FORM_FIELD.encode()
            self._n_frames += self._is_frame
        self._header_name = self._header_value = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_frame:
            self._n_bytes += end - start
            if self._n_bytes > self._max_bytes:
                raise too_large(self._max_bytes)
            self._chunks.append(data[start:end])

    def _end(self) -> None:
        self._is_complete = True


def _parameters(header: str | bytes) -> Mapping[bytes, bytes]:
    return parse_options_header(header)[1]
