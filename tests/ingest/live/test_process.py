"""The decoding process against a camera that fails."""

import gc
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.core.types import BgrPicture, Size
from app.ingest.camera.credentials import Credentials
from app.ingest.camera.faults import parse_fault
from app.ingest.live.process import DecoderProcess, Event, LiveFrame
from app.ingest.live.wire import Ended, Failed, Kind, Opened, Order, Transport
from tests.ingest.camera.client import FPS, N_FRAMES, RunningCamera
from tests.offline.clips import GREEN, SIZE, image_folder

Start = Callable[..., RunningCamera]
Open = Callable[..., DecoderProcess]
WAIT_S = 10.0
NOTHING = BgrPicture(np.zeros((1, 1, 3), np.uint8))


@pytest.fixture
def open_stream() -> Iterator[Open]:
    """Start decoding processes; they end with the test, and leave nothing."""
    opened: list[DecoderProcess] = []

    def begin(
        address: str,
        kind: Kind = "rtsp",
        transport: Transport = "tcp",
        n_slots: int = 6,
        *,
        only_host: str | None = None,
        hwaccel: str | None = None,
    ) -> DecoderProcess:
        opened.append(DecoderProcess(Order(kind, address, only_host, transport, 5.0, hwaccel, n_slots)))
        return opened[-1]

    yield begin
    for process in opened:
        process.close()
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)
    assert not [thread.name for thread in threading.enumerate() if thread.name == "live-reader"]


def events(process: DecoderProcess, until: Callable[[Event], bool]) -> list[Event]:
    """All that happens until something does; only the last with its picture, for who keeps pictures keeps slots."""
    found: list[Event] = []
    limit = time.monotonic() + WAIT_S
    while True:
        event = process.take(limit - time.monotonic())
        assert event is not None, f"nothing more after {found[-3:]}"
        if until(event):
            return [*found, event]
        found.append(_without_picture(event))


def _without_picture(event: Event) -> Event:
    return replace(event, frame=replace(event.frame, picture=NOTHING)) if isinstance(event, LiveFrame) else event


def frames(process: DecoderProcess, n: int) -> list[LiveFrame]:
    """The next so many, of which the last has its picture."""
    found: list[LiveFrame] = []
    while len(found) < n:
        event = events(process, lambda event: isinstance(event, LiveFrame | Failed | Ended))[-1]
        assert isinstance(event, LiveFrame), event
        found = [replace(item, frame=replace(item.frame, picture=NOTHING)) for item in found] + [event]
    return found


def failure(process: DecoderProcess) -> Failed:
    last = events(process, lambda event: isinstance(event, Failed))[-1]
    assert isinstance(last, Failed)
    return last


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_is_watched_with_the_time_of_day_it_tells(
    start: Start, open_stream: Open, transport: Transport
) -> None:
    process = open_stream(start().url, transport=transport)
    assert process.take(WAIT_S) == Opened("h264", FPS)
    shown = frames(process, FPS)
    assert shown[-1].frame.size == SIZE
    assert shown[-1].frame.picture.size == SIZE
    times = np.array([item.frame.pts_s for item in shown])
    assert np.all(np.diff(times) > 0)
    captured = [item.frame.capture for item in shown[3:]]
    assert all(item is not None and item.source == "rtcp" for item in captured)
    assert captured[-1] is not None
    assert -0.1 < time.time() - captured[-1].unix_s < 2
    assert [item.frame.seq for item in shown] == sorted({item.frame.seq for item in shown})


@pytest.mark.parametrize("hwaccel", ["cuda", "vaapi", "qsv"])
def test_without_such_hardware_the_processor_decodes(start: Start, open_stream: Open, hwaccel: str) -> None:
    process = open_stream(start().url, hwaccel=hwaccel)
    opened = process.take(WAIT_S)
    assert isinstance(opened, Opened)
    has_device = any(Path("/dev").glob("nvidia*")) or Path("/dev/dri").exists()
    assert has_device or opened.hwaccel is None
    assert frames(process, 2)[-1].frame.picture.size == SIZE


def test_waiting_for_the_next_picture_is_no_decoding(start: Start, open_stream: Open) -> None:
    took_ms = [live.frame.decode_ms for live in frames(open_stream(start().url), 12)]
    assert statistics.median(took_ms) < 500 / FPS


def test_who_takes_slowly_gets_the_newest_and_the_rest_is_counted(start: Start, open_stream: Open) -> None:
    process = open_stream(start().url)
    first = frames(process, 1)[0]
    time.sleep(1)
    second, third = frames(process, 2)
    assert second.frame.pts_s - first.frame.pts_s > 0.6
    assert second.n_replaced == second.frame.seq - first.frame.seq - 1 > 10
    assert third.n_unslotted == 0


