"""The parts of the OpenAPI document that routes share."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api.auth import needed_role
from app.api.problems import MEDIA_TYPE
from app.api.schemas import ProblemModel

_SCHEMAS = "#/components/schemas/"
_PROBLEM = {"$ref": f"{_SCHEMAS}Problem"}

DESCRIPTION = """\
Tracked detections for high-resolution video, a frame at a time.

Open a session for each stream (`POST /sessions`), push its frames (`POST /sessions/{id}/frames`) and get all
tracked objects back; or give the address of a camera, and the session fetches its frames itself. Others can follow
the same results as a log, as Server-Sent Events or as pictures.
Where the operator has set tokens, each request takes one with a role (`read`, `push` or `admin`), as
`Authorization: Bearer …`. Every error is an `application/problem+json` document (RFC 9457).

The WebSocket `/sessions/{id}/ws` takes frames as binary messages and answers each, in order, with one JSON text
message: the result, or a problem (told apart by `code`). A text message such as
`{"seq": 7, "capture_time": "2026-01-01T00:00:00.000Z"}` is about the next binary one.
The WebSocket `/sessions/{id}/live` is for viewers: the events of `results/stream` as text, `{"event": …, "data": …}`,
and pictures as binary messages, each the frame's number in eight bytes (highest first) and a JPEG; parameters are those
of `results/stream` and `preview.mjpeg`. Browsers give a WebSocket's token as a protocol: `flexpatch`, `bearer.TOKEN`.
"""


def responses(*problem_statuses: int, **others: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """The documented answers of a route.

    Args:
        others: answers that are no problems, by `status_200` and so on.
    """
    found: dict[int | str, dict[str, Any]] = {
        int(name.removeprefix("status_")): answer for name, answer in others.items()
    }
    return found | {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": _PROBLEM}},
        }
        for status in problem_statuses
    }


def install(app: FastAPI) -> None:
    """Have the application publish its document with problems where FastAPI would put its own errors."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description=DESCRIPTION,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    schemas = schema["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = ProblemModel.model_json_schema(ref_template=_SCHEMAS + "{model}")
    schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{}, {"token": []}]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            documented = operation["responses"]
            if MEDIA_TYPE not in documented.get("422", {}).get("content", {MEDIA_TYPE: None}):
                documented["422"] = responses(422)[422]
            if needed_role(method.upper(), path):
                documented |= {str(status): answer for status, answer in responses(401, 403).items()}
    return schema
