"""Which addresses streams may be fetched from: opening a session must be no way into the operator's network."""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from app.core.errors import AddressForbidden, SettingsError, SourceError, StreamUnreachable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

SCHEMES = frozenset({"rtsp", "rtsps"})
_PORTS = {"rtsp": 554, "rtsps": 322}
_LONGEST_URL = 2000
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_METADATA = frozenset(map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200")))
"""Where clouds tell their machines secrets."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Public addresses, and what an operator names besides."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()
    """Names in lower case; whatever they resolve to may be opened, if it can be a camera."""

    def allows(self, host: str, address: Address) -> bool:
        """Whether a stream may be fetched from an address that a host's name stands for."""
        if any(address.version == network.version and address in network for network in self.networks):
            return True
        inner = _inner(address)
        if inner != address:
            return self.allows(host, inner)
        if address in _METADATA or address.is_link_local or address.is_multicast or address.is_unspecified:
            return False
        return address.is_global or host.lower().rstrip(".") in self.hosts


@dataclass(frozen=True, slots=True)
class PinnedUrl:
    """An address that was looked up and may be opened."""

    url: str
    """With a number for the host's name, so that it cannot come to stand for another; may hold a password."""
    host: str
    """The number."""


def parse_policy(entries: Sequence[str]) -> AddressPolicy:
    """Read networks (`10.0.0.0/8`), single addresses and host names.

    Raises:
        SettingsError: an entry is neither.
    """
    networks: list[Network] = []
    hosts: set[str] = set()
    for entry in filter(None, (entry.strip() for entry in entries)):
        try:
            networks.append(ipaddress.ip_network(entry, strict=False))
        except ValueError as error:
            if not _is_name(entry):
                raise SettingsError(
                    f"source_allow: {entry!r} is neither a network (10.0.0.0/8), an address nor a host name."
                ) from error
            hosts.add(entry.lower().rstrip("."))
    return AddressPolicy(tuple(networks), frozenset(hosts))


def pin(url: str, policy: AddressPolicy, resolve: Resolve | None = None) -> PinnedUrl:
    """Look a stream's host up, and make sure that it may be opened; takes as long as the resolver does.

    Args:
        resolve: host and port to addresses; None: the system's.
    Raises:
        SourceError: it is no address of a stream.
        StreamUnreachable: nobody knows the host.
        AddressForbidden: it may not be opened.
    """
    parts = _checked(url)
    host = parts.hostname or ""
    port = parts.port or _PORTS[parts.scheme]
    try:
        found = [ipaddress.ip_address(text.partition("%")[0]) for text in (resolve or _resolve)(host, port)]
    except (OSError, ValueError) as error:
        raise StreamUnreachable(f"No address is known of {host}.") from error
    allowed = next((address for address in found if policy.allows(host, address)), None)
    if allowed is None:
        raise AddressForbidden(
            f"Streams of {host} may not be opened: it is not a public address, and source_allow does not name it."
        )
    number = f"[{allowed}]" if allowed.version == 6 else str(allowed)
    user, at, _ = parts.netloc.rpartition("@")
    return PinnedUrl(parts._replace(netloc=f"{user}{at}{number}:{port}").geturl(), str(allowed))


def check(url: str) -> None:
    """Make sure that it is the address of a stream.

    Raises:
        SourceError: it is none.
    """
    _checked(url)


def _checked(url: str) -> SplitResult:
    if len(url) <= _LONGEST_URL and url.isprintable() and " " not in url:
        with suppress(ValueError):
            parts = urlsplit(url)
            if parts.scheme in SCHEMES and parts.hostname and parts.port != 0:
                return parts
    raise SourceError("A stream's address must be rtsp://HOST[:PORT]/PATH or rtsps://…, without spaces.")


def _resolve(host: str, port: int) -> Sequence[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, if it does; otherwise itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)


def _is_name(text: str) -> bool:
    labels = text.rstrip(".").split(".")
    is_number = all(label.isdecimal() for label in labels)
    return not is_number and all(
        label and len(label) < 64 and label.replace("-", "").replace("_", "").isalnum() for label in labels
    )
