"""`manifest.json` of a models folder: what each file is, and the SHA-256 that it must have."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import ModelUnreadable

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One file of the models folder."""

    file: str
    """Its name in the folder."""
    sha256: str
    task: str
    """`detection` or `tracking-failure`."""


def read_manifest(folder: Path) -> tuple[ModelEntry, ...]:
    """The entries of a folder's manifest; none where there is no manifest.

    Each entry is an object with at least `file`, `sha256` and `task`; `input`, `classes`, `features`, `licence` and
    `made` (how it was made) are for people.

    Raises:
        ModelUnreadable: the manifest cannot be read, or an entry lacks one of the three.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return tuple(ModelEntry(str(item["file"]), str(item["sha256"]).lower(), str(item["task"])) for item in content)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, RecursionError) as error:
        raise ModelUnreadable(f"{path} is not a manifest in JSON: {error}.") from error
    except (KeyError, TypeError) as error:
        raise ModelUnreadable(
            f"{path} is no manifest: it must be a list of entries with file, sha256 and task ({error})."
        ) from error


def sha256_of(data: bytes) -> str:
    """The SHA-256 of a file's content, 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
