"""Admission, finding and ending of sessions."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from app.core.errors import ModelNotFound, SessionEnded, SessionExists, SessionLimitReached, SessionNotFound
from app.core.types import Detector
from app.sessions.detectors import DetectorCatalogue
from app.sessions.manager import RegistryLimits, SessionRegistry
from app.sessions.memory import give_back_memory
from app.sessions.result_log import ResultRecord
from app.sessions.state import SessionState
from tests.sessions.fakes import WAIT_S, Bench, jpeg, named, session_threads, spec


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def registry(bench: Bench) -> Iterator[SessionRegistry]:
    registry = bench.registry()
    yield registry
    for pipeline in bench.pipelines:
        pipeline.gate.set()
    registry.close()
    assert session_threads() == []


def test_ids_are_taken_once_and_made_up_when_absent(registry: SessionRegistry) -> None:
    registry.create(spec, "a")
    with pytest.raises(SessionExists, match="'a'"):
        registry.create(spec, "a")
    made_up = registry.create(spec)
    assert made_up.id not in {"a", ""}
    assert registry.get(made_up.id) is made_up
    assert [session.id for session in registry.all()] == ["a", made_up.id]


def test_no_more_sessions_than_admitted(bench: Bench) -> None:
    registry = bench.registry(max_sessions=2)
    for session_id in ("a", "b"):
        registry.create(spec, session_id)
    with pytest.raises(SessionLimitReached, match="admits 2"):
        registry.create(spec, "c")
    registry.remove("a")
    registry.create(spec, "c")
    registry.close()


def test_a_session_that_cannot_be_made_leaves_its_id_free(bench: Bench) -> None:
    tools = bench.tools
    registry = SessionRegistry(RegistryLimits(1), DetectorCatalogue(bench.detector, (), _never), tools)
    for _ in range(2):
        with pytest.raises(ModelNotFound):
            registry.create(lambda name: replace(spec(name), detector="none"), "a")
    assert len(registry) == 0


def test_a_removed_session_is_gone_with_its_thread_and_series(registry: SessionRegistry, bench: Bench) -> None:
    session = registry.create(spec, "a")
    session.submit(jpeg()).result(WAIT_S)
    registry.remove("a")
    with pytest.raises(SessionNotFound):
        registry.get("a")
    assert session.status.state is SessionState.STOPPED
    assert session_threads() == []
    series = [sample.labels for family in bench.metrics.registry.collect() for sample in family.samples]
    assert not [labels for labels in series if "session" in labels]
    assert bench.sample("flexpatch_sessions", state="stopped") == 0


def test_sessions_are_counted_by_state(registry: SessionRegistry, bench: Bench) -> None:
    assert {bench.sample("flexpatch_sessions", state=str(state)) for state in SessionState} == {0}
    for session_id in ("a", "b"):
        registry.create(spec, session_id).submit(jpeg()).result(WAIT_S)
    assert bench.sample("flexpatch_sessions", state="running") == 2


def test_idle_sessions_end_and_busy_ones_stay(registry: SessionRegistry, bench: Bench) -> None:
    idle, busy = registry.create(spec, "idle"), registry.create(spec, "busy")
    bench.clock.advance(59)
    busy.submit(jpeg()).result(WAIT_S)
    assert registry.reap() == []
    bench.clock.advance(1)
    assert registry.reap() == ["idle"]
    assert (idle.status.state, idle.status.reason) == (SessionState.STOPPED, "Idle for 60 s.")
    assert [session.id for session in registry.all()] == ["busy"]


def test_two_who_delete_the_same_session_both_return(registry: SessionRegistry, bench: Bench) -> None:
    session = registry.create(spec, "a")
    bench.pipeline.gate.clear()
    session.submit(jpeg())
    assert bench.pipeline.entered.acquire(timeout=WAIT_S)
    deleters = [threading.Thread(target=registry.remove, args=("a",)) for _ in range(2)]
    for deleter in deleters:
        deleter.start()
    bench.pipeline.gate.set()
    for deleter in deleters:
        deleter.join(WAIT_S)
        assert not deleter.is_alive()
    assert len(registry) == 0


def test_a_hung_worker_does_not_keep_its_session(bench: Bench) -> None:
    registry = bench.registry(stop_timeout_s=0.01)
    session = registry.create(spec, "hung")
    bench.pipeline.gate.clear()
    session.submit(jpeg())
    assert bench.pipeline.entered.acquire(timeout=WAIT_S)
    registry.remove("hung")
    assert len(registry) == 0
    assert bench.sample("flexpatch_sessions", state="failed") == 0
    bench.pipeline.gate.set()
    session._thread.join(WAIT_S)


def test_a_closing_registry_ends_all_and_admits_nobody(registry: SessionRegistry) -> None:
    sessions = [registry.create(spec) for _ in range(3)]
    registry.begin_close()
    for session in sessions:
        with pytest.raises(SessionEnded):
            session.submit(jpeg())
    with pytest.raises(SessionLimitReached, match="shutting down"):
        registry.create(spec)
    registry.close()
    assert not registry.is_open
    assert session_threads() == []


def test_fifty_sessions_do_not_interact(registry: SessionRegistry, bench: Bench) -> None:
    sessions = [registry.create(named(queue_depth=10), f"s{number}") for number in range(50)]
    futures: dict[str, list[Future[ResultRecord]]] = {session.id: [] for session in sessions}
    for _ in range(4):
        for session in sessions:
            futures[session.id].append(session.submit(jpeg()))
    for session in sessions:
        assert [future.result(WAIT_S).seq for future in futures[session.id]] == [1, 2, 3, 4]
        assert session.describe().frames.processed == 4
    assert all(len(pipeline.frames) == 4 for pipeline in bench.pipelines)


def _never(path: Path) -> Detector:
    raise AssertionError(path)


def test_whoever_shares_out_the_cores_knows_how_many_sessions_there_are(bench: Bench) -> None:
    told: list[int] = []
    tools = replace(bench.tools, share_cores=told.append)
    registry = SessionRegistry(RegistryLimits(3), DetectorCatalogue(bench.detector, (), _never), tools)
    registry.create(spec, "a")
    registry.create(spec, "b")
    registry.remove("a")
    registry.close()
    assert told == [1, 2, 1, 0]


def test_memory_is_given_back_once_after_many_have_ended(registry: SessionRegistry, bench: Bench) -> None:
    for session_id in ("a", "b"):
        registry.create(spec, session_id)
    registry.reap()
    assert bench.n_memory_given_back == 0
    for session_id in ("a", "b"):
        registry.remove(session_id)
    registry.reap()
    registry.reap()
    assert bench.n_memory_given_back == 1


def test_memory_is_given_back_on_this_machine_without_complaint() -> None:
    give_back_memory()


def test_a_session_whose_thread_does_not_start_leaves_no_series(
    bench: Bench, registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            registry.create(spec, "q")
    assert bench.sample("flexpatch_sessions", state="starting") == 0
    assert bench.sample("flexpatch_session_state", session="q", state="starting") is None
    registry.create(spec, "q")
    assert bench.sample("flexpatch_session_state", session="q", state="running") in {1, None}


def test_what_a_session_does_after_it_was_forgotten_is_published_no_more(
    bench: Bench, registry: SessionRegistry
) -> None:
    session = registry.create(spec, "late")
    registry.remove("late")
    session.forget()
    session.begin_stop("A reaper that was late.")
    assert bench.sample("flexpatch_session_state", session="late", state="draining") is None
    assert sum(bench.sample("flexpatch_sessions", state=str(state)) or 0 for state in SessionState) == 0
