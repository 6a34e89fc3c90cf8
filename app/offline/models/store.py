"""The models folder: what is in it, and how something new comes in.

A model takes its name only when all of it has come, its SHA-256 is the expected one, and it was loaded and recognised
by itself. Until then what was there before stays.
"""

import fcntl
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import httpx

from app.core.errors import ModelAltered, ModelError, ModelExists, ModelNotFound, SettingsError
from app.core.manifest import INSTALLED, MANIFEST, read_list, sha256_of_file
from app.core.types import Detector
from app.detect.loader import find_model, load_detector
from app.offline.models.download import Advance, DocumentMissing, discard, fetch, without_credentials
from app.offline.models.known import KNOWN, LARGEST_MODEL_BYTES, KnownModel
from app.offline.output import text_file

TASK = "detection"
UNKNOWN_LICENCE = "unknown"
_SUFFIX = ".onnx"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

State = Literal["installed", "ok", "altered", "missing", "unrecorded", "known"]
"""A file that is recorded; compared, and as recorded, or not; recorded, but no file; a file that nobody recorded; not
here, but `pull` can fetch it."""
Way = Literal["pull", "add"]
"""How a model came: by its name, or as one's own, which is never given up unasked."""
Load = Callable[[Path], Detector]


@dataclass(frozen=True, slots=True)
class StoredModel:
    """One model of the folder, or one that could be there."""

    name: str
    file: str
    state: State
    task: str
    licence: str
    input: str
    n_bytes: int | None
    sha256: str | None
    origin: str
    folder: str | None
    """Where it is: the models folder, or the one of what is shipped."""


