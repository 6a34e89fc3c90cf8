"""Whole encoded pictures from the pieces that come over the network, without waiting for the next picture's first one.

H.264 and H.265 do not say where a picture ends, so FFmpeg's parser gives one out when the next begins: at 15 frames a
second it is 67 ms old before it is decoded. But most senders cut all pictures into one number of slices (mostly one).
Where they do, a picture that has as many is whole after a short silence; where they do not, the next one is waited for.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

WHOLE_CODECS = frozenset({"mjpeg", "vp8", "vp9", "av1"})
"""FFmpeg's names of those whose pictures come in one piece each, whatever the network did with them."""

_SILENCE_S = 0.004
_N_STEADY = 30
"""Pictures in a row with as many slices as one another, before that number is relied on."""
_MOST_TORN = 3
"""Pictures that went on after they seemed whole, before nothing but the next picture is relied on."""
_LARGEST_BYTES = 32 << 20
"""Whatever is longer is no picture,"""
_PIECE_BYTES = 200
"""where each piece takes so much besides its content."""
_MOST_WAITING = 8
"""Pictures that may wait for who takes them; then it is the network's turn to hold them."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What came at once, of one picture: a NAL unit with its start code, the next bytes of one, or a whole picture."""

    data: bytes
    pts: int | None
    """None: as the piece before it."""
    reported_s: float | None = None
    """Time of day of capture, if the sender tells it."""


@dataclass(frozen=True, slots=True)
class _Content:
    """What a piece holds of a picture."""

    n_slices: int
    """That begin in it."""
    begins_picture: bool
    """One of them is its picture's first."""
    is_rest: bool = False
    """It goes on with a unit that began before."""


class Assembler:
    """Puts the pieces of one stream's pictures together. Used by one thread at a time."""

    def __init__(self, codec: str) -> None:
        """
        Args:
            codec: FFmpeg's name: `h264`, `hevc`, or one of `WHOLE_CODECS`.
        """
        self._slice_at = _SLICES.get(codec)
        self._pieces: list[Piece] = []
        self._n_bytes = 0
        self._n_slices = 0
        self._picture: Piece | None = None
        """The first piece in hand that is of the picture itself; before it come parameters and the like."""
        self._ends_unit = False
        """The newest piece may be the last of its unit."""
        self._came_s = 0.0
        """When that did."""
        self._largest_rest = 0
        self._steady: deque[int] = deque(maxlen=_N_STEADY)
        """Slices of the newest pictures."""
        self._taken_pts: int | None = None
        self._is_torn = False
        """More came of the picture that was taken last."""
        self.n_torn = 0
        """Pictures of which more came after they seemed whole."""

    @property
    def due_s(self) -> float | None:
        """When the picture in hand may be taken as whole; None: not before the next one begins."""
        is_usual = self._n_slices > 0 and len(self._steady) == _N_STEADY and set(self._steady) == {self._n_slices}
        is_whole = is_usual and self._ends_unit and self.n_torn < _MOST_TORN
        return self._came_s + _SILENCE_S if is_whole else None

    def add(self, piece: Piece, now_s: float) -> Piece | None:
        """Take the next piece; returns the picture before it, if that was still in hand.

        Args:
            now_s: of a clock that only moves forward.
        """
        content = self._content_of(piece.data)
        if self._goes_on(piece, content):
            # Of no use any more without the rest.
            self.n_torn += not self._is_torn
            self._is_torn = True
            return None
        whole = self.take() if self._is_of_another(piece, content) else None
        self._pieces.append(piece)
        self._n_bytes += len(piece.data) + _PIECE_BYTES
        self._n_slices += content.n_slices
        if self._picture is None and (content.n_slices or content.is_rest):
            self._picture = piece
        self._ends_unit = self._may_end_unit(piece.data, content)
        self._came_s = now_s
        return whole

    def take(self) -> Piece | None:
        """The picture in hand, in one piece; None if there is none."""
        if not self._pieces:
            return None
        told = self._picture or self._pieces[0]
        whole = Piece(b"".join(piece.data for piece in self._pieces), told.pts, told.reported_s)
        self._steady.append(self._n_slices)
        self._pieces, self._n_bytes, self._n_slices, self._picture = [], 0, 0, None
        self._ends_unit = self._is_torn = False
        self._taken_pts = told.pts
        return whole

    def _goes_on(self, piece: Piece, content: _Content) -> bool:
        """Whether a piece is one more of the picture that was taken last."""
        if self._pieces or not self._steady or content.begins_picture:
            return False
        return bool(content.n_slices or content.is_rest) and piece.pts in {None, self._taken_pts}

    def _is_of_another(self, piece: Piece, content: _Content) -> bool:
        """Whether a piece belongs to another picture than the one in hand."""
        if self._picture is None:
            return self._n_bytes > _LARGEST_BYTES
        is_of_another_time = piece.pts is not None and piece.pts != self._picture.pts
        is_another_first = content.begins_picture and self._n_slices > 0
        return is_of_another_time or is_another_first or self._n_bytes > _LARGEST_BYTES

    def _may_end_unit(self, data: bytes, content: _Content) -> bool:
        """Senders cut long units into pieces of one length, and what is left."""
        if content.is_rest:
            self._largest_rest = max(self._largest_rest, len(data))
        return not self._largest_rest or len(data) < self._largest_rest

    def _content_of(self, data: bytes) -> _Content:
        if self._slice_at is None:
            return _Content(1, begins_picture=True)
        before, *units = data.split(b"\x00\x00\x01")
        if before.strip(b"\x00") or not units:
            return _Content(0, begins_picture=False, is_rest=True)
        slices = [is_first for unit in units if (is_first := self._slice_at(unit)) is not None]
        return _Content(len(slices), any(slices))


