"""From what a session names to a decoding process, by what the operator allows."""

import ssl
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import certifi

from app.core.errors import AddressForbidden, SourceError, StreamUnreachable
from app.ingest.live.address import AddressPolicy, check, pin
from app.ingest.live.process import DecoderProcess
from app.ingest.live.wire import Kind, Order, Transport

_N_SLOTS = 8
"""One is written, one is the newest, one waits, one is looked at, one is shown; the rest is for who holds on longer."""


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens live streams and recordings."""

    policy: AddressPolicy
    root: Path | None = None
    """Folder of the recordings that may be opened; None: none may be."""
    hwaccel: str | None = None
    tls_verify: bool = True
    """Encrypted streams only from whom an authority vouches for,"""
    ca_file: Path | None = None
    """one of these; None: of the system's."""
    open_timeout_s: float = 10.0

    def check(self, kind: Kind, address: str, *, is_trusted: bool = False) -> None:
        """Make sure that a source may be opened; one that is not there now may come later.

        Raises:
            AddressForbidden: it may not.
            SourceError: it is no address of a stream, or no recording.
        """
        if kind == "file":
            self._below_root(address)
        elif is_trusted:
            check(address)
        else:
            with suppress(StreamUnreachable):
                pin(address, self.policy)

    def open(self, kind: Kind, address: str, transport: Transport, *, is_trusted: bool = False) -> DecoderProcess:
        """Start to open a source.

        Raises:
            AddressForbidden, SourceError: as `check`.
            StreamUnreachable: nobody knows the host.
            OSError: no process can be started.
        """
        if kind == "file":
            path = str(self._below_root(address))
            return DecoderProcess(Order("file", path, None, transport, self.open_timeout_s, self.hwaccel, _N_SLOTS))
        if is_trusted:
            url, only_host = address, None
        else:
            pinned = pin(address, self.policy)
            url, only_host = pinned.url, pinned.host
        order = Order("rtsp", url, only_host, transport, self.open_timeout_s, self.hwaccel, _N_SLOTS)
        return DecoderProcess(self._believing(order, urlsplit(address)))

    def _believing(self, order: Order, address: SplitResult) -> Order:
        """An order for a stream, with what its certificate has to say."""
        if address.scheme != "rtsps" or not self.tls_verify:
            return order
        authorities = self.ca_file or ssl.get_default_verify_paths().cafile or certifi.where()
        return replace(order, certified_host=address.hostname, ca_file=str(authorities))

    def _below_root(self, name: str) -> Path:
        if self.root is None:
            raise AddressForbidden("Recordings cannot be opened as sources: the operator has set no source_root.")
        root = self.root.resolve()
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            raise AddressForbidden(f"{name!r} is not below the service's source_root.")
        if not path.exists():
            raise SourceError(f"There is no recording {name!r} below the service's source_root.")
        return path
