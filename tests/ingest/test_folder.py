"""A folder of images as a stream."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from app.core.errors import SourceError
from app.core.types import BgrPicture, Size
from app.ingest.folder import ImageFolder
from app.ingest.source import open_source

SMALL = Size(32, 24)


def write_image(path: Path, brightness: int, size: Size = SMALL) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size.height, size.width, 3), brightness, np.uint8))


def test_images_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, brightness in (("b.png", 100), ("a.jpg", 50), ("c.webp", 150)):
        write_image(tmp_path / name, brightness)
    (tmp_path / "readme.txt").write_text("not an image")
    with open_source(str(tmp_path), fps=5) as source:
        frames = list(source)
        assert (source.size, source.fps, source.n_frames, source.n_corrupt) == (Size(32, 24), 5, 3, 0)
    assert [frame.seq for frame in frames] == [1, 2, 3]
    assert [frame.pts_s for frame in frames] == pytest.approx([0, 0.2, 0.4])
    for frame, brightness in zip(frames, (50, 100, 150), strict=True):
        assert isinstance(frame.picture, BgrPicture)
        assert frame.picture.pixels.mean() == pytest.approx(brightness, abs=3)
        assert frame.decode_ms > 0


def test_without_a_frame_rate_the_usual_one_is_assumed_but_not_claimed(tmp_path: Path) -> None:
    for index in range(3):
        write_image(tmp_path / f"{index}.png", 50)
    with ImageFolder(tmp_path) as folder:
        assert folder.fps is None
        assert [frame.pts_s for frame in folder] == pytest.approx([0, 0.04, 0.08])


def test_a_motchallenge_sequence_brings_its_frame_rate(tmp_path: Path) -> None:
    write_image(tmp_path / "img1" / "000001.png", 50)
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nname=x\nframeRate=14\nimDir=img1\n")
    with ImageFolder(tmp_path, fps=99) as folder:
        assert folder.fps == 14
        assert folder.n_frames == 1


def test_damaged_images_are_left_out_and_their_time_passes(tmp_path: Path) -> None:
    for index in range(4):
        write_image(tmp_path / f"{index}.png", 50)
    for index in (0, 2):
        path = tmp_path / f"{index}.png"
        path.write_bytes(path.read_bytes()[:-20])
    with ImageFolder(tmp_path, fps=10) as folder:
        frames = list(folder)
        assert folder.n_corrupt == 2
    assert [frame.seq for frame in frames] == [1, 2]
    assert [frame.pts_s for frame in frames] == pytest.approx([0.1, 0.3])


def test_mixed_sizes_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", 50)
    write_image(tmp_path / "2.png", 50, Size(16, 16))
    with ImageFolder(tmp_path) as folder, pytest.raises(SourceError, match=r"2\.png.*images of one size"):
        list(folder)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="put JPEG, PNG or WebP files there"):
        ImageFolder(tmp_path)


def test_a_folder_of_nothing_but_damage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"\xff\xd8\xff broken")
    with pytest.raises(SourceError, match="readable image"):
        ImageFolder(tmp_path)


@pytest.mark.parametrize("text", ["frameRate=25", "[Sequence]\nframeRate=quick"])
def test_an_unreadable_seqinfo_is_refused(tmp_path: Path, text: str) -> None:
    write_image(tmp_path / "img1" / "1.png", 50)
    (tmp_path / "seqinfo.ini").write_text(text)
    with pytest.raises(SourceError, match="frameRate=25"):
        ImageFolder(tmp_path)


def test_a_frame_rate_of_zero_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", 50)
    with pytest.raises(SourceError, match="number above 0"):
        ImageFolder(tmp_path, fps=0)
