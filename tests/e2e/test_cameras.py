"""Sessions over real RTSP, from outside: cameras fail, the service goes on."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from app.core.clock import SystemClock
from app.core.errors import SettingsError
from app.ingest.camera.credentials import Credentials
from app.ingest.camera.faults import parse_fault
from app.ingest.camera.feed import FileFeed, convert
from app.ingest.camera.server import Camera, CameraOptions
from app.ingest.camera.thread import CameraThread
from app.main import create_app
from tests.api.conftest import Api, settings
from tests.offline.clips import ColourDetector, image_folder
from tests.sessions.fakes import Bench
from tests.soak import rig

WAIT_S = 15.0


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    convert(str(image_folder(folder / "frames", 15)), folder / "squares.mp4")
    return folder / "squares.mp4"


@pytest.fixture
def camera(recording: Path) -> Iterator[tuple[CameraThread, str]]:
    """A camera that wants a password, and its address with it."""
    clock = SystemClock()
    start_s = clock.now_s()
    options = CameraOptions(port=0, credentials=Credentials("ann", "s3@cret"))
    thread = CameraThread(lambda folder: Camera(FileFeed(recording, clock, start_s), clock, start_s, options, folder))
    url = thread.start().url
    yield thread, url.replace("rtsp://", "rtsp://ann:s3@cret@")
    thread.stop()


@contextmanager
def service(**values: Any) -> Iterator[Api]:
    app = create_app(settings(longest_backoff_s=0.3, **values), detector=ColourDetector())
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(app.router.lifespan_context(app)):
        yield Api(app, portal, Bench())
    assert decoders() == []


def decoders() -> list[int]:
    """Process ids of the decoding processes of this test's process."""
    found = []
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError):  # threads and processes come and go meanwhile
            children = [int(word) for word in path.read_text().split()]
            found += [pid for pid in children if b"app.ingest.live.child" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return found


def until(ask: Callable[[], Any]) -> Any:
    limit = time.monotonic() + WAIT_S
    while not (answer := ask()):
        assert time.monotonic() < limit, "it never happened"
        time.sleep(0.02)
    return answer


def results_after(api: Api, seq: int) -> dict[str, Any]:
    response = api.get(f"/sessions/cam/results/latest?after_seq={seq}&wait_s=10")
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def objects_after(api: Api, seq: int, n_objects: int = 2) -> dict[str, Any]:
    """The first result after that one that has so many: the detector's answers may come a frame or two late."""
    found = results_after(api, seq)
    while len(found["objects"]) < n_objects:
        found = results_after(api, found["seq"])
    return found


def test_a_registered_camera_is_tracked_and_deleted_at_once(camera: tuple[CameraThread, str]) -> None:
    _, url = camera
    with service(source_allow="127.0.0.1") as api:
        made = api.post("/sessions", json={"id": "cam", "source": {"kind": "rtsp", "url": url}})
        assert made.status_code == 201, made.text
        first = objects_after(api, 0)
        later = results_after(api, first["seq"] + 5)
        assert later["time"]["capture_source"] == "rtcp"
        assert 0 <= later["age_ms"] < 2000
        assert {item["label"] for item in later["objects"]} == {"blue", "green"}
        assert {item["track_id"] for item in later["objects"]} == {item["track_id"] for item in first["objects"]}
        shown = api.get("/sessions/cam")
        assert shown.json()["source"] == {
            "kind": "rtsp",
            "url": url.replace("ann:s3@cret@", "***@"),
            "transport": "tcp",
        }
        assert (shown.json()["state"], shown.json()["connections"]) == ("running", 1)
        assert "cret" not in made.text + shown.text + api.get("/sessions").text
        pushed = api.push("cam")
        assert (pushed.status_code, pushed.json()["code"]) == (409, "session_fetches")
        began = time.monotonic()
        assert api.request("DELETE", "/sessions/cam").status_code == 204
        assert time.monotonic() - began < 5
        assert decoders() == []


def test_addresses_inside_the_operators_network_are_refused(camera: tuple[CameraThread, str]) -> None:
    _, url = camera
    with service() as api:
        for address in (url, "rtsp://169.254.169.254/latest/meta-data", "rtsp://[::1]/x"):
            response = api.post("/sessions", json={"source": {"kind": "rtsp", "url": address}})
            assert (response.status_code, response.json()["code"]) == (403, "address_forbidden")
            assert "cret" not in response.text
        for address in ("http://example.org/x", "file:///etc/passwd"):
            response = api.post("/sessions", json={"source": {"kind": "rtsp", "url": address}})
            assert (response.status_code, response.json()["code"]) == (422, "source_error")
        assert api.get("/sessions").json()["sessions"] == []


@pytest.mark.parametrize(
    "fault", ["reset", "end", "refuse:seconds=1", "unauthorised:seconds=1", "resolution:size=160x90,seconds=2"]
)
def test_a_camera_that_fails_comes_back_by_itself(camera: tuple[CameraThread, str], fault: str) -> None:
    thread, url = camera
    with service(source_allow="127.0.0.0/8") as api:
        api.post("/sessions", json={"id": "cam", "source": {"kind": "rtsp", "url": url}})
        before = objects_after(api, 0)
        if fault.startswith("unauthorised"):
            thread.call(lambda running: running.add_fault(parse_fault("reset")))
        thread.call(lambda running: running.add_fault(parse_fault(fault)))
        if fault.startswith("resolution"):
            until(lambda: api.get("/sessions/cam").json()["frame_size"] == [160, 90])
            until(lambda: api.get("/sessions/cam").json()["frame_size"] == [320, 180])
        else:
            until(lambda: api.get("/sessions/cam").json()["connections"] >= 2)
        after = objects_after(api, api.get("/sessions/cam").json()["last_seq"] + 10)
        assert after["seq"] > before["seq"]
        assert min(item["track_id"] for item in after["objects"]) >= min(i["track_id"] for i in before["objects"])


def test_a_decoder_that_is_killed_is_started_again(camera: tuple[CameraThread, str]) -> None:
    _, url = camera
    with service(source_allow="127.0.0.1") as api:
        api.post("/sessions", json={"id": "cam", "source": {"kind": "rtsp", "url": url}})
        results_after(api, 0)
        (pid,) = decoders()
        os.kill(pid, signal.SIGKILL)
        until(lambda: api.get("/sessions/cam").json()["connections"] == 2)
        assert decoders() != [pid]


def test_recordings_below_the_root_are_shown_and_no_others(recording: Path) -> None:
    with service(source_root=str(recording.parent)) as api:
        made = api.post("/sessions", json={"id": "cam", "source": {"kind": "file", "path": "squares.mp4"}})
        assert made.status_code == 201
        until(lambda: api.get("/sessions/cam").json()["state"] == "paused")
        assert api.get("/sessions/cam").json()["reason"] == "The recording has ended."
        assert api.get("/sessions/cam/results/latest").json()["objects"]
        for path, status in (("../x.mp4", 403), ("/etc/passwd", 403), ("none.mp4", 422)):
            assert api.post("/sessions", json={"source": {"kind": "file", "path": path}}).status_code == status
    with service() as api:
        refused = api.post("/sessions", json={"source": {"kind": "file", "path": "squares.mp4"}})
        assert (refused.status_code, refused.json()["code"]) == (403, "address_forbidden")


def test_cameras_come_back_with_the_service(camera: tuple[CameraThread, str], tmp_path: Path) -> None:
    _, url = camera
    state = str(tmp_path / "state.db")
    declared = [{"id": "door", "source": {"kind": "rtsp", "url": url}}]
    with service(source_allow="127.0.0.1", state_file=state) as api:
        body = {"id": "cam", "source": {"kind": "rtsp", "url": url}, "filters": {"classes": ["blue"]}}
        assert api.post("/sessions", json=body).status_code == 201
        assert api.request("PATCH", "/sessions/cam", json={"filters": {"min_score": 0.2}}).status_code == 200
    with service(source_allow="127.0.0.1", state_file=state, sessions=declared) as api:
        assert {session["id"] for session in api.get("/sessions").json()["sessions"]} == {"cam", "door"}
        found = objects_after(api, 0, 1)
        assert {item["label"] for item in found["objects"]} == {"blue"}
        assert api.get("/sessions/cam").json()["filters"]["min_score"] == 0.2
        assert api.request("DELETE", "/sessions/cam").status_code == 204
    with service(state_file=state, sessions=declared) as api:
        until(lambda: api.get("/sessions/door").json()["state"] == "running")
        assert len(api.get("/sessions").json()["sessions"]) == 1, "the operator may name any address"


def test_declared_sessions_that_make_no_sense_are_told_at_the_start() -> None:
    with pytest.raises(SettingsError, match=r"sessions: number 1 is not understood: source\.rtsp\.url"):
        create_app(settings(sessions=[{"source": {"kind": "rtsp"}}]), detector=ColourDetector())


def test_a_service_that_is_killed_leaves_no_decoder_and_comes_back_with_its_cameras(
    camera: tuple[CameraThread, str], tmp_path: Path
) -> None:
    _, url = camera

    def is_running(api: httpx.Client) -> bool:
        found = api.get("/sessions/cam").json()
        return bool(found["state"] == "running" and found["last_seq"] > 3)

    with rig.service(tmp_path) as (pid, api):
        api.post("/sessions", json={"id": "cam", "source": {"kind": "rtsp", "url": url}}).raise_for_status()
        until(lambda: is_running(api))
        children = rig.children(pid)
        assert children
        os.kill(pid, signal.SIGKILL)
        until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    with rig.service(tmp_path) as (_, api):
        until(lambda: is_running(api))
