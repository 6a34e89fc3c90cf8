"""Whole encoded pictures from the pieces that come over the network, without waiting for the next picture's first one.

H.264 and H.265 do not say where a picture ends, so FFmpeg's parser gives one out when the next begins: at 15 frames a
second it is 67 ms old before it is decoded. But the pieces of a picture come close together, so that a short silence
after as many slices as the pictures before had tells as well.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

_LEAST_SILENCE_S = 0.004
_SILENCE_FACTOR = 3.0
"""After fewer slices than usual, a silence tells if it is so many times longer than those within pictures,"""
_LONGEST_SILENCE_SHARE = 0.5
"""and no longer than this share of the time between pictures: else the next picture is waited for."""
_N_REMEMBERED = 30
"""Pictures that tell how many slices are usual, and how long they take."""
_N_LEARNING = 5
"""Pictures for whose end the next one is waited for, to learn that."""
_LARGEST_BYTES = 32 << 20
"""Whatever is longer is no picture."""
_MOST_WAITING = 8
"""Pictures that may wait for who takes them; then it is the network's turn to hold them."""

_Place = Literal["first slice", "slice", "rest", "beside"]
"""What a piece begins with: a slice, the rest of a unit, or a unit that belongs to no picture, as parameters."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What came at once, of one picture: a NAL unit with its start code, the next bytes of one, or a whole picture."""

    data: bytes
    pts: int | None
    """None: as the piece before it."""
    reported_s: float | None = None
    """Time of day of capture, if the sender tells it."""


@dataclass(slots=True)
class _Course:
    """How a picture came."""

    n_slices: int = 0
    longest_silence_s: float = 0.0
    """Between its slices."""
    is_torn: bool = False
    """It seemed whole before it was."""

    def go_on(self, place: _Place, silence_s: float) -> None:
        self.n_slices += place in {"first slice", "slice"}
        self.longest_silence_s = max(self.longest_silence_s, silence_s)


class Assembler:
    """Puts the pieces of one stream's pictures together. Used by one thread at a time."""

    def __init__(self, codec: str, period_s: float) -> None:
        """
        Args:
            codec: FFmpeg's name; pieces of all but `h264` and `hevc` are told apart by their times alone.
            period_s: usual time between two pictures.
        """
        self._slice_at = _SLICES.get(codec)
        self._longest_silence_s = _LONGEST_SILENCE_SHARE * period_s
        self._pieces: list[Piece] = []
        self._n_bytes = 0
        self._came_s = 0.0
        """When the newest piece did."""
        self._ends_unit = False
        """It may be the last of its NAL unit."""
        self._largest_continuation = 0
        self._in_hand = _Course()
        self._taken: deque[_Course] = deque(maxlen=_N_REMEMBERED)
        self._taken_pts: int | None = None
        self.n_torn = 0
        """Pictures that a silence seemed to end, and that went on."""

    @property
    def due_s(self) -> float | None:
        """When the picture in hand may be taken as whole; None: not before the next one begins."""
        if not self._in_hand.n_slices or not self._ends_unit or len(self._taken) < _N_LEARNING:
            return None
        if self._in_hand.n_slices >= max(course.n_slices for course in self._taken):
            return self._came_s + _LEAST_SILENCE_S
        longest_s = max(course.longest_silence_s for course in self._taken)
        silence_s = max(_LEAST_SILENCE_S, _SILENCE_FACTOR * longest_s)
        return self._came_s + silence_s if silence_s <= self._longest_silence_s else None

    def add(self, piece: Piece, now_s: float) -> Piece | None:
        """Take the next piece; returns the picture before it, if that was still in hand.

        Args:
            now_s: of a clock that only moves forward.
        """
        place = self._place_of(piece.data)
        if not self._pieces and self._goes_on(piece, place):
            # Of no use any more; but it has to be waited for the next time.
            self._taken[-1].go_on(place, now_s - self._came_s)
            self.n_torn += not self._taken[-1].is_torn
            self._taken[-1].is_torn = True
            return None
        whole = self.take() if self._is_of_another(piece, place) else None
        self._in_hand.go_on(place, now_s - self._came_s if self._in_hand.n_slices and self._ends_unit else 0.0)
        self._pieces.append(piece)
        self._n_bytes += len(piece.data)
        self._came_s = now_s
        self._ends_unit = self._may_end_unit(piece.data, place)
        return whole

    def take(self) -> Piece | None:
        """The picture in hand, in one piece; None if there is none."""
        if not self._pieces:
            return None
        first = self._pieces[0]
        whole = Piece(b"".join(piece.data for piece in self._pieces), first.pts, first.reported_s)
        self._pieces, self._n_bytes = [], 0
        self._taken.append(self._in_hand)
        self._in_hand = _Course()
        self._taken_pts = first.pts
        return whole

    def _goes_on(self, piece: Piece, place: _Place) -> bool:
        """Whether a piece is one more of the picture that was taken last."""
        return bool(self._taken) and place in {"slice", "rest"} and piece.pts in {None, self._taken_pts}

    def _is_of_another(self, piece: Piece, place: _Place) -> bool:
        """Whether a piece belongs to another picture than the one in hand."""
        if not self._pieces:
            return False
        is_of_another_time = piece.pts is not None and piece.pts != self._pieces[0].pts
        return (
            is_of_another_time
            or (place == "first slice" and self._in_hand.n_slices > 0)
            or self._n_bytes > _LARGEST_BYTES
        )

    def _may_end_unit(self, data: bytes, place: _Place) -> bool:
        """Whether a unit may end here: senders cut long ones into pieces of one length, and what is left."""
        if place == "rest":
            self._largest_continuation = max(self._largest_continuation, len(data))
        return not self._largest_continuation or len(data) < self._largest_continuation

    def _place_of(self, data: bytes) -> _Place:
        if self._slice_at is None:
            return "first slice"
        start = data[:4].find(b"\x00\x00\x01")
        return "rest" if start < 0 else self._slice_at(data[start + 3 : start + 6])


class WholePictures:
    """Pictures out of a stream's pieces, which a thread of its own reads: so silences are noticed."""

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


def _slice_in_h264(unit: bytes) -> _Place:
    """By its type (ITU-T H.264, 7.4.1); a slice's first bit is 1 if its first macroblock is the picture's."""
    if not unit or unit[0] & 0x1F not in {1, 5}:
        return "beside"
    return "first slice" if unit[1:2] >= b"\x80" else "slice"


def _slice_in_h265(unit: bytes) -> _Place:
    """By its type (ITU-T H.265, 7.4.2); a slice's first bit is 1 if it is the picture's first."""
    if not unit or unit[0] >> 1 & 0x3F >= 32:
        return "beside"
    return "first slice" if unit[2:3] >= b"\x80" else "slice"


_SLICES: dict[str, Callable[[bytes], _Place]] = {"h264": _slice_in_h264, "hevc": _slice_in_h265}
