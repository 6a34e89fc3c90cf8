"""An independent peer: GStreamer's server before our decoder, our camera before GStreamer's client."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from app.core.types import Size
from app.ingest.camera.credentials import Credentials
from app.ingest.live.process import Event, LiveFrame
from app.ingest.live.wire import Opened, Transport
from tests.ingest.camera.client import RunningCamera
from tests.ingest.live.test_process import Open, events, frames, open_stream

__all__ = ["open_stream"]
SYSTEM_PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).with_name("gstreamer_server.py")
PACKAGES = "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-tools gstreamer1.0-plugins-good/-bad/-ugly"
ENCODERS = ["x264enc", "x265enc", "jpegenc", "vp8enc", "mpeg4videoparse"]
FIND = (
    "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer; "
    f"Gst.init(None); assert all(map(Gst.ElementFactory.find, {ENCODERS}))"
)


def _has_server() -> bool:
    if not Path(SYSTEM_PYTHON).exists():
        return False
    return subprocess.run([SYSTEM_PYTHON, "-c", FIND], capture_output=True, check=False).returncode == 0  # noqa: S603


SINK = ["!", "rtph264depay", "!", "h264parse", "!", "fakesink", "num-buffers=40"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not _has_server():
        pytest.skip(f"GStreamer's RTSP server is not installed: apt-get install {PACKAGES}")
    recording = tmp_path_factory.mktemp("mpeg4") / "ball.mp4"
    _record(recording)
    command = [SYSTEM_PYTHON, str(SERVER), str(recording)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout
        yield f"rtsp://127.0.0.1:{int(process.stdout.readline())}"
        process.kill()


def _record(path: Path) -> None:
    """Fifteen seconds of noise, which takes several packets a picture."""
    chance = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=15)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        for _ in range(225):
            pixels = chance.integers(0, 256, (192, 320), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="gray")))
        container.mux(stream.encode())


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("name", ["h264", "sliced", "together", "hevc", "mjpeg", "vp8", "mpeg4"])
def test_its_server_is_watched(server: str, open_stream: Open, name: str, transport: Transport) -> None:
    process = open_stream(f"{server}/{name}", transport=transport)
    opened = process.take(10.0)
    assert isinstance(opened, Opened)
    assert opened.codec == ("h264" if name in {"sliced", "together"} else name)
    shown = frames(process, 30)
    assert shown[-1].frame.size == Size(320, 192)
    steps = np.diff([item.frame.pts_s for item in shown])
    assert np.median(steps) == pytest.approx(1 / 15, abs=0.01)
    events(process, _is_dated_by_its_sender)


def _is_dated_by_its_sender(event: Event) -> bool:
    """Its reports come every few seconds."""
    return isinstance(event, LiveFrame) and event.frame.capture is not None and event.frame.capture.source == "rtcp"


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_its_client_plays_our_camera(start: Callable[..., RunningCamera], protocol: str) -> None:
    player = shutil.which("gst-launch-1.0")
    if player is None:
        pytest.skip(f"GStreamer's tools are not installed: apt-get install {PACKAGES}")
    camera = start(credentials=Credentials("ann", "s3cret"))
    source = [f"location={camera.url}", f"protocols={protocol}", "user-id=ann", "user-pw=s3cret"]
    command = [
        player,
        "-q",
        "rtspsrc",
        *source,
        "!",
        "rtph264depay",
        "!",
        "h264parse",
        "!",
        "fakesink",
        "num-buffers=40",
    ]
    played = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    assert played.returncode == 0, played.stderr
    assert "ERROR" not in played.stderr
