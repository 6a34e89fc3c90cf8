"""Logging, set up in one place: structured, without credentials, without floods."""

import logging
import re
import threading
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, Literal, TextIO

import structlog

from app.core.clock import Clock, SystemClock

LogFormat = Literal["json", "pretty"]

# Whatever a text holds, these take time in proportion to its length: each begins with fixed words.
_CREDENTIALS = re.compile(r"://(?!USER:PASSWORD@)[^\s/?#]*@")
"""Up to the last `@` of the host's part: passwords hold others."""
_SECRET_PARAMETER = re.compile(
    r"(?P<name>(?:(?<![a-z])(?:(?:login)?pas|pass|passwd|password|passphrase|psw|pwd|pw|token|secret|auth(?:basic)?|"
    r"(?:api|access|auth|secret)_?key|credentials?)|(?<=[?&])key)=)[^\s&;/?#\"'<>]+",
    re.IGNORECASE,
)
"""Anywhere: some cameras have them in the path, as `/user=…_password=…_channel=1`."""
_TOKEN = re.compile(
    r"\bflx_[A-Za-z0-9_-]{20,}|(?<=\bbearer[ .])[^\s\"',]{8,}"
    r"|(?<=\bauthorization: bearer )\S+|(?<=\bauthorization: basic )\S+",
    re.IGNORECASE,
)
_QUIET = ("uvicorn.access", "asyncio", "websockets", "httpx", "httpcore", "PIL", "multipart")


def redact(text: str) -> str:
    """The text without user names, passwords and tokens in URLs."""
    text = _TOKEN.sub("***", _CREDENTIALS.sub("://***@", text))
    return _SECRET_PARAMETER.sub(r"\g<name>***", text)


def redact_url(url: str) -> str:
    """An address without what may be secret in it: user, password, parameters of any name."""
    shown, question, _ = redact(url).partition("?")
    return shown + ("?***" if question else "")


def bind_log_context(**values: str) -> AbstractContextManager[object]:
    """Add values to every line logged from this thread or task inside the block."""
    return structlog.contextvars.bound_contextvars(**values)


def setup_logging(log_format: LogFormat, level: str, stream: TextIO | None = None, clock: Clock | None = None) -> None:
    """Send everything that is logged in this process to one stream, standard error by default.

    Args:
        level: `debug`, `info`, `warning` or `error`.
    """
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.stdlib.ExtraAdder(),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _without_duplicate_message,
            structlog.processors.format_exc_info,  # before redaction, so that tracebacks are redacted too
            redact_processor,
            renderer,
        ],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    handler.addFilter(RepeatFilter(clock or SystemClock()))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _without_duplicate_message(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """uvicorn sends each message a second time, with colours for terminals."""
    event.pop("color_message", None)
    return event


def redact_processor(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Redact every text of a log line, however deep."""
    for key, value in event.items():
        event[key] = _redacted(value)
    return event


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, BaseException):
        return redact(repr(value))
    if isinstance(value, Mapping):
        return {key: _redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    return value


class RepeatFilter(logging.Filter):
    """Lets one message of a kind through each second; the next one tells how many were left out.

    The kind is logger, level, unformatted message, session and state: no change of state is left out. Any thread.
    """

    def __init__(self, clock: Clock, period_s: float = 1.0, max_kinds: int = 1000) -> None:
        super().__init__()
        self._now_s: Callable[[], float] = clock.now_s
        self._period_s = period_s
        self._max_kinds = max_kinds
        self._lock = threading.Lock()
        self._kinds: dict[tuple[object, ...], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write this one."""
        bound = structlog.contextvars.get_contextvars()
        about = tuple(getattr(record, name, bound.get(name)) for name in ("session_id", "state"))
        kind = (record.name, record.levelno, str(record.msg), about)
        now_s = self._now_s()
        with self._lock:
            last_s, n_left_out = self._kinds.get(kind, (float("-inf"), 0))
            if now_s - last_s < self._period_s:
                self._kinds[kind] = (last_s, n_left_out + 1)
                return False
            if len(self._kinds) >= self._max_kinds:
                self._kinds.clear()
            self._kinds[kind] = (now_s, 0)
        if n_left_out:
            record.n_repeats = n_left_out
        return True
