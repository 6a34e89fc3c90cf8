"""Small real videos, encoded once."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from numpy.typing import NDArray

from app.core.types import Size

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
