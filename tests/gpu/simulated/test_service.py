"""The service with its vision on a simulated GPU."""

import time
from collections.abc import Iterator

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.types import Size
from app.gpu.device import Gpu
from app.gpu.machine import GpuMachine
from app.main import create_app
from tests.api.conftest import server_for, settings
from tests.gpu.driver.build import host_image
from tests.gpu.driver.control import SimulatedDriver
from tests.sessions.fakes import WAIT_S, BlindDetector
from tests.vision.pictures import moved, scene, shift_of

IDS = ("a", "b", "c")
RESERVE_MB = 140
"""Of 256 that the simulated GPU has: room for three sessions."""


@pytest.fixture
def client(driver: SimulatedDriver, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr("app.chosen_models.GpuMachine", lambda ordinal: GpuMachine(ordinal, Gpu, host_image))
    app = create_app(settings(vision="gpu", gpu_reserve_mb=RESERVE_MB), detector=BlindDetector())
    with server_for(app) as address, httpx.Client(base_url=f"http://{address}", timeout=WAIT_S) as client:
        yield client


def pictures() -> list[tuple[bytes, str]]:
    """A pan, as JPEG and PNG by turns."""
    pixels = scene(Size(320, 200))
    frames = [moved(pixels, shift_of(3 * n, n)) for n in range(6)]
    kinds = ["jpeg", "jpeg", "png"] * 2
    return [(_encoded(frame, f".{kind}"), kind) for frame, kind in zip(frames, kinds, strict=True)]


def _encoded(pixels: NDArray[np.uint8], suffix: str) -> bytes:
    return bytes(cv2.imencode(suffix, pixels)[1])


def push(client: httpx.Client, session: str, picture: tuple[bytes, str]) -> str:
    """Push a frame; gives where vision worked."""
    data, kind = picture
    response = client.post(f"/sessions/{session}/frames", content=data, headers={"Content-Type": f"image/{kind}"})
    assert response.status_code == 200, response.text
    return str(response.json()["work"]["vision"])


def test_sessions_live_on_the_gpu_and_leave_nothing_there(client: httpx.Client, driver: SimulatedDriver) -> None:
    for session in IDS:
        assert client.post("/sessions", json={"id": session}).status_code == 201
    for picture in pictures():
        assert {push(client, session, picture) for session in IDS} == {"gpu"}
    assert driver.live()["stream"] == len(IDS)
    for session in IDS:
        assert client.delete(f"/sessions/{session}").status_code == 204
    until_s = time.monotonic() + WAIT_S
    while driver.live().keys() != {"module", "context"} and time.monotonic() < until_s:
        time.sleep(0.01)
    assert driver.live().keys() == {"module", "context"}


def test_a_gpu_that_is_lost_harms_no_session_and_is_counted(client: httpx.Client, driver: SimulatedDriver) -> None:
    for session in IDS:
        client.post("/sessions", json={"id": session})
    first, second, *rest = pictures()
    assert {push(client, session, first) for session in IDS} == {"gpu"}
    driver.lose_device()
    for picture in (second, *rest):
        assert {push(client, session, picture) for session in IDS} == {"cpu"}
    counted = 'flexpatch_backend_fallbacks_total{backend="gpu",model="vision",reason="GpuFailed",successor="cpu"} 3.0'
    assert counted in client.get("/metrics").text


def test_a_session_that_the_gpu_has_no_room_for_is_refused(client: httpx.Client) -> None:
    """Those that were admitted count before they have taken their memory."""
    for session in IDS:
        assert client.post("/sessions", json={"id": session}).status_code == 201
    refused = client.post("/sessions", json={"id": "d"})
    assert refused.status_code == 503
    assert refused.json()["code"] == "gpu_memory_short"
    assert "MB would stay free" in refused.json()["detail"]
    for session in IDS:
        push(client, session, pictures()[0])
    assert client.post("/sessions", json={"id": "d"}).status_code == 201, "they were smaller than expected"
