"""Fetching a file over HTTP that goes on where it stopped, in this run of the program or in a later one."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx

from app.core.errors import DownloadFailed
from app.core.manifest import sha256_of

ATTEMPTS = 4
PAUSE_S = 1.0
"""Before the second attempt; doubled before each further one."""
TIMEOUT_S = 30.0
"""Without a byte for so long, an attempt has failed."""

Advance = Callable[[int, int | None], None]
"""Bytes that are there by now, and in all if that is known."""


@dataclass(frozen=True, slots=True)
class _Origin:
    """Of which document a partial file is the beginning."""

    address: str
    """Its SHA-256: the address itself may hold a password."""
    validator: str
    """Its strong ETag or date of change (RFC 9110, 13.1.5); empty: the server has neither."""

    @classmethod
    def of(cls, part: Path) -> "_Origin | None":
        try:
            content = json.loads(_note_of(part).read_text(encoding="utf-8"))
            return cls(str(content["address"]), str(content["validator"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, part: Path) -> None:
        _note_of(part).write_text(json.dumps(asdict(self)), encoding="utf-8")


class DocumentMissing(DownloadFailed):
    """The server knows no such document."""


class _Transient(Exception):
    """The same request may succeed later."""


def fetch(
    address: str,
    part: Path,
    advance: Advance,
    *,
    n_bytes_most: int,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Bring a document to the file `part`.

    What `part` holds of the same, unchanged document is kept, and only the rest is fetched. An attempt that breaks off
    is followed by others. Whatever happens, `part` is left for the next time.

    Args:
        n_bytes_most: a longer document is refused.
    Raises:
        DocumentMissing: there is no such document.
        DownloadFailed: it is too long, or the connection failed again and again.
        OSError: `part` cannot be written.
    """
    shown = without_credentials(address)
    last: Exception | None = None
    with httpx.Client(follow_redirects=True, timeout=TIMEOUT_S) as client:
        for attempt in range(ATTEMPTS):
            if attempt:
                pause(PAUSE_S * 2 ** (attempt - 1))
            try:
                _attempt(client, address, part, advance, n_bytes_most)
            except (httpx.TransportError, _Transient) as error:
                last = error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise DownloadFailed(f"{shown} could not be fetched: {error}.") from error
            else:
                return
    reason = str(last).rstrip(".") or type(last).__name__
    raise DownloadFailed(
        f"{shown} could not be fetched in {ATTEMPTS} attempts: {reason}. What has come is kept; try again later."
    ) from last


def discard(part: Path) -> None:
    """Remove a partial file and what is known of it."""
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


def without_credentials(address: str) -> str:
    """The address without user name, password and query, which may hold secrets."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _note_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.origin")


def _attempt(client: httpx.Client, address: str, part: Path, advance: Advance, n_bytes_most: int) -> None:
    origin = _Origin.of(part)
    digest = sha256_of(address.encode())
    is_begun = origin is not None and origin.address == digest and origin.validator
    n_have = part.stat().st_size if is_begun and part.exists() else 0
    # Without compression, a byte of the document is a byte of the answer.
    headers = {"Accept-Encoding": "identity"}
    if origin and n_have:
        headers |= {"Range": f"bytes={n_have}-", "If-Range": origin.validator}
    with client.stream("GET", address, headers=headers) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and n_have:
            if response.headers.get("Content-Range") == f"bytes */{n_have}":
                return
            discard(part)
            raise _Transient("the document has changed")
        _check(response, address)
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {n_have}-"):
                discard(part)
                raise _Transient("the server sent another part than was asked for")
        else:
            n_have = 0
        _Origin(digest, _validator(response)).write(part)
        _receive(response, part, n_have, advance, n_bytes_most)


def _check(response: httpx.Response, address: str) -> None:
    status = response.status_code
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.REQUEST_TIMEOUT,
    }:
        raise _Transient(f"the server answered {status} {response.reason_phrase}")
    if status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
        kind = DocumentMissing if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE} else DownloadFailed
        raise kind(
            f"{without_credentials(address)} could not be fetched: the server answered {status} "
            f"{response.reason_phrase}."
        )
    if urlsplit(address).scheme == "https" and response.url.scheme != "https":
        raise DownloadFailed(f"{without_credentials(address)} leads to an address without encryption; not followed.")


def _validator(response: httpx.Response) -> str:
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _receive(response: httpx.Response, part: Path, n_have: int, advance: Advance, n_bytes_most: int) -> None:
    length = response.headers.get("Content-Length", "")
    n_all = n_have + int(length) if length.isdigit() else None
    too_long = DownloadFailed(
        f"{without_credentials(str(response.request.url))} is longer than the {n_bytes_most} bytes expected; "
        "it is not the model."
    )
    if n_all is not None and n_all > n_bytes_most:
        discard(part)
        raise too_long
    with part.open("ab" if n_have else "wb") as file:
        for piece in response.iter_raw():
            file.write(piece)
            n_have += len(piece)
            if n_have > n_bytes_most:
                discard(part)
                raise too_long
            advance(n_have, n_all)
