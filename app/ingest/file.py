"""Recorded video, decoded by FFmpeg to planes that are looked at where the decoder left them."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.stream import VideoStream
from numpy.typing import NDArray

from app.core.errors import SourceError
from app.core.types import BgrPicture, Frame, Picture, Size, YuvPicture

_USUAL_FPS = 25.0
_AS_IS = {"yuv420p": False, "yuvj420p": True}
"""Pixel formats used as they are → full range."""
_FULL_RANGE = 2


class VideoFile:
    """A video file or anything else FFmpeg opens by path. Not thread-safe.

    A rotation noted in the file is ignored: frames come as they were stored.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._container = self._open()
        stream = self._container.streams.video[0]
        self._size = Size(stream.codec_context.width, stream.codec_context.height)
        self._fps = _rate(stream)
        self.n_announced = stream.frames if stream.frames > 0 else None
        """Frames that the file says it has; None if it says nothing."""
        self._n_frames = self.n_announced or self._frames_from_duration()
        self.n_corrupt = 0
        if min(self._size) <= 0:
            self._container.close()
            raise SourceError(f"The video in {path.name} has no picture size: it is damaged, convert or replace it.")

    @property
    def size(self) -> Size:
        return self._size

    @property
    def fps(self) -> float | None:
        return self._fps

    @property
    def n_frames(self) -> int | None:
        return self._n_frames

    def __iter__(self) -> Iterator[Frame]:
        """All frames from the first; damaged ones are left out and counted in `n_corrupt`."""
        self._container.close()
        self._container = self._open()
        self.n_corrupt = 0
        clock = StreamClock(1 / (self._fps or _USUAL_FPS))
        seq = 0
        start = time.perf_counter()
        for decoded in self._decode():
            pts, unit = decoded.pts, decoded.time_base
            pts_s = clock.tick(None if pts is None or unit is None else float(pts * unit))
            picture = picture_of(decoded)
            if picture.size != self._size:
                raise SourceError(
                    f"Frame {seq + 1} of {self._path.name} is {picture.size} and the first was {self._size}: "
                    "convert the video to one size."
                )
            seq += 1
            yield Frame(seq, pts_s, picture, decode_ms=1000 * (time.perf_counter() - start))
            start = time.perf_counter()
        if seq == 0:
            raise SourceError(f"No frame of {self._path.name} can be decoded: it is damaged, convert or replace it.")

    def close(self) -> None:
        """Close the file; pictures already given out stay valid."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def _open(self) -> av.container.InputContainer:
        try:
            container = av.open(str(self._path), mode="r")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise SourceError(
                f"{self._path.name} cannot be read as a video: give an MP4, MKV, AVI or other file with video in it."
            ) from error
        if not container.streams.video:
            container.close()
            raise SourceError(
                f"{self._path.name} has no video stream, or is cut off: give a whole file with video in it."
            )
        container.streams.video[0].thread_type = "AUTO"
        return container

    def _decode(self) -> Iterator[VideoFrame]:
        stream = self._container.streams.video[0]
        packets = self._container.demux(stream)
        while True:
            try:
                packet = next(packets)
                frames = packet.decode()
            except StopIteration:
                return
            except av.EOFError:
                return
            except av.FFmpegError:
                self.n_corrupt += 1
                continue
            for frame in frames:
                if isinstance(frame, VideoFrame):
                    if frame.is_corrupt:
                        self.n_corrupt += 1
                    else:
                        yield frame

    def _frames_from_duration(self) -> int | None:
        duration_us = self._container.duration
        if not duration_us or not self._fps:
            return None
        return max(round(duration_us / 1e6 * self._fps), 1)


class StreamClock:
    """Turns the times that a file notes for its frames into stream time from 0 that always moves forward."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._last_s = -period_s
        self._start_s: float | None = None

    def tick(self, noted_s: float | None) -> float:
        """Stream time of the next frame in seconds: as noted, or a frame period on if that is missing or not later."""
        pts_s = self._last_s + self._period_s
        if noted_s is not None:
            if self._start_s is None:
                self._start_s = noted_s - pts_s
            if noted_s - self._start_s > self._last_s:
                pts_s = noted_s - self._start_s
        self._last_s = pts_s
        return pts_s


def _rate(stream: VideoStream) -> float | None:
    return next((float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate), None)


def picture_of(frame: VideoFrame) -> YuvPicture:
    """The planes of a decoded frame, looked at in place; each array keeps the frame's memory alive."""
    if frame.format.name not in _AS_IS:
        frame = frame.reformat(format="yuv420p")
    is_full = _AS_IS[frame.format.name] or int(frame.color_range) == _FULL_RANGE
    y, u, v = (_view(plane) for plane in frame.planes)
    return YuvPicture(y, u, v, is_full_range=is_full)


def _view(plane: VideoPlane) -> NDArray[np.uint8]:
    """(H, W) without a copy, read-only: the array's base is the plane, which holds on to its frame."""
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    rows.flags.writeable = False
    return rows[:, : plane.width]


def frame_of(picture: Picture) -> VideoFrame:
    """A picture as FFmpeg keeps them, copied."""
    if isinstance(picture, BgrPicture):
        return bgr_frame(picture.pixels)
    made = VideoFrame(*picture.size, "yuvj420p" if picture.is_full_range else "yuv420p")
    for plane, pixels in zip(made.planes, (picture.y, picture.u, picture.v), strict=True):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        rows[:, : pixels.shape[1]] = pixels
    return made


def bgr_frame(pixels: NDArray[np.uint8]) -> VideoFrame:
    """Pixels (H, W, 3) BGR as FFmpeg keeps them."""
    return VideoFrame.from_ndarray(pixels, format="bgr24")
