"""Whether the service lives and can work, its measurements, and its dashboard."""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from prometheus_client import CONTENT_TYPE_LATEST

from app.api import problems
from app.api.openapi import responses
from app.api.schemas import CheckModel, ReadinessModel
from app.api.services import ServicesParameter

DASHBOARD = Path(__file__).parent.parent / "web" / "index.html"

router = APIRouter(tags=["health"])

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>FlexPatch Service</title>
<body style="font-family:system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem;line-height:1.5">
<h1>FlexPatch Service</h1>
<p>Push the frames of a video stream, get all tracked objects back as JSON. The detector only looks at the patches
where looking is worth it.</p>
<ul>
<li><a href="/docs">API documentation</a> (<a href="/openapi.json">OpenAPI</a>)</li>
<li><a href="/sessions">Sessions</a></li>
<li><a href="/readyz">Readiness</a></li>
<li><a href="/metrics">Metrics</a></li>
</ul>
<h2>State</h2>
<ul>{checks}</ul>
</body></html>
"""


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


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
async def front_page() -> Response:
    """The dashboard."""
    return FileResponse(DASHBOARD)
