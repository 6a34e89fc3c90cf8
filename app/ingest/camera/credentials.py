"""Who may watch a simulated camera: Basic and Digest authentication (RFC 2617), as cameras do it."""

import base64
import binascii
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from typing import Literal

Scheme = Literal["basic", "digest"]
REALM = "FlexPatch camera"
_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,]+))')


@dataclass(frozen=True, slots=True)
class Credentials:
    """The one user that may watch."""

    user: str
    password: str = field(repr=False)
    scheme: Scheme = "digest"
    nonce: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    def challenge(self) -> str:
        """`WWW-Authenticate`."""
        if self.scheme == "basic":
            return f'Basic realm="{REALM}"'
        return f'Digest realm="{REALM}", nonce="{self.nonce}", algorithm="MD5"'

    def accept(self, authorization: str | None, method: str) -> bool:
        """Whether a request's `Authorization` proves to know the password."""
        kind, _, rest = (authorization or "").partition(" ")
        if kind.lower() != self.scheme:
            return False
        return self._accept_basic(rest) if self.scheme == "basic" else self._accept_digest(rest, method)

    def _accept_basic(self, encoded: str) -> bool:
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        return secrets.compare_digest(given, f"{self.user}:{self.password}".encode())

    def _accept_digest(self, text: str, method: str) -> bool:
        given = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(text)}
        secret = _md5(f"{self.user}:{REALM}:{self.password}")
        request = _md5(f"{method}:{given.get('uri', '')}")
        between = [self.nonce]
        if "qop" in given:
            between += [given.get("nc", ""), given.get("cnonce", ""), given["qop"]]
        expected = _md5(":".join([secret, *between, request]))
        is_ours = given.get("username") == self.user and given.get("nonce") == self.nonce
        return is_ours and secrets.compare_digest(given.get("response", "").encode(), expected.encode())


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - RTSP's Digest knows no other
