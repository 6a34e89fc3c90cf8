"""The one place where objects are wired together."""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount, Route

from app.api import frames, health, live, openapi, pages, preview, problems, results, sessions, websocket, whoami
from app.api.auth import AuthMiddleware, Token, is_loopback, parse_tokens
from app.api.limits import CreationLimit
from app.api.middleware import BodyLimitMiddleware, OriginMiddleware, RequestMiddleware, SecurityHeadersMiddleware
from app.api.schemas import SessionCreate
from app.api.services import ApiOptions, Check, Services
from app.api.sessions import spec_of
from app.chosen_models import failure_model, model_folders, model_opener, open_model, vision_opener
from app.config import Settings
from app.core.clock import Clock, SystemClock
from app.core.errors import FlexPatchError, SettingsError
from app.core.types import Detector, Picture, Size
from app.detect.backends import DetectorModel
from app.detect.background import DetectionQueue
from app.detect.cores import available_cores
from app.detect.loader import DetectorStore
from app.detect.opening import ModelOpener
from app.flexpatch.config import PipelineConfig
from app.flexpatch.failure import FailureModel
from app.flexpatch.pipeline import Pipeline
from app.ingest.camera.feed import StreetFeed
from app.ingest.camera.server import Camera, CameraOptions
from app.ingest.camera.thread import CameraThread
from app.ingest.image import decode
from app.ingest.live.address import parse_policy
from app.ingest.live.opening import Opener
from app.ingest.street import Street
from app.ingest.street_config import parse_street
from app.sessions.detectors import DetectorCatalogue
from app.sessions.filters import FilterSpec
from app.sessions.manager import RegistryLimits, SessionRegistry
from app.sessions.memory import give_back_memory
from app.sessions.model import FramePipeline, LiveTiming, SessionSpec, SessionTools, StreamSpec
from app.sessions.preview import PreviewRenderer
from app.sessions.store import SessionStore
from app.telemetry.gpu import watch_gpus
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracer, open_tracer
from app.vision.cpu import share_cores
from app.vision.opening import VisionOpener

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use the service."""

    tokens: tuple[Token, ...]
    """None: whoever reaches it."""
    cors_origins: tuple[str, ...]
    is_for_this_machine: bool = False
    """Nobody is asked, as only this machine can reach the service."""


MakePipeline = Callable[[Detector, PipelineConfig], FramePipeline]

DEMO_SESSION = "demo"
DEMO_STREET = "synthetic:1280x720@10?objects=20&seed=7"
_DISTRIBUTION = "flexpatch-service"
_ROUTED = (frames, sessions, websocket, live, results, preview, health, whoami, pages)
"""Frames first: the busiest route is the first to be compared with a request's path."""
_MAX_DOCUMENT_BYTES = 1024 * 1024
_SESSIONS_AT_ONCE = 50
_REAP_PERIOD_S = 1.0
_SHUTDOWN_GRACE_S = 5
_STREAMS_AT_ONCE = 8
"""Detectors that are asked at a time on a GPU, where each session has a stream of its own."""
_WEBSOCKET_SLACK_BYTES = 64 * 1024


