"""Frames pushed one by one over HTTP."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from app.api.openapi import responses
from app.api.reading import FORM_FIELD, IMAGE_TYPES, parse_capture_time, read_frame
from app.api.schemas import FrameResultModel
from app.api.services import ServicesParameter, SessionParameter

MAX_SEQ = 2**53
"""Larger numbers do not survive in JSON readers that use floats."""

router = APIRouter(prefix="/sessions/{session_id}", tags=["frames"])

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "description": "One encoded image.",
    "content": {
        **dict.fromkeys(IMAGE_TYPES, _BINARY),
        "application/octet-stream": _BINARY,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FORM_FIELD],
                "properties": {FORM_FIELD: {"type": "string", "format": "binary"}},
            }
        },
    },
}


@router.post(
    "/frames",
    response_model=None,
    responses=responses(
        *(404, 409, 410, 413, 415, 422, 429, 503),
        status_200={"model": FrameResultModel, "description": "All tracked objects on the frame."},
    ),
    openapi_extra={"requestBody": _REQUEST_BODY},
)
async def push_frame(
    request: Request,
    services: ServicesParameter,
    session: SessionParameter,
    x_frame_seq: Annotated[
        int | None,
        Header(ge=1, le=MAX_SEQ, description="The frame's number, above the last one; absent: the next."),
    ] = None,
    x_capture_time: Annotated[
        str | None,
        Header(
            description="When the frame was taken: RFC 3339, or Unix time in seconds; absent: now.",
            examples=["2026-01-01T00:00:00.000Z"],
        ),
    ] = None,
) -> Response:
    """Push the next frame of the stream; the answer is its result.

    Frames of a session are processed one after another, in the order in which they arrived completely. When the
    queue is full the answer is 429, with `Retry-After` in whole seconds and `retry_after_s` more precisely.
    """
    capture = parse_capture_time(x_capture_time) if x_capture_time is not None else None
    data = await read_frame(request, services.options.max_frame_bytes)
    record = await asyncio.wrap_future(session.submit(data, seq=x_frame_seq, capture=capture))
    return Response(record.payload, media_type="application/json")
