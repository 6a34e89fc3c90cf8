"""What happens around every request: an id, a measurement, and an answer even to a defect of ours."""

import ipaddress
import logging
import re
import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
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
_FIRST_ANSWERS = {
    "http.response.start": 200,
    "websocket.accept": 101,
    "websocket.http.response.start": 403,
    "websocket.close": 403,
}
"""Messages that begin an answer, and its status where they tell none."""


class RequestMiddleware:
    """Gives each request an id, counts and times it, and turns what nobody handled into a problem.

    The id is the client's `X-Request-Id` if it is well-formed; it goes back with the response and into the log. Of a
    WebSocket that is the request for it: status 101 if it is opened.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, clock: Clock, routes: Sequence[BaseRoute]) -> None:
        """
        Args:
            routes: of the application, each with a path.
        """
        self._app = app
        self._metrics = metrics
        self._clock = clock
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(_REQUEST_ID, "")
        request_id = given if _GOOD_ID.fullmatch(given) else secrets.token_hex(8)
        request = _Request(scope, request_id, self._clock.now_s())

        async def answer(message: Message) -> None:
            # What was opened may stay so for days.
            if request.answered(message) and scope["type"] == "websocket":
                self._count(request)
            await send(message)

        with bind_log_context(request_id=request_id):
            try:
                await self._app(scope, receive, answer)
            except Exception as error:
                if request.is_answered:
                    raise
                logger.exception("request failed unexpectedly", extra={"path": scope["path"]})
                await problems.refuse(problems.response(error, scope["path"]), scope, receive, answer)
            finally:
                if scope["type"] == "http" or not request.is_answered:
                    self._count(request)

    def _count(self, request: "_Request") -> None:
        method = request.scope.get("method", "GET")
        self._metrics.http_request(
            request.route(self._routes),
            method if method in _METHODS else "other",
            request.status or _CLIENT_CLOSED,
            self._clock.now_s() - request.began_s,
        )


class _Request:
    """One request, from its coming to its answer."""

    def __init__(self, scope: Scope, request_id: str, began_s: float) -> None:
        self.scope, self._root_path = scope, scope.get("root_path", "")
        self._id, self.began_s = request_id, began_s
        self.status = 0

    @property
    def is_answered(self) -> bool:
        return self.status > 0

    def answered(self, message: Message) -> bool:
        """Whether this is the message that begins the answer; that is given the request's id."""
        if self.is_answered or message["type"] not in _FIRST_ANSWERS:
            return False
        self.status = message.get("status") or _FIRST_ANSWERS[message["type"]]
        if message["type"] != "websocket.close":
            MutableHeaders(scope=message)[_REQUEST_ID] = self._id
        return True

    def route(self, routes: Sequence[BaseRoute]) -> str:
        """The path of its route with its parameters' names, so that labels stay few."""
        if path := getattr(self.scope.get("route"), "path", None):
            return str(path)
        # What was refused on its way has met no route. Of files the router tells none, but moves the root.
        as_it_came = {**self.scope, "root_path": self._root_path}
        found = (route for route in routes if route.matches(as_it_came)[0] is not Match.NONE)
        return getattr(next(found, None), "path", "unmatched")


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
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
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
