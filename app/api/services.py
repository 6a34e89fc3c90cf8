"""What the routers work with, and how they get at it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Path
from starlette.requests import HTTPConnection

from app.api.limits import CreationLimit
from app.flexpatch.config import PipelineConfig
from app.sessions.manager import SessionRegistry
from app.sessions.preview import PreviewRenderer
from app.sessions.session import Session
from app.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """Limits and defaults of the HTTP side."""

    max_frame_bytes: int
    heartbeat_s: float
    preview_max_fps: float
    queue_depth: int
    """Of sessions that do not say."""
    idle_ttl_s: float
    """Of sessions that do not say, in seconds."""
    flexpatch: PipelineConfig
    """Of sessions that do not say."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that readiness depends on."""

    name: str
    is_ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Services:
    """Everything behind the routers."""

    registry: SessionRegistry
    metrics: Metrics
    previews: PreviewRenderer
    options: ApiOptions
    creation_limit: CreationLimit
    checks: Callable[[], Sequence[Check]]
    """Asks whether the service can do its work."""


def get_services(connection: HTTPConnection) -> Services:
    """The services of the application that the request came to."""
    return cast(Services, connection.app.state.services)


# Dependencies are coroutines: FastAPI runs plain functions in a thread, which costs more than all they do.
async def _services(connection: HTTPConnection) -> Services:
    return get_services(connection)


ServicesParameter = Annotated[Services, Depends(_services)]


async def find_session(
    services: ServicesParameter,
    session_id: Annotated[str, Path(description="Name of the session.", examples=["cam-7"])],
) -> Session:
    """The session in the path.

    Raises:
        SessionNotFound
    """
    return services.registry.get(session_id)


SessionParameter = Annotated[Session, Depends(find_session)]