class ModelStore:
    """A folder of models. Processes that change it take turns."""

    def __init__(
        self,
        folder: Path,
        mirror: str | None = None,
        *,
        shipped: Path | None = None,
        known: Mapping[str, KnownModel] = KNOWN,
        load: Load = load_detector,
        on_wait: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            mirror: folder or http(s) address that has the models, instead of where they are published.
            shipped: folder of the models that come with this version, where it is another one.
            load: loads and recognises a model file; raises what `load_detector` does.
            on_wait: told when another process has its turn.
        """
        self._folder = folder
        self._mirror = mirror
        self._folders = (folder,) if shipped is None or _is_same(shipped, folder) else (shipped, folder)
        self._known = known
        self._load = load
        self._on_wait = on_wait

    # -------------------------------------------------------------------------------------------- what is there

    def models(self) -> list[StoredModel]:
        """What is shipped and what is in the folder, in the order of their lists, and then what `pull` could fetch.

        Raises:
            ModelUnreadable: the folder's lists cannot be read.
        """
        found = self._recorded()
        there = {model.name for model in found}
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            if path.stem not in there and path.is_file():
                found.append(_unrecorded(path))
                there.add(path.stem)
        return found + [_as_known(model) for model in self._known.values() if model.name not in there]

    def verify(self, names: Sequence[str] = ()) -> list[StoredModel]:
        """What is shipped and what is recorded in the folder, or only these of it, each file read and compared.

        Raises:
            ModelNotFound: one of the names is not recorded.
            ModelUnreadable: the folder's lists cannot be read.
        """
        recorded = self._recorded()
        unknown = set(names) - {model.name for model in recorded}
        if unknown:
            raise ModelNotFound(
                f"Nothing is recorded of {', '.join(sorted(unknown))} in {self._folder}. "
                f"Recorded: {', '.join(model.name for model in recorded) or 'nothing'}."
            )
        return [_compared(model) for model in recorded if not names or model.name in names]

    # ---------------------------------------------------------------------------------------- how something comes

    def pull(self, name: str, advance: Advance = lambda _have, _all: None, *, replace: bool = False) -> StoredModel:
        """Fetch a model by name from where it is published, or from the mirror; nothing is done if it is there.

        Args:
            advance: told how many bytes have come, and of how many.
            replace: take the place of another model of that name, or of an earlier version that was recorded.
        Raises:
            ModelNotFound: the name is not known, and the mirror has no such file.
            ModelExists: there is a model of that name that did not come this way, and `replace` is false.
            ModelAltered: the file is not the one that its SHA-256 stands for.
            DownloadFailed: it could not be fetched.
            ModelError: what came cannot be used as a detector.
            SettingsError: the name, the mirror or the folder cannot be used.
        """
        model = self._known.get(name)
        _check_mirror(self._mirror)
        if model is None and self._mirror is None:
            raise ModelNotFound(
                f"No model {name!r} is known. Known: {', '.join(self._known)}. For others, give the file to "
                "flexpatch models add, or name a mirror that has it."
            )
        path, licence = self._path(name), model.licence if model else UNKNOWN_LICENCE
        pinned = model.sha256 if model else None
        with self._turn():
            before = self._on_record(path)
            if path.is_file():
                found = sha256_of_file(path)
                if model and found == pinned:
                    return self._record(path, self._load_alone(path), found, origin=model.address, licence=licence)
                is_pulled = before is not None and before.get("by") == "pull"
                if before and is_pulled and found == before["sha256"] and not (pinned or replace):
                    return changed(_stored(self._folder, before), state="ok")
                if not (replace or is_pulled):
                    raise ModelExists(f"{path} is another model. Add --replace to give it up.")
            part = path.with_name(f".{path.name}.part")
            origin = self._fetch(name, model, part, advance)
            expected = pinned or (str(before["sha256"]) if before and not replace else None)
            try:
                found = _checked(part, origin, expected, is_pinned=pinned is not None)
                detector = self._load_alone(part)
            except ModelError:
                discard(part)  # nothing good would come of going on with it
                raise
            stored = self._record(path, detector, found, origin=origin, licence=licence, newcomer=part)
            discard(part)
            return stored

    def add(
        self, file: Path, name: str | None = None, licence: str = UNKNOWN_LICENCE, *, replace: bool = False
    ) -> StoredModel:
        """Copy a detector of one's own into the folder, and record it. A file that is in the folder is recorded.

        Raises:
            ModelError: there is no such file, it cannot be used as a detector, or (without `replace`) the name is
                taken.
            SettingsError: the name or the folder cannot be used.
        """
        file = find_model(file)
        path = self._path(name or file.stem)
        detector, found = self._load_alone(file), sha256_of_file(file)
        with self._turn():
            is_there = path.exists() and path.samefile(file)
            if path.exists() and not (is_there or replace):
                raise ModelExists(f"{path} exists. Choose another --name, or add --replace.")
            part = path.with_name(f".{path.name}.part")
            try:
                shutil.copyfile(file, part)
                _checked(part, file.name, found, is_pinned=True)
                return self._record(path, detector, found, origin=file.name, licence=licence, newcomer=part, by="add")
            finally:
                discard(part)

    # ---------------------------------------------------------------------------------------------------- details

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise SettingsError(f"{name!r} is no name for a model: use letters, digits, '.', '_' and '-', at most 64.")
        path = self._folder / f"{name}{_SUFFIX}"
        if any(item["file"] == path.name for folder in self._folders for item in read_list(folder / MANIFEST)):
            raise ModelExists(f"{name} is a model that comes with this version; choose another name.")
        return path

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until no other process changes the folder."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = (self._folder / ".lock").open("w")
        except OSError as error:
            raise SettingsError(f"Nothing can be written in {self._folder} ({error.strerror}).") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._on_wait()
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _load_alone(self, file: Path) -> Detector:
        """Load a model with nothing beside it: data in further files would be neither copied nor compared."""
        with tempfile.TemporaryDirectory() as empty:
            alone = Path(empty) / "model.onnx"
            try:
                alone.hardlink_to(file)
            except OSError:
                shutil.copyfile(file, alone)
            try:
                return self._load(alone)
            except ModelError as error:
                raise type(error)(str(error).replace(str(alone), str(file))) from error

    def _fetch(self, name: str, model: KnownModel | None, part: Path, advance: Advance) -> str:
        """Bring the model to `part`; gives where it came from, fit to be shown."""
        n_bytes = model.n_bytes if model else None
        limit = n_bytes or LARGEST_MODEL_BYTES
        if self._mirror is None:
            assert model is not None  # noqa: S101 - `pull` has refused others
            fetch(model.address, part, advance, n_bytes=n_bytes, n_bytes_most=limit)
            return model.address
        files = model.files if model else (f"{name}{_SUFFIX}",)
        if not _is_address(self._mirror):
            return _copy_from(Path(self._mirror), files, part, advance)
        for file in files:
            address = _inside(self._mirror, file)
            with suppress(DocumentMissing):
                fetch(address, part, advance, n_bytes=n_bytes, n_bytes_most=limit)
                return without_credentials(address)
        raise _not_in(self._mirror, files)

    def _recorded(self) -> list[StoredModel]:
        """Where the models folder has a file of a shipped one's name, only its own lists count: that file is in use."""
        by_file = {
            item["file"]: _stored(folder, item)
            for folder in self._folders
            for item in read_list(folder / MANIFEST) + read_list(folder / INSTALLED)
            if folder == self._folder or not (self._folder / str(item["file"])).is_file()
        }
        return list(by_file.values())

    def _on_record(self, path: Path) -> dict[str, object] | None:
        items = [item for item in read_list(self._folder / INSTALLED) if item["file"] == path.name]
        return items[-1] if items else None

    def _record(
        self,
        path: Path,
        detector: Detector,
        sha256: str,
        *,
        origin: str,
        licence: str,
        newcomer: Path | None = None,
        by: Way = "pull",
    ) -> StoredModel:
        """Record a model, and have `newcomer` take the name; at no moment is a good file not on record."""
        item: dict[str, object] = {
            "file": path.name,
            "sha256": sha256,
            "task": TASK,
            "input": _sizes(detector),
            "classes": list(detector.class_names),
            "licence": licence,
            "made": origin,
            "by": by,
        }
        before = read_list(self._folder / INSTALLED)
        if newcomer:
            self._write([*before, item])
            newcomer.replace(path)
        self._write([*(entry for entry in before if entry["file"] != path.name), item])
        return changed(_stored(self._folder, item), state="ok")

    def _write(self, items: Sequence[Mapping[str, object]]) -> None:
        with text_file(self._folder / INSTALLED) as file:
            json.dump(items, file, indent=1)
            file.write("\n")


def _stored(folder: Path, item: Mapping[str, object]) -> StoredModel:
    path = folder / str(item["file"])
    return StoredModel(
        path.stem,
        path.name,
        "installed" if path.is_file() else "missing",
        str(item["task"]),
        str(item.get("licence", UNKNOWN_LICENCE)),
        str(item.get("input", "")),
        path.stat().st_size if path.is_file() else None,
        str(item["sha256"]),
        str(item.get("made", "")),
        str(folder),
    )


def _unrecorded(path: Path) -> StoredModel:
    size = path.stat().st_size
    return StoredModel(path.stem, path.name, "unrecorded", TASK, UNKNOWN_LICENCE, "", size, None, "", str(path.parent))


def _compared(model: StoredModel) -> StoredModel:
    if model.state == "missing" or model.folder is None:
        return model
    is_same = sha256_of_file(Path(model.folder) / model.file) == model.sha256
    return changed(model, state="ok" if is_same else "altered")


def _as_known(model: KnownModel) -> StoredModel:
    size = str(model.input)
    return StoredModel(
        model.name, model.file, "known", TASK, model.licence, size, model.n_bytes, model.sha256, model.address, None
    )


def _sizes(detector: Detector) -> str:
    sizes = detector.input_sizes
    return ", ".join(str(size) for size in sizes.fixed) or f"multiples of {sizes.stride}"


def _is_same(folder: Path, other: Path) -> bool:
    return folder.resolve() == other.resolve()


def _is_address(mirror: str) -> bool:
    return mirror.startswith(("https://", "http://"))


def _check_mirror(mirror: str | None) -> None:
    if mirror is None or (mirror and not _is_address(mirror) and Path(mirror).is_dir()):
        return
    if _is_address(mirror):
        with suppress(httpx.InvalidURL, ValueError):
            if httpx.URL(mirror).host and urlsplit(mirror).hostname:
                return
    # Not repeated: it may hold a password.
    raise SettingsError("The mirror is neither a folder nor an address: write DIR, or https://HOST/PATH.")


def _inside(mirror: str, file: str) -> str:
    """The address of a file of the mirror; a query, often a key, goes with it."""
    parts = urlsplit(mirror)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{file}"))


def _copy_from(folder: Path, files: Sequence[str], part: Path, advance: Advance) -> str:
    source = next((folder / file for file in files if (folder / file).is_file()), None)
    if source is None:
        raise _not_in(str(folder), files)
    discard(part)
    try:
        shutil.copyfile(source, part)
    except PermissionError as error:
        raise ModelError(f"{source} cannot be read ({error.strerror}).") from error
    n_bytes = part.stat().st_size
    advance(n_bytes, n_bytes)
    return source.name


def _not_in(mirror: str, files: Sequence[str]) -> ModelNotFound:
    return ModelNotFound(f"The mirror {without_credentials(mirror)} has no {' and no '.join(files)}.")


def _checked(part: Path, origin: str, expected: str | None, *, is_pinned: bool) -> str:
    """The SHA-256 of what came, which must be the expected one, if one is."""
    found = sha256_of_file(part)
    if expected not in {None, found}:
        advice = "Nothing was installed." if is_pinned else "If it is meant to be another version, add --replace."
        raise ModelAltered(f"What came from {origin} has the SHA-256 {found}, not {expected}. {advice}")
    return found
