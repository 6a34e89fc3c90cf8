"""Frames pushed one by one over HTTP."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.openapi import responses
from app.api.reading import FORM_FIELD, IMAGE_TYPES, parse_capture_time, parse_seq, read_frame
from app.api.schemas import FrameResultModel
from app.api.services import get_services
from app.sessions.timeline import LAST_SEQ

_SEQ_HEADER = "X-Frame-Seq"
_CAPTURE_HEADER = "X-Capture-Time"

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


_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "session_id",
        "in": "path",
        "required": True,
        "description": "Name of the session.",
        "schema": {"type": "string"},
        "example": "cam-7",
    },
    {
        "name": _SEQ_HEADER,
        "in": "header",
        "description": "The frame's number, above the last one; absent: the next.",
        "schema": {"type": "integer", "minimum": 1, "maximum": LAST_SEQ},
    },
    {
        "name": _CAPTURE_HEADER,
        "in": "header",
        "description": "When the frame was taken: RFC 3339, or Unix time in seconds; absent: now.",
        "schema": {"type": "string"},
        "example": "2026-01-01T00:00:00.000Z",
    },
]


# The one hot route: FastAPI takes longer to resolve declared parameters than all else that this function does
# before it reads the body, so they are read by hand and documented above.
@router.post(
    "/frames",
    response_model=None,
    responses=responses(
        *(404, 409, 410, 413, 415, 422, 429, 503),
        status_200={"model": FrameResultModel, "description": "All tracked objects on the frame."},
    ),
    openapi_extra={"parameters": _PARAMETERS, "requestBody": _REQUEST_BODY},
)
async def push_frame(request: Request) -> Response:
    """Push the next frame of the stream; the answer is its result.

    Frames of a session are processed one after another, in the order in which they arrived completely. When the
    queue is full the answer is 429, with `Retry-After` in whole seconds and `retry_after_s` more precisely.
    """
    services = get_services(request)
    session = services.registry.get(request.path_params["session_id"])
    seq, capture = request.headers.get(_SEQ_HEADER), request.headers.get(_CAPTURE_HEADER)
    number = parse_seq(seq) if seq is not None else None
    taken = parse_capture_time(capture) if capture is not None else None
    data = await read_frame(request, services.options.max_frame_bytes)
    record = await asyncio.wrap_future(session.submit(data, seq=number, capture=taken))
    return Response(record.payload, media_type="application/json")
