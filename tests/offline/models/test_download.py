"""Fetching: what breaks off is continued, what is wrong is told, and nothing secret is."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.core.errors import DownloadFailed
from app.offline.models.download import ATTEMPTS, DocumentMissing, discard, fetch, without_credentials
from tests.offline.models.server import Publisher, publishing

CONTENT = bytes(range(256)) * 40
N = len(CONTENT)


@pytest.fixture
def server() -> Iterator[Publisher]:
    with publishing() as publisher:
        publisher.files["/m.onnx"] = CONTENT
        yield publisher


@pytest.fixture
def get(server: Publisher, tmp_path: Path) -> Callable[..., Path]:
    """Fetches the server's file without a pause between attempts; gives the partial file."""

    def run(n_bytes_most: int = N, n_bytes: int | None = None) -> Path:
        part, address = tmp_path / "part", f"{server.address}/m.onnx"
        fetch(address, part, lambda *_: None, n_bytes=n_bytes, n_bytes_most=n_bytes_most, pause=lambda _s: None)
        return part

    return run


def test_progress_is_told_in_bytes(server: Publisher, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    fetch(f"{server.address}/m.onnx", tmp_path / "part", lambda have, n_all: told.append((have, n_all)), n_bytes_most=N)
    assert told[-1] == (N, N)
    assert [have for have, _ in told] == sorted(have for have, _ in told)


def test_what_breaks_off_is_continued_where_it_stopped(server: Publisher, get: Callable[..., Path]) -> None:
    server.breaks_after = [1000, 2000]
    assert get().read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=1000-", "bytes=3000-"]
    assert server.sent == N


def test_a_later_run_continues_too(server: Publisher, get: Callable[..., Path]) -> None:
    server.breaks_after = [500] * ATTEMPTS
    with pytest.raises(DownloadFailed, match=rf"in {ATTEMPTS} attempts: .* What has come is kept"):
        get()
    assert get().read_bytes() == CONTENT
    assert server.asked[-1][1] == f"bytes={500 * ATTEMPTS}-"
    assert server.sent == N


def test_what_was_complete_already_is_not_fetched_again(server: Publisher, get: Callable[..., Path]) -> None:
    get()
    assert get().read_bytes() == CONTENT
    assert server.sent == N


@pytest.mark.parametrize("fault", ["changed", "changed unnoticed", "no ranges", "no tag", "wrong start"])
def test_where_nothing_can_be_continued_all_is_fetched_anew(
    fault: str, server: Publisher, get: Callable[..., Path]
) -> None:
    if fault == "no tag":
        server.tag = ""
    server.breaks_after = [500] * ATTEMPTS
    with pytest.raises(DownloadFailed):
        get()
    server.knows_if_range = fault != "changed unnoticed"
    if "changed" in fault:
        server.tag, server.files["/m.onnx"] = '"2"', CONTENT[::-1]
    server.takes_ranges = fault != "no ranges"
    server.wrong_start = fault == "wrong start"
    assert get().read_bytes() == server.files["/m.onnx"]


def test_a_partial_file_of_another_address_is_not_continued(server: Publisher, tmp_path: Path) -> None:
    server.files["/other.onnx"] = CONTENT[::-1]
    server.breaks_after = [500] * ATTEMPTS
    part = tmp_path / "part"
    with pytest.raises(DownloadFailed):
        fetch(f"{server.address}/m.onnx", part, lambda *_: None, n_bytes_most=N, pause=lambda _s: None)
    fetch(f"{server.address}/other.onnx", part, lambda *_: None, n_bytes_most=N)
    assert part.read_bytes() == CONTENT[::-1]


def test_a_document_that_shrank_is_fetched_anew(server: Publisher, get: Callable[..., Path]) -> None:
    get()
    server.files["/m.onnx"] = CONTENT[:100]
    assert get().read_bytes() == CONTENT[:100]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_in_trouble_is_asked_again_after_growing_pauses(
    status: int, server: Publisher, tmp_path: Path
) -> None:
    server.statuses = [status, status]
    pauses: list[float] = []
    fetch(f"{server.address}/m.onnx", tmp_path / "part", lambda *_: None, n_bytes_most=N, pause=pauses.append)
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert pauses == [1.0, 2.0]


def test_a_refusal_is_final_and_says_why(server: Publisher, get: Callable[..., Path]) -> None:
    server.statuses = [403]
    with pytest.raises(DownloadFailed, match=r"/m\.onnx could not be fetched: the server answered 403 Forbidden\."):
        get()
    assert len(server.asked) == 1


def test_a_missing_document_is_told_apart(server: Publisher, get: Callable[..., Path]) -> None:
    server.files.clear()
    with pytest.raises(DocumentMissing, match="404"):
        get()


@pytest.mark.parametrize("announced", [True, False])
def test_a_document_that_is_too_long_is_refused(
    announced: bool, server: Publisher, get: Callable[..., Path], tmp_path: Path
) -> None:
    server.tells_length = announced
    with pytest.raises(DownloadFailed, match="longer than the 100 bytes expected"):
        get(n_bytes_most=100)
    assert not list(tmp_path.iterdir())


def test_an_answer_that_ends_early_without_saying_so_is_continued(server: Publisher, get: Callable[..., Path]) -> None:
    server.tells_length = False
    server.breaks_after = [300]
    assert get(n_bytes=N).read_bytes() == CONTENT
    assert server.asked[-1][1] == "bytes=300-"


def test_parts_that_are_shorter_than_asked_for_are_no_end(server: Publisher, get: Callable[..., Path]) -> None:
    server.breaks_after = [N - 150]
    server.short_parts = True
    assert get().read_bytes() == CONTENT


@pytest.mark.parametrize(("name", "value"), [("HTTPS_PROXY", "foo://hush"), ("ALL_PROXY", "socks5://hush:1")])
def test_a_proxy_that_cannot_be_used_is_one_sentence(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(DownloadFailed, match="a proxy is set that cannot be used") as failure:
        fetch("https://a.example/m", tmp_path / "part", lambda *_: None, n_bytes_most=N)
    assert "hush" not in str(failure.value)


def test_nobody_there_is_one_sentence(tmp_path: Path) -> None:
    with publishing() as gone:
        address = gone.address
    with pytest.raises(DownloadFailed, match=r"in 4 attempts: \[Errno 111\] Connection refused\."):
        fetch(f"{address}/m", tmp_path / "part", lambda *_: None, n_bytes_most=N, pause=lambda _s: None)


def test_discarding_leaves_nothing(server: Publisher, get: Callable[..., Path], tmp_path: Path) -> None:
    discard(get())
    assert not list(tmp_path.iterdir())


def test_passwords_are_neither_shown_nor_kept(server: Publisher, tmp_path: Path) -> None:
    address = server.address.replace("//", "//user:hush@") + "/m.onnx?key=hush"
    server.files["/m.onnx?key=hush"] = CONTENT
    server.breaks_after = [500] * ATTEMPTS
    with pytest.raises(DownloadFailed) as failure:
        fetch(address, tmp_path / "part", lambda *_: None, n_bytes_most=N, pause=lambda _s: None)
    assert "hush" not in str(failure.value)
    assert all(b"hush" not in file.read_bytes() for file in tmp_path.iterdir())
    assert without_credentials(address) == f"{server.address}/m.onnx"
