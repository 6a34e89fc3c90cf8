"""Fetching a file over HTTP that goes on where it stopped, in this run of the program or in a later one."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import NoReturn
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

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class DocumentMissing(DownloadFailed):
    """The server knows no such document."""


class _Transient(Exception):
    """The same request may succeed later."""


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


def fetch(
    address: str,
    part: Path,
    advance: Advance,
    *,
    n_bytes: int | None = None,
    n_bytes_most: int,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Bring a document to the file `part`.

    What `part` holds of the same, unchanged document is kept, if the server can tell that it is unchanged, and only the
    rest is fetched. An attempt that breaks off is followed by others. Whatever happens, `part` is left for the next
    time.

    Args:
        n_bytes: how long the document is, if that is known.
        n_bytes_most: a longer document is refused.
    Raises:
        DocumentMissing: there is no such document.
        DownloadFailed: it is too long, or the connection failed again and again.
        OSError: `part` cannot be written.
    """
    shown = without_credentials(address)
    try:
        client = httpx.Client(follow_redirects=True, timeout=TIMEOUT_S)
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise DownloadFailed(
            f"{shown} cannot be fetched: a proxy is set that cannot be used (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, "
            "NO_PROXY)."
        ) from error
    last: Exception | None = None
    with client:
        for attempt in range(ATTEMPTS):
            if attempt:
                pause(PAUSE_S * 2 ** (attempt - 1))
            try:
                _Attempt(address, part, advance, n_bytes, n_bytes_most).run(client)
            except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects) as error:
                raise DownloadFailed(f"{shown} could not be fetched: it, or where it leads, is no address.") from error
            except (httpx.TransportError, _Transient) as error:
                last = error
            else:
                return
    kept = " What has come is kept; try again later." if part.exists() and part.stat().st_size else ""
    raise DownloadFailed(f"{shown} could not be fetched in {ATTEMPTS} attempts: {_reason(last)}.{kept}") from last


def discard(part: Path) -> None:
    """Remove a partial file and what is known of it."""
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


def without_credentials(address: str) -> str:
    """The address without user name, password and query, which may hold secrets."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "the address"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _note_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.origin")


def _reason(error: Exception | None) -> str:
    """What went wrong; nothing of an address, which may hold secrets."""
    text = str(error).rstrip(".")
    return text if text and "URL" not in text else type(error).__name__


class _Attempt:
    """One request, and what comes of it."""

    def __init__(self, address: str, part: Path, advance: Advance, n_bytes: int | None, n_bytes_most: int) -> None:
        self._address = address
        self._shown = without_credentials(address)
        self._part = part
        self._advance = advance
        self._n_bytes = n_bytes
        self._n_bytes_most = n_bytes_most

    def run(self, client: httpx.Client) -> None:
        digest = sha256_of(self._address.encode())
        origin = _Origin.of(self._part)
        if origin is None or origin.address != digest or not origin.validator or not self._part.exists():
            origin = None
        n_have = self._part.stat().st_size if origin else 0
        # Without compression, a byte of the document is a byte of the answer.
        headers = {"Accept-Encoding": "identity"}
        if origin and n_have:
            headers |= {"Range": f"bytes={n_have}-", "If-Range": origin.validator}
        with client.stream("GET", self._address, headers=headers) as response:
            if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and n_have:
                if response.headers.get("Content-Range") != f"bytes */{n_have}":
                    self._start_anew("the document has changed")
                return
            self._check(response)
            if response.status_code == HTTPStatus.PARTIAL_CONTENT and origin:
                self._receive(response, n_have, self._check_part(response, n_have, origin))
            else:
                discard(self._part)
                _Origin(digest, _validator(response)).write(self._part)
                self._receive(response, 0, self._length(response))

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        said = f"the server answered {status} {response.reason_phrase}"
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in {
            HTTPStatus.TOO_MANY_REQUESTS,
            HTTPStatus.REQUEST_TIMEOUT,
        }:
            raise _Transient(said)
        if status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            kind = DocumentMissing if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE} else DownloadFailed
            raise kind(f"{self._shown} could not be fetched: {said}.")
        way = [*response.history, response]
        if way[0].url.scheme == "https" and any(step.url.scheme != "https" for step in way):
            raise DownloadFailed(f"{self._shown} leads to an address without encryption; not followed.")

    def _check_part(self, response: httpx.Response, n_have: int, origin: _Origin) -> int:
        """The length of the document of which the answer is the rest."""
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not found or int(found[1]) != n_have:
            self._start_anew("the server sent another part than was asked for")
        # Not every server that knows ranges knows If-Range.
        if _validator(response) not in {"", origin.validator}:
            self._start_anew("the document has changed")
        assert found is not None  # noqa: S101 - or it would have started anew
        return int(found[3])

    def _length(self, response: httpx.Response) -> int | None:
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdigit() else self._n_bytes

    def _start_anew(self, reason: str) -> NoReturn:
        discard(self._part)
        raise _Transient(reason)

    def _receive(self, response: httpx.Response, n_have: int, n_all: int | None) -> None:
        self._refuse_too_long(n_all or 0)
        with self._part.open("ab" if n_have else "wb") as file:
            for piece in response.iter_raw():
                n_have += len(piece)
                self._refuse_too_long(n_have)
                file.write(piece)
                self._advance(n_have, n_all)
        if n_all is not None and n_have < n_all:
            raise _Transient(f"the connection ended after {n_have} of {n_all} bytes")

    def _refuse_too_long(self, n_bytes: int) -> None:
        if n_bytes > self._n_bytes_most:
            discard(self._part)
            raise DownloadFailed(
                f"{self._shown} is longer than the {self._n_bytes_most} bytes expected; it is not the model."
            )


def _validator(response: httpx.Response) -> str:
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
