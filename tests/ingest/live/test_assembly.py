"""Pictures out of pieces: the same however they come, and the last one without another after it."""

import threading
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ingest.live.assembly import Assembler, Piece, WholePictures

START = b"\x00\x00\x00\x01"
PARAMETERS = {"h264": b"\x67\x42\x00", "hevc": b"\x42\x01\x01"}
DELIMITER = {"h264": b"\x09\x10", "hevc": b"\x46\x01\x10"}
FIRST = {"h264": b"\x41\x9a", "hevc": b"\x02\x01\xd0"}
LATER = {"h264": b"\x41\x5a", "hevc": b"\x02\x01\x40"}
PIECE_BYTES = 100
CODECS = ["h264", "hevc"]
STEADY = 30
SILENCE_S = 0.004


def cut(unit: bytes) -> list[bytes]:
    """As a network carries a unit; FFmpeg puts the start code before its first piece."""
    pieces = [unit[first : first + PIECE_BYTES] for first in range(0, len(unit), PIECE_BYTES)]
    return [START + pieces[0], *pieces[1:]]


def picture(codec: str, *lengths: int, with_parameters: bool = False) -> list[bytes]:
    """The pieces of a picture with slices of these lengths."""
    units = [DELIMITER[codec], PARAMETERS[codec]] if with_parameters else []
    for place, length in enumerate(lengths):
        units.append((LATER if place else FIRST)[codec] + b"\xab" * length)
    return [piece for unit in units for piece in cut(unit)]


def show(assembler: Assembler, pieces: Sequence[bytes], pts: int | None, times_s: Sequence[float]) -> list[Piece]:
    """What comes out as pieces come at these times, with somebody who takes pictures as soon as they are due."""
    out = []
    for data, at_s in zip(pieces, times_s, strict=True):
        due_s = assembler.due_s
        if due_s is not None and due_s <= at_s:
            out.append(assembler.take())
        out.append(assembler.add(Piece(data, pts), at_s))
    return [item for item in out if item is not None]


def at_once(assembler: Assembler, pieces: Sequence[bytes], pts: int | None, at_s: float = 0.0) -> list[Piece]:
    return show(assembler, pieces, pts, [at_s] * len(pieces))


def taught(codec: str, *lengths: int) -> Assembler:
    """One that has seen enough pictures of such slices; the last of them is in hand."""
    assembler = Assembler(codec)
    for number in range(-STEADY, 1):
        at_once(assembler, picture(codec, *lengths), number, number)
    return assembler


pictures = st.lists(
    st.tuples(st.lists(st.integers(1, 450), min_size=1, max_size=4), st.booleans()), min_size=1, max_size=12
)


@pytest.mark.parametrize("codec", CODECS)
@given(shapes=pictures, gap_s=st.floats(0, 1), tells_time=st.booleans())
def test_pictures_are_what_was_sent(
    codec: str, shapes: list[tuple[list[int], bool]], gap_s: float, tells_time: bool
) -> None:
    """Of senders that cut each picture otherwise, however slowly they come; also where the clock stands still."""
    sent = [picture(codec, *lengths, with_parameters=more and tells_time) for lengths, more in shapes]
    assembler = Assembler(codec)
    out: list[Piece] = []
    now_s = 0.0
    for number, pieces in enumerate(sent):
        times_s = [now_s + place * gap_s for place in range(len(pieces))]
        now_s = times_s[-1]
        out += show(assembler, pieces, number if tells_time else 0, times_s)
    out += [last] if (last := assembler.take()) else []
    assert [item.data for item in out] == [b"".join(pieces) for pieces in sent]
    assert [item.pts for item in out] == [number if tells_time else 0 for number in range(len(sent))]
    assert assembler.n_torn == 0


@pytest.mark.parametrize("codec", CODECS)
@given(n_slices=st.integers(1, 4), stalls=st.lists(st.floats(0, 1), min_size=200, max_size=200))
def test_no_stall_tears_pictures_of_as_many_slices_each(codec: str, n_slices: int, stalls: list[float]) -> None:
    assembler = taught(codec, *[250] * n_slices)
    out: list[Piece] = []
    now_s = 1.0
    sent = [picture(codec, *[230 + number] * n_slices) for number in range(1, 15)]
    waits = iter(stalls)
    for number, pieces in enumerate(sent, 1):
        times_s = [now_s := now_s + next(waits, 0.0) for _ in pieces]
        out += show(assembler, pieces, number, times_s)
    out += [last] if (last := assembler.take()) else []
    assert [item.data for item in out[1:]] == [b"".join(pieces) for pieces in sent]
    assert assembler.n_torn == 0


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("n_slices", [1, 3])
def test_a_silence_tells_once_all_pictures_have_had_as_many_slices(codec: str, n_slices: int) -> None:
    assembler = Assembler(codec)
    for number in range(STEADY + 1):
        assert assembler.due_s is None
        at_once(assembler, picture(codec, *[250] * n_slices), number, float(number))
    assert assembler.due_s == pytest.approx(STEADY + SILENCE_S)
    at_once(assembler, picture(codec, *[250] * (n_slices + 1)), STEADY + 1, STEADY + 1.0)
    assert assembler.due_s is None, "this one is not like the others"
    at_once(assembler, picture(codec, *[250] * n_slices), STEADY + 2, STEADY + 2.0)
    assert assembler.due_s is None, "they are not alike any more"


