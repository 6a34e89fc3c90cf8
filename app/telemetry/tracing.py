"""Traces for OpenTelemetry: a share of the frames with their stages, and of the requests. Optional."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from structlog.contextvars import get_contextvars

from app.core.errors import SettingsError
from app.telemetry.metrics import FrameSample

_SERVICE = "flexpatch"
_NS = 1_000_000_000
_TIMEOUT_S = 5
_PATIENCE_S = 2.0
"""At the end, for a collector that does not answer."""
_BEGINNINGS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_EXTRA = "pip install 'flexpatch-service[otel]'"


class Tracer:
    """Sends spans to a collector, from a thread of its own. Any thread may call."""

    def __init__(self, provider: Any) -> None:
        """
        Args:
            provider: a `TracerProvider` of OpenTelemetry's SDK.
        """
        self.provider = provider
        self._tracer = provider.get_tracer(_SERVICE)

    def frame(self, sample: FrameSample) -> None:
        """A frame has its result: a span of it, and one of each stage, if it is among those that are kept."""
        end_ns = round(sample.completed_unix_s * _NS)
        start_ns = end_ns - round(sample.latency_s * _NS)
        span = self._tracer.start_span("frame", start_time=start_ns, attributes=_attributes(sample))
        if span.is_recording():
            self._stages(sample, span, start_ns)
        span.end(end_ns)

    def _stages(self, sample: FrameSample, parent: Any, start_ns: int) -> None:
        """Stages come one after the other; what the detector does beside the frame's own work lasts longer."""
        from opentelemetry import trace  # noqa: PLC0415 - optional

        context = trace.set_span_in_context(parent)
        for stage, seconds in sample.stage_s.items():
            span = self._tracer.start_span(stage, context=context, start_time=start_ns)
            start_ns += round(seconds * _NS)
            span.end(start_ns)

    def instrumented(self, app: Any) -> Any:
        """An ASGI application whose requests are traced, but for those that only ask whether it lives."""
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware  # noqa: PLC0415

        return OpenTelemetryMiddleware(
            _naming_routes(app),
            excluded_urls="/(livez|readyz|metrics)$",
            tracer_provider=self.provider,
            # Paths are the clients' own words; a route names the span once it is known.
            default_span_details=lambda scope: (scope.get("method", "WebSocket"), {}),
            server_request_hook=_without_query,
            # Streams would have a span for every event.
            exclude_spans=["receive", "send"],
        )

    def close(self) -> None:
        """Send what waits, as long as the collector takes it, and end the thread."""
        ending = threading.Thread(target=self.provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(_PATIENCE_S)


def _naming_routes(app: Any) -> Any:
    """An ASGI application that gives the span of each request its route's name."""
    from opentelemetry import trace  # noqa: PLC0415 - optional

    async def named(scope: Any, receive: Any, send: Any) -> None:
        span = trace.get_current_span()
        span.set_attributes({"flexpatch.request_id": get_contextvars().get("request_id", "")})

        async def answer(message: Any) -> None:
            # The span ends with the answer; when that begins, the route is known.
            route = getattr(scope.get("route"), "path", None)
            if route and message["type"] in _BEGINNINGS:
                span.update_name(f"{scope.get('method', 'WebSocket')} {route}")
                span.set_attribute("http.route", route)
            await send(message)

        await app(scope, receive, answer)

    return named


def _without_query(span: Any, scope: Mapping[str, Any]) -> None:
    """Addresses may hold what is nobody else's business."""
    if span is not None and span.is_recording():
        span.set_attributes({"http.url": scope["path"], "http.target": scope["path"], "url.query": ""})


def _attributes(sample: FrameSample) -> dict[str, str | int | float]:
    return {
        "flexpatch.session": sample.session,
        "flexpatch.mode": sample.mode,
        "flexpatch.model": sample.model,
        "flexpatch.backend": sample.backend,
        "flexpatch.tracks": sample.n_tracks,
        "flexpatch.detector_pixels": sample.detector_pixels,
        "flexpatch.canvas_fill": sample.canvas_fill,
    }


def open_tracer(endpoint: str, share: float, version: str, make_exporter: Callable[[str], Any] | None = None) -> Tracer:
    """A tracer that sends to a collector.

    Args:
        endpoint: of OTLP over HTTP, such as http://collector:4318/v1/traces.
        share: of traces that are kept, 0 to 1.
        version: of the service.
        make_exporter: takes the endpoint; None: OTLP over HTTP.
    Raises:
        SettingsError: OpenTelemetry's packages are not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import TraceIdRatioBased  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(f"Traces need OpenTelemetry: {_EXTRA}, or set traces_endpoint to null.") from error
    provider = TracerProvider(
        # Not by what clients say of themselves: anyone could have everything traced.
        resource=Resource.create({SERVICE_NAME: _SERVICE, SERVICE_VERSION: version}),
        sampler=TraceIdRatioBased(share),
    )
    exporter = make_exporter(endpoint) if make_exporter else OTLPSpanExporter(endpoint=endpoint, timeout=_TIMEOUT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracer(provider)