def test_who_keeps_all_pictures_stops_nobody(start: Start, open_stream: Open) -> None:
    process = open_stream(start().url, n_slots=3)
    kept = [frames(process, 1)[0] for _ in range(3)]
    pixels = [item.frame.picture.y.copy() for item in kept]  # type: ignore[union-attr]
    assert process.take(0.5) is None
    assert all(np.array_equal(a, item.frame.picture.y) for a, item in zip(pixels, kept, strict=True))  # type: ignore[union-attr]
    del kept
    more = frames(process, 2)
    assert more[-1].n_unslotted > 5


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda url: url.replace("/stream", "/other"), "not_found"),
        (lambda url: url.replace("rtsp://", "rtsp://ann:wrong@"), "authentication"),
        (lambda _: "rtsp://127.0.0.1:9/stream", "unreachable"),
    ],
)
def test_why_a_camera_cannot_be_watched_is_told(
    start: Start, open_stream: Open, change: Callable[[str], str], fault: str
) -> None:
    camera = start(credentials=Credentials("ann", "s3cret"))
    right = camera.url.replace("rtsp://", "rtsp://ann:s3cret@")
    process = open_stream(change(camera.url if fault == "authentication" else right))
    assert failure(process).fault == fault


def test_a_camera_that_sends_us_elsewhere_is_not_followed(start: Start, open_stream: Open) -> None:
    """FFmpeg follows redirections; what it is sent to is looked at, and left."""
    camera = start()
    with socket.create_server(("127.0.0.2", 0)) as listener:
        answer = f"RTSP/1.0 302 Found\r\nCSeq: 1\r\nLocation: {camera.url}\r\n\r\n".encode()

        def redirect() -> None:
            connection, _ = listener.accept()
            with connection:
                while request := connection.recv(4096):
                    number = request.partition(b"CSeq: ")[2].partition(b"\r")[0]
                    connection.sendall(answer.replace(b"CSeq: 1", b"CSeq: " + number))

        thread = threading.Thread(target=redirect)
        thread.start()
        url = f"rtsp://127.0.0.2:{listener.getsockname()[1]}/stream"
        process = open_stream(url, only_host="127.0.0.2")
        assert failure(process) == Failed("forbidden", "it sends us to 127.0.0.1")
        process.close()
        thread.join(WAIT_S)
    assert frames(open_stream(camera.url, only_host="127.0.0.1"), 1)


def test_the_password_is_nowhere_to_be_seen(start: Start, open_stream: Open) -> None:
    camera = start(credentials=Credentials("ann", "s3cret"))
    process = open_stream(camera.url.replace("rtsp://", "rtsp://ann:s3cret@"))
    frames(process, 1)
    for name in ("cmdline", "environ"):
        assert b"s3cret" not in Path(f"/proc/{process.pid}/{name}").read_bytes()


def test_a_camera_that_is_reset_or_says_goodbye_is_lost(start: Start, open_stream: Open) -> None:
    for fault in ("reset", "end"):
        camera = start()
        process = open_stream(camera.url)
        frames(process, 3)
        camera.begin(fault)
        last = events(process, lambda event: isinstance(event, Failed | Ended))[-1]
        assert last == Ended() or (isinstance(last, Failed) and last.fault in {"unreachable", "protocol"})


def test_another_size_in_midstream(start: Start, open_stream: Open) -> None:
    camera = start()
    process = open_stream(camera.url)
    before = frames(process, 2)
    camera.begin("resolution:size=160x90")
    events(process, lambda event: isinstance(event, LiveFrame) and event.frame.size == Size(160, 90))
    small = frames(process, 3)[-1].frame.picture
    assert small.size == Size(160, 90)
    old = before[-1].frame.picture
    assert old.size == SIZE
    assert old.y[120, 220] == pytest.approx(_luma(GREEN), abs=25)  # type: ignore[union-attr]


def test_jumps_of_its_clock_are_counted_and_passed_over(start: Start, open_stream: Open) -> None:
    camera = start()
    process = open_stream(camera.url)
    before = frames(process, 2)[-1]
    camera.begin("pts-jump:by=-600")
    events(process, lambda event: isinstance(event, LiveFrame) and event.n_jumps > 0)
    after = frames(process, 3)[-1]
    assert 0 < after.frame.pts_s - before.frame.pts_s < 5


