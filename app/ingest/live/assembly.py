"""Whole encoded pictures from the pieces that come over the network, without waiting for the next picture's first one.

H.264 and H.265 do not say where a picture ends, so FFmpeg's parser gives one out when the next begins: at 15 frames a
second it is 67 ms old before it is decoded. But the pieces of a picture come close together, so that a short silence
tells as well.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

_LEAST_SILENCE_S = 0.004
_SILENCE_FACTOR = 3.0
"""A silence tells if it is so many times longer than those within pictures."""
_SILENCE_DECAY = 0.999
"""With each picture: a machine that was busy once is not taken for a slow network for ever."""
_LONGEST_SILENCE_SHARE = 0.5
"""Of the time between pictures: where more must be waited for, the next picture is."""
_N_LEARNING = 5
"""Pictures for whose end the next one is waited for, to learn how the pieces of this stream come."""
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
        self._silence_s = _LEAST_SILENCE_S
        self._pieces: list[Piece] = []
        self._n_bytes = 0
        self._has_slice = False
        """The picture in hand has more than what may go before it, as parameters."""
        self._may_be_whole = False
        self._came_s = 0.0
        """When the newest piece did."""
        self._largest_continuation = 0
        self._n_pictures = 0
        self._taken_pts: int | None = None
        self._is_torn = False
        """More came of the picture that was taken last."""
        self.n_torn = 0
        """Pictures that a silence seemed to end, and that went on."""

    @property
    def due_s(self) -> float | None:
        """When the picture in hand may be taken as whole; None: not before the next one begins."""
        is_telling = self._n_pictures >= _N_LEARNING and self._silence_s <= self._longest_silence_s
        return self._came_s + self._silence_s if self._may_be_whole and is_telling else None

    def add(self, piece: Piece, now_s: float) -> Piece | None:
        """Take the next piece; returns the picture before it, if that was still in hand.

        Args:
            now_s: of a clock that only moves forward.
        """
        place = self._place_of(piece.data)
        if not self._pieces and self._goes_on(piece, place):
            # Of no use any more; but the next silence has to be longer.
            self.n_torn += not self._is_torn
            self._is_torn = True
            self._learn_silence(now_s)
            return None
        whole = self.take() if self._is_of_another(piece, place) else None
        if self._may_be_whole:
            self._learn_silence(now_s)
        self._pieces.append(piece)
        self._n_bytes += len(piece.data)
        self._has_slice |= place != "beside"
        self._came_s = now_s
        self._may_be_whole = self._has_slice and self._ends_unit(piece.data, place)
        return whole

    def take(self) -> Piece | None:
        """The picture in hand, in one piece; None if there is none."""
        if not self._pieces:
            return None
        first = self._pieces[0]
        whole = Piece(b"".join(piece.data for piece in self._pieces), first.pts, first.reported_s)
        self._pieces, self._n_bytes = [], 0
        self._has_slice = self._may_be_whole = self._is_torn = False
        self._taken_pts = first.pts
        self._n_pictures += 1
        self._silence_s = max(_LEAST_SILENCE_S, _SILENCE_DECAY * self._silence_s)
        return whole

    def _goes_on(self, piece: Piece, place: _Place) -> bool:
        """Whether a piece is one more of the picture that was taken last."""
        return bool(self._n_pictures) and place in {"slice", "rest"} and piece.pts in {None, self._taken_pts}

    def _is_of_another(self, piece: Piece, place: _Place) -> bool:
        """Whether a piece belongs to another picture than the one in hand."""
        if not self._pieces:
            return False
        is_of_another_time = piece.pts is not None and piece.pts != self._pieces[0].pts
        return is_of_another_time or (place == "first slice" and self._has_slice) or self._n_bytes > _LARGEST_BYTES

    def _learn_silence(self, now_s: float) -> None:
        """It was none between two pictures."""
        self._silence_s = max(self._silence_s, _SILENCE_FACTOR * (now_s - self._came_s))

    def _ends_unit(self, data: bytes, place: _Place) -> bool:
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
