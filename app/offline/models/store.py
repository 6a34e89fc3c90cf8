"""The models folder: what is in it, and how something new comes in.

A model takes its name only when all of it has come, its SHA-256 is the expected one, and it was loaded and recognised.
Until then what was there before stays.
"""

import fcntl
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.core.errors import ModelAltered, ModelError, ModelExists, ModelNotFound, SettingsError
from app.core.manifest import INSTALLED, MANIFEST, read_list, sha256_of_file
from app.core.types import Detector
from app.detect.loader import load_detector
from app.offline.models.download import Advance, DocumentMissing, discard, fetch, without_credentials
from app.offline.models.known import KNOWN, LARGEST_MODEL_BYTES, KnownModel
from app.offline.output import text_file, unfinished_file

TASK = "detection"
UNKNOWN_LICENCE = "unknown"
_SUFFIX = ".onnx"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

State = Literal["ok", "altered", "missing", "unrecorded", "known"]
"""As recorded; another file; no file; a file that nobody recorded; not here, but `pull` can fetch it."""
Load = Callable[[Path], Detector]


@dataclass(frozen=True, slots=True)
class StoredModel:
    """One model of the folder, or one that could be there."""

    name: str
    state: State
    task: str
    licence: str
    input: str
    n_bytes: int | None
    sha256: str | None
    origin: str


