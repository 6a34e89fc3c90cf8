"""Every error as an RFC 9457 problem: one table from class to status and title."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError, ValidationException, WebSocketRequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from app.core import errors
from app.core.wire import error_code
from app.telemetry.logs import redact

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_LONGEST_INSTANCE = 300
_OWN_FAULT = "internal_error"
_FIRST_OF_OURS = 500
_NOTED = frozenset({"unauthenticated", "forbidden", "sessions_too_fast", "session_limit_reached"})
"""Refusals that an operator may wonder about; the others are between the client and its request."""
_PLAIN = {
    "int_parsing": "it must be a whole number",
    "string_too_short": "it must have {min_length} or more characters",
    "string_pattern_mismatch": "it must be 1 to 64 letters, digits and . _ -, of which a letter or digit comes first",
}
"""For what people type. The one pattern is that of sessions' names."""
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_TYPE_PREFIX = "urn:flexpatch:problem:"


@dataclass(frozen=True, slots=True)
class Problem:
    """How one kind of error looks from outside. Its code is the class's name in snake case."""

    status: int
    title: str
    retryable: bool = False
    """Whether the very same request may succeed later."""
    retry_after_s: float | None = None
    """Advice for errors that do not know better, in seconds."""


PROBLEMS: Mapping[type[errors.FlexPatchError], Problem] = MappingProxyType(
    {
        errors.FlexPatchError: Problem(500, "Internal error"),
        errors.InputError: Problem(422, "Input not understood"),
        errors.FrameError: Problem(422, "Frame not usable"),
        errors.FrameEmpty: Problem(422, "Frame is empty"),
        errors.FrameFormatUnknown: Problem(415, "Not a JPEG, PNG or WebP image"),
        errors.FrameTooLarge: Problem(413, "Frame is too large"),
        errors.FrameCorrupt: Problem(422, "Frame is damaged"),
        errors.FrameSizeChanged: Problem(409, "Frame has another size than the session's first"),
        errors.FrameOutOfOrder: Problem(409, "Frame is out of order"),
        errors.SourceError: Problem(422, "Source not usable"),
        errors.AddressForbidden: Problem(403, "Address may not be opened"),
        errors.StreamUnreachable: Problem(422, "Camera cannot be reached", True),
        errors.StreamUnauthorised: Problem(422, "Camera wants another user or password"),
        errors.StreamNotFound: Problem(422, "Camera has no such stream"),
        errors.StreamUndecodable: Problem(422, "Stream cannot be decoded"),
        errors.StreamTlsFailed: Problem(422, "No encrypted connection to the camera"),
        errors.StreamTimedOut: Problem(422, "Camera does not answer", True),
        errors.StreamStalled: Problem(422, "No picture comes", True),
        errors.StreamBroken: Problem(422, "Stream broke off", True),
        errors.ModelError: Problem(422, "Model not usable"),
        errors.ModelNotFound: Problem(422, "No such model"),
        errors.ModelUnreadable: Problem(422, "Model cannot be read"),
        errors.ModelAltered: Problem(422, "Model is not the one that was installed"),
        errors.ModelExists: Problem(409, "Model exists already"),
        errors.ModelNotRecognised: Problem(422, "Model is of an unknown kind"),
        errors.EngineUnfit: Problem(422, "Engine is for another GPU, library or model"),
        errors.EngineNotBuilt: Problem(422, "No engine can be made of the model"),
        errors.SettingsError: Problem(422, "Setting makes no sense"),
        errors.SessionError: Problem(409, "Session does not allow this"),
        errors.SessionNotFound: Problem(404, "No such session"),
        errors.SessionExists: Problem(409, "Session exists already"),
        errors.SessionEnded: Problem(410, "Session has ended"),
        errors.SessionFetches: Problem(409, "Session fetches its frames itself"),
        errors.SessionLimitReached: Problem(429, "No room for another session", True, 5.0),
        errors.SessionsTooFast: Problem(429, "Sessions are made too fast", True),
        errors.QueueFull: Problem(429, "Session is busy", True),
        errors.ResultNotFound: Problem(404, "No such result", True),
        errors.StoreFailed: Problem(503, "Sessions cannot be recorded", True, 5.0),
        errors.GpuError: Problem(503, "GPU cannot be used"),
        errors.GpuMissing: Problem(503, "No GPU"),
        errors.GpuMemoryShort: Problem(503, "GPU memory is short", True, 5.0),
        errors.GpuFailed: Problem(503, "GPU failed"),
        errors.KernelsNotCompiled: Problem(503, "GPU kernels cannot be compiled"),
        errors.DetectorFailed: Problem(503, "Detector failed on this frame", True, 1.0),
        errors.BackendFailed: Problem(503, "Detector's runtime failed on this frame", True, 1.0),
        errors.DownloadFailed: Problem(502, "File could not be fetched", True),
    }
)


_HTTP: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        400: ("bad_request", "Request not understood"),
        401: ("unauthenticated", "Token needed"),
        403: ("forbidden", "Not allowed"),
        404: ("not_found", "Nothing is at this path"),
        405: ("method_not_allowed", "The path does not take this method"),
        413: ("body_too_large", "Body is too large"),
        415: ("unsupported_media_type", "Body is of a type not taken here"),
    }
)
"""Codes and titles of what routing and reading refuse. Python's own phrases differ between its versions."""


