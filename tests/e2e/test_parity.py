"""A clip gives the same tracks however it comes in: by `flexpatch run`, HTTP or WebSocket."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import simplejpeg
from websockets.sync.client import connect

from app.cli import main
from app.core.types import Size
from app.detect.loader import load_detector
from app.ingest.street import Street
from app.ingest.street_config import StreetConfig
from app.main import create_app
from tests.api.conftest import server_for, settings
from tests.detect.graphs import square_finder
from tests.offline.clips import clear_environment

FPS = 25.0
N_FRAMES = 16
DATA = Path(os.environ.get("FLEXPATCH_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
WEIGHTS = DATA.parent / "weights" / "yolox_nano_dynamic.onnx"
FIRST_UNIX_S = 1_767_225_600.0
"""2026-01-01, when the clip is said to begin."""

Push = Callable[[str, str, Sequence[bytes]], list[dict[str, Any]]]
"""Takes the service's host and port, a new session's name and JPEGs; gives the results."""


@dataclass(frozen=True, slots=True)
class Rig:
    """A running service, a clip, and what `flexpatch run` says about it."""

    address: str
    jpegs: tuple[bytes, ...]
    offline: list[dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The street as JPEG files."""
    path = tmp_path_factory.mktemp("street")
    street = Street(StreetConfig(size=Size(640, 360), fps=FPS, n_objects=8, seed=5))
    for index in range(N_FRAMES):
        data = simplejpeg.encode_jpeg(street.render(index), quality=85, colorspace="BGR")
        (path / f"{index + 1:06d}.jpg").write_bytes(data)
    return path


@pytest.fixture(scope="module", params=["squares", "yolox-nano"])
def rig(request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    place = tmp_path_factory.mktemp("rig")
    if request.param == "squares":
        model = square_finder(place / "finder.onnx")
    elif WEIGHTS.is_file():
        model = WEIGHTS
    else:
        pytest.skip(f"{WEIGHTS.name} is not beside FLEXPATCH_DATA")
    with pytest.MonkeyPatch.context() as patch:
        clear_environment(patch)
        written = place / "run.ndjson"
        assert main(["run", str(folder), "--detector", str(model), "--output", str(written)]) == 0
    offline = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
    jpegs = tuple(path.read_bytes() for path in sorted(folder.iterdir()))
    with server_for(create_app(settings(models_dir="models"), detector=load_detector(model))) as address:
        yield Rig(address, jpegs, offline)


def capture_time(index: int) -> str:
    return f"{FIRST_UNIX_S + index / FPS:.6f}"


def push_raw(address: str, session: str, jpegs: Sequence[bytes]) -> list[dict[str, Any]]:
    def send(client: httpx.Client, jpeg: bytes, headers: dict[str, str]) -> httpx.Response:
        return client.post(
            f"/sessions/{session}/frames", content=jpeg, headers={"Content-Type": "image/jpeg"} | headers
        )

    return _push_http(address, session, jpegs, send)


def push_multipart(address: str, session: str, jpegs: Sequence[bytes]) -> list[dict[str, Any]]:
    def send(client: httpx.Client, jpeg: bytes, headers: dict[str, str]) -> httpx.Response:
        files = {"frame": ("frame.jpg", jpeg, "image/jpeg")}
        return client.post(f"/sessions/{session}/frames", files=files, headers=headers)

    return _push_http(address, session, jpegs, send)


def _push_http(
    address: str,
    session: str,
    jpegs: Sequence[bytes],
    send: Callable[[httpx.Client, bytes, dict[str, str]], httpx.Response],
) -> list[dict[str, Any]]:
    with httpx.Client(base_url=f"http://{address}", timeout=30) as client:
        client.post("/sessions", json={"id": session}).raise_for_status()
        answers = [
            send(client, jpeg, {"X-Capture-Time": capture_time(index)}).raise_for_status()
            for index, jpeg in enumerate(jpegs)
        ]
        client.delete(f"/sessions/{session}").raise_for_status()
    return [answer.json() for answer in answers]


def push_websocket(address: str, session: str, jpegs: Sequence[bytes]) -> list[dict[str, Any]]:
    results = []
    httpx.post(f"http://{address}/sessions", json={"id": session}).raise_for_status()
    with connect(f"ws://{address}/sessions/{session}/ws", max_size=None) as connection:
        for index, jpeg in enumerate(jpegs):
            connection.send(json.dumps({"capture_time": capture_time(index)}))
            connection.send(jpeg)
            results.append(json.loads(connection.recv(timeout=30)))
    httpx.delete(f"http://{address}/sessions/{session}").raise_for_status()
    return results


def tracks(results: Sequence[dict[str, Any]]) -> list[Any]:
    """What must be the same: everything but names and times of the wall clock."""
    return [(result["seq"], result["work"], result["objects"], result["dropped_since_last"]) for result in results]


@pytest.mark.parametrize("push", [push_raw, push_multipart, push_websocket], ids=lambda push: push.__name__)
def test_a_pushed_clip_gives_the_tracks_of_an_offline_run(rig: Rig, push: Push) -> None:
    results = push(rig.address, push.__name__, rig.jpegs)
    assert tracks(results) == tracks(rig.offline)
    assert results[0].keys() == rig.offline[0].keys()


def test_the_clip_is_worth_comparing(rig: Rig) -> None:
    assert len(rig.offline) == N_FRAMES
    origins = {item["origin"] for result in rig.offline for item in result["objects"]}
    assert origins == {"detected", "tracked"}
    ids = {item["track_id"] for result in rig.offline for item in result["objects"]}
    lasting = set.intersection(*({item["track_id"] for item in result["objects"]} for result in rig.offline[-10:]))
    assert len(ids) > 1
    assert lasting


def test_two_sessions_with_the_same_clip_at_the_same_time_do_not_mix(rig: Rig) -> None:
    with httpx.Client(base_url=f"http://{rig.address}", timeout=30) as client:
        for name in ("left", "right"):
            client.post("/sessions", json={"id": name}).raise_for_status()
        results: dict[str, list[dict[str, Any]]] = {"left": [], "right": []}
        for index, jpeg in enumerate(rig.jpegs):
            headers = {"Content-Type": "image/jpeg", "X-Capture-Time": capture_time(index)}
            for name, collected in results.items():
                answer = client.post(f"/sessions/{name}/frames", content=jpeg, headers=headers)
                collected.append(answer.raise_for_status().json())
    assert tracks(results["left"]) == tracks(results["right"]) == tracks(rig.offline)
