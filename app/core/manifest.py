"""What is recorded of a models folder: what each file is, and the SHA-256 that it must have.

`manifest.json` says so of the models that are shipped, `installed.json` of those that were added on this machine.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import ModelAltered, ModelUnreadable

MANIFEST = "manifest.json"
INSTALLED = "installed.json"


_LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One file of the models folder."""

    file: str
    """Its name in the folder."""
    sha256: str
    task: str
    """`detection` or `tracking-failure`."""


def read_manifest(folder: Path) -> tuple[ModelEntry, ...]:
    """The entries of a folder's two lists; none where there is no list.

    Raises:
        ModelUnreadable: a list cannot be read, or an entry lacks one of the three.
    """
    items = read_list(folder / MANIFEST) + read_list(folder / INSTALLED)
    return tuple(ModelEntry(str(item["file"]), str(item["sha256"]), str(item["task"])) for item in items)


def read_list(path: Path) -> list[dict[str, object]]:
    """The entries of one list, as they are.

    Each is an object with at least `file`, `sha256` and `task`; `input`, `classes`, `features`, `licence` and `made`
    (how it was made) are for people.

    Raises:
        ModelUnreadable: the list cannot be read, or an entry lacks one of the three.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise ModelUnreadable(f"{path} is not a manifest in JSON: {error}.") from error
    if not isinstance(content, list) or not all(_is_entry(item) for item in content):
        raise ModelUnreadable(
            f"{path} is no manifest: it must be a list of entries with file (a name), sha256 and task."
        )
    return [{**item, "sha256": item["sha256"].lower()} for item in content]


def _is_entry(item: object) -> bool:
    if not isinstance(item, dict) or not all(isinstance(item.get(name), str) for name in ("file", "sha256", "task")):
        return False
    file = item["file"]
    return bool(file) and file.isprintable() and Path(file).name == file and len(file) < _LONGEST_NAME


def check_recorded(path: Path) -> None:
    """Make sure that a file of a models folder is the one that is recorded there, if one is.

    Raises:
        ModelAltered: it is another.
        ModelUnreadable: the folder's lists cannot be read.
    """
    recorded = [entry.sha256 for entry in read_manifest(path.parent) if entry.file == path.name]
    if recorded and sha256_of_file(path) not in recorded:
        raise ModelAltered(
            f"{path} is not the model that was installed under that name: its SHA-256 is another. "
            f"Install it again, or record this one, by flexpatch models pull or add with --replace."
        )


def sha256_of(data: bytes) -> str:
    """The SHA-256 of a file's content, 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """The same of a file, which need not fit into memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
