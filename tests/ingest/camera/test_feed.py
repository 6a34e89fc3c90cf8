"""What a camera shows."""

import threading
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from app.core.clock import SystemClock
from app.core.errors import SourceError
from app.core.types import Size
from app.ingest.camera.feed import Encoder, Feed, FileFeed, StreetFeed, convert, open_file
from app.ingest.camera.rtp import AccessUnit
from app.ingest.street import Street
from app.ingest.street_config import parse_street
from tests.ingest.camera.client import FPS, N_FRAMES
from tests.offline.clips import SIZE, image_folder

STREET = "synthetic:320x180@20?objects=4&seed=1"


def units(feed: Feed, n: int, between: Callable[[int], None] = lambda _: None) -> list[AccessUnit]:
    """The next units in real time."""
    found: list[AccessUnit] = []
    stop = threading.Event()

    def take(unit: AccessUnit) -> None:
        found.append(unit)
        between(len(found))
        if len(found) == n:
            stop.set()

    feed.run(stop, take)
    return found


def decoded(found: list[AccessUnit]) -> list[Size]:
    codec = av.CodecContext.create("h264", "r")
    sizes = []
    for unit in found:
        data = b"".join(b"\0\0\0\1" + nal for nal in unit.nals)
        sizes += [Size(frame.width, frame.height) for frame in codec.decode(av.Packet(data))]
    return sizes + [Size(frame.width, frame.height) for frame in codec.decode(None)]


def street_feed() -> StreetFeed:
    clock = SystemClock()
    return StreetFeed(Street(parse_street(STREET)), clock, clock.now_s())


def test_a_street_is_shown_in_real_time_and_begins_with_a_key_frame() -> None:
    feed = street_feed()
    began = SystemClock().now_s()
    found = units(feed, 11)
    assert SystemClock().now_s() - began >= 0.4
    assert [unit.is_key for unit in found[:3]] == [True, False, False]
    assert {nal[0] & 0x1F for nal in feed.parameters} == {7, 8}
    assert set(feed.parameters) <= set(found[0].nals)
    times = np.array([unit.pts_s for unit in found])
    assert np.all(np.diff(times) > 0)
    assert np.allclose(times * feed.fps, np.round(times * feed.fps))
    assert decoded(found) == [Size(320, 180)] * 11


def test_a_new_watcher_gets_a_key_frame_at_once() -> None:
    feed = street_feed()
    found = units(feed, 8, lambda n: feed.ask_for_key() if n == 4 else None)
    assert [unit.is_key for unit in found] == [True, *[False] * 3, True, *[False] * 3]


def test_a_street_in_another_size_is_the_same_street(tmp_path: Path) -> None:
    feed = street_feed()
    assert decoded(units(feed.resized(Size(160, 90), tmp_path), 3)) == [Size(160, 90)] * 3


def test_a_recording_is_repeated_in_its_own_time(recording: Path) -> None:
    clock = SystemClock()
    feed = FileFeed(recording, clock, clock.now_s())
    assert (feed.size, feed.fps) == (SIZE, FPS)
    found = units(feed, 2 * N_FRAMES + 1)
    assert [number for number, unit in enumerate(found) if unit.is_key] == [0, N_FRAMES, 2 * N_FRAMES]
    assert np.allclose(np.diff([unit.pts_s for unit in found]), 1 / FPS, atol=1e-3)
    assert decoded(found) == [SIZE] * len(found)


def test_a_recording_that_is_no_h264_is_converted(tmp_path: Path) -> None:
    clock = SystemClock()
    odd = image_folder(tmp_path / "odd", 3, Size(321, 181))
    feed = open_file(str(odd), tmp_path, clock, clock.now_s())
    assert feed.size == Size(320, 180)
    path = tmp_path / "other.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for level in (40, 200):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), "bgr24")))
        container.mux(stream.encode())
    feed = open_file(str(path), tmp_path, clock, clock.now_s())
    found = units(feed, 2)
    codec = av.CodecContext.create("h264", "r")
    data = b"".join(b"\0\0\0\1" + nal for unit in found for nal in unit.nals)
    shown = [*codec.decode(av.Packet(data)), *codec.decode(None)]
    assert [round(float(frame.to_ndarray(format="gray").mean()) / 10) for frame in shown][:1] == [4]


def test_an_h264_recording_is_sent_as_it_is(recording: Path, tmp_path: Path) -> None:
    clock = SystemClock()
    open_file(str(recording), tmp_path, clock, clock.now_s())
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_shown_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no file or folder"):
        open_file(str(tmp_path / "none.mp4"), tmp_path, SystemClock(), 0.0)
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(SourceError, match=r"text.mp4 cannot be read as a video"):
        open_file(str(tmp_path / "text.mp4"), tmp_path, SystemClock(), 0.0)
    with pytest.raises(SourceError, match="even width and height, not 321x180"):
        Encoder(Size(321, 180), 25)
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(SourceError, match=r"cannot be converted to H\.264"):
        convert(str(folder), tmp_path / "missing" / "x.mkv")
