"""What a decoding process and the service tell each other: small messages over one socket, each a JSON document."""

import json
import socket
from dataclasses import asdict, dataclass
from typing import Literal

from app.core.types import CaptureSource

StreamFault = Literal[
    "unreachable", "authentication", "not_found", "codec", "tls", "timeout", "protocol", "forbidden", "internal"
]
"""Why a stream cannot be read."""
Transport = Literal["tcp", "udp"]
Kind = Literal["rtsp", "file"]

_LARGEST_MESSAGE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Order:
    """What to read, and how; the first message to the process."""

    kind: Kind
    address: str
    """A file or folder, or the address of a stream;"""
    only_host: str | None
    """the one number that may be connected to, even if the camera sends us elsewhere; None: any."""
    transport: Transport
    open_timeout_s: float
    hwaccel: str | None
    """A device that FFmpeg knows, as `cuda`; software takes its place where it fails."""
    n_slots: int
    """Pictures that the shared memory holds."""
    certified_host: str | None = None
    """Whom an encrypted stream's certificate must be for; None: whoever it is for, by whomever;"""
    ca_file: str | None = None
    """and the authorities that are believed."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The stream answers, and has video."""

    codec: str
    fps: float | None
    hwaccel: str | None = None
    """What decodes it; None: the processor."""


@dataclass(frozen=True, slots=True)
class Reformatted:
    """Pictures have another format from now on; the shared memory that holds them comes with the message."""

    width: int
    height: int
    is_full_range: bool


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture lies in a slot, which is the receiver's until it gives it back."""

    slot: int
    pts_s: float
    """Seconds since the connection's first picture."""
    capture_unix_s: float
    capture_source: CaptureSource
    decode_ms: float
    n_corrupt: int
    """Damaged pictures so far,"""
    n_unslotted: int
    """pictures for which there was no slot,"""
    n_jumps: int
    """and jumps of the stream's clock."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The stream says that nothing more comes."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The stream cannot be read, or no longer."""

    fault: StreamFault
    detail: str


Message = Order | Opened | Reformatted | Decoded | Ended | Failed
_TYPES: dict[str, type[Message]] = {
    kind.__name__: kind for kind in (Order, Opened, Reformatted, Decoded, Ended, Failed)
}


def send(sock: socket.socket, message: Message, fd: int | None = None) -> None:
    """Send a message, and with it a file descriptor.

    Raises:
        OSError: the other side is gone.
    """
    data = json.dumps([type(message).__name__, asdict(message)]).encode()
    socket.send_fds(sock, [data], [] if fd is None else [fd])


def receive(sock: socket.socket) -> tuple[Message | None, int | None]:
    """The next message, None once the other side is gone, and the descriptor that came with it.

    Raises:
        OSError: the socket is closed.
    """
    try:
        data, fds, _, _ = socket.recv_fds(sock, _LARGEST_MESSAGE, 1)
    except ConnectionResetError:
        # The other side went without reading all that it was sent: told once, ahead of what it said last.
        data, fds, _, _ = socket.recv_fds(sock, _LARGEST_MESSAGE, 1)
    if not data:
        return None, None
    name, content = json.loads(data)
    return _TYPES[name](**content), fds[0] if fds else None


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets that keep messages apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
