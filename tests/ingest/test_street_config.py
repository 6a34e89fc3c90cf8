"""The short text for a synthetic street."""

import pytest

from app.core.errors import SourceError
from app.core.types import Size
from app.ingest.street_config import StreetConfig, parse_street


def test_the_bare_word_is_the_default_street() -> None:
    assert parse_street("synthetic") == StreetConfig()


def test_every_option_can_be_written() -> None:
    text = (
        "synthetic:1280x720@29.97?objects=40&seed=7&frames=90&vehicles=0.5&pan=1&shake=0.5&light=0&clouds=1"
        "&night=1&noise=2&shadows=0.5&occluders=0"
    )
    assert parse_street(text) == StreetConfig(
        size=Size(1280, 720),
        fps=29.97,
        n_objects=40,
        seed=7,
        n_frames=90,
        vehicle_share=0.5,
        pan=1,
        shake=0.5,
        light=0,
        clouds=1,
        night=True,
        noise=2,
        shadows=0.5,
        occluders=False,
    )


@pytest.mark.parametrize("text", ["synthetic:640x360", "synthetic@30", "synthetic?seed=2", "synthetic:?seed=2"])
def test_every_part_can_be_left_out(text: str) -> None:
    assert parse_street(text) != StreetConfig()


def test_a_frame_rate_in_the_text_wins() -> None:
    assert parse_street("synthetic", fps=5).fps == 5
    assert parse_street("synthetic@30", fps=5).fps == 30


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("synthetic:big", "'big' is not a size: write WIDTHxHEIGHT"),
        ("synthetic:12xy", "height='y' is not a whole number"),
        ("synthetic:640x360@fast", "fps='fast' is not a number"),
        ("synthetic:640x360@nan", "fps=nan"),
        ("synthetic:640x360@0", "fps=0 has no meaning for the synthetic street: give 0.1 to 1000"),
        ("synthetic:10x10", "10x10 pixels is not possible: give a width and height from 64 to 8192"),
        ("synthetic:99999x720", "99999x720 pixels is not possible"),
        ("synthetic?objects=many", "objects='many' is not a whole number"),
        ("synthetic?objects=-1", "n_objects=-1 has no meaning"),
        ("synthetic?colour=red", "no option 'colour': use clouds, frames"),
        ("synthetic?night=yes", "night='yes' is neither on nor off: write night=1"),
        ("synthetic?frames=0", "0 frames has nothing to show"),
        ("synthetic?pan=inf", "pan=inf has no meaning"),
        ("synthetic?seed", "seed='' is not a whole number"),
    ],
)
def test_what_cannot_be_read_is_refused_with_advice(text: str, advice: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_street(text)
    assert advice in str(caught.value)
