"""A live stream as a source of frames."""

from collections.abc import Callable

import numpy as np
import pytest

from app.cli import main
from app.core.errors import SourceError
from app.ingest.camera.credentials import Credentials
from app.ingest.source import open_source
from tests.ingest.camera.client import FPS, RunningCamera
from tests.offline.clips import SIZE, clear_environment

Start = Callable[..., RunningCamera]


def test_frames_come_numbered_and_in_time(start: Start) -> None:
    with open_source(start().url) as source:
        assert (source.size, source.fps, source.n_frames) == (SIZE, FPS, None)
        taken = [(frame.seq, frame.pts_s) for frame, _ in zip(source, range(20), strict=False)]
    assert [seq for seq, _ in taken] == list(range(1, 21))
    times = np.array([pts_s for _, pts_s in taken])
    assert times[0] == 0
    assert np.all(np.diff(times) > 0)


def test_a_stream_that_ends_ends_the_frames(start: Start) -> None:
    camera = start()
    with open_source(camera.url) as source:
        frames = iter(source)
        next(frames)
        camera.begin("end")
        assert len(list(frames)) < 5 * FPS


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("resolution:size=160x90", "127.0.0.1 sends pictures of 160x90 now, and sent 320x180 before."),
        ("stall", r"127.0.0.1 sent no picture for 1 s."),
    ],
)
def test_what_happens_to_a_stream_is_told(
    start: Start, fault: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ingest.live.source._STALL_TIMEOUT_S", 1.0)
    camera = start()
    with open_source(camera.url) as source:
        frames = iter(source)
        next(frames)
        camera.begin(fault)
        with pytest.raises(SourceError, match=sentence):
            list(frames)


def test_a_wrong_password_is_told_without_it(start: Start) -> None:
    camera = start(credentials=Credentials("ann", "s3cret"))
    with pytest.raises(SourceError, match="wants another user or password") as told:
        open_source(camera.url.replace("rtsp://", "rtsp://ann:wr0ng@"))
    assert "wr0ng" not in str(told.value)


def test_the_command_line_tracks_a_camera(
    start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clear_environment(monkeypatch)
    assert main(["run", start().url, "--max-frames", "5", "--output", "-"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
