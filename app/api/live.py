"""A session to watch: its results and clean or annotated pictures, over one WebSocket.

One connection is all that a viewer takes of the few that a browser opens to a service.
"""

import logging
from functools import partial

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from app.api.preview import StyleParameter, pictures
from app.api.results import AfterSeq, events
from app.api.services import Services, ServicesParameter, SessionParameter
from app.api.sockets import close_ended, closed_is_left, opened
from app.sessions.preview import PreviewStyle
from app.sessions.session import Session

logger = logging.getLogger(__name__)

_SEQ_BYTES = 8

router = APIRouter(prefix="/sessions/{session_id}", tags=["results"])


@router.websocket("/live")
async def watch(
    websocket: WebSocket,
    services: ServicesParameter,
    session: SessionParameter,
    style: StyleParameter,
    after_seq: AfterSeq = None,
) -> None:
    """Text messages are the events of the event stream: `{"event": "result", "data": {…}}`.

    Binary ones are pictures: the frame's number in eight bytes, highest first, and a JPEG. Slow viewers skip pictures.
    When the session ends, the connection is closed with code 4410.
    """
    send_pictures = partial(_send_pictures, websocket, services, session, style)
    async with opened(websocket, send_pictures, partial(_wait_until_left, websocket)):
        await _send_events(websocket, session, after_seq, services.options.heartbeat_s)
        await close_ended(websocket)


async def _send_events(websocket: WebSocket, session: Session, after_seq: int | None, heartbeat_s: float) -> None:
    async for event in events(session, after_seq, heartbeat_s):
        with closed_is_left():
            await websocket.send_text(f'{{"event":"{event.name}","data":{event.data.decode()}}}')


async def _send_pictures(websocket: WebSocket, services: Services, session: Session, style: PreviewStyle) -> None:
    try:
        async for seq, jpeg in pictures(services, session, style):
            with closed_is_left():
                await websocket.send_bytes(seq.to_bytes(_SEQ_BYTES, "big") + jpeg)
    except WebSocketDisconnect:
        raise
    except Exception:
        logger.exception("no more pictures for a viewer; results go on", extra={"session_id": session.id})


async def _wait_until_left(websocket: WebSocket) -> None:
    """Raises WebSocketDisconnect once the viewer has gone; what it says meanwhile means nothing."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass
    raise WebSocketDisconnect
