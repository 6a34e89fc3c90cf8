"""Annotated pictures: one, or a live view."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from app.api.openapi import responses
from app.api.services import Services, ServicesParameter, SessionParameter
from app.core.errors import ResultNotFound, SessionEnded
from app.sessions.session import Session

_BOUNDARY = "frame"
_JPEG = "image/jpeg"

router = APIRouter(prefix="/sessions/{session_id}", tags=["preview"])

WithPatches = Annotated[bool, Query(description="Draw the regions the detector looked at, too.")]


@router.get(
    "/snapshot.jpg",
    response_class=Response,
    responses=responses(
        404, 410, 429, status_200={"content": {_JPEG: {"schema": {"type": "string", "format": "binary"}}}}
    ),
)
async def snapshot(services: ServicesParameter, session: SessionParameter, patches: WithPatches = False) -> Response:
    """The newest picture with its objects drawn."""
    jpeg = await _render(services, session, with_patches=patches)
    return Response(jpeg, media_type=_JPEG, headers={"Cache-Control": "no-store"})


@router.get(
    "/preview.mjpeg",
    response_class=StreamingResponse,
    responses=responses(404, status_200={"content": {"multipart/x-mixed-replace": {}}}),
)
async def preview(
    services: ServicesParameter, session: SessionParameter, patches: WithPatches = False
) -> StreamingResponse:
    """A live view that browsers show as a picture. Slow viewers skip frames; it ends with the session."""
    return StreamingResponse(
        _pictures(services, session, with_patches=patches),
        media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY}",
        headers={"Cache-Control": "no-store"},
    )


async def _pictures(services: Services, session: Session, *, with_patches: bool) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    period_s = 1 / services.options.preview_max_fps
    with session.log.subscribe(0) as subscription:
        while True:
            started_s = loop.time()
            try:
                # Without a new frame the last picture goes out again, so that a viewer who left is noticed.
                await subscription.newest(services.options.heartbeat_s)
                jpeg = await _render(services, session, with_patches=with_patches)
            except SessionEnded:
                return
            except ResultNotFound:
                continue
            head = f"--{_BOUNDARY}\r\nContent-Type: {_JPEG}\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            yield head.encode() + jpeg + b"\r\n"
            await asyncio.sleep(max(0.0, started_s + period_s - loop.time()))


async def _render(services: Services, session: Session, *, with_patches: bool) -> bytes:
    latest = session.latest
    candidates = None
    if with_patches:
        candidates = (await asyncio.wrap_future(session.explain(latest.seq))).candidates
    return await asyncio.to_thread(services.previews.render, session.id, latest, candidates)
