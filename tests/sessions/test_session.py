"""One session with its worker thread."""

import gc
import json
import logging
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import replace

import pytest

from app.core.errors import (
    DetectorFailed,
    FrameCorrupt,
    FrameEmpty,
    FrameOutOfOrder,
    FrameSizeChanged,
    QueueFull,
    ResultNotFound,
    SessionEnded,
    SettingsError,
)
from app.core.types import CaptureTime
from app.flexpatch.config import PipelineConfig
from app.sessions.filters import FilterSpec, Zone
from app.sessions.model import SessionSpec
from app.sessions.session import Session
from app.sessions.state import SessionState
from tests.sessions.fakes import START_UNIX_S, WAIT_S, Bench, jpeg, session_threads, spec, tracked

ALL: tuple[tuple[float, float], ...] = ((0, 0), (64, 0), (64, 48), (0, 48))


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def session(bench: Bench) -> Iterator[Session]:
    session = Session(spec(queue_depth=2), bench.detector, bench.tools)
    session.start()
    yield session
    for pipeline in bench.pipelines:
        pipeline.gate.set()
    session.begin_stop("test over")
    assert session.join(WAIT_S)


def push(session: Session, data: bytes | None = None) -> dict[str, object]:
    document = json.loads(session.submit(jpeg() if data is None else data).result(WAIT_S).payload)
    assert isinstance(document, dict)
    return document


def test_an_ended_session_lets_go_of_its_pictures_at_once(bench: Bench) -> None:
    session = Session(spec(), bench.detector, bench.tools)
    session.start()
    push(session)
    pipeline, picture = weakref.ref(bench.pipelines.pop()), weakref.ref(session.latest)
    gc.disable()
    try:
        session.begin_stop("test over")
        assert session.join(WAIT_S)
        assert (pipeline(), picture()) == (None, None)
    finally:
        gc.enable()


def state_of(session: Session) -> SessionState:
    return session.status.state


def test_a_frame_becomes_the_documented_result(session: Session, bench: Bench) -> None:
    capture = CaptureTime(START_UNIX_S - 1, "client")
    bench.pipeline.objects = (tracked(17, (12.006, 10.5, 30, 20)),)
    assert json.loads(session.submit(jpeg(), seq=5, capture=capture).result(WAIT_S).payload) == {
        "session": "a",
        "seq": 5,
        "time": {
            "capture": "2025-12-31T23:59:59.000Z",
            "capture_source": "client",
            "completed": "2026-01-01T00:00:00.000Z",
        },
        "age_ms": 1000.0,
        "work": {
            "mode": "patch",
            "patches": 2,
            "canvas": [64, 32],
            "canvas_fill": 0.5,
            "detector_pixels": 2048,
            "backend": "none",
            "vision": "cpu",
        },
        "stage_ms": {"decode": 0.0, "detect": 4.0},
        "dropped_since_last": 0,
        "objects": [
            {
                "track_id": 17,
                "class_id": 0,
                "label": "person",
                "box": [12.01, 10.5, 30.0, 20.0],
                "score": 0.9,
                "origin": "detected",
                "detection_age_s": 0.0,
                "failure_probability": 0.1,
                "zones": [],
            }
        ],
    }


def test_frames_are_processed_in_the_order_of_their_submission(session: Session, bench: Bench) -> None:
    bench.pipeline.gate.clear()
    futures = [session.submit(jpeg())]
    assert bench.pipeline.entered.acquire(timeout=WAIT_S)
    futures += [session.submit(jpeg()) for _ in range(2)]
    bench.pipeline.gate.set()
    assert [future.result(WAIT_S).seq for future in futures] == [1, 2, 3]
    assert [frame.seq for frame in bench.pipeline.frames] == [1, 2, 3]


def test_arrival_is_the_capture_time_when_the_sender_gives_none(session: Session, bench: Bench) -> None:
    bench.clock.advance(2.0)
    push(session)
    bench.clock.advance(0.5)
    push(session)
    first, second = bench.pipeline.frames
    assert first.capture == CaptureTime(START_UNIX_S + 2, "arrival")
    assert (first.pts_s, second.pts_s) == (0.0, 0.5)


def test_a_full_queue_refuses_and_the_next_result_tells_how_many_were_lost(session: Session, bench: Bench) -> None:
    bench.pipeline.gate.clear()
    futures = [session.submit(jpeg())]
    assert bench.pipeline.entered.acquire(timeout=WAIT_S)
    futures += [session.submit(jpeg()) for _ in range(2)]
    for _ in range(3):
        with pytest.raises(QueueFull):
            session.submit(jpeg())
    bench.pipeline.gate.set()
    results = [json.loads(future.result(WAIT_S).payload) for future in futures]
    assert [result["dropped_since_last"] for result in results] == [3, 0, 0]
    assert [result["seq"] for result in results] == [1, 2, 3]
    frames = session.describe().frames
    assert (frames.received, frames.processed, frames.rejected) == (6, 3, 3)
    assert bench.sample("flexpatch_frames_total", outcome="dropped", reason="queue_full") == 3


