"""Sessions that fetch their frames, kept over restarts of the service: one row each in a SQLite file."""

import fcntl
import logging
import os
import sqlite3
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from app.core.errors import FlexPatchError, SettingsError, StoreFailed
from app.sessions.model import SessionSpec

logger = logging.getLogger(__name__)

_SPECS = TypeAdapter(SessionSpec)
_TABLE = "CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, spec TEXT NOT NULL) STRICT"
_LOCK_TIMEOUT_S = 5.0


class SessionStore:
    """Any thread may call. The file may hold passwords of cameras, and is its owner's alone."""

    def __init__(self, path: Path) -> None:
        """Make the file, if there is none.

        Raises:
            SettingsError: it cannot be made, or is something else.
        """
        self._path = path
        self.release: Callable[[], object] = lambda: None
        """Ends the claim, if there is one; once is enough."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _make_private(path)
            with self._open() as database:
                database.execute(_TABLE)
        except (OSError, StoreFailed) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise SettingsError(f"state_file {path} cannot be used ({reason}): name another, or null.") from error

    def claim(self) -> None:
        """Have it for oneself, until `release` or the end of the process.

        Raises:
            SettingsError: another service has it.
        """
        # Beside the file: closing any handle of the file itself would end SQLite's own locks.
        beside = self._path.with_name(f"{self._path.name}.lock")
        with ExitStack() as opened:
            try:
                handle = os.open(beside, os.O_CREAT | os.O_RDWR, 0o600)
                opened.callback(os.close, handle)
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SettingsError(
                    f"state_file {self._path} is another service's that runs now: give this one a file of its own, "
                    "or null."
                ) from error
            except OSError as error:
                raise SettingsError(
                    f"state_file {self._path} cannot be kept from others ({error.strerror}): name another, or null."
                ) from error
            opened.pop_all()
        self.release = weakref.finalize(self, os.close, handle)

    def save(self, spec: SessionSpec) -> None:
        """Keep a session, or what has become of it.

        Raises:
            StoreFailed: it cannot be written.
        """
        document = _SPECS.dump_json(spec).decode()
        with self._open() as database:
            database.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?)", (spec.id, document))

    def forget(self, session_id: str) -> None:
        """Keep a session no longer; nothing happens if it is not kept.

        Raises:
            StoreFailed: it cannot be written.
        """
        with self._open() as database:
            database.execute("DELETE FROM sessions WHERE id = ?", (session_id,))

    def all(self) -> list[SessionSpec]:
        """All that is kept, in the order in which it came. What cannot be understood is logged and left out.

        Raises:
            StoreFailed: it cannot be read.
        """
        with self._open() as database:
            rows = database.execute("SELECT id, spec FROM sessions ORDER BY rowid").fetchall()
        specs = []
        for session_id, document in rows:
            try:
                specs.append(_SPECS.validate_json(document))
            except (ValidationError, FlexPatchError):
                logger.error("kept session cannot be read", extra={"session_id": session_id})  # noqa: TRY400
        return specs

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=_LOCK_TIMEOUT_S)) as database, database:
                yield database
        except sqlite3.Error as error:
            raise StoreFailed(
                f"The service's record of sessions, {self._path.name}, cannot be used: {error}."
            ) from error


def _make_private(path: Path) -> None:
    """Make a file if there is none, and have nobody else read it: cameras' passwords are in it."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        with suppress(PermissionError):  # it is somebody else's, who lets us write
            os.fchmod(handle, 0o600)
    finally:
        os.close(handle)
