"""Annotated recordings, read from disk or rendered."""

from pathlib import Path

import pytest

from app.core.errors import SourceError
from app.ingest.street import Street
from app.ingest.street_config import parse_street
from app.ingest.street_export import write_motchallenge, write_video
from app.offline.evaluation.sequences import open_sequence, thinned
from tests.offline.evaluation.recordings import opened, write_recording

STREET = "synthetic:320x180@10?objects=8&seed=5&frames=6"


def test_frames_carry_their_numbers_in_the_ground_truth(tmp_path: Path) -> None:
    sequence = opened(tmp_path / "seq", n_frames=5)
    assert [frame.seq for frame in sequence.frames()] == [1, 2, 3, 4, 5]
    assert set(sequence.truth) == {1, 2, 3, 4, 5}
    assert (sequence.name, sequence.fps, sequence.n_frames) == ("seq", 10, 5)


def test_a_thinned_sequence_keeps_numbers_and_times(tmp_path: Path) -> None:
    half = thinned(opened(tmp_path / "seq", n_frames=5), 5)
    assert half is not None
    frames = list(half.frames())
    assert [frame.seq for frame in frames] == [1, 3, 5]
    assert [frame.pts_s for frame in frames] == pytest.approx([0, 0.2, 0.4])
    assert (half.fps, half.n_frames) == (5, 3)


def test_no_sequence_is_run_faster_than_it_is(tmp_path: Path) -> None:
    sequence = opened(tmp_path / "seq", n_frames=3)
    assert thinned(sequence, 30) is None
    assert thinned(sequence, 10) is not None


def test_only_the_first_frames_are_used_if_so_wished(tmp_path: Path) -> None:
    sequence = open_sequence(str(write_recording(tmp_path / "seq", n_frames=6)), "person", max_frames=4)
    assert [frame.seq for frame in sequence.frames()] == [1, 2, 3, 4]


def test_a_video_stands_beside_its_ground_truth_or_in_a_folder_with_it(tmp_path: Path) -> None:
    street = Street(parse_street(STREET))
    write_motchallenge(street, tmp_path / "folder", 6)
    truth = (tmp_path / "folder" / "gt" / "gt.txt").read_text()
    write_video(street, tmp_path / "clip.mp4", 6)
    (tmp_path / "clip.txt").write_text(truth)
    (tmp_path / "inside" / "gt").mkdir(parents=True)
    (tmp_path / "inside" / "gt" / "gt.txt").write_text(truth)
    write_video(street, tmp_path / "inside" / "video.mp4", 6)
    beside, inside = (open_sequence(str(tmp_path / name), "person") for name in ("clip.mp4", "inside"))
    for sequence in (beside, inside):
        assert [frame.seq for frame in sequence.frames()] == [1, 2, 3, 4, 5, 6]
        assert set(sequence.truth) <= {1, 2, 3, 4, 5, 6}
    assert beside.digest != inside.digest or beside.source != inside.source


def test_a_street_brings_its_own_truth(tmp_path: Path) -> None:
    rendered = open_sequence(STREET, "person")
    write_motchallenge(Street(parse_street(STREET)), tmp_path / "written", 6)
    written = open_sequence(str(tmp_path / "written"), "person")
    assert rendered.n_frames == 6
    for number in range(1, 7):
        expected = written.truth[number]
        assert rendered.truth[number].boxes == pytest.approx(expected.boxes, abs=0.02)
        assert rendered.truth[number].ids.tolist() == expected.ids.tolist()


def test_recordings_are_told_apart(tmp_path: Path) -> None:
    first, second = (opened(tmp_path / name, n_frames=n) for name, n in (("a", 3), ("b", 4)))
    assert first.digest != second.digest
    assert open_sequence(STREET, "person").digest != open_sequence(STREET.replace("seed=5", "seed=6"), "person").digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nowhere", "no recording at nowhere"),
        ("bare", "no ground truth"),
        ("synthetic:320x180", "never ends"),
        ("synthetic:320x180?frames=5&bogus=1", "no option 'bogus'"),
    ],
)
def test_what_is_no_annotated_recording_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bare" / "img1").mkdir(parents=True)
    with pytest.raises(SourceError, match=words):
        open_sequence(text, "person")


def test_a_street_shows_people_and_cars_only() -> None:
    assert open_sequence(STREET, "car").n_frames == 6
    with pytest.raises(SourceError, match="no 'zebra'"):
        open_sequence(STREET, "zebra")
