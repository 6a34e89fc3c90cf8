"""Whether the service lives and can work, and its measurements."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from app.api import problems
from app.api.openapi import responses
from app.api.schemas import CheckModel, ReadinessModel
from app.api.services import ServicesParameter

router = APIRouter(tags=["health"])


@router.head("/livez", include_in_schema=False)
@router.get("/livez", response_model=dict[str, str])
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.head("/readyz", response_model=None, include_in_schema=False)
@router.get("/readyz", response_model=ReadinessModel, responses=responses(503))
async def ready(request: Request, services: ServicesParameter) -> Response | ReadinessModel:
    """Whether sessions can be opened; if not, what is missing."""
    checks = [CheckModel(name=check.name, ok=check.is_ok, detail=check.detail) for check in services.checks()]
    if all(check.ok for check in checks):
        return ReadinessModel(status="ready", checks=checks)
    return problems.not_ready([check.model_dump() for check in checks], request.url.path)


@router.head("/metrics", include_in_schema=False)
@router.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
)
async def metrics(services: ServicesParameter) -> Response:
    """Measurements for Prometheus."""
    return Response(services.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)