def test_damaged_pictures_are_counted_and_the_stream_goes_on(start: Start, open_stream: Open) -> None:
    camera = start()
    process = open_stream(camera.url)
    frames(process, 2)
    camera.begin("loss:share=0.3,seconds=2")
    time.sleep(2.5)
    assert frames(process, FPS)


@pytest.mark.parametrize("fault", ["stall", "half-open", "garbage"])
def test_a_camera_that_hangs_is_left_at_once(start: Start, open_stream: Open, fault: str) -> None:
    camera = start()
    process = open_stream(camera.url)
    frames(process, 2)
    camera.begin(fault)
    time.sleep(0.5)
    began = time.monotonic()
    process.close()
    assert time.monotonic() - began < 1.5
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_opening_that_hangs_is_left_at_once(start: Start, open_stream: Open) -> None:
    process = open_stream(start(faults=(parse_fault("slow-start:by=60"),)).url)
    assert process.take(1.0) is None
    began = time.monotonic()
    process.close()
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_is_told_of(start: Start, open_stream: Open, number: signal.Signals) -> None:
    process = open_stream(start().url)
    frames(process, 2)
    os.kill(process.pid, number)
    assert failure(process) == Failed("internal", f"the decoding process ended with status {-number}")


def test_a_process_ends_with_the_service_however_that_ends(start: Start) -> None:
    program = (
        "import sys, time\n"
        "from app.ingest.live.process import DecoderProcess\n"
        "from app.ingest.live.wire import Order\n"
        "process = DecoderProcess(Order('rtsp', sys.argv[1], None, 'tcp', 5.0, None, 6))\n"
        "while process.take(5.0).__class__.__name__ != 'LiveFrame': pass\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, start().url], stdout=subprocess.PIPE, text=True) as service:  # noqa: S603
        assert service.stdout
        decoder = int(service.stdout.readline())
        service.kill()
    limit = time.monotonic() + WAIT_S
    while Path(f"/proc/{decoder}").exists() and "Z" not in Path(f"/proc/{decoder}/stat").read_text().split()[2]:
        assert time.monotonic() < limit, "it is left behind"
        time.sleep(0.02)


def test_many_connections_leave_no_descriptor_and_no_memory_behind(start: Start, open_stream: Open) -> None:
    camera = start()

    def left() -> Counter[str]:
        gc.collect()
        kinds = Counter[str](memory=Path("/proc/self/maps").read_text().count("flexpatch-planes"))
        for entry in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                kinds[str(entry.readlink()).partition(":")[0]] += 1
        return kinds

    for _ in range(2):
        process = open_stream(camera.url)
        frames(process, 1)
        process.close()
    before = left()
    for _ in range(4):
        process = open_stream(camera.url)
        frames(process, 1)
        process.close()
    until_s = time.monotonic() + WAIT_S
    while more := left() - before:
        assert time.monotonic() < until_s, more
        time.sleep(0.05)


def test_a_recording_is_shown_at_its_own_rate_and_ends(recording: Path, open_stream: Open) -> None:
    process = open_stream(str(recording), "file")
    began = time.monotonic()
    found = events(process, lambda event: event == Ended())
    shown = [event for event in found if isinstance(event, LiveFrame)]
    assert shown[-1].frame.pts_s == pytest.approx((N_FRAMES - 1) / FPS, abs=0.01)
    assert time.monotonic() - began > (N_FRAMES - 1) / FPS
    assert shown[-1].frame.capture is not None
    assert shown[-1].frame.capture.source == "pts"


def test_a_folder_of_images_too(tmp_path: Path, open_stream: Open) -> None:
    process = open_stream(str(image_folder(tmp_path / "images", 5)), "file")
    shown = frames(process, 1)
    while (event := process.take(WAIT_S)) != Ended():
        assert isinstance(event, LiveFrame)
        shown = [event]
    assert shown[-1].frame.seq == 5
    assert shown[-1].frame.picture.y[120, 220] == pytest.approx(_luma(GREEN), abs=6)  # type: ignore[union-attr]


def test_what_is_no_video_is_told(tmp_path: Path, open_stream: Open) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    assert failure(open_stream(str(tmp_path / "text.mp4"), "file")).fault in {"codec", "protocol"}
    assert failure(open_stream(str(tmp_path / "none.mp4"), "file")).fault == "unreachable"
    (tmp_path / "empty").mkdir()
    assert failure(open_stream(str(tmp_path / "empty"), "file")).fault == "codec"


def _luma(bgr: tuple[int, int, int]) -> float:
    blue, green, red = bgr
    return 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255
