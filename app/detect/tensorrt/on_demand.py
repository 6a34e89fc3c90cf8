"""Engines that are built in the background, by a process of their own: TensorRT may take minutes, or crash."""

import logging
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from app.detect.network import one_line

logger = logging.getLogger(__name__)

BuildCommand = Callable[[Path], Sequence[str]]
"""The command that builds the engine of a model file into the cache."""
OnDone = Callable[[str], None]
"""Takes why there is no engine; nothing if there is one."""

_PATIENCE_S = 5.0
_CLOSING = "the service is shutting down"


class EngineBuilds:
    """Builds that are under way. Any thread may call."""

    def __init__(self, command: BuildCommand) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._closed = threading.Event()

    def start(self, model: Path, on_done: OnDone) -> None:
        """Have an engine built; several who ask for the same one at once each start a process, which wait in turn.

        Args:
            on_done: called by a thread of its own.
        """
        threading.Thread(target=self._build, args=(model, on_done), name="engine-build", daemon=True).start()

    def build(self, model: Path) -> str:
        """Build an engine, and wait for it.

        Returns:
            Why there is none; nothing if there is one.
        """
        with self._lock:
            if self._closed.is_set():
                return _CLOSING
            try:
                process = subprocess.Popen(  # noqa: S603 - a command of ours
                    list(self._command(model)),
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

    def _build(self, model: Path, on_done: OnDone) -> None:
        logger.info("an engine is built in the background", extra={"model": str(model)})
        reason = self.build(model)
        if reason and reason != _CLOSING:
            logger.error("no engine was built", extra={"model": str(model), "reason": reason})
        on_done(reason)

    def close(self) -> None:
        """End all builds."""
        with self._lock:
            self._closed.set()
            running = list(self._running)
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
