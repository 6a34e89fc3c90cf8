"""A simulated RTSP camera: one stream for any number of clients, and faults on demand."""

import asyncio
import logging
import os
import random
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.core.clock import Clock
from app.core.errors import FlexPatchError, SettingsError
from app.core.types import Size
from app.ingest.camera.credentials import Credentials
from app.ingest.camera.faults import MOMENTARY, Effects, Fault, Kind
from app.ingest.camera.feed import Emit, Feed
from app.ingest.camera.messages import LARGEST_HEAD
from app.ingest.camera.rtp import AccessUnit, payloads_of
from app.ingest.camera.watcher import Watcher

logger = logging.getLogger(__name__)

_TURNS_TO_BE_LET_IN = 3
"""Of the event loop, from a connection that is accepted to its watcher."""


@dataclass(frozen=True, slots=True)
class CameraOptions:
    """Where the camera listens, and whom it lets watch."""

    host: str = "127.0.0.1"
    port: int = 8554
    """0: any free one."""
    path: str = "stream"
    credentials: Credentials | None = None
    faults: tuple[Fault, ...] = ()
    seed: int = 1
    """Of which packets a fault strikes."""


@dataclass(slots=True)
class CameraCounts:
    """What the camera has done so far."""

    connections: int = 0
    units: int = 0
    """Pictures that the feed gave,"""
    skipped: int = 0
    """and pictures that a watcher did not get, for it took the ones before too slowly."""
    faults: dict[str, int] = field(default_factory=dict)
    """Begun, by kind."""


