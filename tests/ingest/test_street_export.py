"""The synthetic street written to files and read back."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from app.core.errors import SourceError
from app.core.types import BgrPicture, Size, YuvPicture
from app.ingest.source import open_source
from app.ingest.street import Street
from app.ingest.street_config import StreetConfig
from app.ingest.street_export import write_motchallenge, write_video

CONFIG = StreetConfig(size=Size(320, 180), fps=12.5, n_objects=15, seed=2)
N_FRAMES = 5


@pytest.fixture(scope="module")
def street() -> Street:
    return Street(CONFIG)


def test_a_written_video_shows_the_street(street: Street, tmp_path: Path) -> None:
    path = tmp_path / "street.mp4"
    write_video(street, path, N_FRAMES)
    with open_source(str(path)) as source:
        frames = list(source)
        assert (source.size, source.fps, source.n_frames) == (CONFIG.size, CONFIG.fps, N_FRAMES)
    for index, frame in enumerate(frames):
        assert isinstance(frame.picture, YuvPicture)
        planes = np.vstack(
            [frame.picture.y, *(p.reshape(-1, 320) for p in (frame.picture.u.copy(), frame.picture.v.copy()))]
        )
        shown = cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420)
        assert np.abs(shown.astype(int) - street.render(index)).mean() < 6


def test_a_written_sequence_has_the_frames_and_the_truth(street: Street, tmp_path: Path) -> None:
    folder = tmp_path / "street-1"
    write_motchallenge(street, folder, N_FRAMES)
    with open_source(str(folder)) as source:
        frames = list(source)
        assert (source.size, source.fps, source.n_frames) == (CONFIG.size, CONFIG.fps, N_FRAMES)
    for index, frame in enumerate(frames):
        assert isinstance(frame.picture, BgrPicture)
        assert np.abs(frame.picture.pixels.astype(int) - street.render(index)).mean() < 5
    rows = np.loadtxt(folder / "gt" / "gt.txt", delimiter=",", ndmin=2)
    assert rows.shape[1] == 9
    for index in range(N_FRAMES):
        truth, own = street.truth(index), rows[rows[:, 0] == index + 1]
        assert own[:, 1].tolist() == truth.ids.tolist()
        assert np.abs(own[:, 2:4] - truth.boxes[:, :2]).max() < 0.01
        assert np.abs(own[:, 2:4] + own[:, 4:6] - truth.boxes[:, 2:]).max() < 0.02
        assert own[:, 6].astype(bool).tolist() == (truth.visible >= 0.25).tolist()
        assert own[:, 7].tolist() == [(1, 3)[class_id] for class_id in truth.class_ids]
        assert np.abs(own[:, 8] - truth.visible).max() < 0.001


def test_an_odd_size_is_refused_for_video(tmp_path: Path) -> None:
    odd = Street(StreetConfig(size=Size(101, 80), n_objects=0))
    with pytest.raises(SourceError, match="even width and height, not 101x80"):
        write_video(odd, tmp_path / "odd.mp4", 1)


def test_a_place_that_cannot_be_written_is_refused(street: Street, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="cannot be written"):
        write_video(street, tmp_path / "missing" / "x.mp4", 1)
    with pytest.raises(SourceError, match="cannot be written"):
        write_video(street, tmp_path / "x.unknown", 1)
    with pytest.raises(SourceError, match="cannot be written"):
        write_motchallenge(street, tmp_path / "file", 1)
