"""Sessions: make, list, look at, change, delete."""

import asyncio
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body, Response

from app.api.openapi import responses
from app.api.schemas import (
    DetectorModel,
    FileSource,
    FiltersModel,
    FrameCountsModel,
    PushSource,
    QueueOut,
    RtspSource,
    SessionCreate,
    SessionErrorModel,
    SessionList,
    SessionModel,
    SessionPatch,
    TuningModel,
    TuningOut,
    ZoneModel,
)
from app.api.services import ApiOptions, ServicesParameter, SessionParameter
from app.core.types import Size
from app.core.wire import error_code
from app.flexpatch.config import PipelineConfig
from app.sessions.filters import FilterSpec, Zone
from app.sessions.model import SessionInfo, SessionSpec, StreamSpec
from app.telemetry.logs import redact_url

router = APIRouter(prefix="/sessions", tags=["sessions"])


@router.post(
    "",
    status_code=201,
    responses=responses(
        403,
        409,
        413,
        422,
        429,
        503,
        status_201={"headers": {"Location": {"schema": {"type": "string"}, "description": "The session."}}},
    ),
)
async def create_session(
    services: ServicesParameter,
    response: Response,
    body: Annotated[SessionCreate, Body()] = SessionCreate(),  # noqa: B008 - frozen
) -> SessionModel:
    """Open a session for one video stream."""
    make_spec = partial(spec_of, body, services.options)
    session = await asyncio.to_thread(services.registry.create, make_spec, body.id, admit=services.creation_limit.take)
    response.headers["Location"] = f"/sessions/{session.id}"
    return describe(session.describe())


@router.get("")
async def list_sessions(services: ServicesParameter) -> SessionList:
    """All sessions, oldest first."""
    registry = services.registry
    return SessionList(
        sessions=[describe(session.describe()) for session in registry.all()],
        max_sessions=registry.max_sessions,
    )


@router.get("/{session_id}", responses=responses(404))
async def get_session(session: SessionParameter) -> SessionModel:
    """A session's state, counters and configuration."""
    return describe(session.describe())


@router.patch("/{session_id}", responses=responses(404, 409, 410, 413, 422, 429, 503))
async def change_session(services: ServicesParameter, session: SessionParameter, body: SessionPatch) -> SessionModel:
    """Change filters, tuning, queue or idle time; in force from the next frame on, and tracks are kept."""
    await asyncio.wrap_future(session.update(lambda spec: changed(spec, body, services.options)))
    await asyncio.to_thread(services.registry.keep, session)
    return describe(session.describe())


@router.delete("/{session_id}", status_code=204, responses=responses(404, 503))
async def delete_session(services: ServicesParameter, session: SessionParameter) -> None:
    """End a session. Frames that wait are given up; the one in hand is finished."""
    await asyncio.to_thread(services.registry.remove, session.id)


def spec_of(body: SessionCreate, options: ApiOptions, session_id: str, *, is_trusted: bool = False) -> SessionSpec:
    """The session that a document asks for.

    Args:
        is_trusted: the document is the operator's, and may name any address.
    """
    return SessionSpec(
        id=session_id,
        flexpatch=tuned(options.flexpatch, body.flexpatch, options.flexpatch),
        filters=filtered(FilterSpec(), body.filters),
        queue_depth=body.queue.depth if body.queue else options.queue_depth,
        idle_ttl_s=body.idle_ttl_s or options.idle_ttl_s,
        detector=body.detector,
        source=_stream(body.source, is_trusted=is_trusted),
    )


def _stream(source: PushSource | RtspSource | FileSource, *, is_trusted: bool) -> StreamSpec | None:
    match source:
        case RtspSource():
            return StreamSpec("rtsp", source.url, source.transport, is_trusted)
        case FileSource():
            return StreamSpec("file", source.path, is_trusted=is_trusted)
        case _:
            return None


