"""Sessions that outlive the service."""

import errno
import fcntl
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from app.core.errors import ModelNotFound, SessionExists, SessionLimitReached, SettingsError, StoreFailed
from app.core.types import Size
from app.flexpatch.config import PipelineConfig
from app.sessions.filters import FilterSpec, Zone
from app.sessions.manager import RegistryLimits, SessionRegistry
from app.sessions.model import SessionSpec, StreamSpec
from app.sessions.store import SessionStore
from tests.sessions.fakes import Bench, spec, wait_until

CAMERA = StreamSpec("rtsp", "rtsp://ann:s3cret@cam.example.org/live", "udp")
FULL = SessionSpec(
    "cam-7",
    PipelineConfig(max_canvas=Size(640, 352), megapixels_per_frame=0.1, object_height_px=80.0),
    FilterSpec(
        ("person",), 0.3, (Zone("door", ((0.0, 0.0), (9.5, 0.0), (9.5, 9.0))),), (((0.0, 0.0), (1.0, 0.0), (1.0, 2.0)),)
    ),
    queue_depth=3,
    idle_ttl_s=12.5,
    detector="yolox-nano",
    source=CAMERA,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "sessions.db"


def registry(bench: Bench, store: SessionStore) -> SessionRegistry:
    detectors = type("Detectors", (), {"get": lambda _, name: bench.detector})()
    return SessionRegistry(RegistryLimits(10), detectors, bench.tools, store)


def test_what_is_saved_is_there_after_a_restart(path: Path) -> None:
    SessionStore(path).save(FULL)
    SessionStore(path).save(replace(FULL, id="cam-8", source=replace(CAMERA, kind="file")))
    assert SessionStore(path).all() == [FULL, replace(FULL, id="cam-8", source=replace(CAMERA, kind="file"))]
    SessionStore(path).save(replace(FULL, queue_depth=9))
    SessionStore(path).forget("cam-8")
    SessionStore(path).forget("cam-8")
    assert [(kept.id, kept.queue_depth) for kept in SessionStore(path).all()] == [("cam-7", 9)]


def test_nobody_else_can_read_the_passwords(path: Path) -> None:
    SessionStore(path).save(FULL)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    SessionStore(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "nor those of a file that was there before"


def test_what_is_no_record_is_told_at_the_start(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("not a database, but long enough to be taken for one by its header " * 20)
    with pytest.raises(SettingsError, match=r"state_file .*sessions.db cannot be used .*: name another, or null"):
        SessionStore(path)
    with pytest.raises(SettingsError, match="Is a directory"):
        SessionStore(path.parent)


def test_a_row_that_cannot_be_understood_harms_no_other(path: Path) -> None:
    store = SessionStore(path)
    store.save(FULL)
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO sessions VALUES ('old', '{}'), ('odd', 'not JSON')")
    database.close()
    assert store.all() == [FULL]


def test_only_sessions_that_clients_had_fetch_frames_come_back(bench: Bench, path: Path) -> None:
    first = registry(bench, SessionStore(path))
    first.create(lambda name: replace(spec(name), source=CAMERA), "camera")
    first.create(lambda name: replace(spec(name), source=CAMERA), "deleted")
    first.create(lambda name: replace(spec(name), source=replace(CAMERA, is_trusted=True)), "operators")
    first.create(spec, "pushed")
    first.remove("deleted")
    first.close()
    second = registry(bench, SessionStore(path))
    second.restore()
    assert [session.id for session in second.all()] == ["camera"]
    assert second.get("camera").spec.source == CAMERA
    wait_until(lambda: CAMERA in bench.asked)
    second.close()


def test_what_was_changed_comes_back_changed(bench: Bench, path: Path) -> None:
    first = registry(bench, SessionStore(path))
    session = first.create(lambda name: replace(spec(name), source=CAMERA), "camera")
    session.update(lambda now: replace(now, queue_depth=7)).result(5)
    first.keep(session)
    first.close()
    assert [kept.queue_depth for kept in SessionStore(path).all()] == [7]


def test_what_cannot_be_made_again_is_kept_for_the_next_time(
    bench: Bench, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class NoModels:
        def get(self, name: str | None) -> object:
            raise ModelNotFound(f"There is no model {name!r}.")

    store = SessionStore(path)
    store.save(FULL)
    again = SessionRegistry(RegistryLimits(10), NoModels(), bench.tools, store)  # type: ignore[arg-type]
    again.restore()
    assert len(again) == 0
    assert "session cannot be restored" in caplog.text
    assert store.all() == [FULL]


def test_a_session_that_cannot_be_recorded_is_not_made(
    bench: Bench, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SessionStore(path)
    full = registry(bench, store)

    def no_space(_spec: SessionSpec) -> None:
        raise StoreFailed("database or disk is full")

    monkeypatch.setattr(store, "save", no_space)
    with pytest.raises(StoreFailed):
        full.create(lambda name: replace(spec(name), source=CAMERA), "camera")
    assert len(full) == 0
    full.create(spec, "pushed")
    full.close()


def test_a_session_that_comes_too_late_is_not_recorded(
    bench: Bench, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service begins to end while the session is being made."""
    store = SessionStore(path)
    ending = registry(bench, store)
    save = store.save

    def save_and_end(spec: SessionSpec) -> None:
        save(spec)
        ending.begin_close()

    monkeypatch.setattr(store, "save", save_and_end)
    with pytest.raises(SessionLimitReached, match="shutting down"):
        ending.create(lambda name: replace(spec(name), source=CAMERA), "late")
    assert store.all() == []


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_who_deletes_twice_does_not_delete_the_next_session_of_that_name(
    bench: Bench, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second request has found the old session, and comes to its turn when a new one is there."""
    store = SessionStore(path)
    sessions = registry(bench, store)
    old = sessions.create(lambda name: replace(spec(name), source=CAMERA), "camera")
    sessions.remove("camera")
    sessions.create(lambda name: replace(spec(name), source=CAMERA), "camera")
    with monkeypatch.context() as patch:
        patch.setattr(sessions, "get", lambda _: old)
        sessions.remove("camera")
    assert [kept.id for kept in store.all()] == ["camera"]
    assert len(sessions) == 1
    sessions.close()


def test_a_name_is_free_only_once_its_record_is_gone(bench: Bench, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SessionStore(path)
    sessions = registry(bench, store)
    sessions.create(lambda name: replace(spec(name), source=CAMERA), "camera")
    forget = store.forget
    refused = []

    def forget_slowly(session_id: str) -> None:
        with pytest.raises(SessionExists):
            sessions.create(lambda name: replace(spec(name), source=CAMERA), "camera")
        refused.append(session_id)
        forget(session_id)

    monkeypatch.setattr(store, "forget", forget_slowly)
    sessions.remove("camera")
    assert refused == ["camera"]
    assert store.all() == []
    sessions.create(lambda name: replace(spec(name), source=CAMERA), "camera")
    assert len(store.all()) == 1
    sessions.close()


def test_what_is_changed_after_it_was_deleted_does_not_come_back(bench: Bench, path: Path) -> None:
    store = SessionStore(path)
    sessions = registry(bench, store)
    session = sessions.create(lambda name: replace(spec(name), source=CAMERA), "camera")
    sessions.remove("camera")
    sessions.keep(session)
    assert store.all() == []
    sessions.close()


def test_what_is_deleted_while_the_service_ends_does_not_come_back(
    bench: Bench, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service has taken it out already when the deletion's turn comes."""
    store = SessionStore(path)
    sessions = registry(bench, store)
    session = sessions.create(lambda name: replace(spec(name), source=CAMERA), "camera")
    sessions.close()
    assert len(store.all()) == 1
    monkeypatch.setattr(sessions, "get", lambda _: session)
    sessions.remove("camera")
    assert store.all() == []


def test_what_is_changed_while_the_service_ends_comes_back_changed(bench: Bench, path: Path) -> None:
    store = SessionStore(path)
    sessions = registry(bench, store)
    session = sessions.create(lambda name: replace(spec(name), source=CAMERA), "camera")
    session.update(lambda now: replace(now, queue_depth=7)).result(5)
    sessions.close()
    sessions.keep(session)
    assert [kept.queue_depth for kept in store.all()] == [7]


def test_a_file_that_cannot_be_locked_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_handle: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(SettingsError, match=r"cannot be kept from others \(No locks available\)"):
        SessionStore(path).claim()


def test_a_file_is_one_service_s(bench: Bench, path: Path) -> None:
    first, second = SessionStore(path), SessionStore(path)
    first.claim()
    with pytest.raises(SettingsError, match="is another service's that runs now: give this one a file of its own"):
        second.claim()
    registry(bench, first).close()
    second.claim()
    second.release()