class Camera:
    """Runs on one event loop; pictures come from a thread of its own, while somebody watches."""

    def __init__(self, feed: Feed, clock: Clock, start_s: float, options: CameraOptions, folder: Path) -> None:
        """
        Args:
            start_s: the clock's time of stream time 0.
            folder: for files that the camera needs while it runs.
        """
        self.options = options
        self.counts = CameraCounts()
        self.effects = Effects(random.Random(options.seed))
        self.start_unix_s = time.time() - (clock.now_s() - start_s)
        """Time of day of stream time 0."""
        self.feed = feed
        self._usual_feed = feed
        self._watchers: set[Watcher] = set()
        self._listener: asyncio.Server | None = None
        self._port = options.port
        self._player: _Player | None = None
        self._players: set[_Player] = set()
        """All that run, also those that are being ended."""
        self._is_stopped = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._folder = folder

    @property
    def url(self) -> str:
        """Where it can be watched, without user and password."""
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        return f"rtsp://{host}:{self._port}/{self.options.path}"

    @property
    def n_watchers(self) -> int:
        """Clients to which pictures are sent."""
        return sum(watcher.is_playing for watcher in self._watchers)

    @property
    def active_faults(self) -> list[str]:
        """Kinds of the lasting faults that are on."""
        return sorted(self.effects.active)

    # ---------------------------------------------------------------------------------------------- beginning, end

    async def start(self) -> None:
        """Listen, and begin with the faults.

        Raises:
            SettingsError: the address cannot be had.
        """
        await self._listen()
        for fault in self.options.faults:
            self.add_fault(fault)

    async def stop(self) -> None:
        """End everything: connections, faults, the feed."""
        # A client in the middle of a request may still ask to play.
        self._is_stopped = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._close_listener()
        for watcher in list(self._watchers):
            watcher.cut()
        self._player = None
        for player in list(self._players):
            await self._end(player)

    async def _listen(self) -> None:
        try:
            self._listener = await asyncio.start_server(self._serve, self.options.host, self._port, limit=LARGEST_HEAD)
        except OSError as error:
            where = f"{self.options.host}:{self._port}"
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise SettingsError(f"The camera cannot listen on {where} ({reason}): give another --port.") from error
        self._port = self._listener.sockets[0].getsockname()[1]

    async def _close_listener(self) -> None:
        """Let nobody in any more; who was let in at the last moment is a watcher when this returns."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        loop = asyncio.get_running_loop()
        try:
            for sock in listener.sockets:
                loop.remove_reader(sock)
            # A listener that is closed before asyncio is done with a connection loses that, open.
            for _ in range(_TURNS_TO_BE_LET_IN):
                await asyncio.sleep(0)
        finally:
            listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        watcher = Watcher(self, self.options.path, self.options.credentials, reader, writer)
        self._watchers.add(watcher)
        self.counts.connections += 1
        try:
            await watcher.run()
        finally:
            self._watchers.discard(watcher)
            watcher.cut()
            if not self.n_watchers:
                await self._end_player()

    # -------------------------------------------------------------------------------------------------- pictures

    def watched(self) -> None:
        """Somebody begins to watch: have pictures come, a key frame soon."""
        if self._is_stopped:
            return
        if self._player is None:
            self._player = _Player(self.feed, asyncio.get_running_loop(), self._distribute)
            self._players.add(self._player)
        else:
            self.feed.ask_for_key()

    def _distribute(self, unit: AccessUnit) -> None:
        self.counts.units += 1
        if not self.effects.active.keys().isdisjoint((Kind.STALL, Kind.HALF_OPEN)):
            return
        payloads = payloads_of(unit)
        for watcher in self._watchers:
            if watcher.is_playing and not watcher.send(unit, payloads):
                self.counts.skipped += 1

    async def _end_player(self) -> None:
        player, self._player = self._player, None
        if player is not None:
            await self._end(player)

    async def _end(self, player: "_Player") -> None:
        player.begin_end()
        await asyncio.to_thread(player.join)
        self._players.discard(player)

    # ----------------------------------------------------------------------------------------------------- faults

    def add_fault(self, fault: Fault) -> None:
        """Have something go wrong, from now on as it says."""
        task = asyncio.get_running_loop().create_task(self._misbehave(fault))
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    async def clear_faults(self) -> None:
        """End all faults, also those that would come again."""
        for task in list(self._tasks):
            task.cancel()
        for kind in list(self.effects.active):
            await self._finish(kind)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("fault failed", extra={"reason": str(error)})

    async def _misbehave(self, fault: Fault) -> None:
        await asyncio.sleep(fault.after_s)
        while True:
            began_s = asyncio.get_running_loop().time()
            await self._begin(fault)
            if fault.kind not in MOMENTARY:
                if fault.seconds == float("inf"):
                    return
                await asyncio.sleep(fault.seconds)
                await self._finish(fault.kind)
            if fault.every_s is None:
                return
            await asyncio.sleep(max(0.0, began_s + fault.every_s - asyncio.get_running_loop().time()))

    async def _begin(self, fault: Fault) -> None:
        logger.info("fault begins", extra={"fault": fault.kind.value})
        self.counts.faults[fault.kind] = self.counts.faults.get(fault.kind, 0) + 1
        if fault.kind not in MOMENTARY:
            self.effects.active[fault.kind] = fault
        match fault.kind:
            case Kind.REFUSE:
                await self._close_listener()
                self._cut_all()
            case Kind.RESET:
                self._cut_all()
            case Kind.END:
                for watcher in list(self._watchers):
                    watcher.say_goodbye()
            case Kind.PTS_JUMP:
                self.effects.shift_s += fault.by_s
            case Kind.RESOLUTION:
                usual = self._usual_feed.size
                size = fault.size or Size(usual.width // 4 * 2, usual.height // 4 * 2)
                resized = await asyncio.to_thread(self._usual_feed.resized, size, self._folder)
                await self._show(resized)
            case _:
                pass

    async def _finish(self, kind: Kind) -> None:
        if self.effects.active.pop(kind, None) is None:
            return
        logger.info("fault ends", extra={"fault": kind.value})
        match kind:
            case Kind.REFUSE:
                await self._listen()
            case Kind.HALF_OPEN:
                # The other side must not be able to go on with a connection that lay dead.
                self._cut_all()
            case Kind.RESOLUTION:
                await self._show(self._usual_feed)
            case _:
                pass

    def _cut_all(self) -> None:
        for watcher in list(self._watchers):
            watcher.cut(is_reset=True)

    async def _show(self, feed: Feed) -> None:
        """Go on with another feed: whoever watches gets its next key frame."""
        await self._end_player()
        self.feed = feed
        for watcher in self._watchers:
            watcher.wait_for_key()
        if self.n_watchers:
            self.watched()


class _Player:
    """The thread that a feed runs on."""

    def __init__(self, feed: Feed, loop: asyncio.AbstractEventLoop, emit: Emit) -> None:
        self._feed, self._loop, self._emit = feed, loop, emit
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera-feed", daemon=True)
        self._thread.start()

    def begin_end(self) -> None:
        self._stop.set()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        try:
            self._feed.run(self._stop, self._hand_over)
        except FlexPatchError as error:
            logger.error("feed ended", extra={"reason": str(error)})  # noqa: TRY400 - one of ours: its message says it

    def _hand_over(self, unit: AccessUnit) -> None:
        # The loop may have been closed meanwhile.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._emit, unit)
