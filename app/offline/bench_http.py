"""What HTTP adds to a frame: the real service over loopback, its own accounting taken off."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context

import uvicorn

from app.core.errors import FlexPatchError
from app.offline.timing import Times

BODIES = ("raw", "multipart")
_HOST = "127.0.0.1"
_START_TIMEOUT_S = 10.0
_POLL_S = 0.01
_BOUNDARY = "flexpatch-bench"


@dataclass(frozen=True, slots=True)
class HttpTimes:
    """One frame as one request."""

    added: Times
    """The client's round trip less decoding and the pipeline's stages."""
    round_trip: Times


def time_http(server: uvicorn.Server, jpegs: Sequence[bytes], *, fps: float, n_warm_up: int) -> dict[str, HttpTimes]:
    """Push frames to the service, each as a raw body to one session and as a form to another.

    Args:
        server: not yet started; stopped in the end.
        n_warm_up: first frames that are pushed and not counted.
    Returns:
        By kind of body.
    Raises:
        FlexPatchError: the service did not start, or refused a frame.
    """
    with _running(server) as port, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as client:
        # A client of its own process, as clients are: in this one it would fight the service for the interpreter.
        added, round_trips = client.submit(_push, port, jpegs, fps, n_warm_up).result()
    return {body: HttpTimes(Times.of(added[body]), Times.of(round_trips[body])) for body in BODIES}


def _push(
    port: int, jpegs: Sequence[bytes], fps: float, n_warm_up: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Milliseconds added and of the round trip for each counted frame, by kind of body."""
    added: dict[str, list[float]] = {body: [] for body in BODIES}
    round_trips: dict[str, list[float]] = {body: [] for body in BODIES}
    with closing(http.client.HTTPConnection(_HOST, port, timeout=30)) as connection:
        for body in BODIES:
            _post(connection, "/sessions", json.dumps({"id": body}).encode(), {"Content-Type": "application/json"})
        for index, jpeg in enumerate(jpegs):
            for body in BODIES:
                content, headers = _request(body, jpeg)
                headers["X-Capture-Time"] = f"{index / fps:.6f}"
                started_s = time.perf_counter()
                answer = _post(connection, f"/sessions/{body}/frames", content, headers)
                round_trip_ms = (time.perf_counter() - started_s) * 1e3
                if index >= n_warm_up:
                    round_trips[body].append(round_trip_ms)
                    added[body].append(round_trip_ms - _accounted_ms(answer))
    return added, round_trips


def _request(body: str, jpeg: bytes) -> tuple[bytes, dict[str, str]]:
    if body == "raw":
        return jpeg, {"Content-Type": "image/jpeg"}
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="frame"; filename="frame.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    content = head.encode() + jpeg + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return content, {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}


def _post(connection: http.client.HTTPConnection, path: str, content: bytes, headers: Mapping[str, str]) -> bytes:
    connection.request("POST", path, content, dict(headers))
    response = connection.getresponse()
    answer = response.read()
    if response.status >= 300:
        raise FlexPatchError(f"The service answered {response.status} to POST {path}: {answer[:300].decode()}")
    return answer


def _accounted_ms(answer: bytes) -> float:
    """What the session says it spent on the frame."""
    stage_ms: Mapping[str, float] = json.loads(answer)["stage_ms"]
    return sum(stage_ms.values())


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
