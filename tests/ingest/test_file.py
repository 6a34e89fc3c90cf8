"""Recorded video: planes in place, times that move forward, damage that is counted, advice in errors."""

import gc
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import SourceError
from app.core.types import Size, YuvPicture
from app.ingest.file import StreamClock, VideoFile
from tests.ingest.conftest import FPS, N_FRAMES, EncodeVideo


def luma_means(video: VideoFile) -> list[float]:
    means = []
    for frame in video:
        assert isinstance(frame.picture, YuvPicture)
        means.append(float(frame.picture.y.mean()))
    return means


def jpeg_spans(data: bytearray) -> list[tuple[int, int]]:
    """First byte and end of each frame of a Motion JPEG file."""
    starts = [index for index in range(len(data)) if data[index : index + 3] == b"\xff\xd8\xff"]
    return [(start, data.index(b"\xff\xd9", start) + 2) for start in starts]


def wipe(data: bytearray, span: tuple[int, int]) -> None:
    start, end = span
    data[start:end] = bytes(end - start)


def test_frames_come_in_order_with_their_times(clip: Path) -> None:
    with VideoFile(clip) as video:
        frames = list(video)
        assert (video.size, video.fps, video.n_frames, video.n_corrupt) == (Size(96, 64), FPS, N_FRAMES, 0)
    assert [frame.seq for frame in frames] == list(range(1, N_FRAMES + 1))
    assert [frame.pts_s for frame in frames] == pytest.approx([index / FPS for index in range(N_FRAMES)])
    assert all(frame.size == Size(96, 64) and frame.decode_ms > 0 for frame in frames)


def test_pictures_are_those_that_were_encoded(clip: Path) -> None:
    with VideoFile(clip) as video:
        means = luma_means(video)
    limited = [16 + (40 + 12 * index) * 219 / 255 for index in range(N_FRAMES)]
    assert means == pytest.approx(limited, abs=2)


def test_a_video_can_be_read_again_from_the_start(clip: Path) -> None:
    with VideoFile(clip) as video:
        assert next(iter(video)).seq == 1
        assert len(luma_means(video)) == N_FRAMES


def test_planes_outlive_the_decoder_and_are_read_only(clip: Path) -> None:
    video = VideoFile(clip)
    pictures, copies = [], []
    for frame in video:
        assert isinstance(frame.picture, YuvPicture)
        pictures.append(frame.picture)
        copies.append(tuple(plane.copy() for plane in (frame.picture.y, frame.picture.u, frame.picture.v)))
    video.close()
    del video
    gc.collect()
    churn = [np.full((64, 128), 7, np.uint8) for _ in range(200)]
    for picture, copy in zip(pictures, copies, strict=True):
        for plane, kept in zip((picture.y, picture.u, picture.v), copy, strict=True):
            assert not plane.flags.owndata
            assert not plane.flags.writeable
            assert np.array_equal(plane, kept)
            assert np.array_equal(cv2.resize(plane, None, fx=1, fy=1), kept)
    assert churn


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "size"),
    [
        ("full.avi", "mjpeg", "yuvj420p", Size(96, 64)),
        ("odd.avi", "mjpeg", "yuvj420p", Size(65, 49)),
        ("bgr.mkv", "ffv1", "bgr0", Size(65, 49)),
        ("ten_bit.mkv", "libx264", "yuv420p10le", Size(96, 64)),
        ("no_subsampling.mkv", "libx264", "yuv444p", Size(97, 65)),
    ],
)
def test_other_pixel_formats_become_the_same_planes(
    encode_video: EncodeVideo, name: str, codec: str, pixel_format: str, size: Size
) -> None:
    path = encode_video(name, codec=codec, pixel_format=pixel_format, size=size)
    with VideoFile(path) as video:
        pictures = [frame.picture for frame in video]
    assert len(pictures) == N_FRAMES
    is_full_range = codec == "mjpeg"
    for index, picture in enumerate(pictures):
        assert isinstance(picture, YuvPicture)
        chroma = ((size.height + 1) // 2, (size.width + 1) // 2)
        assert (picture.size, picture.u.shape, picture.v.shape) == (size, chroma, chroma)
        assert picture.is_full_range is is_full_range
        grey = 40 + 12 * index
        assert picture.y.mean() == pytest.approx(grey if is_full_range else 16 + grey * 219 / 255, abs=2)
        assert abs(picture.u.mean() - 128) < 2


def test_without_noted_times_frames_follow_the_frame_rate(encode_video: EncodeVideo) -> None:
    with VideoFile(encode_video("bare.h264")) as video:
        times = [frame.pts_s for frame in video]
        assert video.fps is not None
        assert times == pytest.approx([index / video.fps for index in range(N_FRAMES)])


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=50), st.floats(0.001, 10))
def test_stream_time_starts_at_zero_and_always_moves_forward(noted: list[float | None], period_s: float) -> None:
    clock = StreamClock(period_s)
    times = [clock.tick(time_s) for time_s in noted]
    assert times[:1] == pytest.approx([0.0] * len(times[:1]))
    assert all(later > earlier for earlier, later in pairwise(times))


def test_damaged_frames_in_mid_stream_are_left_out_and_counted(encode_video: EncodeVideo, tmp_path: Path) -> None:
    data = bytearray(encode_video("whole.avi", codec="mjpeg", pixel_format="yuvj420p").read_bytes())
    wipe(data, jpeg_spans(data)[4])
    path = tmp_path / "damaged.avi"
    path.write_bytes(data)
    with VideoFile(path) as video:
        frames = list(video)
        assert (len(frames), video.n_corrupt) == (N_FRAMES - 1, 1)
    assert [frame.seq for frame in frames] == list(range(1, N_FRAMES))
    assert frames[4].pts_s == pytest.approx(5 / FPS)


def test_a_truncated_video_ends_early(encode_video: EncodeVideo, tmp_path: Path) -> None:
    data = encode_video("long.avi", codec="mjpeg", pixel_format="yuvj420p").read_bytes()
    path = tmp_path / "short.avi"
    path.write_bytes(data[: len(data) // 2])
    with VideoFile(path) as video:
        assert 0 < len(list(video)) < N_FRAMES


def test_a_change_of_size_in_mid_stream_is_refused(encode_video: EncodeVideo, tmp_path: Path) -> None:
    parts = [
        encode_video(name, size=size).read_bytes()
        for name, size in (("small.h264", Size(96, 64)), ("large.h264", Size(128, 96)))
    ]
    path = tmp_path / "both.h264"
    path.write_bytes(b"".join(parts))
    with VideoFile(path) as video, pytest.raises(SourceError, match="128x96 and the first was 96x64: convert"):
        list(video)


def test_a_text_file_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("not a video")
    with pytest.raises(SourceError, match=r"notes\.mp4 cannot be read as a video: give an MP4"):
        VideoFile(path)


def test_an_empty_file_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    with pytest.raises(SourceError, match="cannot be read as a video"):
        VideoFile(path)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(SourceError, match="has no video stream"):
        VideoFile(path)


def test_a_video_without_one_good_frame_is_refused(encode_video: EncodeVideo, tmp_path: Path) -> None:
    data = bytearray(encode_video("ruin.avi", codec="mjpeg", pixel_format="yuvj420p").read_bytes())
    for span in jpeg_spans(data):
        wipe(data, span)
    path = tmp_path / "ruin.avi"
    path.write_bytes(data)
    with VideoFile(path) as video, pytest.raises(SourceError, match=r"No frame of ruin\.avi can be decoded"):
        list(video)
