"""Frames in, results out, over one WebSocket."""

import asyncio
from contextvars import Context
from dataclasses import dataclass

from fastapi import APIRouter, WebSocket
from pydantic import ValidationError

from app.api import problems
from app.api.reading import parse_capture_time, too_large
from app.api.schemas import FrameCommand
from app.api.services import ServicesParameter, SessionParameter
from app.api.sockets import close_ended, closed_is_left, opened
from app.core.errors import FlexPatchError, InputError, SessionEnded
from app.core.types import CaptureTime
from app.sessions.result_log import ResultRecord
from app.sessions.session import Session

_MAX_ANSWERS = 64
"""Answers that may wait for a slow client; then its messages wait too."""

router = APIRouter(prefix="/sessions/{session_id}", tags=["frames"])


@router.websocket("/ws")
async def exchange(websocket: WebSocket, services: ServicesParameter, session: SessionParameter) -> None:
    """Answer each binary message, a frame, with its result or a problem; in order.

    A text message is a `FrameCommand` about the next frame; it is answered only if it makes no sense. When the
    session ends, the problem `session_ended` comes last, and the connection is closed with code 4410.
    """
    conversation = _Conversation(websocket, session, services.options.max_frame_bytes)
    async with opened(websocket, conversation.receive, conversation.watch):
        await conversation.answer()


@dataclass(slots=True)
class _NextFrame:
    seq: int | None = None
    capture: CaptureTime | None = None


class _Conversation:
    """One client on one WebSocket. Event loop only."""

    def __init__(self, websocket: WebSocket, session: Session, max_frame_bytes: int) -> None:
        self._websocket = websocket
        self._session = session
        self._max_frame_bytes = max_frame_bytes
        self._answers: asyncio.Queue[asyncio.Future[ResultRecord] | None] = asyncio.Queue(_MAX_ANSWERS)
        self._next = _NextFrame()

    async def receive(self) -> None:
        """Take messages until the client leaves."""
        try:
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                data, text = message.get("bytes"), message.get("text")
                answer = self._frame(data) if data is not None else self._command(text or "")
                if answer is not None:
                    await self._answers.put(answer)
        finally:
            self._drop_answers()
            self._answers.put_nowait(None)

    async def watch(self) -> None:
        """Tell a client that sends nothing, too, when the session ends."""
        with self._session.log.subscribe() as subscription:
            try:
                while True:
                    await subscription.next(None)
            except SessionEnded as error:
                await self._answers.put(_failed(error))

    async def answer(self) -> None:
        """Send answers in the order of the frames, until the client leaves or the session ends."""
        while (future := await self._answers.get()) is not None:
            try:
                payload = (await future).payload
            except asyncio.CancelledError:
                if future.cancelled():
                    continue
                raise
            except Exception as error:  # noqa: BLE001 - told to the client, as HTTP would
                status_problem = problems.document(error, self._websocket.url.path)[1]
                await self._send(problems.encode(status_problem))
                if isinstance(error, SessionEnded):
                    await close_ended(self._websocket)
                    return
            else:
                await self._send(payload)

    async def _send(self, document: bytes) -> None:
        with closed_is_left():
            await self._websocket.send_text(document.decode())

    def _frame(self, data: bytes) -> "asyncio.Future[ResultRecord]":
        given, self._next = self._next, _NextFrame()
        try:
            if len(data) > self._max_frame_bytes:
                raise too_large(self._max_frame_bytes)
            # In no request's context: a trace of the connection would hold all its frames, and end with it.
            future = Context().run(self._session.submit, data, seq=given.seq, capture=given.capture)
            return asyncio.wrap_future(future)
        except FlexPatchError as error:
            return _failed(error)

    def _command(self, text: str) -> "asyncio.Future[ResultRecord] | None":
        try:
            command = FrameCommand.model_validate_json(text)
            capture = None if command.capture_time is None else parse_capture_time(command.capture_time)
        except ValidationError as error:
            found = "; ".join(item["msg"] for item in error.errors(include_url=False, include_input=False))
            return _failed(InputError(f'A text message must be like {{"seq": 7, "capture_time": 0.0}}: {found}.'))
        except InputError as error:
            return _failed(error)
        self._next = _NextFrame(command.seq, capture)
        return None

    def _drop_answers(self) -> None:
        while not self._answers.empty():
            if future := self._answers.get_nowait():
                future.cancel()


def _failed(error: FlexPatchError) -> "asyncio.Future[ResultRecord]":
    future: asyncio.Future[ResultRecord] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future
