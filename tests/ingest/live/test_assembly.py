"""Pictures out of pieces: the same however they come, and the last one without another after it."""

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ingest.live.assembly import Assembler, Piece, WholePictures

START = b"\x00\x00\x00\x01"
PARAMETERS = {"h264": b"\x67\x42\x00", "hevc": b"\x42\x01\x01"}
FIRST = {"h264": b"\x41\x9a", "hevc": b"\x02\x01\xd0"}
LATER = {"h264": b"\x41\x5a", "hevc": b"\x02\x01\x40"}
PIECE_BYTES = 100
PERIOD_S = 0.1
CODECS = ["h264", "hevc"]


def cut(unit: bytes) -> list[bytes]:
    """As a network carries a unit; FFmpeg puts the start code before its first piece."""
    pieces = [unit[first : first + PIECE_BYTES] for first in range(0, len(unit), PIECE_BYTES)]
    return [START + pieces[0], *pieces[1:]]


def picture(codec: str, *lengths: int, with_parameters: bool = False) -> list[bytes]:
    """The pieces of a picture with slices of these lengths."""
    units = [PARAMETERS[codec]] if with_parameters else []
    for place, length in enumerate(lengths):
        units.append((LATER if place else FIRST)[codec] + b"\xab" * length)
    return [piece for unit in units for piece in cut(unit)]


def shown(assembler: Assembler, pieces: list[bytes], pts: int | None, now_s: float, gap_s: float) -> list[Piece]:
    """What comes out as pieces come; afterwards nothing does for a while, unless `due_s` says so."""
    out = []
    for place, data in enumerate(pieces):
        at_s = now_s + place * gap_s
        due_s = assembler.due_s
        if due_s is not None and due_s <= at_s:
            out.append(assembler.take())
        out.append(assembler.add(Piece(data, pts), at_s))
    return [item for item in out if item is not None]


def taught(codec: str) -> Assembler:
    """One that has seen enough pictures of several pieces."""
    assembler = Assembler(codec, PERIOD_S)
    for number in range(6):
        shown(assembler, picture(codec, 250), number - 6, number - 10.0, 0.0)
    assembler.take()
    return assembler


pictures = st.lists(
    st.tuples(st.lists(st.integers(1, 450), min_size=1, max_size=4), st.booleans()), min_size=1, max_size=12
)


@pytest.mark.parametrize("codec", CODECS)
@given(shapes=pictures, gap_ms=st.floats(0, 3), tells_time=st.booleans())
def test_pictures_are_what_was_sent(
    codec: str, shapes: list[tuple[list[int], bool]], gap_ms: float, tells_time: bool
) -> None:
    """Also of a camera whose clock stands still."""
    sent = [picture(codec, *lengths, with_parameters=more and tells_time) for lengths, more in shapes]
    assembler = Assembler(codec, PERIOD_S)
    out: list[Piece] = []
    for number, pieces in enumerate(sent):
        out += shown(assembler, pieces, number if tells_time else 0, number * PERIOD_S, gap_ms / 1e3)
    last = assembler.take()
    assert last is not None
    out.append(last)
    assert [item.data for item in out] == [b"".join(pieces) for pieces in sent]
    assert [item.pts for item in out] == [number if tells_time else 0 for number in range(len(sent))]
    assert assembler.n_torn == 0


@pytest.mark.parametrize("codec", CODECS)
def test_a_short_silence_tells_once_it_is_known_how_pieces_come(codec: str) -> None:
    assembler = Assembler(codec, PERIOD_S)
    for number in range(5):
        shown(assembler, picture(codec, 250), number, number * PERIOD_S, 0.001)
        assert assembler.due_s is None
    shown(assembler, picture(codec, 250), 5, 1.0, 0.001)
    assert assembler.due_s == pytest.approx(1.002 + 0.004)


@pytest.mark.parametrize("codec", CODECS)
def test_nothing_is_due_in_the_midst_of_a_unit_or_before_a_slice(codec: str) -> None:
    assembler = taught(codec)
    pieces = picture(codec, 3 * PIECE_BYTES, with_parameters=True)
    is_due = []
    for place, data in enumerate(pieces):
        assembler.add(Piece(data, 7), place * 0.001)
        is_due.append(assembler.due_s is not None)
    assert is_due == [False] * (len(pieces) - 1) + [True]


