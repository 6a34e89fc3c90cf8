"""The folder of engines: one file for each model, kind of GPU and purpose, built when there is none that fits."""

import fcntl
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import EngineNotBuilt, EngineUnfit, ModelUnreadable
from app.core.manifest import sha256_of_file
from app.detect.network import Signature
from app.detect.tensorrt.builder import EngineRequest, build
from app.detect.tensorrt.engine_file import EngineFile, EngineKey, read_engine, write_engine
from app.detect.tensorrt.library import Capability, Library
from app.detect.tensorrt.options import EngineOptions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """An engine of the folder, or why there is none."""

    file: EngineFile | None
    reason: str
    """Why it must be built; empty if it need not."""


class EngineCache:
    """Engines by what they were built from. Any thread and any process may use the folder at the same time."""

    def __init__(self, folder: Path, library: Library, on_wait: Callable[[], None] = lambda: None) -> None:
        """
        Args:
            on_wait: called if another process is building just this engine.
        """
        self._folder = folder
        self._library = library
        self._on_wait = on_wait

    def key(self, model: Path, capability: Capability, options: EngineOptions) -> EngineKey:
        """All that an engine of a model file depends on.

        Raises:
            ModelUnreadable: the file cannot be read.
        """
        try:
            digest = sha256_of_file(model)
        except OSError as error:
            raise ModelUnreadable(f"{model} cannot be read: {error.strerror or error}.") from error
        return EngineKey(capability, self._library.flavour, self._library.version, digest, options)

    def path(self, model: Path, key: EngineKey) -> Path:
        """Where such an engine lies. A later version of model or library takes its place."""
        options = key.options
        name = (
            f"{model.stem}.{key.architecture}.{key.flavour}.{options.precision}"
            f".b{options.max_batch}.s{options.max_side_px}.engine"
        )
        return self._folder / name

    def look_up(self, model: Path, key: EngineKey) -> Kept:
        """The engine, if it is there, whole, and just the one wanted."""
        path = self.path(model, key)
        try:
            if not path.is_file():
                return Kept(None, f"there is no {path.name} yet")
            file = read_engine(path)
            file.check_fits(key)
        except (ModelUnreadable, EngineUnfit) as error:
            return Kept(None, str(error).removesuffix("."))
        except OSError as error:
            return Kept(None, f"{path} cannot be read: {error.strerror or error}")
        return Kept(file, "")

    def get(
        self,
        model: Path,
        key: EngineKey,
        signature: Signature,
        *,
        make_graph: Callable[[], bytes],
        is_for_this_gpu: bool,
        anew: bool = False,
    ) -> EngineFile:
        """The engine, built if need be; takes seconds to minutes then.

        Args:
            signature: of the model; its metadata are kept with the engine.
            make_graph: gives the model's graph in the wanted precision.
            anew: build it though it is there.
        Raises:
            EngineNotBuilt: it cannot be built, or not be written.
        """
        path = self.path(model, key)
        with self._turn(path):
            kept = self.look_up(model, key)
            if kept.file and not anew:
                return kept.file
            logger.info("building an engine", extra={"path": str(path), "reason": kept.reason or "it is to be anew"})
            request = EngineRequest(model, key, is_for_this_gpu, self._timing_file(key))
            plan = build(request, make_graph(), self._library)
            try:
                write_engine(path, plan, key, model.stem, signature.metadata)
            except OSError as error:
                raise EngineNotBuilt(f"The engine cannot be written to {path}: {error.strerror or error}.") from error
            return read_engine(path)

    def discard(self, model: Path, key: EngineKey) -> None:
        """Remove an engine that turned out to be of no use, so that it is built anew."""
        path = self.path(model, key)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("an engine cannot be removed", extra={"path": str(path), "reason": str(error)})

    def _timing_file(self, key: EngineKey) -> Path:
        return self._folder / f"{key.flavour}-{key.library_version}.{key.architecture}.timings"

    @contextmanager
    def _turn(self, path: Path) -> Iterator[None]:
        """Wait until no other process builds this engine.

        Raises:
            EngineNotBuilt: nothing can be written in the folder.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.with_name(f".{path.name}.lock").open("w")
        except OSError as error:
            raise EngineNotBuilt(f"No engine can be written to {path.parent}: {error.strerror or error}.") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._on_wait()
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
