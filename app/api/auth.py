"""Who may do what: bearer tokens, each with a role.

A token is 256 random bits, so that its SHA-256 is all that need be kept, and no guess is worth an attempt.
"""

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import problems
from app.api.pages import DOCS_PATH, FILES_PATH
from app.core.errors import SettingsError
from app.telemetry.logs import bind_log_context

Role = Literal["read", "push", "admin"]
"""read: results, pictures, state, metrics; push: also frames; admin: also making, changing and ending sessions."""

_RANK: Mapping[Role, int] = {role: rank for rank, role in enumerate(get_args(Role))}
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TOKEN = re.compile(r"(?P<role>[a-z]+):(?P<name>[A-Za-z0-9._-]{1,64}):(?P<sha256>[0-9a-fA-F]{64})")
_PREFIX = "flx_"
_RANDOM_BYTES = 32

_OPEN = frozenset({"/", "/livez", "/readyz", "/openapi.json", DOCS_PATH})
"""What anyone may see: whether the service lives, how it is used, and the dashboard, which then asks for a token."""
_OPEN_FOLDER = f"{FILES_PATH}/"
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_FRAMES = re.compile(r"/sessions/[^/]+/(frames|ws)")
_WATCHED = re.compile(r"/sessions/[^/]+/live")
_BEARER_PROTOCOL = "bearer."
_STATE = "token"
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="flexpatch"'}


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is accepted, without the token."""

    name: str
    role: Role
    sha256: str

    def __str__(self) -> str:
        """As the settings have it."""
        return f"{self.role}:{self.name}:{self.sha256}"


def new_token(name: str, role: Role) -> tuple[str, Token]:
    """A token for its holder, and what is kept of it.

    Raises:
        SettingsError: it cannot be named so.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(f"A token's name has letters, digits, '.', '_' and '-', 64 at most; {name!r} has not.")
    secret = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    return secret, Token(name, role, _digest(secret))


def parse_tokens(texts: Sequence[str]) -> tuple[Token, ...]:
    """Tokens as the settings have them: `role:name:sha256`.

    Raises:
        SettingsError: one is not understood, or two have one name.
    """
    tokens: dict[str, Token] = {}
    for text in texts:
        match = _TOKEN.fullmatch(text)
        if not match or match["role"] not in _RANK:
            # The text may be a token that somebody pasted by mistake.
            raise SettingsError(
                f"tokens: number {len(tokens) + 1} is not understood; write role:name:sha256 with one of "
                f"{', '.join(_RANK)}, as `flexpatch token NAME --role ROLE` prints it."
            )
        if match["name"] in tokens:
            raise SettingsError(f"tokens: there are two of the name {match['name']!r}.")
        tokens[match["name"]] = Token(match["name"], cast("Role", match["role"]), match["sha256"].lower())
    return tuple(tokens.values())


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens at an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def needed_role(method: str, path: str) -> Role | None:
    """What a request takes; None: nothing.

    Args:
        method: of HTTP, or `WEBSOCKET`.
    """
    if method == "OPTIONS" or (method in _READING and (path in _OPEN or path.startswith(_OPEN_FOLDER))):
        return None
    if _FRAMES.fullmatch(path) and method in {"POST", "WEBSOCKET"}:
        return "push"
    is_reading = method in _READING or (method == "WEBSOCKET" and _WATCHED.fullmatch(path))
    return "read" if is_reading else "admin"


def token_of(scope: Scope) -> Token | None:
    """Whose request it is; None: nobody was asked."""
    return cast("Token | None", scope.get("state", {}).get(_STATE))


class AuthMiddleware:
    """Lets requests through that have a token of a sufficient role."""

    def __init__(self, app: ASGIApp, tokens: Sequence[Token]) -> None:
        self._app = app
        self._tokens = tuple(tokens)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        role = needed_role(scope.get("method", "WEBSOCKET"), scope["path"])
        if role is None:
            await self._app(scope, receive, send)
            return
        try:
            token = self._admit(_authorization(scope), role)
        except HTTPException as error:
            await problems.refuse(problems.response(error, scope["path"]), scope, receive, send)
            return
        scope.setdefault("state", {})[_STATE] = token
        with bind_log_context(token=token.name):
            await self._app(scope, receive, send)

    def _admit(self, header: str, role: Role) -> Token:
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise HTTPException(401, "Send a token: Authorization: Bearer …", _CHALLENGE)
        token = self._known(secret.strip())
        if token is None:
            raise HTTPException(401, "The token is not known.", _CHALLENGE | _error("invalid_token"))
        if _RANK[token.role] < _RANK[role]:
            raise HTTPException(
                403,
                f"The token {token.name!r} has the role {token.role}, and this takes {role}.",
                _CHALLENGE | _error("insufficient_scope"),
            )
        return token

    def _known(self, secret: str) -> Token | None:
        digest = _digest(secret)
        # All are compared, so that the time says nothing of which it was.
        found = [token for token in self._tokens if hmac.compare_digest(token.sha256, digest)]
        return found[0] if found else None


def _authorization(scope: Scope) -> str:
    """The header; of a WebSocket also, since browsers send no header with it, a protocol `bearer.TOKEN`."""
    offered = (name for name in scope.get("subprotocols", ()) if name.startswith(_BEARER_PROTOCOL))
    named = next(offered, None)
    if named is None:
        return Headers(scope=scope).get("authorization", "")
    # A protocol takes some of the characters that a token may have only encoded.
    return f"Bearer {unquote(named.removeprefix(_BEARER_PROTOCOL))}"


def _error(code: str) -> dict[str, str]:
    return {"WWW-Authenticate": f'{_CHALLENGE["WWW-Authenticate"]}, error="{code}"'}


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
