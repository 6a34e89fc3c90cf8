"""Results that keep coming: events, WebSocket and live view, over real sockets."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import httpx
import pytest
import simplejpeg
from fastapi import FastAPI, WebSocket
from prometheus_client import CollectorRegistry
from starlette.types import Message
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from app.api import problems
from app.api.sockets import opened
from app.core.errors import DetectorFailed, InputError
from app.sessions.manager import SessionRegistry
from app.sessions.state import SessionState
from tests.api.conftest import IMAGE, make_app, server_for
from tests.sessions.fakes import WAIT_S, Bench, ScriptedPipeline, jpeg, session_threads, spec, wait_until


@dataclass(frozen=True)
class Event:
    """A server-sent event."""

    name: str
    id: str | None
    data: dict[str, Any]


class Service:
    """The service behind a real socket, and its scripted pipelines."""

    def __init__(self, address: str, bench: Bench, app: FastAPI) -> None:
        self.address = address
        self.registry: SessionRegistry = app.state.services.registry
        self.metrics: CollectorRegistry = app.state.services.metrics.registry
        self.bench = bench
        self.client = httpx.Client(base_url=f"http://{address}", timeout=WAIT_S)

    def open(self, session_id: str, **body: Any) -> ScriptedPipeline:
        """Create a session whose worker is at work; returns its pipeline."""
        assert self.client.post("/sessions", json={"id": session_id, **body}).status_code == 201
        wait_until(lambda: self.registry.get(session_id).status.state is SessionState.RUNNING)
        return self.bench.pipeline

    def push(self, session_id: str, n_frames: int = 1) -> None:
        for _ in range(n_frames):
            response = self.client.post(f"/sessions/{session_id}/frames", content=jpeg(), headers=IMAGE)
            assert response.status_code == 200, response.text

    def delete(self, session_id: str) -> None:
        assert self.client.delete(f"/sessions/{session_id}").status_code == 204

    @contextmanager
    def events(self, session_id: str, query: str = "", **headers: str) -> Iterator[Iterator[Event]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.client.stream("GET", f"/sessions/{session_id}/results/stream{query}", headers=named) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["cache-control"] == "no-cache"
            yield read_events(response)

    @contextmanager
    def websocket(self, session_id: str, path: str = "ws") -> Iterator[ClientConnection]:
        with connect(f"ws://{self.address}/sessions/{session_id}/{path}", open_timeout=WAIT_S) as websocket:
            yield websocket


def read_events(response: httpx.Response) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield Event(fields["event"], fields.get("id"), json.loads(fields["data"]))
            fields = {}


def receive(websocket: ClientConnection) -> dict[str, Any]:
    message = websocket.recv(WAIT_S)
    assert isinstance(message, str)
    document = json.loads(message)
    assert isinstance(document, dict)
    return document


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    bench = Bench()
    limits: dict[str, Any] = {"result_log_size": 5, "heartbeat_s": 0.05, "max_frame_bytes": 4096, "preview_max_fps": 60}
    app = make_app(bench, **limits)
    with server_for(app, max_frame_bytes=4096) as address:
        service = Service(address, bench, app)
        yield service
        service.client.close()
    assert session_threads() == []


# ------------------------------------------------------------------------------------------------ events


def test_events_begin_with_the_state_and_follow_with_each_result(service: Service) -> None:
    service.open("sse")
    with service.events("sse") as events:
        state = next(events)
        assert (state.name, state.id) == ("state", None)
        assert state.data == {"session": "sse", "state": "running", "reason": "", "error": None}
        service.push("sse", 2)
        results = list(islice((event for event in events if event.name == "result"), 2))
    assert [(event.id, event.data["seq"]) for event in results] == [("1", 1), ("2", 2)]
    assert results[0].data["objects"][0]["track_id"] == 1


@pytest.mark.parametrize(("query", "headers"), [("", {"Last_Event_ID": "2"}), ("?after_seq=2", {})])
def test_events_go_on_where_the_reader_left(service: Service, query: str, headers: dict[str, str]) -> None:
    session_id = f"resume{len(query)}"
    service.open(session_id)
    service.push(session_id, 4)
    with service.events(session_id, query, **headers) as events:
        seen = [next(events) for _ in range(3)]
    assert [(event.name, event.id) for event in seen] == [("state", None), ("result", "3"), ("result", "4")]


def test_a_reader_who_was_away_too_long_gets_a_gap(service: Service) -> None:
    service.open("gap")
    service.push("gap", 8)
    with service.events("gap", Last_Event_ID="1") as events:
        seen = [next(events) for _ in range(3)]
    assert (seen[1].name, seen[1].id, seen[1].data) == ("gap", "3", {"from_seq": 2, "to_seq": 3})
    assert (seen[2].name, seen[2].id) == ("result", "4")


def test_a_number_of_an_earlier_session_begins_anew(service: Service) -> None:
    service.open("again")
    service.push("again", 2)
    with service.events("again", Last_Event_ID="900") as events:
        assert [next(events).id for _ in range(3)] == [None, "1", "2"]


def test_a_quiet_stream_has_heartbeats(service: Service) -> None:
    service.open("quiet")
    with service.events("quiet") as events:
        seen = [next(events) for _ in range(3)]
    assert [(event.name, event.id) for event in seen[1:]] == [("heartbeat", None)] * 2
    assert seen[1].data == {"last_seq": 0}


def test_events_end_with_the_session_and_say_why(service: Service) -> None:
    service.open("ending")
    service.push("ending", 1)
    with service.events("ending", "?after_seq=0") as events:
        assert [next(events).name for _ in range(2)] == ["state", "result"]
        service.delete("ending")
        rest = [event for event in events if event.name != "heartbeat"]
    assert rest[-1].data["state"] == "stopped"
    assert rest[-1].data["reason"] == "Deleted."


def test_bad_event_ids_are_refused(service: Service) -> None:
    service.open("bad-id")
    response = service.client.get("/sessions/bad-id/results/stream", headers={"Last-Event-ID": "x"})
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"


def test_readers_who_leave_are_forgotten(service: Service) -> None:
    service.open("leaving")
    with service.events("leaving") as events:
        next(events)
    # The server notices at the next write, that is at the next heartbeat.
    service.push("leaving")
    session = service.registry.get("leaving")
    for _ in range(1000):
        if session.log.n_subscriptions == 0:
            break
        service.client.get("/livez")
    assert session.log.n_subscriptions == 0


def test_a_reader_who_leaves_amid_the_events_is_no_error(bench: Bench) -> None:
    app = make_app(bench)
    registry = app.state.services.registry
    session = registry.create(spec, "amid")
    for _ in range(5):
        session.submit(jpeg()).result(WAIT_S)
    sent: list[Message] = []

    async def exchange() -> None:
        left = asyncio.Event()

        async def receive() -> Message:
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)
            if len(sent) == 3:
                left.set()
                await asyncio.get_running_loop().create_future()

        await app(scope, receive, send)

    path = "/sessions/amid/results/stream"
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"after_seq=0"}
    asyncio.run(exchange())
    registry.close()
    assert len(sent) == 3
    assert session.log.n_subscriptions == 0


# --------------------------------------------------------------------------------------------- WebSocket


def test_frames_go_in_and_results_come_out_in_order(service: Service) -> None:
    service.open("ws", queue={"depth": 50})
    with service.websocket("ws") as websocket:
        for _ in range(20):
            websocket.send(jpeg())
        assert [receive(websocket)["seq"] for _ in range(20)] == list(range(1, 21))


def test_a_bad_frame_is_answered_by_a_problem_in_its_place(service: Service) -> None:
    pipeline = service.open("ws-bad", queue={"depth": 50})
    with service.websocket("ws-bad") as websocket:
        websocket.send(jpeg())
        assert receive(websocket)["seq"] == 1
        pipeline.errors = [DetectorFailed("no memory")]
        for data in (jpeg(), b"", jpeg()[:300], bytes(5000), jpeg()):
            websocket.send(data)
        answers = [receive(websocket) for _ in range(5)]
    codes = [answer.get("code") for answer in answers]
    assert codes == ["detector_failed", "frame_empty", "frame_corrupt", "frame_too_large", None]
    assert answers[0]["instance"] == "/sessions/ws-bad/ws"
    assert answers[4]["seq"] == 5


def test_text_messages_are_about_the_next_frame(service: Service) -> None:
    service.open("ws-text")
    with service.websocket("ws-text") as websocket:
        websocket.send('{"seq": 7, "capture_time": "2026-01-01T00:00:00.5Z"}')
        websocket.send(jpeg())
        first = receive(websocket)
        websocket.send(jpeg())
        second = receive(websocket)
        websocket.send('{"capture_time": 1767225601.5}')
        websocket.send(jpeg())
        third = receive(websocket)
    assert (first["seq"], first["time"]["capture"]) == (7, "2026-01-01T00:00:00.500Z")
    assert (second["seq"], second["time"]["capture_source"]) == (8, "arrival")
    assert (third["seq"], third["time"]["capture"]) == (9, "2026-01-01T00:00:01.500Z")


@pytest.mark.parametrize(
    "text", ["", "hello", "[]", '{"sequence": 1}', '{"seq": 0}', '{"capture_time": "soon"}', '{"capture_time": -1}']
)
def test_text_that_makes_no_sense_is_answered_by_a_problem(service: Service, text: str) -> None:
    if "ws-nonsense" not in service.client.get("/sessions").text:
        service.open("ws-nonsense")
    with service.websocket("ws-nonsense") as websocket:
        websocket.send(text)
        assert receive(websocket)["code"] == "input_error"
        websocket.send(jpeg())
        assert "objects" in receive(websocket)


def test_frames_out_of_order_and_a_full_queue_are_told_in_order(service: Service) -> None:
    pipeline = service.open("ws-full", queue={"depth": 1})
    with service.websocket("ws-full") as websocket:
        pipeline.gate.clear()
        websocket.send(jpeg())
        assert pipeline.entered.acquire(timeout=WAIT_S)
        for _ in range(2):
            websocket.send(jpeg())
        websocket.send('{"seq": 1}')
        websocket.send(jpeg())
        wait_until(lambda: service.client.get("/sessions/ws-full").json()["frames"]["rejected"] == 2)
        pipeline.gate.set()
        answers = [receive(websocket) for _ in range(4)]
    assert [answer.get("code") for answer in answers] == [None, None, "queue_full", "frame_out_of_order"]
    assert answers[2]["retry_after_s"] > 0


def test_the_connection_closes_when_the_session_ends(service: Service) -> None:
    service.open("ws-ending")
    with service.websocket("ws-ending") as websocket:
        websocket.send(jpeg())
        receive(websocket)
        service.delete("ws-ending")
        assert receive(websocket)["code"] == "session_ended"
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(WAIT_S)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4410


def test_the_request_for_a_socket_is_counted_at_once_and_has_an_id(service: Service) -> None:
    def counted(status: int) -> float:
        labels = {"route": "/sessions/{session_id}/ws", "method": "GET", "status": str(status)}
        return service.metrics.get_sample_value("flexpatch_http_requests_total", labels) or 0.0

    service.open("ws-counted")
    opened, refused = counted(101), counted(404)
    with service.websocket("ws-counted") as websocket:
        assert counted(101) == opened + 1
        assert websocket.response is not None
        assert websocket.response.headers["x-request-id"]
    with pytest.raises(InvalidStatus) as caught, service.websocket("nobody"):
        pass
    assert counted(404) == refused + 1
    assert caught.value.response.headers["x-request-id"]
    assert counted(101) == opened + 1


def test_a_socket_of_an_unknown_session_is_refused_with_a_problem(service: Service) -> None:
    with pytest.raises(InvalidStatus) as refused, service.websocket("nobody"):
        pass
    assert refused.value.response.status_code == 404
    assert json.loads(refused.value.response.body)["code"] == "session_not_found"


def test_frames_of_a_client_who_left_are_given_up(service: Service) -> None:
    pipeline = service.open("ws-left", queue={"depth": 4})
    session = service.registry.get("ws-left")
    with service.websocket("ws-left") as websocket:
        pipeline.gate.clear()
        for _ in range(3):
            websocket.send(jpeg())
        assert pipeline.entered.acquire(timeout=WAIT_S)
        wait_until(lambda: session.describe().queue_length == 2)
    wait_until(lambda: all(job.future.cancelled() for job in session._mailbox._jobs))
    pipeline.gate.set()
    wait_until(lambda: session.describe().frames.cancelled == 2)
    wait_until(lambda: session.describe().frames.processed == 1)


def test_a_connection_that_the_server_has_closed_counts_as_left(bench: Bench) -> None:
    """Servers tell by a RuntimeError, for example after pings that nobody answered."""
    accepted: list[str] = []
    app = make_app(bench)
    registry = app.state.services.registry
    session = registry.create(spec, "closed")

    async def receive() -> Message:
        if accepted:
            await asyncio.get_running_loop().create_future()
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        if accepted:
            raise RuntimeError("Unexpected ASGI message 'websocket.send', after sending 'websocket.close'.")
        accepted.append(message["type"])
        session.log.close()

    scope = {"type": "websocket", "path": "/sessions/closed/ws", "headers": [], "query_string": b"", "subprotocols": []}
    asyncio.run(app(scope, receive, send))
    registry.close()
    assert accepted == ["websocket.accept"]


# ---------------------------------------------------------------------------------------------- pictures


def test_a_snapshot_shows_the_newest_picture(service: Service) -> None:
    service.open("snap")
    missing = service.client.get("/sessions/snap/snapshot.jpg")
    assert (missing.status_code, missing.json()["code"]) == (404, "result_not_found")
    service.push("snap")
    plain, patched = (service.client.get(f"/sessions/snap/snapshot.jpg{query}") for query in ("", "?patches=1"))
    assert plain.headers["content-type"] == "image/jpeg"
    assert simplejpeg.decode_jpeg(plain.content).shape == (48, 64, 3)
    assert plain.content != patched.content
    assert plain.headers["x-frame-seq"] == "1"


def test_a_snapshot_can_be_clean_and_small(service: Service) -> None:
    service.open("clean")
    service.push("clean")
    clean = service.client.get("/sessions/clean/snapshot.jpg?objects=false&width=64")
    assert simplejpeg.decode_jpeg(clean.content).shape == (48, 64, 3)
    assert clean.content != service.client.get("/sessions/clean/snapshot.jpg").content
    assert service.client.get("/sessions/clean/snapshot.jpg?width=3").status_code == 422


@pytest.mark.parametrize("query", ["", "?patches=1"])
def test_a_live_view_shows_one_picture_after_another(service: Service, query: str) -> None:
    session_id = f"view{len(query)}"
    service.open(session_id)
    pictures: list[bytes] = []
    with service.client.stream("GET", f"/sessions/{session_id}/preview.mjpeg{query}") as response:
        assert response.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
        service.push(session_id)
        buffer = b""
        for chunk in response.iter_raw():
            buffer += chunk
            while len(parts := buffer.split(b"--frame\r\n", 2)) == 3:
                head, _, body = parts[1].partition(b"\r\n\r\n")
                assert b"Content-Type: image/jpeg" in head
                assert b"X-Frame-Seq: " in head
                pictures.append(body[:-2])
                buffer = b"--frame\r\n" + parts[2]
                service.push(session_id)
            if len(pictures) >= 3:
                break
    assert all(simplejpeg.decode_jpeg(picture).shape == (48, 64, 3) for picture in pictures)


def test_a_live_view_ends_with_the_session(service: Service) -> None:
    service.open("view-ending")
    service.push("view-ending")
    with service.client.stream("GET", "/sessions/view-ending/preview.mjpeg") as response:
        chunks = response.iter_raw()
        next(chunks)
        service.delete("view-ending")
        rest = b"".join(chunks)
    assert rest.count(b"--frame") <= 2


# ---------------------------------------------------------------------------------------------- shutdown


def test_open_streams_do_not_hold_up_the_shutdown() -> None:
    bench = Bench()
    app = make_app(bench)
    with ExitStack() as clients:
        with server_for(app) as address:
            service = Service(address, bench, app)
            clients.callback(service.client.close)
            service.open("shutdown")
            service.push("shutdown")
            events = clients.enter_context(service.events("shutdown", "?after_seq=0"))
            assert next(events).data["state"] == "running"
            websocket = clients.enter_context(service.websocket("shutdown"))
        assert [event for event in events if event.name == "state"][-1].data[
            "reason"
        ] == "The service is shutting down."
        with suppress(ConnectionClosed):  # the server's own close may come before our last word
            assert receive(websocket)["code"] == "session_ended"
    assert "session-shutdown" not in session_threads()


# ------------------------------------------------------------------------------------------------ to watch


def next_picture(websocket: ClientConnection) -> tuple[int, int]:
    """The number of the next picture's frame, and the picture's width."""
    while isinstance(message := websocket.recv(WAIT_S), str):
        pass
    return int.from_bytes(message[:8], "big"), simplejpeg.decode_jpeg(message[8:]).shape[1]


def next_event(websocket: ClientConnection, name: str) -> dict[str, Any]:
    while not isinstance(message := websocket.recv(WAIT_S), str) or json.loads(message)["event"] != name:
        pass
    data = json.loads(message)["data"]
    assert isinstance(data, dict)
    return data


def test_results_and_pictures_come_over_one_socket(service: Service) -> None:
    service.open("live")
    service.push("live", 3)
    with service.websocket("live", "live?after_seq=1&width=64") as websocket:
        assert next_event(websocket, "state")["state"] == "running"
        assert next_event(websocket, "result")["seq"] == 2
        assert next_event(websocket, "result")["objects"][0]["track_id"] == 1
        seq, width = next_picture(websocket)
        assert (seq, width) == (3, 64)
        service.push("live")
        assert next_event(websocket, "result")["seq"] == 4
        while seq < 4:
            seq, _ = next_picture(websocket)
        assert next_event(websocket, "heartbeat") == {"last_seq": 4}


def test_what_a_viewer_says_means_nothing(service: Service) -> None:
    service.open("live-talk")
    with service.websocket("live-talk", "live") as websocket:
        websocket.send("{")
        websocket.send(jpeg())
        service.push("live-talk")
        assert next_event(websocket, "result")["seq"] == 1


def test_watching_ends_with_the_session(service: Service) -> None:
    service.open("live-ending")
    with service.websocket("live-ending", "live") as websocket:
        next_event(websocket, "state")
        service.delete("live-ending")
        while next_event(websocket, "state")["state"] != "stopped":
            pass
        with pytest.raises(ConnectionClosed) as closed:
            next_event(websocket, "result")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4410


def test_viewers_who_leave_are_forgotten_at_once(service: Service) -> None:
    service.open("live-left")
    with service.websocket("live-left", "live"):
        log = service.registry.get("live-left").log
        wait_until(lambda: log.n_subscriptions == 2)
    wait_until(lambda: log.n_subscriptions == 0)
    assert service.registry.get("live-left").status.state is SessionState.RUNNING


@pytest.mark.parametrize("path", ["live?width=1", "live?after_seq=-1"])
def test_a_view_that_makes_no_sense_is_refused(service: Service, path: str) -> None:
    if "live-odd" not in {session.id for session in service.registry.all()}:
        service.open("live-odd")
    with pytest.raises(InvalidStatus) as refused, service.websocket("live-odd", path):
        pass
    assert refused.value.response.status_code == 422
    assert json.loads(refused.value.response.body or b"")["code"] == "invalid_request"


def test_nobody_watches_an_unknown_session(service: Service) -> None:
    with pytest.raises(InvalidStatus) as refused, service.websocket("nobody", "live"):
        pass
    assert refused.value.response.status_code == 404


def test_without_pictures_results_go_on(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise ZeroDivisionError("no picture can be drawn")

    service.open("live-broken")
    service.push("live-broken")
    monkeypatch.setattr("app.sessions.preview.PreviewRenderer.render", broken)
    with service.websocket("live-broken", "live?after_seq=0") as websocket:
        for seq in range(1, 4):
            assert next_event(websocket, "result")["seq"] == seq
            service.push("live-broken")


def test_a_defect_of_ours_before_a_socket_is_open_is_a_500_problem(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("no session can be found")

    monkeypatch.setattr("app.sessions.manager.SessionRegistry.get", broken)
    with pytest.raises(InvalidStatus) as refused, service.websocket("any", "live"):
        pass
    answer = refused.value.response
    assert (answer.status_code, json.loads(answer.body or b"")["code"]) == (500, "internal_error")
    labels = {"route": "/sessions/{session_id}/live", "method": "GET", "status": "500"}
    assert service.metrics.get_sample_value("flexpatch_http_requests_total", labels) == 1


@pytest.mark.parametrize("error", [InputError("What we foresee."), ZeroDivisionError("What we do not.")])
def test_an_error_on_an_open_socket_closes_it(error: Exception) -> None:
    app = FastAPI()
    problems.install(app)

    @app.websocket("/")
    async def endpoint(websocket: WebSocket) -> None:
        async with opened(websocket):
            raise error

    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b"", "subprotocols": []}
    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(app(scope, receive, send))
    assert caught.value.exceptions == (error,)
    assert [message["type"] for message in sent] == ["websocket.accept"], "nothing is sent that cannot be understood"