@pytest.mark.parametrize(
    ("data", "error", "code"),
    [
        (b"", FrameEmpty, "frame_empty"),
        (jpeg()[:300], FrameCorrupt, "frame_corrupt"),
        (jpeg(80, 48), FrameSizeChanged, "frame_size_changed"),
    ],
)
def test_a_bad_frame_fails_alone(
    session: Session, bench: Bench, data: bytes, error: type[Exception], code: str
) -> None:
    push(session)
    with pytest.raises(error):
        push(session, data)
    assert push(session)["seq"] == 3
    assert session.describe().frames.failed == {code: 1}
    assert bench.sample("flexpatch_frames_total", outcome="failed", reason=code) == 1


def test_a_failing_detector_fails_the_frame_and_the_session_goes_on(session: Session, bench: Bench) -> None:
    bench.pipeline.errors = [DetectorFailed("out of memory")] * 5
    for _ in range(5):
        with pytest.raises(DetectorFailed):
            push(session)
    assert push(session)["seq"] == 6
    assert session.status.state is SessionState.RUNNING


def test_numbers_that_do_not_increase_are_refused_and_do_not_count_as_lost(session: Session) -> None:
    session.submit(jpeg(), seq=7).result(WAIT_S)
    with pytest.raises(FrameOutOfOrder):
        session.submit(jpeg(), seq=7)
    assert push(session)["dropped_since_last"] == 0


def test_a_frame_given_up_by_its_sender_is_not_processed(session: Session, bench: Bench) -> None:
    bench.pipeline.gate.clear()
    session.submit(jpeg())
    assert bench.pipeline.entered.acquire(timeout=WAIT_S)
    abandoned = session.submit(jpeg())
    assert abandoned.cancel()
    last = session.submit(jpeg())
    bench.pipeline.gate.set()
    assert json.loads(last.result(WAIT_S).payload)["dropped_since_last"] == 1
    assert [frame.seq for frame in bench.pipeline.frames] == [1, 3]
    assert session.describe().frames.cancelled == 1


