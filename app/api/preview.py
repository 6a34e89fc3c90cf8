"""Annotated pictures: one, or a live view."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from app.api.openapi import responses
from app.api.services import Services, ServicesParameter, SessionParameter
from app.core.errors import QueueFull, ResultNotFound, SessionEnded
from app.core.types import CandidateReport
from app.sessions.preview import PreviewStyle
from app.sessions.session import Session

_BOUNDARY = "frame"
_JPEG = "image/jpeg"
_SEQ = "X-Frame-Seq"

router = APIRouter(prefix="/sessions/{session_id}", tags=["preview"])

WithPatches = Annotated[bool, Query(description="Draw the regions the detector looked at, too.")]
WithObjects = Annotated[bool, Query(description="Draw the objects.")]
Width = Annotated[
    int | None,
    Query(ge=64, le=8192, description="Of the picture in pixels, where the frame is wider; absent: as it is."),
]


async def _style(patches: WithPatches = False, objects: WithObjects = True, width: Width = None) -> PreviewStyle:
    return PreviewStyle(objects, patches, width)


StyleParameter = Annotated[PreviewStyle, Depends(_style)]


@router.get(
    "/snapshot.jpg",
    response_class=Response,
    responses=responses(
        404, 410, 429, status_200={"content": {_JPEG: {"schema": {"type": "string", "format": "binary"}}}}
    ),
)
async def snapshot(services: ServicesParameter, session: SessionParameter, style: StyleParameter) -> Response:
    """The newest picture with its objects drawn; `X-Frame-Seq` is the frame's number."""
    seq, jpeg = await _render(services, session, style)
    return Response(jpeg, media_type=_JPEG, headers={"Cache-Control": "no-store", _SEQ: str(seq)})


@router.get(
    "/preview.mjpeg",
    response_class=StreamingResponse,
    responses=responses(404, status_200={"content": {"multipart/x-mixed-replace": {}}}),
)
async def preview(services: ServicesParameter, session: SessionParameter, style: StyleParameter) -> StreamingResponse:
    """A live view that browsers show as a picture. Slow viewers skip frames; it ends with the session.

    Each part names its frame in `X-Frame-Seq`, for those who draw what is in the results themselves.
    """
    return StreamingResponse(
        _parts(services, session, style),
        media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY}",
        headers={"Cache-Control": "no-store"},
    )


async def _parts(services: Services, session: Session, style: PreviewStyle) -> AsyncIterator[bytes]:
    async for seq, jpeg in pictures(services, session, style):
        lines = (f"--{_BOUNDARY}", f"Content-Type: {_JPEG}", f"Content-Length: {len(jpeg)}", f"{_SEQ}: {seq}")
        yield "\r\n".join((*lines, "", "")).encode() + jpeg + b"\r\n"


async def pictures(services: Services, session: Session, style: PreviewStyle) -> AsyncIterator[tuple[int, bytes]]:
    """Numbers of frames and their JPEGs, each the newest once the one before was taken; until the session ends."""
    loop = asyncio.get_running_loop()
    period_s = 1 / services.options.preview_max_fps
    with session.log.subscribe(0) as subscription:
        while True:
            started_s = loop.time()
            try:
                # Without a new frame the last picture goes out again, so that a viewer who left is noticed.
                await subscription.newest(services.options.heartbeat_s)
                picture = await _render(services, session, style)
            except SessionEnded:
                return
            except (ResultNotFound, QueueFull):
                continue
            yield picture
            await asyncio.sleep(max(0.0, started_s + period_s - loop.time()))


async def _render(services: Services, session: Session, style: PreviewStyle) -> tuple[int, bytes]:
    """The newest frame's number, and its picture."""
    latest = session.latest
    candidates: Sequence[CandidateReport] = ()
    if style.with_patches:
        candidates = (await asyncio.wrap_future(session.explain(latest.seq))).candidates
    jpeg = await asyncio.to_thread(services.previews.render, session.id, latest, style, candidates)
    return latest.seq, jpeg