@pytest.mark.parametrize("codec", CODECS)
def test_nothing_is_due_in_the_midst_of_a_unit_or_before_a_slice(codec: str) -> None:
    assembler = taught(codec, 250)
    assembler.take()
    pieces = picture(codec, 3 * PIECE_BYTES, with_parameters=True)
    is_due = []
    for place, data in enumerate(pieces):
        assembler.add(Piece(data, 7), place * 0.001)
        is_due.append(assembler.due_s is not None)
    assert is_due == [False] * (len(pieces) - 1) + [True]


@pytest.mark.parametrize("codec", CODECS)
def test_units_that_come_in_one_packet_are_told_apart(codec: str) -> None:
    """Parameters and the slice that they are for, say (an aggregation packet)."""
    assembler = taught(codec, 50)
    together = [START.join([b"", DELIMITER[codec], PARAMETERS[codec], FIRST[codec] + b"\xab" * 40])]
    for number in range(1, 4):
        (before,) = at_once(assembler, together, 0, float(number))
        assert before.data in {b"".join(picture(codec, 50)), together[0]}
        assert assembler.due_s == pytest.approx(number + SILENCE_S)


@pytest.mark.parametrize("codec", CODECS)
def test_what_goes_before_a_picture_at_another_time_is_no_picture(codec: str) -> None:
    assembler = taught(codec, 50)
    (before,) = at_once(assembler, cut(PARAMETERS[codec]), 6)
    assert before.pts == 0
    assert at_once(assembler, picture(codec, 50), 7) == []
    whole = assembler.take()
    assert whole is not None
    assert (whole.pts, whole.data) == (7, b"".join([*cut(PARAMETERS[codec]), *picture(codec, 50)]))


@pytest.mark.parametrize("codec", CODECS)
def test_torn_pictures_are_counted_and_their_rest_left_out_and_soon_there_are_no_more(codec: str) -> None:
    """Of a sender that cuts units into pieces that are not of one length."""
    assembler = taught(codec, 250)
    assembler.take()
    uneven = [START + FIRST[codec] + b"\xab" * 50, b"\xab" * 49, b"\xab" * 48]
    n_whole = 0
    for number in range(1, 10):
        out = show(assembler, uneven, number, [number + place / 100 for place in range(3)])
        n_whole += sum(item.data == b"".join(uneven) for item in out)
    assert assembler.n_torn == 3
    assert n_whole == 9 - 3 - 1, "the last is in hand"


@pytest.mark.parametrize("codec", ["mjpeg", "vp8", "vp9", "av1"])
def test_other_codecs_come_whole(codec: str) -> None:
    assembler = Assembler(codec)
    for number in range(STEADY + 1):
        assembler.add(Piece(b"picture", number), float(number))
    assert assembler.due_s == pytest.approx(STEADY + SILENCE_S)
    assert assembler.take() == Piece(b"picture", STEADY)
    assert assembler.add(Piece(b"picture", STEADY), 99.0) is None, "its clock stands still"
    assert assembler.take() == Piece(b"picture", STEADY)
    assert assembler.n_torn == 0


@pytest.mark.parametrize(("size", "n_pieces"), [(1 << 20, 40), (1, 200_000)])
def test_what_never_ends_is_no_picture(size: int, n_pieces: int) -> None:
    assembler = Assembler("h264")
    assembler.add(Piece(START + FIRST["h264"], 0), 0.0)
    parts = [assembler.add(Piece(bytes(size), 0), 0.0) for _ in range(n_pieces)]
    assert sum(part is not None for part in parts) == 1


def test_the_newest_picture_comes_out_while_the_network_is_silent() -> None:
    silence = threading.Event()
    n_pictures = STEADY + 3

    def pieces() -> Iterator[Piece]:
        for number in range(n_pictures):
            for data in picture("h264", 250):
                yield Piece(data, number, 100.0 + number)
        silence.wait()

    found = iter(WholePictures(pieces(), Assembler("h264")))
    assert [next(found).reported_s for _ in range(n_pictures)] == [100.0 + number for number in range(n_pictures)]
    silence.set()
    assert next(found, None) is None


@pytest.mark.parametrize("error", [ConnectionResetError, RuntimeError])
def test_what_the_reading_raises_comes_after_the_pictures(error: type[Exception]) -> None:
    def pieces() -> Iterator[Piece]:
        for number in range(3):
            yield Piece(b"jpeg", number)
        raise error

    found = WholePictures(pieces(), Assembler("mjpeg"))
    seen: list[int | None] = []
    with pytest.raises(error):
        seen.extend(item.pts for item in found)
    assert seen == [0, 1, 2]


def test_who_takes_slowly_has_the_network_wait() -> None:
    n_read = 0
    is_read_on = threading.Event()

    def pieces() -> Iterator[Piece]:
        nonlocal n_read
        for number in range(100):
            n_read += 1
            if n_read > 20:
                is_read_on.set()
            yield Piece(b"jpeg", number)

    found = iter(WholePictures(pieces(), Assembler("mjpeg")))
    next(found)
    assert not is_read_on.wait(0.1)
    assert sum(1 for _ in found) == 99
    assert n_read == 100