def create_app(
    settings: Settings,
    *,
    detector: Detector | None = None,
    clock: Clock | None = None,
    wall_s: Callable[[], float] = time.time,
    make_pipeline: MakePipeline | None = None,
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        detector: used by sessions that name none; None: the one that the settings name, loaded here.
        clock: monotonic time; None: the system's.
        wall_s: Unix time in seconds.
        make_pipeline: None: FlexPatch.
    Raises:
        ModelError: the detector or failure model that the settings name cannot be used.
        SettingsError: the demo session does not go with the settings, source_allow makes no sense, or another service
            has the state file.
    """
    clock = clock or SystemClock()
    access = _access(settings)
    metrics = Metrics(CollectorRegistry(), version(_DISTRIBUTION))
    watch_gpus(metrics.registry)
    with ExitStack() as undo:
        detection = _detection(settings, clock, metrics, detector)
        undo.callback(detection.close)
        tracer = _tracer(settings)
        if tracer:
            undo.callback(tracer.close)
        tools = _session_tools(settings, clock, wall_s, metrics, detection)
        if tracer:
            tools = replace(tools, trace=tracer.frame)
        if make_pipeline:
            tools = replace(tools, make_pipeline=make_pipeline)
        store = SessionStore(settings.state_file) if settings.state_file else None
        if store:
            store.claim()
            undo.callback(store.release)
        registry = SessionRegistry(RegistryLimits(settings.max_sessions), detection.catalogue, tools, store)
        services = _services(settings, clock, metrics, registry, detection.catalogue)
        declared = _declared(settings)
        demo = _demo(services, clock) if settings.demo else None
        app = _build(services, clock, demo, declared, detection=detection, access=access, tracer=tracer)
        undo.pop_all()
    return app


def _tracer(settings: Settings) -> Tracer | None:
    """What sends traces, if any are wanted."""
    if not settings.traces_endpoint:
        return None
    return open_tracer(settings.traces_endpoint, settings.traces_share, version(_DISTRIBUTION))


@dataclass(frozen=True, slots=True)
class _Detection:
    """What looks at frames and canvases for all sessions."""

    catalogue: DetectorCatalogue
    queue: DetectionQueue
    models: DetectorStore[DetectorModel]
    opener: ModelOpener
    visions: VisionOpener

    def close(self) -> None:
        """Once there are no sessions: end threads and builds, give the GPU back."""
        self.queue.close()
        for model in self.models.held():
            model.close()
        self.opener.close()


def _detection(settings: Settings, clock: Clock, metrics: Metrics, detector: Detector | None) -> _Detection:
    """
    Args:
        detector: the service's own; None: the one that the settings name.
    Raises:
        ModelError, GpuError, BackendFailed: it cannot be used.
    """
    opener = model_opener(settings, clock, metrics)
    folders = model_folders(settings)
    models = DetectorStore(partial(open_model, opener, settings), folders)
    try:
        visions = vision_opener(settings, opener, metrics)
        default = detector or models.get(settings.detector, settings.detector_family)
    except BaseException:
        opener.close()
        raise
    cores = available_cores()
    at_once = max(1, cores // (settings.detector_threads or cores))
    queue = DetectionQueue(clock, max(at_once, _STREAMS_AT_ONCE) if opener.may_use_gpu else at_once)
    return _Detection(DetectorCatalogue(default, folders, models.get), queue, models, opener, visions)


def _session_tools(
    settings: Settings, clock: Clock, wall_s: Callable[[], float], metrics: Metrics, detection: _Detection
) -> SessionTools:
    streams = Opener(
        parse_policy(settings.source_allow),
        settings.source_root,
        settings.hwaccel,
        settings.source_tls_verify,
        settings.source_ca_file,
    )
    return SessionTools(
        clock=clock,
        wall_s=wall_s,
        decode=partial(_decode, settings.max_pixels),
        make_pipeline=partial(_make_pipeline, clock, failure_model(settings), detection.visions),
        ask=detection.queue.ask,
        metrics=metrics,
        give_back_memory=give_back_memory,
        result_log_size=settings.result_log_size,
        stale_after_s=settings.stale_after_s,
        check_stream=lambda stream: streams.check(stream.kind, stream.address, is_trusted=stream.is_trusted),
        check_room=detection.visions.check_room,
        open_stream=lambda stream: streams.open(
            stream.kind, stream.address, stream.transport, is_trusted=stream.is_trusted
        ),
        live=LiveTiming(longest_backoff_s=settings.longest_backoff_s),
        share_cores=partial(share_cores, available_cores()),
    )


def _services(
    settings: Settings, clock: Clock, metrics: Metrics, registry: SessionRegistry, catalogue: DetectorCatalogue
) -> Services:
    return Services(
        registry=registry,
        metrics=metrics,
        previews=PreviewRenderer(settings.preview_quality),
        options=ApiOptions(
            max_frame_bytes=settings.max_frame_bytes,
            heartbeat_s=settings.heartbeat_s,
            preview_max_fps=settings.preview_max_fps,
            queue_depth=settings.queue_depth,
            idle_ttl_s=settings.idle_ttl_s,
            flexpatch=settings.flexpatch.pipeline_config(),
        ),
        creation_limit=CreationLimit(clock, settings.session_creations_per_s, _SESSIONS_AT_ONCE),
        checks=partial(_checks, catalogue, registry),
    )


class Server(uvicorn.Server):
    """A uvicorn server that first ends the sessions, so that streams of results do not hold up its shutdown."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self._services: Services = app.state.services
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                server_header=False,
                # Pictures do not get smaller, and deflating them would hold up the event loop.
                ws_per_message_deflate=False,
                ws_max_size=settings.max_frame_bytes + _WEBSOCKET_SLACK_BYTES,
                timeout_graceful_shutdown=_SHUTDOWN_GRACE_S,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the sessions, then all connections."""
        self._services.registry.begin_close()
        await asyncio.to_thread(self._services.registry.close)
        await super().shutdown(sockets)


def _build(
    services: Services,
    clock: Clock,
    demo: CameraThread | None,
    declared: Sequence[SessionCreate],
    *,
    detection: _Detection,
    access: Access,
    tracer: Tracer | None,
) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(_begin, services, declared)
        reaper = asyncio.create_task(_reap(services.registry))
        try:
            yield
        finally:
            reaper.cancel()
            with suppress(asyncio.CancelledError):
                await reaper
            await asyncio.to_thread(services.registry.close)
            if demo:
                await asyncio.to_thread(demo.stop)
            await asyncio.to_thread(detection.close)
            if tracer:
                await asyncio.to_thread(tracer.close)

    app = FastAPIOffline(
        title="FlexPatch Service",
        docs_url=pages.DOCS_PATH,
        redoc_url=None,
        static_url=pages.SWAGGER_PATH,
        favicon_url=f"{pages.FILES_PATH}/favicon.svg",
        version=version(_DISTRIBUTION),
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_tags=[
            {"name": "sessions", "description": "One session for each video stream."},
            {"name": "frames", "description": "Frames in, results out."},
            {"name": "results", "description": "Results for those who did not push the frame."},
            {"name": "preview", "description": "Annotated pictures."},
            {"name": "health", "description": "Health and measurements."},
            {"name": "access", "description": "Who one is to the service."},
        ],
    )
    app.state.services = services
    for module in _ROUTED:
        app.include_router(module.router)
    pages.mount_files(app)
    problems.install(app)
    openapi.install(app)
    _surround(app, services.metrics, clock, access, tracer)
    return app


def _surround(app: FastAPI, metrics: Metrics, clock: Clock, access: Access, tracer: Tracer | None) -> None:
    """Put round the routes what happens with every request; what is added last comes first."""
    app.add_middleware(BodyLimitMiddleware, max_bytes=_MAX_DOCUMENT_BYTES)
    if access.tokens:
        app.add_middleware(AuthMiddleware, tokens=access.tokens)
    if access.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=access.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["Location", "Retry-After", "X-Frame-Seq", "X-Request-Id"],
        )
    app.add_middleware(OriginMiddleware, allowed=access.cors_origins, is_by_host_only=access.is_for_this_machine)
    app.add_middleware(SecurityHeadersMiddleware, is_shared=bool(access.cors_origins))
    if tracer:
        app.add_middleware(tracer.instrumented)
    routes = [route for module in _ROUTED for route in module.router.routes]
    routes += [route for route in app.routes if isinstance(route, Route | Mount)]
    app.add_middleware(RequestMiddleware, metrics=metrics, clock=clock, routes=routes)


def _demo(services: Services, clock: Clock) -> CameraThread:
    """A camera on this machine that shows a street, and the session that watches it.

    Raises:
        SettingsError: the session does not go with the settings.
    """
    options = services.options
    start_s = clock.now_s()

    def make(folder: Path) -> Camera:
        feed = StreetFeed(Street(parse_street(DEMO_STREET)), clock, start_s)
        return Camera(feed, clock, start_s, CameraOptions(port=0, path=DEMO_SESSION), folder)

    camera = CameraThread(make)
    url = camera.start().url

    def spec(session_id: str) -> SessionSpec:
        source = StreamSpec("rtsp", url, is_trusted=True)
        return SessionSpec(
            session_id, options.flexpatch, FilterSpec(), options.queue_depth, options.idle_ttl_s, source=source
        )

    try:
        services.registry.create(spec, DEMO_SESSION)
    except BaseException:
        camera.stop()
        raise
    return camera


def _access(settings: Settings) -> Access:
    """Who may use the service.

    Raises:
        SettingsError: tokens are needed, and there are none, or one is not understood.
    """
    tokens = parse_tokens(settings.tokens)
    host = settings.published_host or settings.host
    is_reached = not is_loopback(host)
    if settings.authentication == "off":
        if tokens:
            raise SettingsError("There are tokens, but authentication is off: leave out one of the two.")
        if is_reached:
            logger.warning("nobody is asked who they are, and others can reach the service", extra={"host": host})
        return Access((), settings.cors_origins)
    if not tokens and (is_reached or settings.authentication == "required"):
        why = f"Others can reach the service on {host}" if is_reached else "Authentication is required"
        raise SettingsError(
            f"{why}, and there are no tokens: make one with `flexpatch token NAME --role admin` and put what it prints "
            "into tokens (FLEXPATCH_TOKENS), or set authentication to off."
        )
    return Access(tokens, settings.cors_origins, is_for_this_machine=not tokens)


def _declared(settings: Settings) -> list[SessionCreate]:
    """The sessions that the operator wants from the start.

    Raises:
        SettingsError: one of them is not understood.
    """
    found = []
    for number, document in enumerate(settings.sessions, 1):
        try:
            found.append(SessionCreate.model_validate(document))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise SettingsError(f"sessions: number {number} is not understood: {where}: {first['msg']}.") from error
    return found


def _begin(services: Services, declared: Sequence[SessionCreate]) -> None:
    """Make the operator's sessions, then those that were kept. What cannot be made is logged."""
    registry = services.registry
    for body in declared:
        try:
            registry.create(partial(spec_of, body, services.options, is_trusted=True), body.id)
        except FlexPatchError as error:
            logger.error("session cannot be made", extra={"session_id": body.id, "reason": str(error)})  # noqa: TRY400
    registry.restore()


async def _reap(registry: SessionRegistry) -> None:
    while True:
        await asyncio.sleep(_REAP_PERIOD_S)
        try:
            await asyncio.to_thread(registry.reap)
        except Exception:
            logger.exception("idle sessions could not be ended")


def _checks(catalogue: DetectorCatalogue, registry: SessionRegistry) -> Sequence[Check]:
    detector = catalogue.default
    admission = "Sessions are admitted." if registry.is_open else "The service is shutting down."
    return (
        Check("detector", True, f"{detector.name} on {detector.backend}."),
        Check("admission", registry.is_open, admission),
    )


def _decode(max_pixels: int, data: bytes, expected_size: Size | None) -> Picture:
    return decode(data, max_pixels=max_pixels, expected_size=expected_size)


def _make_pipeline(
    clock: Clock, failure_model: FailureModel, visions: VisionOpener, detector: Detector, config: PipelineConfig
) -> FramePipeline:
    return Pipeline(visions.open(detector), detector, config, failure_model, clock)
