"""What a simulated camera shows: encoded pictures in real time, of a rendered street or a recording, over and over."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Protocol, Self

import av
import cv2
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.video.frame import PictureType, VideoFrame

from app.core.clock import Clock
from app.core.errors import SourceError
from app.core.types import Size
from app.ingest.camera.rtp import CLOCK_HZ, AccessUnit, split_annex_b
from app.ingest.file import bgr_frame, frame_of
from app.ingest.source import open_source
from app.ingest.street import Street

Emit = Callable[[AccessUnit], None]

_KEY_EVERY_S = 1.0
_OPTIONS = {
    "preset": "veryfast",
    "tune": "zerolatency",
    "crf": "24",
    "x264-params": "repeat-headers=1:annexb=1:scenecut=0",
}
_TICK = Fraction(1, CLOCK_HZ)
_PARAMETER_TYPES = frozenset({7, 8})
_USUAL_FPS = 25.0


class Feed(Protocol):
    """Pictures in real time, for as long as somebody watches; stream time is the clock's time since `start_s`."""

    @property
    def size(self) -> Size: ...

    @property
    def fps(self) -> float: ...

    @property
    def parameters(self) -> tuple[bytes, ...]:
        """Parameter sets that a decoder needs first, NAL units."""
        ...

    def run(self, stop: threading.Event, emit: Emit) -> None:
        """Give out pictures as they are due, the first one a key frame, until told to stop."""
        ...

    def ask_for_key(self) -> None:
        """Somebody new is watching: the next picture should stand for itself, where that can be had."""
        ...

    def resized(self, size: Size, folder: Path) -> Self:
        """The same scene in another size; files that takes are put into the folder."""
        ...


class Encoder:
    """H.264 without delay: one access unit for each picture."""

    def __init__(self, size: Size, fps: float) -> None:
        """Raises:
        SourceError: the width or height is odd.
        """
        if size.width % 2 or size.height % 2:
            raise SourceError(f"H.264 needs an even width and height, not {size}: choose another size.")
        self.size = size
        codec = av.CodecContext.create("libx264", "w")
        codec.width, codec.height, codec.pix_fmt = *size, "yuv420p"
        codec.framerate = Fraction(fps).limit_denominator(1001)
        codec.time_base = _TICK
        codec.gop_size = max(1, round(fps * _KEY_EVERY_S))
        codec.max_b_frames = 0
        codec.thread_count = 1
        codec.options = dict(_OPTIONS)
        self._codec = codec

    def encode(self, frame: VideoFrame, pts_s: float, *, is_key: bool = False) -> AccessUnit:
        """Encode the next picture, of whatever size."""
        if (frame.width, frame.height) != self.size or frame.format.name != "yuv420p":
            frame = frame.reformat(*self.size, format="yuv420p")
        frame.pts, frame.time_base = round(pts_s * CLOCK_HZ), _TICK
        frame.pict_type = PictureType.I if is_key else PictureType.NONE
        (packet,) = self._codec.encode(frame)
        return AccessUnit(split_annex_b(bytes(packet)), pts_s, packet.is_keyframe)


class StreetFeed:
    """A synthetic street, rendered while somebody watches; its scene goes on meanwhile."""

    def __init__(self, street: Street, clock: Clock, start_s: float, size: Size | None = None) -> None:
        """Raises:
        SourceError: the width or height is odd.
        """
        self._street, self._clock, self._start_s = street, clock, start_s
        self._size = size or street.config.size
        self._wants_key = threading.Event()
        first = Encoder(self._size, self.fps).encode(bgr_frame(np.zeros((*self._size[::-1], 3), np.uint8)), 0.0)
        self._parameters = _parameters(first)

    @property
    def size(self) -> Size:
        return self._size

    @property
    def fps(self) -> float:
        return self._street.config.fps

    @property
    def parameters(self) -> tuple[bytes, ...]:
        return self._parameters

    def run(self, stop: threading.Event, emit: Emit) -> None:
        encoder = Encoder(self._size, self.fps)
        index = self._due()
        while not stop.wait(max(0.0, self._start_s + index / self.fps - self._clock.now_s())):
            picture = self._street.render(index)
            if self._size != self._street.config.size:
                picture = np.asarray(cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA), np.uint8)
            is_key = self._wants_key.is_set()
            self._wants_key.clear()
            emit(encoder.encode(bgr_frame(picture), index / self.fps, is_key=is_key))
            # A machine that cannot keep up shows fewer pictures.
            index = max(index + 1, self._due())

    def ask_for_key(self) -> None:
        self._wants_key.set()

    def resized(self, size: Size, folder: Path) -> "StreetFeed":
        del folder  # nothing is kept
        return StreetFeed(self._street, self._clock, self._start_s, size)

    def _due(self) -> int:
        return int((self._clock.now_s() - self._start_s) * self.fps)


