"""Sessions that fetch their frames: what becomes of them when cameras fail."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog

from app.core.errors import SessionFetches, StreamUnauthorised, StreamUnreachable
from app.core.types import Answer, Size
from app.ingest.live.wire import Ended, Failed, Opened
from app.sessions.model import LiveTiming, StreamSpec
from app.sessions.session import Session
from app.sessions.state import SessionState, Status
from tests.sessions.fakes import WAIT_S, Bench, ScriptedStream, jpeg, live, nothing_seen, spec, wait_until

CAMERA = StreamSpec("rtsp", "rtsp://ann:s3cret@cam.example.org/live")
Open = Callable[..., Session]


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.tools = replace(bench.tools, live=LiveTiming(first_backoff_s=0.02, longest_backoff_s=0.05))
    return bench


@pytest.fixture
def start(bench: Bench) -> Iterator[Open]:
    """Start sessions over scripted connections; they end with the test."""
    sessions: list[Session] = []

    def begin(*streams: ScriptedStream | Exception, source: StreamSpec = CAMERA) -> Session:
        bench.streams.extend(streams)
        sessions.append(Session(replace(spec(), source=source), bench.detector, bench.tools))
        sessions[-1].start()
        return sessions[-1]

    yield begin
    for session in sessions:
        session.begin_stop("The test is over.")
        assert session.join(5.0)


def processed(bench: Bench) -> list[tuple[int, float]]:
    return [(frame.seq, round(frame.pts_s, 3)) for frame in bench.pipeline.frames]


def is_so(session: Session, state: SessionState) -> Callable[[], bool]:
    return lambda: session.status.state is state


def test_the_log_tells_whose_stream_was_opened(start: Open, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    contexts: list[dict[str, object]] = []

    def note(record: logging.LogRecord) -> bool:
        if record.getMessage() == "stream opened":
            contexts.append(structlog.contextvars.get_contextvars())
        return True

    caplog.handler.addFilter(note)
    session = start(ScriptedStream(Opened("h264", 25.0)))
    wait_until(lambda: bool(contexts))
    caplog.handler.removeFilter(note)
    assert contexts == [{"session_id": session.id}]


def test_pictures_are_tracked_as_they_come(bench: Bench, start: Open) -> None:
    stream = ScriptedStream(Opened("h264", 25.0))
    session = start(stream)
    for number in range(1, 4):
        stream.events.append(live(number, 0.04 * number))
        wait_until(lambda number=number: session.log.last_seq == number)  # type: ignore[misc]
    assert processed(bench) == [(1, 0.0), (2, 0.04), (3, 0.08)]
    assert session.status == Status(SessionState.RUNNING)
    info = session.describe()
    assert (info.frames.received, info.frames.processed, info.n_connections) == (3, 3, 1)
    assert b'"capture_source":"rtcp"' in session.log.latest().payload


def test_a_slow_worker_gets_the_newest_picture_and_the_rest_is_counted(bench: Bench, start: Open) -> None:
    stream = ScriptedStream()
    session = start(stream)
    bench.pipeline.gate.clear()
    stream.events.append(live(1, 0.0))
    assert bench.pipeline.entered.acquire(timeout=5)
    stream.events.extend(live(number, 0.04 * number) for number in range(2, 7))
    wait_until(lambda: session.describe().frames.received == 6)
    bench.pipeline.gate.set()
    wait_until(lambda: len(bench.pipeline.frames) == 2)
    assert processed(bench) == [(1, 0.0), (6, 0.24)]
    wait_until(lambda: session.log.last_seq == 6)
    results = [json.loads(record.payload) for record in session.log.after(0, 10).records]
    assert sum(result["dropped_since_last"] for result in results) == 4


def test_what_the_decoder_lost_is_counted_once(bench: Bench, start: Open) -> None:
    stream = ScriptedStream()
    session = start(stream)
    for number, n_replaced in enumerate((0, 3, 3, 5), 1):
        stream.events.append(live(number, 0.04 * number, n_replaced=n_replaced))
        wait_until(lambda number=number: session.log.last_seq == number)  # type: ignore[misc]
    assert session.describe().frames.rejected == 5
    dropped = bench.metrics.registry.get_sample_value
    assert dropped("flexpatch_frames_total", {"outcome": "dropped", "reason": "replaced"}) == 5


def test_a_camera_that_fails_is_tried_again_and_ids_and_time_go_on(bench: Bench, start: Open) -> None:
    first = ScriptedStream(live(1, 0.0), Failed("unreachable", "reset"))
    second = ScriptedStream()
    session = start(StreamUnreachable("Nobody answers."), first, StreamUnauthorised("No."))
    wait_until(lambda: len(bench.asked) >= 4)
    assert first.is_closed
    bench.clock.advance(3.0)
    bench.streams.append(second)
    second.events.append(live(1, 0.0))
    wait_until(lambda: session.log.last_seq == 2)
    assert processed(bench) == [(1, 0.0), (2, 3.0)]
    assert len(bench.pipelines) == 1
    assert session.describe().n_connections == 2
    lost = bench.metrics.registry.get_sample_value
    assert lost("flexpatch_reconnects_total", {"reason": "stream_unauthorised"}) == 1


def test_why_it_waits_is_told_without_the_password(start: Open) -> None:
    session = start(ScriptedStream(Failed("authentication", "401")))
    wait_until(is_so(session, SessionState.BACKOFF))
    status = session.status
    while not isinstance(status.error, StreamUnauthorised):
        status = session.status
    assert "cam.example.org wants another user or password" in status.reason
    assert "Next attempt in" in status.reason
    assert "s3cret" not in status.reason + repr(session.spec)


def test_silence_is_stale_first_and_then_a_stall(bench: Bench, start: Open) -> None:
    bench.tools = replace(bench.tools, live=replace(bench.tools.live, least_stall_s=20.0))
    stream = ScriptedStream(live(1, 0.0))
    session = start(stream)
    wait_until(is_so(session, SessionState.RUNNING))
    bench.clock.advance(6.0)
    wait_until(is_so(session, SessionState.STALE))
    stream.events.append(live(2, 6.0))
    wait_until(is_so(session, SessionState.RUNNING))
    assert session.status.reason == ""
    bench.clock.advance(25.0)
    wait_until(lambda: stream.is_closed)
    lost = bench.metrics.registry.get_sample_value
    wait_until(lambda: lost("flexpatch_reconnects_total", {"reason": "stream_stalled"}) == 1)


def test_a_slow_stream_is_given_the_time_it_takes(bench: Bench, start: Open) -> None:
    stream = ScriptedStream(Opened("h264", 0.5), live(1, 0.0))
    session = start(stream)
    wait_until(is_so(session, SessionState.RUNNING))
    bench.clock.advance(45.0)
    wait_until(is_so(session, SessionState.STALE))
    assert not stream.is_closed
    bench.clock.advance(10.0)
    wait_until(lambda: stream.is_closed)


def test_no_first_picture_in_time_is_a_failure(bench: Bench, start: Open) -> None:
    stream = ScriptedStream(Opened("h264", 25.0))
    session = start(stream)
    wait_until(is_so(session, SessionState.CONNECTING))
    wait_until(lambda: not stream.events)
    bench.clock.advance(11.0)
    wait_until(lambda: stream.is_closed)
    lost = bench.metrics.registry.get_sample_value
    wait_until(lambda: lost("flexpatch_reconnects_total", {"reason": "stream_timed_out"}) == 1)


def test_a_camera_that_says_goodbye_is_called_again(bench: Bench, start: Open) -> None:
    again = ScriptedStream(live(1, 0.0))
    session = start(ScriptedStream(live(1, 0.0), Ended()), again)
    wait_until(lambda: session.describe().n_connections == 2)


def test_a_recording_that_ends_leaves_the_session_and_its_results(start: Open) -> None:
    session = start(ScriptedStream(live(1, 0.0), Ended()), source=StreamSpec("file", "a.mp4"))
    wait_until(is_so(session, SessionState.PAUSED))
    wait_until(lambda: session.log.last_seq == 1)
    assert session.status.reason == "The recording has ended."


def test_another_size_begins_anew_with_new_ids(bench: Bench, start: Open, caplog: pytest.LogCaptureFixture) -> None:
    stream = ScriptedStream(live(1, 0.0))
    session = start(stream)
    wait_until(lambda: session.log.last_seq == 1)
    bench.pipeline.next_track_id = 8
    stream.events.append(live(2, 0.04, size=Size(32, 24)))
    wait_until(lambda: session.log.last_seq == 2)
    assert len(bench.pipelines) == 2
    assert bench.pipeline.next_track_id == 8
    assert bench.pipeline.focuses, "it knows what the session is about"
    assert session.describe().frame_size == Size(32, 24)
    assert session.describe().vision == "cpu"
    assert "the picture's size changed" in caplog.text
    assert [pipeline.n_closed for pipeline in bench.pipelines] == [1, 0]
    session.begin_stop("over")
    assert session.join(WAIT_S)
    assert [pipeline.n_closed for pipeline in bench.pipelines] == [1, 1]


def test_frames_cannot_be_pushed(start: Open) -> None:
    session = start(ScriptedStream())
    with pytest.raises(SessionFetches, match="fetches its frames itself"):
        session.submit(jpeg())


def test_it_is_never_idle(bench: Bench, start: Open) -> None:
    session = start(ScriptedStream())
    bench.clock.advance(1e6)
    assert not session.tick()


@pytest.mark.parametrize("streams", [(), (ScriptedStream(),), (ScriptedStream(live(1, 0.0)),)])
def test_it_ends_at_once_whatever_it_waits_for(bench: Bench, start: Open, streams: tuple[Any, ...]) -> None:
    bench.tools = replace(bench.tools, live=LiveTiming(first_backoff_s=600.0, longest_backoff_s=600.0))
    session = start(*streams)
    wait_until(lambda: bool(bench.asked))
    session.begin_stop("Deleted.")
    assert session.join(2.0)
    assert session.status.state is SessionState.STOPPED
    assert all(stream.is_closed for stream in streams)


# --------------------------------------------------------------------------------- the detector in the background


def begins_with(bench: Bench, start: Open, *, interval_s: float) -> tuple[Session, ScriptedStream]:
    """A session whose frames ask the detector, one of them so far."""
    stream = ScriptedStream(Opened("h264", 10.0))
    session = start(stream)
    bench.pipeline.asks, bench.pipeline.usual_interval_s = True, interval_s
    stream.events.append(live(1, 0.0))
    wait_until(lambda: len(bench.questions) == 1)
    return session, stream


def test_a_frame_waits_for_the_detector_if_nothing_else_is_to_be_done(bench: Bench, start: Open) -> None:
    session, _ = begins_with(bench, start, interval_s=2 * WAIT_S)
    assert session.log.last_seq == 0
    bench.questions[0].set_result(Answer(nothing_seen(), 3.0))
    wait_until(lambda: session.log.last_seq == 1)


def test_but_for_half_an_interval_at_most(bench: Bench, start: Open) -> None:
    session, _ = begins_with(bench, start, interval_s=0.02)
    wait_until(lambda: session.log.last_seq == 1)
    assert not bench.questions[0].done()


def test_nor_when_the_next_frame_is_there(bench: Bench, start: Open) -> None:
    session, stream = begins_with(bench, start, interval_s=2 * WAIT_S)
    stream.events.append(live(2, 0.1))
    wait_until(lambda: session.log.last_seq == 1)
    wait_until(lambda: len(bench.questions) == 2)


def test_a_session_that_waits_ends_at_once(bench: Bench, start: Open) -> None:
    session, _ = begins_with(bench, start, interval_s=100 * WAIT_S)
    session.begin_stop("Enough.")
    assert session.join(WAIT_S / 2)


def test_what_cannot_be_kept_up_with_is_done_with_less(bench: Bench, start: Open) -> None:
    """The detector's answers take three intervals, until it is asked less."""
    stream = ScriptedStream(Opened("h264", 10.0))
    session = start(stream)
    bench.pipeline.detect_ms = 300.0
    for number in range(1, 130):
        bench.clock.advance(0.1)
        stream.events.append(live(number, 0.1 * number))
        wait_until(lambda number=number: session.log.last_seq == number)  # type: ignore[misc]
        if session.describe().thrift == 2:
            bench.pipeline.detect_ms = 50.0
    assert bench.pipeline.savings == [1, 2]
    assert session.describe().thrift == 2
    assert bench.sample("flexpatch_session_thrift_step", session="a") == 2
    stream.events.append(live(130, 13.0, size=Size(96, 64)))
    wait_until(lambda: len(bench.pipelines) == 2)
    wait_until(lambda: bench.pipeline.savings == [2])  # so does what takes the pipeline's place


@pytest.mark.parametrize(("lost", "steps"), [("n_replaced", [1]), ("n_corrupt", [])])
def test_only_what_the_machine_itself_lost_counts_as_overload(
    bench: Bench, start: Open, lost: str, steps: list[int]
) -> None:
    stream = ScriptedStream(Opened("h264", 10.0))
    session = start(stream)
    for number in range(1, 60):
        bench.clock.advance(0.1)
        stream.events.append(replace(live(number, 0.1 * number), **{lost: number}))  # type: ignore[arg-type]
        wait_until(lambda number=number: session.log.last_seq == number)  # type: ignore[misc]
    assert bench.pipeline.savings[:1] == steps


def test_a_burst_at_the_beginning_of_a_connection_is_no_overload(bench: Bench, start: Open) -> None:
    stream = ScriptedStream(Opened("h264", 10.0))
    session = start(stream)
    for number in range(1, 100):
        bench.clock.advance(0.1)
        stream.events.append(live(number, 0.1 * number, n_replaced=min(number, 20)))
        wait_until(lambda number=number: session.log.last_seq == number)  # type: ignore[misc]
    assert bench.pipeline.savings == []
