"""The choice of a source by what the user wrote."""

from itertools import islice

import pytest

from app.core.errors import SourceError
from app.core.types import Size
from app.ingest.source import open_source


def test_the_synthetic_street_gives_frames_in_order() -> None:
    with open_source("synthetic:320x180@30?objects=4&frames=3") as source:
        frames = list(source)
    assert (source.size, source.fps, source.n_frames) == (Size(320, 180), 30.0, 3)
    assert [frame.seq for frame in frames] == [1, 2, 3]
    assert [frame.pts_s for frame in frames] == pytest.approx([0, 1 / 30, 2 / 30])
    assert all(frame.size == source.size and frame.decode_ms > 0 for frame in frames)


def test_the_synthetic_street_is_endless_unless_told() -> None:
    with open_source("synthetic:128x72?objects=1", fps=10) as source:
        assert source.n_frames is None
        assert source.fps == 10
        assert len(list(islice(source, 5))) == 5


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("rtsp://127.0.0.1:9/1", "127.0.0.1 cannot be reached: check address and port"),
        ("http://camera/1.mp4", "give rtsp://…, a video file"),
        ("no-such-file.mp4", "no-such-file.mp4"),
        ("", "give a video"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_advice(text: str, advice: str) -> None:
    with pytest.raises(SourceError, match=advice):
        open_source(text)
