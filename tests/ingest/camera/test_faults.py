"""How faults are written."""

import math
from random import Random

import pytest

from app.core.errors import SettingsError
from app.core.types import Size
from app.ingest.camera.faults import Effects, Fault, Kind, parse_fault


def test_a_fault_needs_no_more_than_its_name() -> None:
    assert parse_fault("stall") == Fault(Kind.STALL, after_s=0.0, seconds=math.inf, every_s=None)
    assert parse_fault("loss").share == 0.05
    assert parse_fault("slow-start").by_s == 8.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("half-open:after=2,seconds=3.5,every=10", Fault(Kind.HALF_OPEN, 2.0, 3.5, 10.0)),
        ("reset:every=20", Fault(Kind.RESET, every_s=20.0)),
        ("garbage: share=0.5, seconds=1", Fault(Kind.GARBAGE, seconds=1.0, share=0.5)),
        ("pts-jump:by=-30", Fault(Kind.PTS_JUMP, by_s=-30.0)),
        ("resolution:size=160x90", Fault(Kind.RESOLUTION, size=Size(160, 90))),
    ],
)
def test_options_say_when_and_how(text: str, expected: Fault) -> None:
    assert parse_fault(text) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fire", "'fire' is no fault; there are refuse, "),
        ("stall:share=1", "'share=1' has no meaning for stall; it takes after, every, seconds"),
        ("stall:seconds", "'seconds' has no meaning"),
        ("reset:seconds=3", "has no meaning for reset"),
        ("stall:seconds=soon", "seconds=soon is no number"),
        ("stall:after=-1", "after=-1 makes no sense"),
        ("stall:after=nan", "after=nan makes no sense"),
        ("loss:share=1.5", "from 0 to 1"),
        ("resolution:size=33x20", "both even"),
        ("stall:every=5", "must be longer than the fault lasts"),
        ("stall:seconds=5,every=5", "must be longer than the fault lasts"),
        ("reset:every=0", "must be longer"),
    ],
)
def test_what_makes_no_sense_is_told(text: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        parse_fault(text)


def test_a_share_of_the_packets_is_struck_and_always_the_same_ones() -> None:
    def struck(seed: int) -> list[bool]:
        effects = Effects(Random(seed), {Kind.LOSS: Fault(Kind.LOSS, share=0.25)})
        return [effects.strikes(Kind.LOSS) for _ in range(2000)]

    assert 400 < sum(struck(1)) < 600
    assert struck(1) == struck(1) != struck(2)
    assert not Effects(Random(1)).strikes(Kind.LOSS)
