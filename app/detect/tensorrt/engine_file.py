"""Engine files: what an engine is for, followed by the engine.

The layout is the one that Ultralytics writes: the length of the description as four bytes, little end first; the
description in JSON; the plan as TensorRT serialised it. A plan alone is read too, without knowing anything of it.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from app.core.errors import EngineUnfit, ModelUnreadable, SettingsError
from app.detect.tensorrt.library import NAMES, Capability, Flavour, Library
from app.detect.tensorrt.options import EngineOptions

FORMAT = 1
_LENGTH_BYTES = 4
_LONGEST_DESCRIPTION = 4 * 1024 * 1024


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on."""

    capability: Capability
    """Compute capability of the GPU."""
    flavour: Flavour
    library_version: str
    model_sha256: str
    options: EngineOptions

    @property
    def architecture(self) -> str:
        return f"sm_{self.capability[0]}{self.capability[1]}"


@dataclass(frozen=True)
class EngineDescription:
    """What an engine file says of its engine."""

    key: EngineKey
    model: str
    """The model's name."""
    model_metadata: Mapping[str, str] = field(default_factory=dict)
    """What the ONNX file said of itself: class names, stride, task."""


@dataclass(frozen=True)
class EngineFile:
    """An engine file that was read."""

    path: Path
    plan: bytes
    description: EngineDescription | None
    """None in files that are not ours."""
    metadata: Mapping[str, str]
    """Of the model, whoever wrote them."""

    def check_fits(self, key: EngineKey) -> None:
        """Make sure that the engine is the one wanted.

        Raises:
            EngineUnfit: it is not; the message says in what it differs.
        """
        if self.description is None:
            raise EngineUnfit(f"{self.path} does not say what it was built from.")
        if difference := _difference(self.description.key, key):
            raise EngineUnfit(f"{self.path} {difference}.")

    def check_runs(self, library: Library, capability: Capability) -> None:
        """Make sure that the engine can be expected to run here, whatever it was built from.

        Raises:
            EngineUnfit: it cannot.
        """
        if self.description is None:
            return
        built = self.description.key
        here = EngineKey(capability, library.flavour, library.version, built.model_sha256, built.options)
        if difference := _difference(built, here):
            raise EngineUnfit(f"{self.path} {difference}.")


def _difference(built: EngineKey, wanted: EngineKey) -> str:
    """In what an engine is not the one wanted; nothing if it is."""
    if built.capability != wanted.capability:
        have, want = (f"{major}.{minor}" for major, minor in (built.capability, wanted.capability))
        return f"was built for a GPU of compute capability {have}, not {want}"
    if (built.flavour, built.library_version) != (wanted.flavour, wanted.library_version):
        return (
            f"was built by {built.flavour} {built.library_version}, and here is "
            f"{wanted.flavour} {wanted.library_version}"
        )
    if built.model_sha256 != wanted.model_sha256:
        return "was built from another version of the model"
    for item in fields(EngineOptions):
        have, want = getattr(built.options, item.name), getattr(wanted.options, item.name)
        if have != want:
            return f"was built with {item.name} {have}, not {want}"
    return ""


def write_engine(path: Path, plan: bytes, key: EngineKey, model: str, metadata: Mapping[str, str]) -> None:
    """Write an engine file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    document = {
        "format": FORMAT,
        "model": model,
        "architecture": key.architecture,
        "capability": list(key.capability),
        "flavour": key.flavour,
        "library_version": key.library_version,
        "model_sha256": key.model_sha256,
        "options": asdict(key.options),
        "model_metadata": dict(metadata),
    }
    text = json.dumps(document | {"sha256": _digest(document, plan)}).encode()
    write_whole(path, len(text).to_bytes(_LENGTH_BYTES, "little") + text, plan)


def write_whole(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file so that readers see all of it or the former one, whenever the machine stops.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_engine(path: Path) -> EngineFile:
    """Read an engine file.

    Raises:
        ModelUnreadable: it is damaged, or cannot be read at all.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelUnreadable(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(data) <= _LENGTH_BYTES:
        raise ModelUnreadable(f"{path} is no TensorRT engine: it has {len(data)} bytes.")
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    document = _document(data[_LENGTH_BYTES : _LENGTH_BYTES + length]) if length <= _LONGEST_DESCRIPTION else None
    if document is None:
        return EngineFile(path, data, None, {})
    plan = data[_LENGTH_BYTES + length :]
    if document.get("format") != FORMAT:
        return EngineFile(path, plan, None, {key: str(value) for key, value in document.items()})
    try:
        is_as_written = document.pop("sha256", None) == _digest(document, plan)
        description = _description(document)
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError, SettingsError) as error:
        raise ModelUnreadable(f"{path} is damaged: its description is not understood.") from error
    if not is_as_written:
        raise ModelUnreadable(f"{path} is damaged: what is in it is not what was written.")
    return EngineFile(path, plan, description, description.model_metadata)


def _digest(document: Mapping[str, Any], plan: bytes) -> str:
    """Of all that a file says, and of the engine."""
    digest = hashlib.sha256(json.dumps(document).encode())
    digest.update(plan)
    return digest.hexdigest()


def _document(text: bytes) -> dict[str, Any] | None:
    """The description, if it is one."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _description(document: Mapping[str, Any]) -> EngineDescription:
    major, minor = document["capability"]
    if document["flavour"] not in NAMES:
        raise ValueError(document["flavour"])
    key = EngineKey(
        capability=(int(major), int(minor)),
        flavour=document["flavour"],
        library_version=str(document["library_version"]),
        model_sha256=str(document["model_sha256"]),
        options=EngineOptions(**document["options"]),
    )
    metadata = {str(name): str(value) for name, value in document["model_metadata"].items()}
    return EngineDescription(key, str(document["model"]), metadata)
