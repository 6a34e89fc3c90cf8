"""Basic and Digest authentication."""

import base64
import hashlib
import re

import pytest

from app.ingest.camera.credentials import Credentials


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()  # noqa: S324


def digest(challenge: str, user: str, password: str, method: str = "DESCRIBE", *, qop: bool = False) -> str:
    """What a client answers."""
    given = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    secret, request = md5(f"{user}:{given['realm']}:{password}"), md5(f"{method}:rtsp://h/s")
    middle = f"{given['nonce']}:00000001:ab:auth" if qop else given["nonce"]
    parts = {"username": user, "realm": given["realm"], "nonce": given["nonce"], "uri": "rtsp://h/s"}
    text = ", ".join(f'{name}="{value}"' for name, value in parts.items())
    extra = ', qop=auth, nc=00000001, cnonce="ab"' if qop else ""
    return f'Digest {text}{extra}, response="{md5(f"{secret}:{middle}:{request}")}"'


@pytest.mark.parametrize("qop", [False, True])
def test_digest_lets_in_who_knows_the_password(qop: bool) -> None:
    allowed = Credentials("ann", "s:cret")
    challenge = allowed.challenge()
    assert allowed.accept(digest(challenge, "ann", "s:cret", qop=qop), "DESCRIBE")
    assert not allowed.accept(digest(challenge, "ann", "other", qop=qop), "DESCRIBE")
    assert not allowed.accept(digest(challenge, "bob", "s:cret", qop=qop), "DESCRIBE")
    assert not allowed.accept(digest(challenge, "ann", "s:cret", "PLAY", qop=qop), "DESCRIBE")
    assert not allowed.accept(digest(Credentials("ann", "s:cret").challenge(), "ann", "s:cret"), "DESCRIBE")


def test_basic_lets_in_who_knows_the_password() -> None:
    allowed = Credentials("ann", "s:cret", "basic")
    assert allowed.challenge().startswith("Basic realm=")
    assert allowed.accept("Basic " + base64.b64encode(b"ann:s:cret").decode(), "PLAY")
    assert not allowed.accept("Basic " + base64.b64encode(b"ann:other").decode(), "PLAY")


@pytest.mark.parametrize("scheme", ["basic", "digest"])
@pytest.mark.parametrize(
    "header", [None, "", "Basic", "Basic !!!", "Digest", "Digest response=", "Bearer x", "Basic \xff"]
)
def test_garbage_lets_nobody_in(scheme: str, header: str | None) -> None:
    allowed = Credentials("ann", "secret", "basic" if scheme == "basic" else "digest")
    assert not allowed.accept(header, "PLAY")


def test_the_password_is_not_shown() -> None:
    assert "secret" not in repr(Credentials("ann", "secret"))
