"""What our WebSockets have in common: how they are opened, and what it means that the other side has gone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager

from fastapi import WebSocket, WebSocketDisconnect

SESSION_ENDED = 4410
"""Close code in the range left to applications, after HTTP 410."""
_PROTOCOL = "flexpatch"
"""What browsers name beside a token: they have no other place for one, and want one of what they named back."""


@asynccontextmanager
async def opened(websocket: WebSocket, *beside: Callable[[], Coroutine[None, None, None]]) -> AsyncIterator[None]:
    """Open a WebSocket for the block, which ends without an error when the other side goes.

    Args:
        beside: what is done meanwhile, until the block ends.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            with closed_is_left():
                await websocket.accept(_PROTOCOL if _PROTOCOL in websocket.scope["subprotocols"] else None)
            helpers = [tasks.create_task(work()) for work in beside]
            yield
            for helper in helpers:
                helper.cancel()
    except* WebSocketDisconnect:
        pass


async def close_ended(websocket: WebSocket) -> None:
    """Close it as the session has ended."""
    with closed_is_left():
        await websocket.close(SESSION_ENDED, "The session has ended.")


@contextmanager
def closed_is_left() -> Iterator[None]:
    """A connection that the server has closed itself, for example over unanswered pings, is one that was left."""
    try:
        yield
    except RuntimeError as error:
        raise WebSocketDisconnect from error
