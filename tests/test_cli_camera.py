"""`flexpatch camera` from outside."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import httpx
import pytest

from app.cli import main

STREET = "synthetic:320x180@15?objects=4&seed=1"


@contextmanager
def camera(tmp_path: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """The running command, and the addresses of its stream and control endpoint."""
    command = [sys.executable, "-m", "app.cli", "camera", *arguments, "--port", "0", "--control", "0"]
    with subprocess.Popen(  # noqa: S603
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
        env={"PATH": "", "TMPDIR": str(tmp_path)},
    ) as process:
        try:
            assert process.stdout
            shown = process.stdout.readline() + process.stdout.readline()
            stream, control = re.search(r"rtsp://\S+", shown), re.search(r"http://\S+(?=/docs)", shown)
            assert stream, shown
            assert control, shown
            yield process, stream[0], control[0]
        finally:
            process.kill()


@pytest.mark.parametrize("source", [STREET, f"{STREET}&frames=15"])
def test_it_can_be_watched_told_to_fail_and_ended(source: str, tmp_path: Path) -> None:
    arguments = [source, "--path", "door", "--user", "ann", "--password", "s3cret", "--auth", "basic"]
    with camera(tmp_path, *arguments) as (process, stream, control):
        assert stream.endswith("/door")
        address = stream.replace("rtsp://", "rtsp://ann:s3cret@")
        with av.open(address, options={"rtsp_transport": "tcp"}, timeout=(5, 5)) as container:
            decoded = container.decode(video=0)
            assert (next(decoded).width, next(decoded).height) == (320, 180)
            state = httpx.get(control).json()
            assert (state["url"], state["watchers"], state["active_faults"]) == (stream, 1, [])
        begun = httpx.post(f"{control}/faults", json={"fault": "unauthorised"})
        assert begun.status_code == 202
        with pytest.raises(av.error.HTTPUnauthorizedError):
            av.open(address, timeout=(5, 5))
        wrong = httpx.post(f"{control}/faults", json={"fault": "fire"})
        assert wrong.status_code == 422
        assert "is no fault; there are" in wrong.json()["detail"]
        assert httpx.delete(f"{control}/faults").json()["active_faults"] == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 128 + signal.SIGTERM
        assert process.stderr
        assert process.stderr.read() == ""
    assert list(tmp_path.glob("flexpatch*")) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.mp4"], "There is no file or folder 'none.mp4'"),
        (["synthetic:321x180"], "even width and height"),
        ([STREET, "--user", "ann"], "Give both --user and --password"),
        ([STREET, "--auth", "none"], "--auth none is unknown; there are digest and basic."),
        ([STREET, "--fault", "fire"], "'fire' is no fault"),
        ([STREET, "--host", "198.51.100.1", "--port", "0"], "cannot listen on 198.51.100.1:0"),
    ],
)
def test_wrong_use_is_one_sentence_and_status_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["camera", *arguments]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert "Traceback" not in told