def test_defects_fail_frames_and_after_three_in_a_row_the_session(
    session: Session, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.pipeline.errors = [ZeroDivisionError(), None, ZeroDivisionError(), ZeroDivisionError(), ZeroDivisionError()]
    with caplog.at_level(logging.CRITICAL):
        with pytest.raises(ZeroDivisionError):
            push(session)
        push(session)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                push(session)
        session._thread.join(WAIT_S)
    assert session.status.state is SessionState.FAILED
    assert session.describe().frames.failed == {"internal_error": 4}
    with pytest.raises(SessionEnded):
        session.submit(jpeg())


def test_explanations_are_asked_of_the_worker(session: Session) -> None:
    push(session)
    assert session.explain(1).result(WAIT_S).candidates[0].is_taken
    with pytest.raises(ResultNotFound, match="Frame 9"):
        session.explain(9).result(WAIT_S)


def test_filters_and_tuning_change_while_running(session: Session, bench: Bench) -> None:
    bench.pipeline.objects = (tracked(1), tracked(2, score=0.2))
    assert len(session.submit(jpeg()).result(WAIT_S).payload.split(b"track_id")) == 3

    def change(before: SessionSpec) -> SessionSpec:
        filters = FilterSpec(
            classes=("person",), min_score=0.5, zones=(Zone("all", ALL),), masks=(((0, 0), (1, 0), (1, 1)),)
        )
        return replace(before, filters=filters, flexpatch=PipelineConfig(max_tracks=7), queue_depth=9)

    session.update(change).result(WAIT_S)
    objects = push(session)["objects"]
    assert isinstance(objects, list)
    assert [item["zones"] for item in objects] == [["all"]]
    assert bench.pipeline.configs[-1].max_tracks == 7
    class_ids, is_ignored = bench.pipeline.focuses[-1]
    assert class_ids == frozenset({0})
    assert is_ignored is not None
    assert session.describe().spec.queue_depth == 9


def test_a_change_that_makes_no_sense_changes_nothing(session: Session, bench: Bench) -> None:
    before = session.spec
    change = session.update(lambda old: replace(old, filters=FilterSpec(classes=("unicorn",)), queue_depth=9))
    with pytest.raises(SettingsError, match="unicorn"):
        change.result(WAIT_S)
    assert session.spec is before
    assert len(bench.pipeline.configs) == 1


def test_the_newest_picture_is_kept_for_those_who_look(session: Session) -> None:
    with pytest.raises(ResultNotFound):
        _ = session.latest
    push(session)
    assert session.latest.seq == 1
    assert session.latest.picture.size == (64, 48)


def test_rate_and_times_are_measured(session: Session, bench: Bench) -> None:
    assert session.describe().fps == 0
    for _ in range(5):
        bench.clock.advance(0.1)
        push(session)
    info = session.describe()
    assert info.fps == pytest.approx(10)
    assert info.last_seq == 5
    assert info.last_frame_unix_s == START_UNIX_S + 0.5
    bench.clock.advance(6)
    assert session.describe().fps == 0


def test_a_quiet_session_is_stale_until_the_next_frame_and_then_idle(session: Session, bench: Bench) -> None:
    push(session)
    bench.clock.advance(4.9)
    assert not session.tick()
    assert session.status.state is SessionState.RUNNING
    bench.clock.advance(0.2)
    assert not session.tick()
    assert (session.status.state, session.status.reason) == (SessionState.STALE, "No frame for 5 s.")
    push(session)
    assert session.status.state is SessionState.RUNNING
    bench.clock.advance(61)
    assert session.tick()


def test_ending_finishes_the_frame_in_hand_and_gives_up_the_rest(session: Session, bench: Bench) -> None:
    bench.pipeline.gate.clear()
    in_hand = session.submit(jpeg())
    assert bench.pipeline.entered.acquire(timeout=WAIT_S)
    waiting, asked = session.submit(jpeg()), session.explain(1)
    session.begin_stop("Deleted.")
    assert state_of(session) is SessionState.DRAINING
    with pytest.raises(SessionEnded, match=r"Deleted\."):
        waiting.result(WAIT_S)
    with pytest.raises(SessionEnded):
        asked.result(WAIT_S)
    with pytest.raises(SessionEnded):
        session.submit(jpeg())
    bench.pipeline.gate.set()
    assert in_hand.result(WAIT_S).seq == 1
    assert session.join(WAIT_S)
    assert state_of(session) is SessionState.STOPPED
    assert "session-a" not in session_threads()


def test_a_worker_that_hangs_is_given_up_and_its_sender_told(bench: Bench) -> None:
    session = Session(spec("hung"), bench.detector, bench.tools)
    session.start()
    bench.pipeline.gate.clear()
    in_hand = session.submit(jpeg())
    assert bench.pipeline.entered.acquire(timeout=WAIT_S)
    session.begin_stop("Deleted.")
    assert not session.join(0.01)
    assert session.status.state is SessionState.FAILED
    with pytest.raises(SessionEnded):
        in_hand.result(WAIT_S)
    bench.pipeline.gate.set()
    session._thread.join(WAIT_S)
    assert bench.sample("flexpatch_session_tracks", session="hung") is None


def test_ending_twice_and_before_the_start_is_harmless(bench: Bench) -> None:
    session = Session(spec(), bench.detector, bench.tools)
    for _ in range(2):
        session.begin_stop("never mind")
        assert session.join(WAIT_S)
    assert session.status.state is SessionState.STOPPED


def test_a_cancelled_errand_is_not_run(session: Session, bench: Bench) -> None:
    bench.pipeline.gate.clear()
    session.submit(jpeg())
    assert bench.pipeline.entered.acquire(timeout=WAIT_S)
    asked = session.explain(1)
    asked.cancel()
    bench.pipeline.gate.set()
    push(session)
    with pytest.raises(CancelledError):
        asked.result(WAIT_S)


def test_filters_that_do_not_fit_the_detector_are_refused_at_once(bench: Bench) -> None:
    with pytest.raises(SettingsError):
        Session(spec(filters=FilterSpec(classes=("unicorn",))), bench.detector, bench.tools)


def test_frames_are_measured(session: Session, bench: Bench) -> None:
    push(session)
    assert bench.sample("flexpatch_frames_total", outcome="processed", reason="") == 1
    assert bench.sample("flexpatch_frame_latency_seconds_count") == 1
    assert bench.sample("flexpatch_stage_duration_seconds_sum", stage="detect") == pytest.approx(0.004)
    assert bench.sample("flexpatch_stage_duration_seconds_count", stage="queue") == 1
    assert bench.sample("flexpatch_detector_duration_seconds_count", model="blind", backend="none") == 1
    assert bench.sample("flexpatch_detector_pixels_total") == 2048
    assert bench.sample("flexpatch_source_pixels_total") == 64 * 48
    assert bench.sample("flexpatch_patches_total", kind="object", placed="true") == 1
    assert bench.sample("flexpatch_patches_total", kind="tile", placed="false") == 1
    assert bench.sample("flexpatch_session_tracks", session="a") == 1
    assert bench.sample("flexpatch_session_last_frame_timestamp_seconds", session="a") == START_UNIX_S
    assert bench.sample("flexpatch_session_state", session="a", state="running") == 1


def test_an_ended_session_says_so_before_it_judges_the_number(session: Session) -> None:
    push(session)
    session.begin_stop("Deleted.")
    with pytest.raises(SessionEnded):
        session.submit(jpeg(), seq=1)