class WholePictures:
    """Pictures out of a stream's pieces, which a thread of its own reads: so silences are noticed.

    Made for a process that ends with its stream: the thread lasts as long as the pieces do.
    """

    def __init__(self, pieces: Iterable[Piece], assembler: Assembler) -> None:
        """
        Args:
            pieces: whose iterator may wait as long as it likes; what it raises is raised by ours.
        """
        self._pieces = pieces
        self._assembler = assembler
        self._changed = threading.Condition()
        self._whole: deque[Piece] = deque()
        self._is_ended = False
        self._error: Exception | None = None

    def __iter__(self) -> Iterator[Piece]:
        """Once."""
        threading.Thread(target=self._read, name="pieces", daemon=True).start()
        while (whole := self._next()) is not None:
            yield whole
        if self._error is not None:
            raise self._error

    def _next(self) -> Piece | None:
        with self._changed:
            while not self._whole:
                due_s = self._assembler.due_s
                left_s = None if due_s is None else due_s - time.perf_counter()
                if self._is_ended or (left_s is not None and left_s <= 0):
                    return self._assembler.take()
                self._changed.wait(left_s)
            self._changed.notify_all()
            return self._whole.popleft()

    def _read(self) -> None:
        try:
            for piece in self._pieces:
                self._put(piece)
        except Exception as error:  # noqa: BLE001 - it is the taker's
            self._error = error
        finally:
            with self._changed:
                self._is_ended = True
                self._changed.notify_all()

    def _put(self, piece: Piece) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._whole) < _MOST_WAITING)
            whole = self._assembler.add(piece, time.perf_counter())
            if whole is not None:
                self._whole.append(whole)
            if self._whole or self._assembler.due_s is not None:
                self._changed.notify_all()


def _slice_in_h264(unit: bytes) -> bool | None:
    """Whether a unit is a picture's first slice; None: no slice at all (ITU-T H.264, 7.4.1).

    A slice begins with the number of its first macroblock, and 0 is written as a bit of 1.
    """
    return unit[1:2] >= b"\x80" if unit and unit[0] & 0x1F in {1, 5} else None


def _slice_in_h265(unit: bytes) -> bool | None:
    """The same (ITU-T H.265, 7.4.2); a slice's first bit says so."""
    return unit[2:3] >= b"\x80" if unit and unit[0] >> 1 & 0x3F < 32 else None


_SLICES: dict[str, Callable[[bytes], bool | None]] = {"h264": _slice_in_h264, "hevc": _slice_in_h265}
ASSEMBLED_CODECS = WHOLE_CODECS | _SLICES.keys()
"""FFmpeg's names of those that `Assembler` takes."""
