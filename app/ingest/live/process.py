"""A live stream, decoded by a process of its own that can be killed whatever it hangs in."""

import os
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.core.types import CaptureTime, Frame, Size
from app.ingest.live.planes import PlaneFormat, PlaneSlots
from app.ingest.live.wire import Decoded, Ended, Failed, Opened, Order, Reformatted, pair, receive, send

_GRACE_S = 0.3
"""From the end of the connection until the process is killed."""


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """The newest picture of a live stream. It occupies a slot of the shared memory for as long as somebody holds it."""

    frame: Frame
    arrived_s: float
    """By this process's monotonic clock (`time.perf_counter`)."""
    n_replaced: int
    """Pictures so far that a newer one replaced before they were taken,"""
    n_unslotted: int
    """for which all slots were in use,"""
    n_corrupt: int
    """that were damaged;"""
    n_jumps: int
    """and jumps of the stream's clock."""


Event = LiveFrame | Opened | Ended | Failed


class DecoderProcess:
    """One connection to a stream, from its opening to its end. Any thread may take from it, one at a time."""

    def __init__(self, order: Order) -> None:
        """Start the process, which begins to open the stream.

        Raises:
            OSError: no process can be started.
        """
        self._sock, theirs = pair()
        self._arrived = threading.Condition()
        self._told: deque[Opened | Ended | Failed] = deque()
        self._newest: LiveFrame | None = None
        self._n_replaced = 0
        self._seq = 0
        self._slots: PlaneSlots | None = None
        self._generation = 0
        paths = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own module; the address goes by the socket
                    [sys.executable, "-m", "app.ingest.live.child", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
                )
            except BaseException:
                self._sock.close()
                raise
        self._reader = threading.Thread(target=self._read, name="live-reader", daemon=True)
        self._reader.start()
        with suppress(OSError):  # it is gone already: the reader says so
            send(self._sock, order)

    @property
    def pid(self) -> int:
        return self._process.pid

    def take(self, timeout_s: float) -> Event | None:
        """What happened next: what is told in its order, then the newest picture; None if nothing does in that time."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._told or self._newest, timeout_s)
            # Pictures that came before the end are shown before it.
            if self._newest is not None and not (self._told and isinstance(self._told[0], Opened)):
                taken, self._newest = self._newest, None
                return taken
            return self._told.popleft() if self._told else None

    def close(self) -> None:
        """End the process, by force if it must be, and wait for it; safe to call twice, from any thread."""
        with suppress(OSError):
            self._sock.shutdown(2)
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._reader is not threading.current_thread():
            self._reader.join()
        with self._arrived:
            self._newest = None
        # The memory is gone as soon as the last picture in it is.
        self._slots = None
        self._sock.close()

    # ---------------------------------------------------------------------------------------------- the reader

    def _read(self) -> None:
        is_told = False
        with suppress(OSError):
            while True:
                message, fd = receive(self._sock)
                if message is None:
                    break
                is_told = is_told or isinstance(message, Ended | Failed)
                self._handle(message, fd)
        if not is_told:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_S)
            self._tell(Failed("internal", f"the decoding process ended with status {self._process.returncode}"))

    def _handle(self, message: object, fd: int | None) -> None:
        match message:
            case Opened() | Ended() | Failed():
                self._tell(message)
            case Reformatted() if fd is not None:
                shape = PlaneFormat(Size(message.width, message.height), message.is_full_range)
                self._slots = PlaneSlots(shape, os.fstat(fd).st_size // shape.slot_bytes, fd)
                self._slots.close_descriptor()
                self._generation += 1
            case Decoded() if self._slots is not None:
                self._show(message, self._slots)
            case _:
                raise OSError(f"unexpected message {type(message).__name__}")

    def _tell(self, message: Opened | Ended | Failed) -> None:
        with self._arrived:
            self._told.append(message)
            self._arrived.notify_all()

    def _show(self, message: Decoded, slots: PlaneSlots) -> None:
        picture = slots.picture(message.slot, partial(self._give_back, message.slot, self._generation))
        self._seq += 1
        capture = CaptureTime(message.capture_unix_s, message.capture_source)
        frame = Frame(self._seq, message.pts_s, picture, capture, message.decode_ms)
        with self._arrived:
            replaced = self._newest
            self._n_replaced += replaced is not None
            self._newest = LiveFrame(
                frame,
                time.perf_counter(),
                self._n_replaced,
                message.n_unslotted,
                message.n_corrupt,
                message.n_jumps,
            )
            self._arrived.notify_all()
        # Its slot is given back outside the lock.
        del replaced

    def _give_back(self, slot: int, generation: int) -> None:
        with suppress(OSError):
            self._sock.send(bytes((slot,)) + generation.to_bytes(4, "big"))