def document(error: Exception, instance: str) -> tuple[int, dict[str, object], dict[str, str]]:
    """An error's status, problem document and extra headers.

    Args:
        instance: what the error is about: the path of the request.
    """
    if isinstance(error, HTTPException):
        return _from_http(error, instance)
    if isinstance(error, RequestValidationError | WebSocketRequestValidationError):
        return _from_validation(error, instance)
    if not isinstance(error, errors.FlexPatchError):
        detail = "Something went wrong on our side; the log of the service tells what."
        return 500, _members(Problem(500, "Internal error"), _OWN_FAULT, detail, instance), {}
    kind = next(PROBLEMS[cls] for cls in type(error).__mro__ if cls in PROBLEMS)
    members = _members(kind, error_code(error), redact(str(error)), instance)
    retry_after_s = kind.retry_after_s
    if isinstance(error, errors.QueueFull | errors.SessionsTooFast):
        retry_after_s = error.retry_after_s
    if retry_after_s is None:
        return kind.status, members, {}
    members["retry_after_s"] = round(retry_after_s, 3)
    return kind.status, members, {"Retry-After": str(max(1, math.ceil(retry_after_s)))}


def response(error: Exception, instance: str) -> Response:
    """The response to a request that met an error; the log tells of it, too."""
    status, members, headers = document(error, instance)
    _log(members)
    if status in {204, 304}:
        return Response(status_code=status, headers=headers)
    return Response(encode(members), status, headers, MEDIA_TYPE)


def _log(members: Mapping[str, Any]) -> None:
    if members["code"] == _OWN_FAULT:
        return  # the log has its traceback
    status = members["status"]
    level = logging.INFO if members["code"] in _NOTED else logging.DEBUG
    level = logging.WARNING if status >= _FIRST_OF_OURS else level
    # Of one message only one a second is written: each code has one of its own.
    message = f"request refused: {members['code']}"
    logger.log(level, message, extra={"status": status, "path": members["instance"], "detail": members["detail"]})


async def refuse(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or a WebSocket's first one, instead of letting it in."""
    if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
        await response(scope, receive, send)
        return
    await send({"type": "websocket.close", "code": 1008, "reason": "refused"})


def not_ready(checks: Sequence[Mapping[str, object]], instance: str) -> Response:
    """The answer of a service that cannot do its work, with what it looked at."""
    detail = " ".join(str(check["detail"]) for check in checks if not check["ok"])
    members = _members(Problem(503, "Not ready", retryable=True), "not_ready", detail, instance)
    members["checks"] = list(checks)
    return Response(encode(members), 503, media_type=MEDIA_TYPE)


def encode(members: Mapping[str, object]) -> bytes:
    """A problem document as JSON."""
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode()


def install(app: FastAPI) -> None:
    """Have the application answer every foreseen error with a problem."""

    async def handle(connection: Request | WebSocket, error: Exception) -> Response | None:
        if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            # The router names the methods of the first route at this path only.
            error.headers = {"Allow": ", ".join(_methods(app, connection.scope))}
        answer = response(error, connection.url.path)
        if isinstance(connection, WebSocket):
            await connection.send_denial_response(answer)
            return None
        return answer

    for kind in (errors.FlexPatchError, HTTPException, RequestValidationError, WebSocketRequestValidationError):
        app.add_exception_handler(kind, handle)  # type: ignore[arg-type]


def _methods(app: FastAPI, scope: Scope) -> list[str]:
    """What the path of the request takes."""
    asked = ({**scope, "method": method} for method in _METHODS)
    return [one["method"] for one in asked if any(route.matches(one)[0] is Match.FULL for route in app.router.routes)]


def _members(kind: Problem, code: str, detail: str, instance: str) -> dict[str, object]:
    return {
        "type": _TYPE_PREFIX + code,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": instance[:_LONGEST_INSTANCE],
        "code": code,
        "retryable": kind.retryable,
    }


def _from_http(error: HTTPException, instance: str) -> tuple[int, dict[str, object], dict[str, str]]:
    code, title = _HTTP.get(error.status_code, (f"http_{error.status_code}", "Request refused"))
    is_plain = error.detail == HTTPStatus(error.status_code).phrase
    members = _members(Problem(error.status_code, title), code, f"{title}." if is_plain else error.detail, instance)
    return error.status_code, members, dict(error.headers or {})


def _from_validation(error: ValidationException, instance: str) -> tuple[int, dict[str, object], dict[str, str]]:
    found = [_finding(item) for item in error.errors()]
    # The input itself is left out: it may hold credentials.
    detail = "; ".join(f"{item['where']}: {item['message']}" for item in found[:5])
    members = _members(Problem(422, "Request not understood"), "invalid_request", detail, instance)
    members["errors"] = found
    return 422, members, {}


def _finding(item: Mapping[str, Any]) -> dict[str, str]:
    if item["type"] == "json_invalid":
        return {"where": "body", "message": f"not JSON: {item['ctx']['error']} at character {item['loc'][-1]}"}
    if item["loc"] == ("body",) and isinstance(item.get("input"), bytes | str):
        return {"where": "body", "message": "no JSON object; send one with Content-Type: application/json"}
    plain = _PLAIN.get(item["type"])
    message = plain.format(**item.get("ctx", {})) if plain else str(item["msg"])
    return {"where": ".".join(str(part) for part in item["loc"]), "message": message}
