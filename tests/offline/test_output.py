"""Files that a run leaves behind: whole, or not at all."""

from pathlib import Path

import av
import pytest

from app.core.errors import SettingsError
from app.core.types import BgrPicture, Frame, FrameResult, Size, TrackedObject, Work
from app.offline.output import output_file, text_file
from app.offline.run import Step
from tests.offline.clips import SIZE, picture


def step(index: int, size: Size, pts_s: float) -> Step:
    item = TrackedObject(4, 0, "blue", (20.0, 30.0, 60.0, 70.0), 0.9, "detected", 0.0, 0.1)
    frame = Frame(index + 1, pts_s, BgrPicture(picture(index, size)))
    return Step(frame, FrameResult(frame.seq, pts_s, size, (item,), Work("track")), ((10.0, 80.0, 90.0, 160.0),))


@pytest.mark.parametrize("size", [Size(320, 180), Size(321, 181), Size(321, 180)], ids=str)
def test_a_video_has_every_frame_at_its_own_time(tmp_path: Path, size: Size) -> None:
    times_s = [0.0, 0.04, 0.08, 0.5, 0.54]
    path = tmp_path / "clip.mp4"
    with output_file(path, "clip", size, fps=25.0) as sink:
        for index, pts_s in enumerate(times_s):
            sink(step(index, size, pts_s))
        assert not path.exists()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        frames = list(container.decode(stream))
    assert [frame.time for frame in frames] == pytest.approx(times_s, abs=1e-4)
    even = Size(size.width + size.width % 2, size.height + size.height % 2)
    assert {Size(frame.width, frame.height) for frame in frames} == {even}


def test_patches_are_drawn_when_asked_for(tmp_path: Path) -> None:
    brightness = []
    for draws_patches in (False, True):
        path = tmp_path / "clip.mp4"
        with output_file(path, "clip", SIZE, draws_patches=draws_patches) as sink:
            sink(step(0, SIZE, 0.0))
        with av.open(str(path)) as container:
            first = next(container.decode(video=0)).to_ndarray(format="gray")
        brightness.append(int(first[80, 20:80].mean()))
    assert brightness[1] > brightness[0] + 60


def test_frames_closer_than_the_clock_of_the_video_still_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with output_file(path, "clip", SIZE) as sink:
        for index in range(3):
            sink(step(index, SIZE, index * 1e-7))
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ndjson"])
def test_what_fails_leaves_nothing_and_keeps_what_was_there(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("earlier")

    def fail_half_way() -> None:
        with output_file(path, "clip", SIZE) as sink:
            sink(step(0, SIZE, 0.0))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "earlier"
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.ndjson").symlink_to(tmp_path / "real.ndjson")
    with output_file(tmp_path / "link.ndjson", "clip", SIZE) as sink:
        sink(step(0, SIZE, 0.0))
    assert (tmp_path / "link.ndjson").is_symlink()
    assert (tmp_path / "real.ndjson").read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [("clip.avi", "end it with"), ("nowhere/clip.mp4", "make the folder"), ("taken.ndjson", "not a file")],
)
def test_places_that_cannot_be_written_are_refused_at_once(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "taken.ndjson").mkdir()
    with pytest.raises(SettingsError, match=words), output_file(tmp_path / name, "clip", SIZE):
        pass


def test_a_text_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with text_file(path) as stream:
        stream.write("{}")
        assert not path.exists()
    assert path.read_text() == "{}"
