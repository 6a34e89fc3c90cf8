"""What a run leaves behind: results as lines of JSON, annotated video. Nothing half-finished keeps the final name."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import BinaryIO, TextIO

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from app.core.errors import SettingsError
from app.core.types import Size
from app.core.wire import result_json
from app.offline.run import Step
from app.vision.annotate import draw
from app.vision.drawing import to_bgr

Sink = Callable[[Step], None]

NDJSON_SUFFIXES = frozenset({".ndjson", ".jsonl"})
VIDEO_SUFFIXES = frozenset({".mp4"})
_TICKS_PER_S = 90_000
"""Of the video's clock."""
_USUAL_FPS = 25.0
_CODEC = "libx264"
_CODEC_OPTIONS = {"preset": "veryfast", "crf": "23"}


@contextmanager
def output_file(
    path: Path, session: str, size: Size, *, fps: float | None = None, draws_patches: bool = False
) -> Iterator[Sink]:
    """A sink that writes to a file, whose suffix says what: `.ndjson` or `.mp4`.

    The file appears under its name when the block is left without an error, and not at all otherwise.

    Args:
        session: name of the stream in the results.
        size: of the frames.
        fps: nominal frames a second of the video; each frame is shown at its own stream time nevertheless.
        draws_patches: in the video, outline the regions that the detector looked at.
    Raises:
        SettingsError: the suffix is neither, or nothing can be written there.
        OSError: writing failed later on, for example for lack of space.
    """
    suffix = path.suffix.lower()
    if suffix not in NDJSON_SUFFIXES | VIDEO_SUFFIXES:
        raise SettingsError(
            f"{path.name} has no known kind of output: end it with .ndjson for results or .mp4 for annotated video."
        )
    with unfinished_file(path) as temporary:
        if suffix in VIDEO_SUFFIXES:
            with _video(temporary, size, fps or _USUAL_FPS, draws_patches=draws_patches) as sink:
                yield sink
        else:
            with temporary.open("wb") as stream:
                yield partial(write_line, stream, session)


@contextmanager
def text_file(path: Path) -> Iterator[TextIO]:
    """A text file that, likewise, appears only when the block is left without an error.

    Raises:
        SettingsError: nothing can be written there.
    """
    with unfinished_file(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        yield stream


def write_line(stream: BinaryIO, session: str, step: Step) -> None:
    """Write a step's result as one line of JSON, the document that the service's clients get."""
    objects = step.result.objects
    document = result_json(session, step.result, objects, [()] * len(objects), completed_unix_s=time.time())
    stream.write(document + b"\n")


@contextmanager
def unfinished_file(path: Path) -> Iterator[Path]:
    """A new, empty file beside `path` that takes its name once the block is left without an error."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise SettingsError(f"{path} is not a file that can be replaced: give another name for the output.")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        temporary.touch()
    except OSError as error:
        raise SettingsError(
            f"Nothing can be written in {path.parent} ({error.strerror}): make the folder, or choose another."
        ) from error
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _video(path: Path, size: Size, fps: float, *, draws_patches: bool) -> Iterator[Sink]:
    writer = _VideoWriter(path, size, fps, draws_patches=draws_patches)
    try:
        yield writer.write
    except BaseException:
        # The file is thrown away; why is known already.
        with suppress(av.FFmpegError):
            writer.close()
        raise
    writer.finish()


class _VideoWriter:
    """Annotated H.264 in MP4. Not thread-safe."""

    def __init__(self, path: Path, size: Size, fps: float, *, draws_patches: bool) -> None:
        self._draws_patches = draws_patches
        # 4:2:0 needs even sides: the last row or column is shown twice.
        self._pad = (size.height % 2, size.width % 2)
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        rate = Fraction(fps).limit_denominator(1001)
        stream = self._container.add_stream(_CODEC, rate=rate, options=_CODEC_OPTIONS)
        if not isinstance(stream, VideoStream):
            raise TypeError(f"{_CODEC} is no video codec")
        stream.width, stream.height = size.width + self._pad[1], size.height + self._pad[0]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS_PER_S)
        self._stream = stream
        self._last_pts = -1

    def write(self, step: Step) -> None:
        patches = step.patches if self._draws_patches else ()
        picture = self._even(draw(to_bgr(step.frame.picture), step.result.objects, patches))
        frame = VideoFrame.from_ndarray(picture, format="bgr24")
        frame.time_base = Fraction(1, _TICKS_PER_S)
        self._last_pts = max(round(step.frame.pts_s * _TICKS_PER_S), self._last_pts + 1)
        frame.pts = self._last_pts
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder still holds, and the file's index."""
        try:
            self._container.mux(self._stream.encode(None))
        finally:
            self.close()

    def close(self) -> None:
        self._container.close()

    def _even(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if not any(self._pad):
            return picture
        bottom, right = self._pad
        return cv2.copyMakeBorder(picture, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
