"""Where frames come from when nobody pushes them: one protocol, and the choice by what the user wrote."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from app.core.errors import SourceError
from app.core.types import Frame, Size
from app.ingest.file import VideoFile
from app.ingest.folder import ImageFolder
from app.ingest.live.source import LiveSource
from app.ingest.street_config import parse_street
from app.ingest.street_source import StreetSource

LIVE_SCHEMES = frozenset({"rtsp", "rtsps"})


class Source(Protocol):
    """Frames of one stream, decoded one by one as they are asked for. Not thread-safe."""

    @property
    def size(self) -> Size:
        """Width and height of every frame."""
        ...

    @property
    def fps(self) -> float | None:
        """Frames a second, if the source says so."""
        ...

    @property
    def n_frames(self) -> int | None:
        """How many frames to expect, for a progress bar; None when unknown or endless."""
        ...

    @property
    def n_corrupt(self) -> int:
        """Damaged frames that were skipped so far."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """All frames from the first, `seq` from 1, `pts_s` strictly increasing.

        Raises:
            SourceError: a frame cannot be read, or has another size than the first.
        """
        ...

    def close(self) -> None:
        """Release the file; safe to call twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


def open_source(text: str, *, fps: float | None = None) -> Source:
    """Open what the user named.

    Args:
        text: a video file, a folder of images (or a MOTChallenge sequence), an RTSP address, or `synthetic…` as
            `street_config.parse_street` reads it.
        fps: frames a second where the source itself names none: a plain image folder, the synthetic street.
    Raises:
        SourceError: there is nothing there that can be read; the message says what to give instead.
    """
    if is_street(text):
        return StreetSource(parse_street(text, fps=fps))
    scheme, separator, _ = text.partition("://")
    if separator and scheme.lower() in LIVE_SCHEMES:
        return LiveSource(text)
    if separator:
        raise SourceError(
            f"Addresses with {scheme.lower()}:// cannot be opened: give rtsp://…, a video file, a folder of images, "
            "or synthetic."
        )
    path = Path(text).expanduser()
    if not text or not path.exists():
        raise SourceError(f"There is no file or folder {text!r}: give a video, a folder of images, or synthetic.")
    return ImageFolder(path, fps=fps) if path.is_dir() else VideoFile(path)


def is_street(text: str) -> bool:
    """Whether the user asks for a synthetic street."""
    return re.match(r"synthetic($|[:@?])", text) is not None
