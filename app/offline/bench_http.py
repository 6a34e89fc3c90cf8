"""What HTTP adds to a frame: the real service over loopback, against handing the same frame to a session directly."""

import http.client
import json
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection

import uvicorn

from app.core.errors import FlexPatchError
from app.core.types import CaptureTime
from app.offline.timing import Times

BODIES = ("raw", "multipart")
DIRECT = "direct"
"""The way without HTTP."""
_HOST = "127.0.0.1"
_TIMEOUT_S = 30.0
_START_TIMEOUT_S = 10.0
_POLL_S = 0.01
_BOUNDARY = "flexpatch-bench"
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Service:
    """The service under measurement, with a way past HTTP."""

    server: uvicorn.Server
    """Not yet started."""
    hand_over: Callable[[str, bytes, CaptureTime], object]
    """Gives an encoded frame to a session, by name, and waits for its result. For any thread but the event loop's."""


@dataclass(frozen=True, slots=True)
class HttpTimes:
    """One frame as one request."""

    added: Times
    """The client's round trip less the time that the same frame took when handed to a session directly."""
    round_trip: Times


@dataclass(frozen=True, slots=True)
class HttpReport:
    """The same frames on each way into the service."""

    direct: Times
    """Handed to a session in the service's own process: queue, decoding, pipeline and the result's JSON."""
    bodies: Mapping[str, HttpTimes]
    """By kind of body."""


def time_http(
    service: Service, jpegs: Sequence[bytes], *, fps: float, n_warm_up: int, n_repetitions: int
) -> HttpReport:
    """Push frames as a raw body to one session, as a form to another, and directly to a third.

    The three take turns within each frame, another one first each time: a change in the machine's speed, and
    what the one before left in its caches, meet all alike.

    Args:
        service: started here, and stopped in the end.
        n_warm_up: first frames of each repetition, pushed and not counted.
        n_repetitions: how often all frames are pushed, each time to new sessions.
    Raises:
        FlexPatchError: the service did not start, or refused a frame.
    """
    ways = (DIRECT, *BODIES)
    times: dict[str, list[float]] = {way: [] for way in ways}
    with _running(service.server) as port, _client(port, jpegs, fps) as client:
        for repetition in range(n_repetitions):
            sessions = {way: f"{way}-{repetition}" for way in ways}
            for session in sessions.values():
                _request(port, "POST", "/sessions", {"id": session})
            for index, jpeg in enumerate(jpegs):
                for turn in range(len(ways)):
                    way = ways[(index + turn) % len(ways)]
                    if way == DIRECT:
                        ms = _hand_over_ms(service, sessions[way], jpeg, index / fps)
                    else:
                        ms = _ask(client, sessions[way], way, index)
                    if index >= n_warm_up:
                        times[way].append(ms)
            for session in sessions.values():
                _request(port, "DELETE", f"/sessions/{session}")
    direct = times[DIRECT]
    bodies = {
        body: HttpTimes(
            added=Times.of([ms - base for ms, base in zip(times[body], direct, strict=True)]),
            round_trip=Times.of(times[body]),
        )
        for body in BODIES
    }
    return HttpReport(Times.of(direct), bodies)


def _hand_over_ms(service: Service, session: str, jpeg: bytes, capture_s: float) -> float:
    started_s = time.perf_counter()
    service.hand_over(session, jpeg, CaptureTime(capture_s, "client"))
    return (time.perf_counter() - started_s) * 1e3


def _ask(client: Connection, session: str, body: str, index: int) -> float:
    client.send((session, body, index))
    answer: float | FlexPatchError = client.recv()
    if isinstance(answer, FlexPatchError):
        raise answer
    return answer


@contextmanager
def _client(port: int, jpegs: Sequence[bytes], fps: float) -> Iterator[Connection]:
    """A client in a process of its own, as clients are: in this one it would fight the service for the interpreter.

    Told session, kind of body and index of a frame, it pushes that and sends back the milliseconds, or an error.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_push, args=(port, jpegs, fps, theirs), name="bench-client", daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    except (EOFError, ConnectionError):
        raise FlexPatchError("The benchmark's client ended unexpectedly.") from None
    finally:
        ours.close()
        process.join(_START_TIMEOUT_S)
        process.terminate()


def _push(port: int, jpegs: Sequence[bytes], fps: float, commands: Connection) -> None:
    """The client: until the pipe is closed, push the frames that it is told."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the benchmark itself is interrupted, and closes the pipe
    try:
        with closing(socket.create_connection((_HOST, port), _TIMEOUT_S)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                session, body, index = commands.recv()
                commands.send(_round_trip_ms(connection, session, _content(body, jpegs[index]), index / fps))
    except EOFError:
        return
    except (FlexPatchError, OSError) as error:
        commands.send(FlexPatchError(str(error)))


def _request(port: int, method: str, path: str, document: Mapping[str, str] | None = None) -> None:
    """One request that is not measured."""
    with closing(http.client.HTTPConnection(_HOST, port, timeout=_TIMEOUT_S)) as connection:
        body = json.dumps(document) if document else None
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        if response.status >= 300:
            raise FlexPatchError(f"The service answered {response.status}: {answer[:300].decode(errors='replace')}")


def _round_trip_ms(connection: socket.socket, session: str, body: tuple[str, bytes], capture_s: float) -> float:
    """From the request's first byte to the answer's last.

    Bytes on a socket: a client library of Python's would add about half as much again as the service.
    """
    content_type, content = body
    head = (
        f"POST /sessions/{session}/frames HTTP/1.1\r\nHost: {_HOST}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(content)}\r\nX-Capture-Time: {capture_s:.6f}\r\n\r\n"
    )
    request = head.encode() + content
    started_s = time.perf_counter()
    connection.sendall(request)
    answer = _read_answer(connection)
    elapsed_ms = (time.perf_counter() - started_s) * 1e3
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise FlexPatchError(f"The service refused a frame: {answer[:1000].decode(errors='replace')}")
    return elapsed_ms


def _read_answer(connection: socket.socket) -> bytes:
    """A whole response whose length is declared."""
    answer = b""
    n_bytes = None
    while n_bytes is None or len(answer) < n_bytes:
        chunk = connection.recv(_CHUNK_BYTES)
        if not chunk:
            raise FlexPatchError("The service closed the connection in the middle of an answer.")
        answer += chunk
        head, end, _ = answer.partition(b"\r\n\r\n")
        if end and n_bytes is None:
            declared = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
            if declared is None:
                raise FlexPatchError("The service does not say how long its answer is.")
            n_bytes = len(head) + len(end) + int(declared[1])
    return answer


def _content(body: str, jpeg: bytes) -> tuple[str, bytes]:
    """Type and bytes of a request's body."""
    if body == "raw":
        return "image/jpeg", jpeg
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="frame"; filename="frame.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return f"multipart/form-data; boundary={_BOUNDARY}", head.encode() + jpeg + f"\r\n--{_BOUNDARY}--\r\n".encode()


@contextmanager
def _running(server: uvicorn.Server) -> Iterator[int]:
    """The service on a free port of the loopback interface, in a thread."""
    with socket.create_server((_HOST, 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="bench-server", daemon=True)
        thread.start()
        try:
            deadline_s = time.perf_counter() + _START_TIMEOUT_S
            while not server.started:
                if not thread.is_alive() or time.perf_counter() > deadline_s:
                    raise FlexPatchError("The service under measurement did not start.")
                time.sleep(_POLL_S)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(_START_TIMEOUT_S)