def _source_out(stream: StreamSpec | None) -> PushSource | RtspSource | FileSource:
    if stream is None:
        return PushSource()
    if stream.kind == "file":
        return FileSource(kind="file", path=stream.address)
    return RtspSource(kind="rtsp", url=redact_url(stream.address), transport=stream.transport)


def changed(spec: SessionSpec, patch: SessionPatch, options: ApiOptions) -> SessionSpec:
    """The specification with what the patch gives; null stands for the default."""
    given = patch.model_fields_set
    if "filters" in given:
        base = spec.filters if patch.filters else FilterSpec()
        spec = replace(spec, filters=filtered(base, patch.filters or FiltersModel()))
    if "flexpatch" in given:
        base_config = spec.flexpatch if patch.flexpatch else options.flexpatch
        tuning = patch.flexpatch or TuningModel()
        spec = replace(spec, flexpatch=tuned(base_config, tuning, options.flexpatch))
    if "queue" in given:
        spec = replace(spec, queue_depth=patch.queue.depth if patch.queue else options.queue_depth)
    if "idle_ttl_s" in given:
        spec = replace(spec, idle_ttl_s=patch.idle_ttl_s or options.idle_ttl_s)
    return spec


def tuned(base: PipelineConfig, tuning: TuningModel, default: PipelineConfig) -> PipelineConfig:
    """The configuration with what was given; null stands for the default."""
    values = {}
    for name in tuning.model_fields_set:
        value = getattr(tuning, name)
        if value is None:
            value = getattr(default, name)
        elif name == "max_canvas":
            value = Size(*value)
        elif value == "learned":
            value = None
        values[name] = value
    return replace(base, **values)


def tuning_out(config: PipelineConfig) -> TuningOut:
    """The tuning in force, as a PATCH would take it."""
    return TuningOut(**asdict(config) | {"object_height_px": config.object_height_px or "learned"})


def filtered(base: FilterSpec, filters: FiltersModel) -> FilterSpec:
    """The filters with what was given."""
    given = filters.model_fields_set
    return FilterSpec(
        classes=(tuple(filters.classes) if filters.classes is not None else None)
        if "classes" in given
        else base.classes,
        min_score=filters.min_score if "min_score" in given else base.min_score,
        zones=tuple(Zone(zone.name, tuple(zone.polygon)) for zone in filters.zones) if "zones" in given else base.zones,
        masks=tuple(tuple(polygon) for polygon in filters.masks) if "masks" in given else base.masks,
    )


def describe(info: SessionInfo) -> SessionModel:
    """A session as clients see it."""
    spec, status = info.spec, info.status
    filters = spec.filters
    return SessionModel(
        id=spec.id,
        state=status.state,
        reason=status.reason,
        error=SessionErrorModel(code=error_code(status.error), detail=str(status.error)) if status.error else None,
        source=_source_out(spec.source),
        connections=info.n_connections,
        vision=info.vision,
        detector=DetectorModel(name=info.detector_name, backend=info.detector_backend, classes=list(info.class_names)),
        created_at=_moment(info.created_unix_s),
        flexpatch=tuning_out(spec.flexpatch),
        filters=FiltersModel(
            classes=list(filters.classes) if filters.classes is not None else None,
            min_score=filters.min_score,
            zones=[ZoneModel(name=zone.name, polygon=list(zone.polygon)) for zone in filters.zones],
            masks=[list(polygon) for polygon in filters.masks],
        ),
        queue=QueueOut(depth=spec.queue_depth, length=info.queue_length),
        idle_ttl_s=spec.idle_ttl_s,
        frames=FrameCountsModel(**asdict(info.frames)),
        fps=round(info.fps, 2),
        thrift=info.thrift,
        last_seq=info.last_seq,
        last_frame_at=_moment(info.last_frame_unix_s) if info.last_frame_unix_s is not None else None,
        frame_size=info.frame_size,
    )


def _moment(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
