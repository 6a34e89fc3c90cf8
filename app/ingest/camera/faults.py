"""What can go wrong with a camera, on demand: kinds of faults, and how they are written."""

import math
import re
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from app.core.errors import SettingsError
from app.core.types import Size


class Kind(StrEnum):
    """What goes wrong."""

    REFUSE = "refuse"
    """Nobody listens on the port, and whoever watched is cut off;"""
    UNAUTHORISED = "unauthorised"
    """every request is answered with 401;"""
    STALL = "stall"
    """the connection stands and is answered, but no picture comes;"""
    HALF_OPEN = "half-open"
    """the connection stands, and nothing comes any more, not even an answer;"""
    SLOW_START = "slow-start"
    """every description of the stream takes so long (`by`);"""
    GARBAGE = "garbage"
    """a share of the packets carries random bytes;"""
    LOSS = "loss"
    """a share of the packets is lost;"""
    RESOLUTION = "resolution"
    """pictures have another `size`. All of these last for `seconds`, or for ever. At a moment:"""
    PTS_JUMP = "pts-jump"
    """timestamps go on from `by` seconds later, or earlier;"""
    END = "end"
    """the stream says goodbye and ends;"""
    RESET = "reset"
    """TCP connections are reset."""


MOMENTARY = frozenset({Kind.PTS_JUMP, Kind.END, Kind.RESET})
_USUAL_SHARE = {Kind.GARBAGE: 1.0, Kind.LOSS: 0.05}
_USUAL_BY_S = {Kind.SLOW_START: 8.0, Kind.PTS_JUMP: 3600.0}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, once or again and again."""

    kind: Kind
    after_s: float = 0.0
    seconds: float = math.inf
    every_s: float | None = None
    """From one beginning to the next; None: once."""
    share: float = 1.0
    by_s: float = 0.0
    size: Size | None = None


@dataclass(slots=True)
class Effects:
    """What is wrong at the moment."""

    random: Random
    """Decides which packets a fault strikes."""
    active: dict[Kind, Fault] = field(default_factory=dict)
    """The lasting faults that are on."""
    shift_s: float = 0.0
    """By which timestamps have jumped so far."""

    def strikes(self, kind: Kind) -> bool:
        """Whether a fault of that kind is on and strikes this packet."""
        fault = self.active.get(kind)
        return fault is not None and self.random.random() < fault.share

    def scrambled(self, n_bytes: int) -> bytes:
        """Random bytes."""
        return self.random.randbytes(n_bytes)


def parse_fault(text: str) -> Fault:
    """Read `KIND` or `KIND:name=value,…`, for example `stall:after=10,seconds=5,every=60`.

    Raises:
        SettingsError: it cannot be read; the message says what can.
    """
    name, _, rest = text.partition(":")
    try:
        kind = Kind(name.strip())
    except ValueError as error:
        raise SettingsError(f"{name!r} is no fault; there are {', '.join(Kind)}.") from error
    given = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals or key.strip() not in _allowed(kind):
            raise SettingsError(f"{part!r} has no meaning for {kind}; it takes {', '.join(_allowed(kind))}.")
        given[key.strip()] = value.strip()
    share = _number("share", given.get("share", str(_USUAL_SHARE.get(kind, 1.0))))
    if share > 1:
        raise SettingsError(f"share is {share:g}; it is a share of the packets, from 0 to 1.")
    fault = Fault(
        kind,
        after_s=_number("after", given.get("after", "0")),
        seconds=_number("seconds", given.get("seconds", "inf")),
        every_s=_number("every", given["every"]) if "every" in given else None,
        share=share,
        by_s=_number("by", given.get("by", str(_USUAL_BY_S.get(kind, 0.0))), is_signed=kind is Kind.PTS_JUMP),
        size=_size(given["size"]) if "size" in given else None,
    )
    _check_repetition(fault)
    return fault


def _check_repetition(fault: Fault) -> None:
    if fault.every_s is None:
        return
    lasting = 0.0 if fault.kind in MOMENTARY else fault.seconds
    if fault.every_s <= lasting or fault.every_s == 0:
        raise SettingsError(
            f"every={fault.every_s:g} must be longer than the fault lasts (seconds={lasting:g}), for it to end between."
        )


def _allowed(kind: Kind) -> tuple[str, ...]:
    own = {
        Kind.GARBAGE: ("share",),
        Kind.LOSS: ("share",),
        Kind.PTS_JUMP: ("by",),
        Kind.SLOW_START: ("by",),
        Kind.RESOLUTION: ("size",),
    }.get(kind, ())
    return ("after", "every", *(() if kind in MOMENTARY else ("seconds",)), *own)


def _number(name: str, text: str, *, is_signed: bool = False) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise SettingsError(f"{name}={text} is no number.") from error
    if math.isnan(value) or (value < 0 and not is_signed) or (math.isinf(value) and name != "seconds"):
        raise SettingsError(f"{name}={text} makes no sense.")
    return value


def _size(text: str) -> Size:
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    if match is None or int(match[1]) % 2 or int(match[2]) % 2:
        raise SettingsError(f"size={text} is no size: write WIDTHxHEIGHT, both even, for example 640x360.")
    return Size(int(match[1]), int(match[2]))