class FileFeed:
    """An H.264 file, sent as it is and repeated for ever; a new watcher waits for the next key frame."""

    def __init__(self, path: Path, clock: Clock, start_s: float) -> None:
        """Raises:
        SourceError: the file cannot be read, or holds no H.264.
        """
        self._path, self._clock, self._start_s = path, clock, start_s
        with closing(_opened(path)) as container:
            stream = container.streams.video[0]
            self._size = Size(stream.codec_context.width, stream.codec_context.height)
            self._fps = float(stream.average_rate or stream.guessed_rate or _USUAL_FPS)
        first = next((unit for _, unit in _units(path) if unit.is_key), None)
        if first is None or not (found := _parameters(first)):
            raise SourceError(f"{path.name} has no key frame that a stream could begin with: convert it.")
        self._parameters = found

    @property
    def size(self) -> Size:
        return self._size

    @property
    def fps(self) -> float:
        return self._fps

    @property
    def parameters(self) -> tuple[bytes, ...]:
        return self._parameters

    def run(self, stop: threading.Event, emit: Emit) -> None:
        began_s = self._clock.now_s() - self._start_s
        for round_number in count():
            ended_s = began_s
            for sent_s, unit in _units(self._path):
                due_s = self._start_s + began_s + sent_s
                if stop.wait(max(0.0, due_s - self._clock.now_s())):
                    return
                shown_s = began_s + unit.pts_s
                ended_s = max(ended_s, shown_s + 1 / self._fps)
                emit(replace(unit, pts_s=shown_s))
            if ended_s == began_s:
                raise SourceError(f"{self._path.name} can no longer be read, after {round_number} times.")
            began_s = ended_s

    def ask_for_key(self) -> None:
        """A file's key frames are where they are."""

    def resized(self, size: Size, folder: Path) -> "FileFeed":
        path = folder / f"{self._path.stem}-{size}.mkv"
        convert(str(self._path), path, size)
        return FileFeed(path, self._clock, self._start_s)


def open_file(text: str, folder: Path, clock: Clock, start_s: float) -> FileFeed:
    """A recording as a feed; one that is no H.264 is converted first, into the folder.

    Raises:
        SourceError: it cannot be read.
    """
    path = Path(text)
    if path.is_file() and _is_h264(path):
        return FileFeed(path, clock, start_s)
    target = folder / "converted.mkv"
    convert(text, target)
    return FileFeed(target, clock, start_s)


def convert(text: str, target: Path, size: Size | None = None) -> None:
    """Write a source's frames as H.264, with a key frame every second.

    Raises:
        SourceError: it cannot be read, or the target not be written.
    """
    with open_source(text) as source:
        fps = source.fps or _USUAL_FPS
        wanted = size or Size(source.size.width // 2 * 2, source.size.height // 2 * 2)
        try:
            with av.open(str(target), "w") as container:
                stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
                stream.width, stream.height, stream.pix_fmt = *wanted, "yuv420p"
                stream.codec_context.gop_size = max(1, round(fps * _KEY_EVERY_S))
                stream.codec_context.max_b_frames = 0
                stream.codec_context.options = {"preset": "veryfast", "crf": "24"}
                for frame in source:
                    picture = frame_of(frame.picture).reformat(*wanted, format="yuv420p")
                    picture.pict_type = PictureType.NONE
                    container.mux(stream.encode(picture))
                container.mux(stream.encode())
        except (av.FFmpegError, OSError) as error:
            raise SourceError(f"{text} cannot be converted to H.264: {error}.") from error


def _opened(path: Path) -> av.container.InputContainer:
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise SourceError(f"{path.name} cannot be read as a video.") from error
    if not container.streams.video:
        container.close()
        raise SourceError(f"{path.name} has no video stream.")
    return container


def _is_h264(path: Path) -> bool:
    with closing(_opened(path)) as container:
        return container.streams.video[0].codec_context.name == "h264"


def _units(path: Path) -> Iterator[tuple[float, AccessUnit]]:
    """When each access unit is sent, in seconds from the first, and the unit; in the order of the file."""
    with closing(_opened(path)) as container:
        stream = container.streams.video[0]
        to_annex_b = BitStreamFilterContext("h264_mp4toannexb", stream)
        period = 1 / float(stream.average_rate or stream.guessed_rate or _USUAL_FPS)
        first_s: float | None = None
        number = 0
        for packet in container.demux(stream):
            for filtered in to_annex_b.filter(packet if packet.size else None):
                unit = float(filtered.time_base or stream.time_base or _TICK)
                sent_s = number * period if filtered.dts is None else filtered.dts * unit
                first_s = sent_s if first_s is None else first_s
                shown_s = sent_s if filtered.pts is None else filtered.pts * unit
                number += 1
                yield (
                    sent_s - first_s,
                    AccessUnit(split_annex_b(bytes(filtered)), shown_s - first_s, filtered.is_keyframe),
                )


def _parameters(unit: AccessUnit) -> tuple[bytes, ...]:
    return tuple(nal for nal in unit.nals if nal[0] & 0x1F in _PARAMETER_TYPES)
