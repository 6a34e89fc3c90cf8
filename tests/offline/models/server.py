"""A web server that publishes files, and fails as told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(slots=True)
class Publisher:
    """What the server has, how it behaves, and what it was asked."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """By path."""
    tag: str = '"1"'
    """ETag of all files; empty: none is sent."""
    takes_ranges: bool = True
    knows_if_range: bool = True
    tells_length: bool = True
    short_parts: bool = False
    """Sends less than was asked for, and says so."""
    breaks_after: list[int] = field(default_factory=list)
    """Bytes after which the connection ends, of one answer after another."""
    statuses: list[int] = field(default_factory=list)
    """Answered instead, one after another."""
    wrong_start: bool = False
    """Sends another part than was asked for, once."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range of each request."""
    sent: int = 0
    """Bytes of files."""


@contextmanager
def publishing() -> Iterator[Publisher]:
    """Such a server, while the block runs."""
    publisher = Publisher()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            publisher.asked.append((self.path, asked))
            content = publisher.files.get(self.path)
            if publisher.statuses or content is None:
                self._answer(publisher.statuses.pop(0) if publisher.statuses else 404, b"no", {})
                return
            unchanged = self.headers.get("If-Range") in {None, publisher.tag} or not publisher.knows_if_range
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and publisher.takes_ranges else 0
            headers = {"ETag": publisher.tag} if publisher.tag else {}
            if not start or not unchanged:
                self._answer(200, content, headers)
            elif start >= len(content):
                self._answer(416, b"", headers | {"Content-Range": f"bytes */{len(content)}"})
            else:
                start -= publisher.wrong_start
                publisher.wrong_start = False
                end = min(len(content), start + 100) if publisher.short_parts else len(content)
                whole = f"bytes {start}-{end - 1}/{len(content)}"
                self._answer(206, content[start:end], headers | {"Content-Range": whole})

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            if publisher.tells_length or status != 200:
                headers = {**headers, "Content-Length": str(len(body))}
            else:
                self.close_connection = True
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if status < 300 and publisher.breaks_after:
                body = body[: publisher.breaks_after.pop(0)]
                self.close_connection = True
            publisher.sent += len(body) if status < 300 else 0
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    publisher.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield publisher
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
