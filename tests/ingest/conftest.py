"""Small real videos, encoded once, and cameras that show them."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from numpy.typing import NDArray

from app.core.types import Size
from app.ingest.camera.feed import convert
from app.ingest.camera.server import CameraOptions
from tests.ingest.camera import client
from tests.ingest.camera.client import ANSWER_S, Client, RunningCamera, running
from tests.offline.clips import image_folder

N_FRAMES = 12
FPS = 10
CLIP_SIZE = Size(96, 64)

EncodeVideo = Callable[..., Path]


def grey_frame(index: int, size: Size) -> NDArray[np.uint8]:
    """A picture (H, W) whose mean tells its number: 40 + 12 · index."""
    return np.full((size.height, size.width), 40 + 12 * index, np.uint8)


@pytest.fixture(scope="session")
def encode_video(tmp_path_factory: pytest.TempPathFactory) -> EncodeVideo:
    """Encode a short clip, frame i of brightness 40 + 12 · i."""
    folder = tmp_path_factory.mktemp("videos")

    def encode(name: str, *, codec: str = "libx264", pixel_format: str = "yuv420p", size: Size = CLIP_SIZE) -> Path:
        path = folder / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=FPS)
            assert isinstance(stream, VideoStream)
            stream.width, stream.height, stream.pix_fmt = size.width, size.height, pixel_format
            for index in range(N_FRAMES):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey_frame(index, size), format="gray")))
            container.mux(stream.encode())
        return path

    return encode


@pytest.fixture(scope="session")
def clip(encode_video: EncodeVideo) -> Path:
    """An H.264 file of 12 frames, 96×64, 10 frames a second."""
    return encode_video("clip.mp4")


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen frames of 320 x 180 as H.264 in MP4."""
    folder = tmp_path_factory.mktemp("recording")
    convert(str(image_folder(folder / "frames", client.N_FRAMES)), folder / "squares.mp4")
    return folder / "squares.mp4"


@pytest.fixture
def start(recording: Path) -> Iterator[Callable[..., RunningCamera]]:
    """Start cameras; they end with the test."""
    managers: list[Any] = []

    def begin(**options: Any) -> RunningCamera:
        manager = running(recording, CameraOptions(**({"port": 0} | options)))
        found: RunningCamera = manager.__enter__()
        managers.append(manager)
        return found

    yield begin
    for manager in managers:
        manager.__exit__(None, None, None)
    limit = time.monotonic() + ANSWER_S
    while left := {"camera", "camera-feed"} & {thread.name for thread in threading.enumerate()}:
        assert time.monotonic() < limit, left
        time.sleep(0.02)


@pytest.fixture
def connect() -> Iterator[Callable[[RunningCamera], Client]]:
    """Connect clients; they end with the test."""
    sockets: list[socket.socket] = []

    def begin(camera: RunningCamera) -> Client:
        sockets.append(socket.create_connection(("127.0.0.1", camera.port), ANSWER_S))
        return Client(sockets[-1], camera.url)

    yield begin
    for sock in sockets:
        sock.close()
