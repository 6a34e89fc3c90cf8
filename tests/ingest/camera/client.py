"""A camera on an event loop of its own, and a client that speaks RTSP by hand."""

import asyncio
import re
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.core.clock import SystemClock
from app.ingest.camera.faults import parse_fault
from app.ingest.camera.feed import FileFeed
from app.ingest.camera.server import Camera, CameraOptions
from app.ingest.camera.thread import CameraThread

FPS = 25
N_FRAMES = 15
ANSWER_S = 5.0


class RunningCamera:
    """A camera, reached from a test's thread."""

    def __init__(self, thread: CameraThread, camera: Camera) -> None:
        self._thread, self.camera = thread, camera

    @property
    def url(self) -> str:
        return self.camera.url

    @property
    def port(self) -> int:
        match = re.search(r":(\d+)/", self.url)
        assert match
        return int(match[1])

    def begin(self, fault: str) -> None:
        self._thread.call(lambda camera: camera.add_fault(parse_fault(fault)))

    def clear_faults(self) -> None:
        cleared: Future[None] = Future()

        async def clear(camera: Camera) -> None:
            await camera.clear_faults()
            cleared.set_result(None)

        tasks: list[asyncio.Task[None]] = []
        self._thread.call(lambda camera: tasks.append(asyncio.get_running_loop().create_task(clear(camera))))
        cleared.result(ANSWER_S)


@contextmanager
def running(recording: Path, options: CameraOptions) -> Iterator[RunningCamera]:
    clock = SystemClock()
    start_s = clock.now_s()
    thread = CameraThread(lambda folder: Camera(FileFeed(recording, clock, start_s), clock, start_s, options, folder))
    found = RunningCamera(thread, thread.start())
    try:
        yield found
    finally:
        thread.stop()


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(slots=True)
class Client:
    """Asks word by word; what comes between answers is kept."""

    sock: socket.socket
    url: str
    packets: list[tuple[int, bytes]] = field(default_factory=list)
    """Channel and packet."""
    _number: int = 0
    _unread: bytes = b""

    def ask(self, method: str, url: str | None = None, body: bytes = b"", **headers: str) -> Reply:
        self._number += 1
        lines = [f"{method} {url or self.url} RTSP/1.0", f"CSeq: {self._number}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        reply = self.answer()
        assert reply.headers["cseq"] == str(self._number)
        return reply

    def answer(self) -> Reply:
        while (first := self._take(1)) == b"$":
            self._packet()
        head = first
        while not head.endswith(b"\r\n\r\n"):
            head += self._take(1)
        status, *lines = head.decode().strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Reply(int(status.split(" ")[1]), headers, self._take(int(headers.get("content-length", 0))).decode())

    def play(self, transport: str = "RTP/AVP/TCP;unicast;interleaved=0-1") -> str:
        """Set up and play; the session's name."""
        set_up = self.ask("SETUP", f"{self.url}/trackID=0", Transport=transport)
        assert set_up.status == 200
        session = set_up.headers["session"].partition(";")[0]
        assert self.ask("PLAY", Session=session).status == 200
        return session

    def read_packets(self, n: int) -> list[tuple[int, bytes]]:
        """Channel and packet of the next ones."""
        while len(self.packets) < n:
            assert self._take(1) == b"$"
            self._packet()
        return self.packets

    def is_ended(self) -> bool:
        """The camera ended the connection; whatever it sent before is left out."""
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True

    def _packet(self) -> None:
        head = self._take(3)
        self.packets.append((head[0], self._take(int.from_bytes(head[1:], "big"))))

    def _take(self, n: int) -> bytes:
        while len(self._unread) < n:
            more = self.sock.recv(65536)
            if not more:
                raise ConnectionError("the camera ended the connection")
            self._unread += more
        taken, self._unread = self._unread[:n], self._unread[n:]
        return taken
