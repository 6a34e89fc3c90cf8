"""The camera as its clients see it: by hand, word by word, and through FFmpeg."""

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from app.core.clock import SystemClock
from app.core.errors import SettingsError
from app.ingest.camera.credentials import Credentials
from app.ingest.camera.faults import parse_fault
from app.ingest.camera.feed import FileFeed
from app.ingest.camera.server import Camera, CameraOptions
from tests.ingest.camera.client import FPS, Client, RunningCamera
from tests.offline.clips import BLUE, GREEN, SIZE

Start = Callable[..., RunningCamera]
Connect = Callable[[RunningCamera], Client]
WAIT_S = 5


@contextmanager
def opened(url: str, transport: str = "tcp") -> Iterator[av.container.InputContainer]:
    """As FFmpeg's own client."""
    with av.open(url, options={"rtsp_transport": transport, "fflags": "nobuffer"}, timeout=(WAIT_S, WAIT_S)) as found:
        yield found


def frames(container: av.container.InputContainer, n: int) -> list[VideoFrame]:
    decoded = container.decode(video=0)
    return [next(decoded) for _ in range(n)]


def until(is_so: Callable[[], object], *, within_s: float = WAIT_S) -> None:
    limit = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < limit, "it never happened"
        time.sleep(0.01)


# ------------------------------------------------------------------------------------------------- FFmpeg's client


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_ffmpeg_plays_it(start: Start, transport: str) -> None:
    with opened(start().url, transport) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.width, stream.codec_context.height) == ("h264", *SIZE)
        shown = frames(container, 2 * FPS)
    pixels = shown[-1].to_ndarray(format="bgr24")
    assert np.allclose(pixels[120, 220], GREEN, atol=25)
    assert (np.abs(pixels.astype(int) - BLUE).max(axis=2) < 40).sum() > 1000
    steps = np.diff([frame.pts for frame in shown if frame.pts is not None])
    assert set(steps.tolist()) == {90_000 // FPS}, "over the end of the recording too"


def test_several_clients_watch_at_once_and_one_leaving_does_not_matter(start: Start) -> None:
    camera = start()
    with opened(camera.url) as first:
        with opened(camera.url, "udp") as second:
            assert len(frames(second, 3)) == 3
            assert camera.camera.n_watchers == 2
        assert len(frames(first, 2 * FPS)) == 2 * FPS
    until(lambda: camera.camera.n_watchers == 0)


@pytest.mark.parametrize("scheme", ["basic", "digest"])
def test_ffmpeg_proves_to_know_the_password(start: Start, scheme: str) -> None:
    camera = start(credentials=Credentials("ann", "s3cret", "basic" if scheme == "basic" else "digest"))
    with opened(camera.url.replace("rtsp://", "rtsp://ann:s3cret@")) as container:
        assert frames(container, 1)
    with pytest.raises(av.error.HTTPUnauthorizedError):
        av.open(camera.url.replace("rtsp://", "rtsp://ann:wrong@"), timeout=(WAIT_S, WAIT_S))
    with pytest.raises(av.error.HTTPUnauthorizedError):
        av.open(camera.url, timeout=(WAIT_S, WAIT_S))


def test_another_size_in_midstream_is_decoded(start: Start) -> None:
    camera = start()
    with opened(camera.url) as container:
        decoded = container.decode(video=0)
        assert next(decoded).width == SIZE.width
        camera.begin("resolution:size=160x90,seconds=1")
        sizes = [(frame.width, frame.height) for frame, _ in zip(decoded, range(4 * FPS), strict=False)]
    assert sizes.index((160, 90)) > 0
    assert sizes[-1] == SIZE, "and back again"


def test_timestamps_jump(start: Start) -> None:
    camera = start()
    with opened(camera.url) as container:
        decoded = container.decode(video=0)
        before = next(decoded).pts
        camera.begin("pts-jump:by=60")
        times = [frame.pts for frame, _ in zip(decoded, range(FPS), strict=False)]
    assert before is not None
    assert times[-1] is not None
    assert 59 < (times[-1] - before) / 90_000 < 63


# -------------------------------------------------------------------------------------------------- word by word


def test_each_step_of_the_way_is_answered(start: Start, connect: Connect) -> None:
    camera = start()
    client = connect(camera)
    options = client.ask("OPTIONS")
    assert {"DESCRIBE", "SETUP", "PLAY", "TEARDOWN"} <= {word.strip() for word in options.headers["public"].split(",")}
    described = client.ask("DESCRIBE", Accept="application/sdp")
    assert (described.status, described.headers["content-type"]) == (200, "application/sdp")
    assert described.headers["content-base"] == camera.url + "/"
    assert "m=video" in described.body
    session = client.play()
    assert client.ask("GET_PARAMETER", Session=session).status == 200
    client.read_packets(5)
    assert client.ask("TEARDOWN", Session=session).status == 200
    assert client.is_ended()
    until(lambda: camera.camera.n_watchers == 0)


def test_a_report_comes_first_and_tells_the_time(start: Start, connect: Connect) -> None:
    client = connect(start())
    client.play()
    packets = client.read_packets(2)
    assert [channel for channel, _ in packets] == [1, 0]
    ntp_s = struct.unpack("!I", packets[0][1][8:12])[0]
    assert abs(ntp_s - 2_208_988_800 - time.time()) < 5
    assert packets[0][1][16:20] == packets[1][1][4:8], "it is about the first picture"


def test_what_is_asked_wrongly_is_refused(start: Start, connect: Connect) -> None:
    camera = start()
    client = connect(camera)
    assert client.ask("DESCRIBE", camera.url.replace("/stream", "/other")).status == 404
    assert client.ask("DESCRIBE", camera.url.replace("/stream", "/stream2")).status == 404
    assert client.ask("SETUP", Transport="RTP/SAVP;unicast").status == 461
    assert client.ask("PLAY", Session="1").status == 454
    assert client.ask("RECORD").status == 405
    session = client.play()
    assert client.ask("SETUP", Transport="RTP/AVP/TCP").status == 455
    assert client.ask("PAUSE", Session=session).status == 200
    client.sock.sendall(b"nonsense\r\n\r\n")
    assert client.answer().status == 400
    assert client.is_ended()


def test_a_client_that_does_not_read_is_skipped_and_harms_nobody(
    start: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ingest.camera.watcher._LARGEST_BACKLOG", 2000)
    camera = start()
    listener = camera.camera._listener
    assert listener is not None
    # Accepted connections inherit it: otherwise the kernel takes what nobody reads for long.
    listener.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    listener.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow = connect(camera)
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    slow.play()
    with opened(camera.url) as container:
        until(lambda: camera.camera.counts.skipped > 3, within_s=20)
        assert len(frames(container, FPS)) == FPS


def test_a_port_that_is_taken_is_told(start: Start) -> None:
    taken = start().port
    with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{taken} .*give another --port"):
        start(port=taken)


# --------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("turns", range(6))
def test_who_comes_while_it_stops_is_sent_away(turns: int, recording: Path, tmp_path: Path) -> None:
    async def come_and_stop() -> list[object]:
        said: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        clock = SystemClock()
        feed = FileFeed(recording, clock, clock.now_s())
        camera = Camera(feed, clock, clock.now_s(), CameraOptions(port=0), tmp_path)
        await camera.start()
        with socket.create_connection(("127.0.0.1", urlsplit(camera.url).port or 0), WAIT_S) as client:
            for _ in range(turns):
                await asyncio.sleep(0)
            await camera.stop()
            with suppress(ConnectionResetError):
                assert await asyncio.to_thread(client.recv, 1) == b""
        return said

    assert asyncio.run(come_and_stop()) == []


@pytest.mark.parametrize("turns", range(6))
def test_it_can_be_stopped_while_it_begins_to_refuse(turns: int, recording: Path, tmp_path: Path) -> None:
    async def refuse_and_stop() -> int:
        clock = SystemClock()
        feed = FileFeed(recording, clock, clock.now_s())
        camera = Camera(feed, clock, clock.now_s(), CameraOptions(port=0), tmp_path)
        await camera.start()
        camera.add_fault(parse_fault("refuse:seconds=5"))
        for _ in range(turns):
            await asyncio.sleep(0)
        await camera.stop()
        return urlsplit(camera.url).port or 0

    socket.create_server(("127.0.0.1", asyncio.run(refuse_and_stop()))).close()


def test_refused_nobody_gets_in_until_it_ends(start: Start, connect: Connect) -> None:
    camera = start()
    client = connect(camera)
    client.play()
    camera.begin("refuse:seconds=0.5")
    assert client.is_ended()
    with pytest.raises(ConnectionRefusedError):
        connect(camera)
    until(lambda: not camera.camera.active_faults)
    assert connect(camera).ask("OPTIONS").status == 200


def test_unauthorised_nobody_knows_the_password(start: Start, connect: Connect) -> None:
    camera = start()
    camera.begin("unauthorised")
    client = connect(camera)
    until(lambda: camera.camera.active_faults)
    assert client.ask("DESCRIBE").status == 401
    camera.clear_faults()
    assert client.ask("DESCRIBE").status == 200


def test_stalled_it_still_answers(start: Start, connect: Connect) -> None:
    camera = start()
    client = connect(camera)
    session = client.play()
    client.read_packets(5)
    camera.begin("stall:seconds=1")
    until(lambda: camera.camera.active_faults == ["stall"])
    assert client.ask("GET_PARAMETER", Session=session).status == 200
    n_before = len(client.packets)
    assert client.ask("GET_PARAMETER", Session=session).status == 200
    assert len(client.packets) == n_before
    client.read_packets(n_before + 5)
    assert camera.camera.active_faults == []


def test_half_open_nothing_comes_any_more_and_the_connection_is_dead_afterwards(start: Start, connect: Connect) -> None:
    camera = start()
    client = connect(camera)
    client.play()
    camera.begin("half-open")
    until(lambda: camera.camera.active_faults)
    client.sock.settimeout(0.4)
    with pytest.raises(TimeoutError):
        client.ask("GET_PARAMETER")
    assert not client.is_ended()
    camera.clear_faults()
    client.sock.settimeout(WAIT_S)
    assert client.is_ended()


def test_a_slow_start_takes_its_time(start: Start, connect: Connect) -> None:
    camera = start(faults=(parse_fault("slow-start:by=0.5"),))
    client = connect(camera)
    began = time.monotonic()
    assert client.ask("OPTIONS").status == 200
    assert client.ask("DESCRIBE").status == 200
    assert time.monotonic() - began >= 0.5


def numbers(client: Client, n: int) -> list[int]:
    return [struct.unpack("!H", packet[2:4])[0] for channel, packet in client.read_packets(n) if channel == 0]


def test_lost_packets_leave_gaps_in_the_numbers(start: Start, connect: Connect) -> None:
    client = connect(start(faults=(parse_fault("loss:share=0.5"),)))
    client.play()
    found = np.array(numbers(client, 60))
    gaps = np.diff(found) % 65536
    assert 0.3 < 1 - len(found) / (gaps.sum() + 1) < 0.7


def test_garbage_keeps_the_numbers_but_not_what_they_carry(start: Start, connect: Connect) -> None:
    client = connect(start(faults=(parse_fault("garbage"),)))
    client.play()
    found = numbers(client, 40)
    assert set((np.diff(found) % 65536).tolist()) == {1}
    payload = b"".join(packet[12:] for channel, packet in client.packets if channel == 0)
    assert len(set(payload)) > 200
    # A key frame would begin with its parameter sets: 0x67.
    assert next(packet[12] for channel, packet in client.packets if channel == 0) != 0x67


def test_a_stream_ends_with_a_goodbye(start: Start, connect: Connect) -> None:
    camera = start()
    client = connect(camera)
    client.play()
    client.read_packets(3)
    camera.begin("end")
    with pytest.raises(ConnectionError):
        client.read_packets(10_000)
    channel, last = client.packets[-1]
    assert channel == 1
    assert last[-7] == 203
    assert connect(camera).ask("OPTIONS").status == 200


def test_connections_are_reset_again_and_again(start: Start, connect: Connect) -> None:
    camera = start(faults=(parse_fault("reset:after=0.3,every=0.3"),))
    for _ in range(2):
        client = connect(camera)
        client.play()
        with pytest.raises(ConnectionResetError):
            client.read_packets(10_000)
    assert camera.camera.counts.faults["reset"] >= 2


def test_all_faults_end_when_they_are_cleared(start: Start, connect: Connect) -> None:
    camera = start(faults=(parse_fault("stall"), parse_fault("refuse:after=60"), parse_fault("loss")))
    until(lambda: camera.camera.active_faults == ["loss", "stall"])
    camera.clear_faults()
    assert camera.camera.active_faults == []
    client = connect(camera)
    client.play()
    assert client.read_packets(3)
