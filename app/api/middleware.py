"""What happens around every request: an id, a measurement, and an answer even to a defect of ours."""

import ipaddress
import logging
import re
import secrets
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import problems
from app.api.pages import headers_of
from app.core.clock import Clock
from app.telemetry.logs import bind_log_context
from app.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

_REQUEST_ID = "x-request-id"
_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_FRAMES = re.compile(r"/sessions/[^/]+/frames")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLIENT_CLOSED = 499
"""The status counted for requests whose client left before the response began."""


class RequestMiddleware:
    """Gives each request an id, counts and times it, and turns what nobody handled into a problem.

    The id is the client's `X-Request-Id` if it is well-formed; it goes back with the response and into the log.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, clock: Clock) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = self._clock.now_s()
        given = Headers(scope=scope).get(_REQUEST_ID, "")
        request_id = given if _GOOD_ID.fullmatch(given) else secrets.token_hex(8)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[_REQUEST_ID] = request_id
            await send(message)

        with bind_log_context(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception as error:
                if status:
                    raise
                logger.exception("request failed unexpectedly", extra={"path": scope["path"]})
                await problems.response(error, scope["path"])(scope, receive, send_with_id)
            finally:
                self._metrics.http_request(
                    route_template(scope),
                    scope["method"] if scope["method"] in _METHODS else "other",
                    status or _CLIENT_CLOSED,
                    self._clock.now_s() - started_s,
                )


class OriginMiddleware:
    """Keeps pages of other sites out, which a browser on this machine would let in."""

    def __init__(self, app: ASGIApp, *, allowed: Sequence[str], is_by_host_only: bool) -> None:
        """
        Args:
            allowed: origins that may use the service.
            is_by_host_only: nobody is asked for a token; then the host must be named as this machine is, so that no
                site can pass for it by a name of its own.
        """
        self._app = app
        self._allowed = frozenset(allowed)
        self._is_by_host_only = is_by_host_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"} and (reason := self._refusal(Headers(scope=scope))):
            refused = problems.response(HTTPException(403, reason), scope["path"])
            await problems.refuse(refused, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> str:
        """Why a request is not let in; nothing if it is."""
        host, origin = headers.get("host", ""), headers.get("origin", "")
        if self._is_by_host_only and host and not _is_this_machine(host):
            return f"The service is for this machine alone: reach it as localhost, not as {host!r}, or set tokens."
        is_own = origin.partition("://")[2] == host
        if origin and not is_own and origin not in self._allowed:
            return f"Pages of {origin} may not use the service; name it in cors_origins."
        return ""


def _is_this_machine(host: str) -> bool:
    """Whether a `Host` names this machine, by a name that no other site can have."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
    return True


class SecurityHeadersMiddleware:
    """Has browsers guess no types, and run nothing in our pages that is not our own."""

    def __init__(self, app: ASGIApp, *, is_shared: bool) -> None:
        """
        Args:
            is_shared: pages of other sites may show what the service gives.
        """
        self._app = app
        self._is_shared = is_shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        of_page = headers_of(scope["path"])

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                if not self._is_shared:
                    headers["Cross-Origin-Resource-Policy"] = "same-origin"
                headers.update(of_page)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class BodyLimitMiddleware:
    """Refuses bodies of more than so many bytes, while they are read, except where frames come in.

    Those have their own limit, in `app.api.reading`, which knows about images.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"] == "POST" and _FRAMES.fullmatch(scope["path"])):
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            await problems.response(self._too_large(), scope["path"])(scope, receive, send)
            return
        n_bytes = 0

        async def receive_limited() -> Message:
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > self._max_bytes:
                raise self._too_large()
            return message

        await self._app(scope, receive_limited, send)

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"The body has more than {self._max_bytes} bytes.")


def route_template(scope: Scope) -> str:
    """The path of the matched route with its parameters' names, so that labels stay few."""
    route: Any = scope.get("route")
    return getattr(route, "path", None) or "unmatched"
