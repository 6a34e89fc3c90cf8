"""What stands before the service in these tests: it lets the service go away, and counts open streams."""

import json
import threading

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_STREAM = "/live"


class Gate:
    """Set by the test's thread, read by the server's."""

    def __init__(self) -> None:
        self.is_down = False
        """The API answers 503, and streams end; the page itself is still given."""
        self._lock = threading.Lock()
        self._n_streams = 0

    @property
    def n_streams(self) -> int:
        """Streams that are open."""
        with self._lock:
            return self._n_streams

    def count(self, change: int) -> None:
        with self._lock:
            self._n_streams += change


class GateMiddleware:
    """Pure ASGI: streams pass through as they come."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and scope["path"].endswith(_STREAM):
            await self._stream(scope, receive, send)
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._gate.is_down and scope["path"] != "/" and not scope["path"].startswith("/web/"):
            await _refuse(send)
        else:
            await self._app(scope, receive, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_over = False

        async def guarded(message: Message) -> None:
            nonlocal is_over
            if is_over:
                return
            if self._gate.is_down:
                is_over = True
                message = {"type": "websocket.close", "code": 1012}
            await send(message)

        self._gate.count(1)
        try:
            await self._app(scope, receive, guarded)
        finally:
            self._gate.count(-1)


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", b"application/problem+json")]
    body = json.dumps({"title": "Away", "status": 503, "detail": "The service is away.", "code": "away"}).encode()
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
