"""Engines that are built in the background, by a process of their own: TensorRT may take minutes, or crash."""

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from app.detect.network import one_line

logger = logging.getLogger(__name__)

BuildCommand = Callable[[Path, str | None], Sequence[str]]
"""The command that builds the engine of a model file, of a family if one was named, into the cache."""
OnDone = Callable[[str], None]
"""Takes why there is no engine; nothing if there is one."""

_PATIENCE_S = 1.0
"""Until processes that were told to end are killed: TensorRT hears of nothing while it builds, and files are whole or
not there."""
_CLOSING = "the service is shutting down"


class EngineBuilds:
    """Builds that are under way, one of each model. Any thread may call."""

    def __init__(self, command: BuildCommand) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._waiting: dict[Path, list[OnDone]] = {}
        """Who is told at the end of a build in the background."""
        self._closed = threading.Event()

    def is_under_way(self, model: Path) -> bool:
        """Whether the model's engine is being built in the background."""
        with self._lock:
            return model in self._waiting

    def start(self, model: Path, family: str | None, on_done: OnDone) -> None:
        """Have an engine built, or wait for the build that is under way.

        Args:
            family: of the detector, if it was named.
            on_done: called by a thread of its own.
        """
        with self._lock:
            is_first = model not in self._waiting
            self._waiting.setdefault(model, []).append(on_done)
        if is_first:
            threading.Thread(target=self._build, args=(model, family), name="engine-build", daemon=True).start()

    def build(self, model: Path, family: str | None) -> str:
        """Build an engine, and wait for it.

        Returns:
            Why there is none; nothing if there is one.
        """
        with self._lock:
            if self._closed.is_set():
                return _CLOSING
            try:
                process = subprocess.Popen(  # noqa: S603 - a command of ours
                    list(self._command(model, family)),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                )
            except OSError as error:
                return f"the process that builds it cannot be started: {error}"
            self._running.add(process)
        _, said = process.communicate()
        with self._lock:
            self._running.discard(process)
        if process.returncode == 0:
            return ""
        if self._closed.is_set():
            return _CLOSING
        lines = [line for line in said.splitlines() if line.strip()]
        last = lines[-1].removeprefix("Error: ") if lines else "it says nothing"
        return one_line(f"building it ended with status {process.returncode}: {last}")

    def _build(self, model: Path, family: str | None) -> None:
        logger.info("an engine is built in the background", extra={"model": str(model)})
        reason = self.build(model, family)
        if reason and reason != _CLOSING:
            logger.error("no engine was built", extra={"model": str(model), "reason": reason})
        with self._lock:
            waiting = self._waiting.pop(model)
        for on_done in waiting:
            on_done(reason)

    def close(self) -> None:
        """End all builds."""
        with self._lock:
            self._closed.set()
            running = list(self._running)
        for process in running:
            process.terminate()
        deadline_s = time.monotonic() + _PATIENCE_S
        for process in running:
            try:
                process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
