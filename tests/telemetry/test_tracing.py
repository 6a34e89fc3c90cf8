"""Traces of frames and requests."""

import sys
from dataclasses import replace
from importlib.metadata import version

import httpx
import pytest
from websockets.sync.client import connect

from app.core.errors import SettingsError
from app.telemetry.tracing import Tracer, open_tracer
from tests.api.conftest import api_for, make_app, server_for
from tests.sessions.fakes import WAIT_S, Bench, jpeg
from tests.telemetry.test_metrics import SAMPLE

pytest.importorskip("opentelemetry.sdk", reason="OpenTelemetry is not installed")
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What services of the test send their spans to."""
    exporter = InMemorySpanExporter()

    def make_tracer(endpoint: str, share: float, release: str) -> Tracer:
        return open_tracer(endpoint, share, release, lambda _: exporter)

    monkeypatch.setattr("app.main.open_tracer", make_tracer)
    return exporter


def test_a_frame_is_a_span_with_its_stages_one_after_the_other() -> None:
    exporter = InMemorySpanExporter()
    tracer = open_tracer("http://collector", 1.0, "0.1", lambda _: exporter)
    tracer.frame(replace(SAMPLE, completed_unix_s=1000.0))
    tracer.close()
    spans = by_name(exporter)
    frame, decode, detect = spans["frame"], spans["decode"], spans["detect"]
    assert (frame.start_time, frame.end_time) == (999_970_000_000, 1_000_000_000_000)
    assert frame.attributes is not None
    assert frame.attributes["flexpatch.session"] == "a"
    assert frame.context is not None
    assert decode.parent is not None
    assert decode.parent.span_id == frame.context.span_id
    assert decode.start_time == frame.start_time
    assert (decode.end_time, detect.end_time) == (999_974_000_000, 999_983_000_000)
    assert detect.start_time == decode.end_time


def test_only_a_share_is_kept() -> None:
    exporter = InMemorySpanExporter()
    tracer = open_tracer("http://collector", 0.0, "0.1", lambda _: exporter)
    for _ in range(50):
        tracer.frame(SAMPLE)
    tracer.close()
    assert exporter.get_finished_spans() == ()


def test_the_service_traces_frames_and_requests(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http/dup")
    with api_for(Bench(), traces_endpoint="http://127.0.0.1:1/v1/traces", traces_share=1.0) as api:
        api.open()
        api.push(X_Request_Id="one-request")
        api.get("/livez")
        api.get("/sessions/hush?token=hush")
    spans = by_name(exporter)
    assert set(spans) >= {"frame", "decode", "POST /sessions", "GET /sessions/{session_id}"}
    assert not any("livez" in name or "hush" in name for name in spans)
    pushed = spans["POST /sessions/{session_id}/frames"]
    assert pushed.context is not None
    assert spans["frame"].parent is not None
    assert spans["frame"].parent.span_id == pushed.context.span_id, "a frame belongs to the request that brought it"
    assert pushed.attributes is not None
    assert pushed.attributes["http.route"] == "/sessions/{session_id}/frames"
    assert pushed.attributes["flexpatch.request_id"] == "one-request"
    assert pushed.resource.attributes["service.version"] == version("flexpatch-service")
    asked = spans["GET /sessions/{session_id}"].attributes
    assert asked is not None
    assert [name for name, value in asked.items() if "token" in str(value)] == []


def test_frames_of_a_websocket_have_traces_of_their_own(exporter: InMemorySpanExporter) -> None:
    app = make_app(Bench(), traces_endpoint="http://127.0.0.1:1/v1/traces", traces_share=1.0)
    with server_for(app) as address:
        httpx.post(f"http://{address}/sessions", json={"id": "a"})
        with connect(f"ws://{address}/sessions/a/ws") as websocket:
            websocket.send(jpeg())
            websocket.recv(WAIT_S)
    spans = by_name(exporter)
    assert spans["frame"].parent is None, "or the connection's would hold all its frames, and end with it"
    assert "WebSocket /sessions/{session_id}/ws" in spans


def test_without_the_packages_the_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"pip install 'flexpatch-service\[otel\]'"):
        open_tracer("http://collector", 1.0, "0.1")