@pytest.mark.parametrize("codec", CODECS)
def test_fewer_slices_than_usual_are_waited_for_by_how_slowly_they_came(codec: str) -> None:
    assembler = Assembler(codec, PERIOD_S)
    for number in range(6):
        shown(assembler, picture(codec, 30, 30), number, number * PERIOD_S, 0.003)
    shown(assembler, picture(codec, 30), 7, 1.0, 0.0)
    assert assembler.due_s == pytest.approx(1.0 + 3 * 0.003)
    shown(assembler, picture(codec, 30, 30)[1:], 7, 1.003, 0.0)
    assert assembler.due_s == pytest.approx(1.003 + 0.004), "no more are to come"


@pytest.mark.parametrize("codec", CODECS)
def test_a_slow_moment_has_fewer_slices_wait_for_the_next_picture_until_it_is_forgotten(codec: str) -> None:
    assembler = taught(codec)
    for place, data in enumerate(picture(codec, 30, 30)):
        assembler.add(Piece(data, 0), place * 0.03)
    assert assembler.due_s == pytest.approx(0.03 + 0.004), "it has more slices than any before"
    is_due = []
    for number in range(1, 40):
        shown(assembler, picture(codec, 30), number, number * PERIOD_S, 0.0)
        is_due.append(assembler.due_s is not None)
    assert is_due == [False] * 30 + [True] * 9


@pytest.mark.parametrize("codec", CODECS)
def test_a_torn_picture_is_counted_once_and_its_rest_left_out(codec: str) -> None:
    assembler = taught(codec)
    shown(assembler, picture(codec, 250), 7, 0.0, 0.0)
    assert assembler.due_s is not None
    whole = assembler.take()
    assert whole is not None
    assert shown(assembler, cut(LATER[codec] + b"\xab" * 250), 7, 0.010, 0.0) == []
    assert assembler.n_torn == 1
    following = picture(codec, 250)
    assert shown(assembler, following, 8, 0.1, 0.0) == []
    assert assembler.due_s == pytest.approx(0.1 + 0.03), "there may be a second slice"
    rest = assembler.take()
    assert rest is not None
    assert rest.data == b"".join(following)


def test_other_codecs_come_whole() -> None:
    assembler = Assembler("mjpeg", PERIOD_S)
    for number in range(5):
        assembler.add(Piece(b"jpeg", number), number * PERIOD_S)
    assembler.add(Piece(b"jpeg", 5), 0.5)
    assert assembler.due_s == pytest.approx(0.504)
    assert assembler.take() == Piece(b"jpeg", 5)
    assert assembler.add(Piece(b"jpeg", 5), 0.6) is None, "its clock stands still"
    assert assembler.take() == Piece(b"jpeg", 5)
    assert assembler.n_torn == 0


def test_what_never_ends_is_no_picture() -> None:
    assembler = Assembler("h264", PERIOD_S)
    assembler.add(Piece(START + FIRST["h264"], 0), 0.0)
    parts = [assembler.add(Piece(bytes(1 << 20), 0), 0.0) for _ in range(40)]
    assert sum(part is not None for part in parts) == 1


def test_the_newest_picture_comes_out_while_the_network_is_silent() -> None:
    silence = threading.Event()

    def pieces() -> Iterator[Piece]:
        for number in range(8):
            for data in picture("h264", 250):
                yield Piece(data, number, 100.0 + number)
        silence.wait()

    found = iter(WholePictures(pieces(), Assembler("h264", PERIOD_S)))
    assert [next(found).reported_s for _ in range(8)] == [100.0 + number for number in range(8)]
    silence.set()
    assert next(found, None) is None


def test_what_the_reading_raises_comes_after_the_pictures() -> None:
    def pieces() -> Iterator[Piece]:
        for number in range(3):
            yield Piece(b"jpeg", number)
        raise ConnectionResetError

    found = WholePictures(pieces(), Assembler("mjpeg", PERIOD_S))
    seen: list[int | None] = []
    with pytest.raises(ConnectionResetError):
        seen.extend(item.pts for item in found)
    assert seen == [0, 1, 2]


def test_who_takes_slowly_has_the_network_wait() -> None:
    n_read = 0

    def pieces() -> Iterator[Piece]:
        nonlocal n_read
        for number in range(1000):
            yield Piece(b"jpeg", number)
            n_read += 1

    found = iter(WholePictures(pieces(), Assembler("mjpeg", PERIOD_S)))
    next(found)
    time.sleep(0.1)
    assert n_read < 20
    assert sum(1 for _ in found) == 999
