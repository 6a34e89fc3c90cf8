"""What a decoding process reports, as errors that say what to do."""

from collections.abc import Mapping
from types import MappingProxyType

from app.core.errors import (
    AddressForbidden,
    SourceError,
    StreamBroken,
    StreamNotFound,
    StreamTimedOut,
    StreamTlsFailed,
    StreamUnauthorised,
    StreamUndecodable,
    StreamUnreachable,
)
from app.ingest.live.wire import Failed, StreamFault

_FAILURES: Mapping[StreamFault, tuple[type[SourceError], str]] = MappingProxyType(
    {
        "unreachable": (StreamUnreachable, "cannot be reached: check address and port"),
        "authentication": (StreamUnauthorised, "wants another user or password: write rtsp://USER:PASSWORD@HOST/PATH"),
        "not_found": (StreamNotFound, "has no such stream: check the path"),
        "codec": (StreamUndecodable, "sends nothing that can be decoded"),
        "tls": (StreamTlsFailed, "cannot be reached by TLS: if its certificate is its own, name it in source_ca_file"),
        "timeout": (StreamTimedOut, "does not answer"),
        "protocol": (StreamBroken, "sends what is no stream"),
        "forbidden": (AddressForbidden, "sends us to another address, which is not followed"),
        "internal": (StreamBroken, "cannot be read"),
    }
)
_WITH_DETAIL = frozenset({"codec", "internal"})


def stream_error(name: str, failed: Failed) -> SourceError:
    """The error that a failure is.

    Args:
        name: of the camera or file, fit to be shown.
    """
    kind, sentence = _FAILURES[failed.fault]
    detail = f" ({failed.detail})" if failed.fault in _WITH_DETAIL else ""
    return kind(f"{name} {sentence}{detail}.")
