"""A folder of images as a stream; also a sequence in the layout of MOTChallenge."""

import configparser
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from app.core.errors import FrameError, FrameSizeChanged, SourceError
from app.core.types import Frame, Size
from app.ingest import image

USUAL_FPS = 25.0
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
_MAX_PIXELS = 1 << 27


class ImageFolder:
    """The images of a folder in the order of their names. Not thread-safe.

    A folder with `img1/` in it is read as MOTChallenge lays sequences out; `frameRate` is then taken from its
    `seqinfo.ini`. Damaged images are left out and counted in `n_corrupt`; their time passes nevertheless.
    """

    def __init__(self, path: Path, *, fps: float | None = None) -> None:
        inner = path / "img1"
        self._folder = inner if inner.is_dir() else path
        try:
            names = sorted(entry.name for entry in self._folder.iterdir() if entry.suffix.lower() in _SUFFIXES)
        except OSError as error:
            raise SourceError(f"The folder {path} cannot be listed: allow reading it.") from error
        self._names = names
        if not self._names:
            raise SourceError(f"There are no images in {self._folder}: put JPEG, PNG or WebP files there.")
        self._fps = _frame_rate(path / "seqinfo.ini") or fps
        if self._fps is not None and self._fps <= 0:
            raise SourceError(f"{self._fps:g} frames a second has no meaning: give a number above 0.")
        self._size = self._first_size()
        self.n_corrupt = 0

    @property
    def size(self) -> Size:
        return self._size

    @property
    def fps(self) -> float | None:
        return self._fps

    @property
    def n_frames(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Frame]:
        self.n_corrupt = 0
        period_s = 1 / (self._fps or USUAL_FPS)
        seq = 0
        for index, name in enumerate(self._names):
            data = self._read(name)
            start = time.perf_counter()
            try:
                picture = image.decode(data, max_pixels=_MAX_PIXELS, expected_size=self._size)
            except FrameSizeChanged as error:
                raise SourceError(
                    f"{name} has another size than the first image, which is {self._size}: "
                    "give a folder with images of one size."
                ) from error
            except FrameError:
                self.n_corrupt += 1
                continue
            decode_ms = 1000 * (time.perf_counter() - start)
            seq += 1
            yield Frame(seq, index * period_s, picture, decode_ms=decode_ms)

    def close(self) -> None:
        """Nothing to release: each image is closed once read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def _first_size(self) -> Size:
        for name in self._names:
            try:
                return image.read_header(self._read(name)).size
            except FrameError:
                continue
        raise SourceError(f"No file in {self._folder} is a readable image: give JPEG, PNG or WebP files.")

    def _read(self, name: str) -> bytes:
        try:
            return (self._folder / name).read_bytes()
        except OSError as error:
            raise SourceError(f"{self._folder / name} cannot be read: allow reading it, or remove it.") from error


def _frame_rate(path: Path) -> float | None:
    """`frameRate` of a MOTChallenge `seqinfo.ini`, if there is one."""
    if not path.is_file():
        return None
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
        rate = parser.getfloat("Sequence", "frameRate", fallback=None)
    except (configparser.Error, ValueError, OSError) as error:
        raise SourceError(f"{path} cannot be read: write [Sequence] and frameRate=25, or remove it.") from error
    return rate