class ModelStore:
    """A folder of models. Processes that change it take turns."""

    def __init__(
        self,
        folder: Path,
        mirror: str | None = None,
        *,
        known: Mapping[str, KnownModel] = KNOWN,
        load: Load = load_detector,
    ) -> None:
        """
        Args:
            mirror: folder or http(s) address that has the models, instead of where they are published.
            load: loads and recognises a model file; raises what `load_detector` does.
        Raises:
            SettingsError: the mirror is neither.
        """
        if mirror is not None and not _is_address(mirror) and not Path(mirror).is_dir():
            raise SettingsError(
                f"The mirror {without_credentials(mirror)!r} is neither a folder nor an address (https://…)."
            )
        self._folder = folder
        self._mirror = mirror
        self._known = known
        self._load = load

    # -------------------------------------------------------------------------------------------- what is there

    def models(self) -> list[StoredModel]:
        """Everything in the folder, in the order of its lists, and then what `pull` could fetch.

        Raises:
            ModelUnreadable: the folder's lists cannot be read.
        """
        recorded = read_list(self._folder / MANIFEST) + read_list(self._folder / INSTALLED)
        found = [self._recorded(item) for item in recorded]
        files = {str(item["file"]) for item in recorded}
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            if path.name not in files:
                size = path.stat().st_size
                found.append(StoredModel(path.stem, "unrecorded", TASK, UNKNOWN_LICENCE, "", size, None, ""))
        there = {model.name for model in found}
        found += [_as_known(model) for model in self._known.values() if model.name not in there]
        return found

    def verify(self, names: Sequence[str] = ()) -> list[StoredModel]:
        """What is recorded in the folder, or only these of it, each file read and compared.

        Raises:
            ModelNotFound: one of the names is not recorded.
            ModelUnreadable: the folder's lists cannot be read.
        """
        recorded = [model for model in self.models() if model.state in {"ok", "altered", "missing"}]
        unknown = set(names) - {model.name for model in recorded}
        if unknown:
            raise ModelNotFound(
                f"Nothing is recorded of {', '.join(sorted(unknown))} in {self._folder}. "
                f"Recorded: {', '.join(model.name for model in recorded) or 'nothing'}."
            )
        return [model for model in recorded if not names or model.name in names]

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
        """
        model = self._known.get(name)
        if model is None and self._mirror is None:
            raise ModelNotFound(
                f"No model {name!r} is known. Known: {', '.join(self._known)}. For others, give the file to "
                "flexpatch models add, or name a mirror that has it."
            )
        path, licence = self._path(name), model.licence if model else UNKNOWN_LICENCE
        pinned = model.sha256 if model else None
        with self._turn():
            self._refuse_shipped(path)
            recorded = self._on_record(path)
            if path.is_file():
                found = sha256_of_file(path)
                if recorded and found == recorded["sha256"] and (found == pinned or not (pinned or replace)):
                    return self._recorded(recorded)
                if model and found == pinned:
                    return self._record(path, found, self._load(path), origin=model.address, licence=licence)
                is_damaged = recorded is not None and found != recorded["sha256"]
                if not (replace or is_damaged):
                    raise ModelExists(f"{path} is another model. Add --replace to give it up.")
            part = path.with_name(f".{path.name}.part")
            origin = self._fetch(name, model, part, advance)
            expected = pinned or (str(recorded["sha256"]) if recorded and not replace else None)
            try:
                found = _checked(part, origin, expected, is_pinned=pinned is not None)
                detector = self._load(part)
            except ModelError:
                discard(part)  # nothing good would come of going on with it
                raise
            part.replace(path)
            discard(part)
            return self._record(path, found, detector, origin=origin, licence=licence)

    def add(
        self, file: Path, name: str | None = None, licence: str = UNKNOWN_LICENCE, *, replace: bool = False
    ) -> StoredModel:
        """Copy a detector of one's own into the folder, and record it. A file that is in the folder is recorded.

        Raises:
            ModelError: there is no such file, it cannot be used as a detector, or (without `replace`) the name is
                taken.
            SettingsError: the name is not fit for a file.
        """
        detector = self._load(file)
        path = self._path(name or file.stem)
        with self._turn():
            self._refuse_shipped(path)
            if not path.exists() or not path.samefile(file):
                if path.exists() and not replace:
                    raise ModelExists(f"{path} exists. Choose another --name, or add --replace.")
                with unfinished_file(path) as temporary:
                    shutil.copyfile(file, temporary)
            return self._record(path, sha256_of_file(path), detector, origin=file.name, licence=licence)

    # ---------------------------------------------------------------------------------------------------- details

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise SettingsError(f"{name!r} is no name for a model: use letters, digits, '.', '_' and '-', at most 64.")
        return self._folder / f"{name}{_SUFFIX}"

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until no other process changes the folder."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise SettingsError(f"Nothing can be written in {self._folder} ({error.strerror}).") from error

    def _refuse_shipped(self, path: Path) -> None:
        if any(item["file"] == path.name for item in read_list(self._folder / MANIFEST)):
            raise ModelExists(f"{path.stem} is a model that comes with this version; choose another name.")

    def _on_record(self, path: Path) -> dict[str, object] | None:
        return next((item for item in read_list(self._folder / INSTALLED) if item["file"] == path.name), None)

    def _fetch(self, name: str, model: KnownModel | None, part: Path, advance: Advance) -> str:
        """Bring the model to `part`; gives where it came from, fit to be shown."""
        files = [f"{name}{_SUFFIX}"] + ([model.upstream_file] if model else [])
        limit = model.n_bytes if model and model.n_bytes else LARGEST_MODEL_BYTES
        if self._mirror is None:
            assert model is not None  # noqa: S101 - `pull` has refused others
            fetch(model.address, part, advance, n_bytes_most=limit)
            return model.address
        if not _is_address(self._mirror):
            return _copy_from(Path(self._mirror), files, part, advance)
        for file in dict.fromkeys(files):
            address = f"{self._mirror.rstrip('/')}/{file}"
            with suppress(DocumentMissing):
                fetch(address, part, advance, n_bytes_most=limit)
                return without_credentials(address)
        raise _not_in(self._mirror, files)

    def _recorded(self, item: Mapping[str, object]) -> StoredModel:
        path = self._folder / str(item["file"])
        sha256 = str(item["sha256"]).lower()
        state: State = "missing"
        if path.is_file():
            state = "ok" if sha256_of_file(path) == sha256 else "altered"
        return StoredModel(
            path.stem,
            state,
            str(item["task"]),
            str(item.get("licence", UNKNOWN_LICENCE)),
            str(item.get("input", "")),
            path.stat().st_size if path.is_file() else None,
            sha256,
            str(item.get("made", "")),
        )

    def _record(self, path: Path, sha256: str, detector: Detector, *, origin: str, licence: str) -> StoredModel:
        item: dict[str, object] = {
            "file": path.name,
            "sha256": sha256,
            "task": TASK,
            "input": _sizes(detector),
            "classes": list(detector.class_names),
            "licence": licence,
            "made": origin,
        }
        path_of_list = self._folder / INSTALLED
        others = [entry for entry in read_list(path_of_list) if entry["file"] != path.name]
        with text_file(path_of_list) as file:
            json.dump([*others, item], file, indent=1)
            file.write("\n")
        return self._recorded(item)


def _is_address(mirror: str) -> bool:
    return mirror.startswith(("https://", "http://"))


def _as_known(model: KnownModel) -> StoredModel:
    return StoredModel(
        model.name, "known", TASK, model.licence, str(model.input), model.n_bytes, model.sha256, model.address
    )


def _sizes(detector: Detector) -> str:
    sizes = detector.input_sizes
    return ", ".join(str(size) for size in sizes.fixed) or f"multiples of {sizes.stride}"


def _copy_from(folder: Path, files: Sequence[str], part: Path, advance: Advance) -> str:
    source = next((folder / file for file in files if (folder / file).is_file()), None)
    if source is None:
        raise _not_in(str(folder), files)
    discard(part)
    shutil.copyfile(source, part)
    n_bytes = part.stat().st_size
    advance(n_bytes, n_bytes)
    return source.name


def _not_in(mirror: str, files: Sequence[str]) -> ModelNotFound:
    return ModelNotFound(f"The mirror {without_credentials(mirror)} has no {' and no '.join(dict.fromkeys(files))}.")


def _checked(part: Path, origin: str, expected: str | None, *, is_pinned: bool) -> str:
    """The SHA-256 of what came, which must be the expected one, if one is."""
    found = sha256_of_file(part)
    if expected not in {None, found}:
        advice = "Nothing was installed." if is_pinned else "If it is meant to be another version, add --replace."
        raise ModelAltered(f"What came from {origin} has the SHA-256 {found}, not {expected}. {advice}")
    return found
