"""Results for those who did not push the frame: the log, a long poll, an event stream, explanations."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from app.api.openapi import responses
from app.api.schemas import CandidateModel, ExplanationModel, FrameResultModel, ResultPage
from app.api.services import ServicesParameter, SessionParameter
from app.core.errors import SessionEnded
from app.core.wire import error_code
from app.sessions.result_log import Gap, LogEvent, ResultRecord
from app.sessions.session import Session
from app.sessions.timeline import LAST_SEQ

_JSON = "application/json"
_EVENTS = "text/event-stream"
_MAX_WAIT_S = 60.0

router = APIRouter(prefix="/sessions/{session_id}", tags=["results"])

AfterSeq = Annotated[int | None, Query(ge=0, le=LAST_SEQ, description="Only results with higher numbers.")]


@router.get("/results", response_model=ResultPage, responses=responses(404))
async def read_results(
    session: SessionParameter,
    after_seq: AfterSeq = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many results.")] = 100,
) -> Response:
    """The oldest results in the log above a number. `discarded_to_seq` above `after_seq` means a gap."""
    page = session.log.after(after_seq or 0, limit)
    head = json.dumps({"session": session.id, "last_seq": page.last_seq, "discarded_to_seq": page.discarded_to_seq})
    results = b",".join(record.payload for record in page.records)
    return Response(head[:-1].encode() + b', "results": [' + results + b"]}", media_type=_JSON)


@router.get(
    "/results/latest",
    response_model=None,
    responses=responses(
        404,
        410,
        status_200={"model": FrameResultModel, "description": "The newest result."},
        status_204={"description": "No result above `after_seq` came in time."},
    ),
)
async def read_latest(
    session: SessionParameter,
    wait_s: Annotated[
        float, Query(ge=0, le=_MAX_WAIT_S, description="How long to wait for a result, in seconds.")
    ] = 0.0,
    after_seq: AfterSeq = None,
) -> Response:
    """The newest result; with `after_seq`, once there is one above that number.

    Poll with `wait_s` and the number of the last result seen to get each new result as soon as it is known.
    """
    with session.log.subscribe(after_seq or 0) as subscription:
        record = await subscription.newest(wait_s)
    if record is None:
        session.log.latest()
        return Response(status_code=204)
    return Response(record.payload, media_type=_JSON)


@router.get(
    "/results/stream",
    response_class=StreamingResponse,
    responses=responses(404, status_200={"content": {_EVENTS: {"schema": {"type": "string"}}}}),
)
async def stream_results(
    services: ServicesParameter,
    session: SessionParameter,
    last_event_id: Annotated[
        int | None,
        Header(ge=0, le=LAST_SEQ, description="Go on after this number, as a browser does that reconnects."),
    ] = None,
    after_seq: AfterSeq = None,
) -> StreamingResponse:
    """Results as they come. The id of an event is the number of its result.

    Events: `result` (a frame's result), `state` (the session's state, at once and at every change), `gap`
    (`{"from_seq", "to_seq"}`: results that are no longer in the log), `heartbeat`. The stream ends with the
    session. Without `Last-Event-ID` or `after_seq` it begins with the next result.
    """
    start = last_event_id if last_event_id is not None else after_seq
    # Not FastAPI's own event streams: their tasks fail, and the log says so, when a reader leaves amid an event.
    return StreamingResponse(
        _server_sent(session, start, services.options.heartbeat_s),
        media_type=_EVENTS,
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


@router.get("/explain/{seq}", responses=responses(404, 410, 429))
async def explain_frame(session: SessionParameter, seq: int) -> ExplanationModel:
    """Why each region was or was not looked at on that frame: candidate patches, values, placement."""
    explanation = await asyncio.wrap_future(session.explain(seq))
    return ExplanationModel(
        session=session.id,
        seq=explanation.seq,
        price_per_megapixel=explanation.price_per_megapixel,
        canvas=explanation.canvas,
        reason=explanation.reason,
        candidates=[CandidateModel(**asdict(candidate)) for candidate in explanation.candidates],
    )


@dataclass(frozen=True, slots=True)
class Event:
    """What readers of a session are told."""

    name: str
    data: bytes
    """JSON."""
    seq: int | None = None
    """Where to go on after it."""


async def events(session: Session, after_seq: int | None, heartbeat_s: float) -> AsyncIterator[Event]:
    """All that happens, until the session ends.

    Args:
        after_seq: results with higher numbers are told first; None: only what comes.
    """
    if after_seq is not None and after_seq > session.log.last_seq:
        after_seq = 0  # the number is of an earlier session with this id: begin anew
    with session.log.subscribe(after_seq) as subscription:
        while True:
            try:
                found = await subscription.next(heartbeat_s)
            except SessionEnded:
                return
            for event in found:
                yield _event(session, event)
            if not found:
                yield Event("heartbeat", _json({"last_seq": session.log.last_seq}))


async def _server_sent(session: Session, after_seq: int | None, heartbeat_s: float) -> AsyncIterator[bytes]:
    async for event in events(session, after_seq, heartbeat_s):
        event_id = None if event.seq is None else str(event.seq)
        yield format_sse_event(event=event.name, id=event_id, data_str=event.data.decode())


def _event(session: Session, event: LogEvent) -> Event:
    if isinstance(event, ResultRecord):
        return Event("result", event.payload, event.seq)
    if isinstance(event, Gap):
        return Event("gap", _json(asdict(event)), event.to_seq)
    error = {"code": error_code(event.error), "detail": str(event.error)} if event.error else None
    state = {"session": session.id, "state": event.state.value, "reason": event.reason, "error": error}
    return Event("state", _json(state))


def _json(data: Mapping[str, object]) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode()
