"""A simulated camera beside other work: on a thread with an event loop of its own."""

import asyncio
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from app.core.errors import FlexPatchError
from app.ingest.camera.server import Camera

_STOP_TIMEOUT_S = 5.0


class CameraThread:
    """Runs a camera from `start` to `stop`."""

    def __init__(self, make: Callable[[Path], Camera]) -> None:
        """
        Args:
            make: takes a folder for the camera's files; called on the camera's thread.
        """
        self._make = make
        self._ready: Future[tuple[Camera, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)

    def start(self) -> Camera:
        """Begin, and wait until it listens; once.

        Raises:
            SettingsError: its address cannot be had.
            SourceError: it has nothing to show.
        """
        self._thread.start()
        return self._ready.result()[0]

    def call(self, function: Callable[[Camera], object]) -> None:
        """Have something done on the camera's event loop, soon."""
        camera, loop, _ = self._ready.result()
        loop.call_soon_threadsafe(function, camera)

    def stop(self) -> None:
        """End it and wait, some seconds at most; safe to call twice. Never on an event loop."""
        if self._thread.is_alive() and not self._ready.exception():
            _, loop, ending = self._ready.result()
            loop.call_soon_threadsafe(ending.set)
        if self._thread.ident is not None:
            self._thread.join(_STOP_TIMEOUT_S)

    def _run(self) -> None:
        with tempfile.TemporaryDirectory(prefix="flexpatch-camera-") as folder:
            asyncio.run(self._live(Path(folder)))

    async def _live(self, folder: Path) -> None:
        ending = asyncio.Event()
        try:
            camera = self._make(folder)
            await camera.start()
        except FlexPatchError as error:
            self._ready.set_exception(error)
            return
        self._ready.set_result((camera, asyncio.get_running_loop(), ending))
        try:
            await ending.wait()
        finally:
            await camera.stop()
