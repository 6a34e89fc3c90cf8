import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.flexpatch.acuity import HALF_POINTS_PX, PRIOR_HALF_PX, Acuity, Sightings
from tests.core.strategies import REPEATABLE

LOOKS = 200


def shown(*looks: tuple[float, float]) -> Sightings:
    """Heights on the canvas and scores."""
    heights, scores = np.array(looks, np.float32).reshape(-1, 2).T
    return Sightings(heights, scores)


def scene(half_px: float, seed: int = 0) -> tuple[Sightings, Sightings]:
    """Two looks each at objects of which the detector sees half at `half_px`, with noise in the scores."""
    rng = np.random.default_rng(seed)
    best = rng.uniform(0.6, 0.95, LOOKS)
    looks = []
    for _ in range(2):
        heights = half_px * 2.0 ** rng.uniform(-1.5, 2.5, LOOKS)
        clear = 1 / (1 + np.exp(-1.5 * np.log2(heights / half_px)))
        looks.append(Sightings(heights, np.clip(best * clear + rng.normal(0, 0.08, LOOKS), 0, 1)))
    return looks[0], looks[1]


def learned_from(half_px: float, *, rounds: int = 2) -> Acuity:
    acuity = Acuity()
    for seed in range(rounds):
        acuity.learn(*scene(half_px, seed))
    return acuity


def test_before_anything_is_seen_the_half_point_is_the_prior() -> None:
    assert Acuity().half_px == PRIOR_HALF_PX
    assert Acuity().clarity(np.array([PRIOR_HALF_PX]))[0] == pytest.approx(0.5)


@pytest.mark.parametrize("half_px", [32, 45, 60, 80])
def test_the_half_point_of_a_scene_is_learned(half_px: float) -> None:
    assert abs(np.log2(learned_from(half_px).half_px / half_px)) < 0.5


def test_a_scene_that_changes_is_followed() -> None:
    acuity = learned_from(80, rounds=4)
    assert acuity.half_px > 60
    for seed in range(12):
        acuity.learn(*scene(36, seed))
    assert acuity.half_px < 45


def test_what_was_learned_for_long_is_forgotten_as_soon() -> None:
    acuity = learned_from(80, rounds=20)
    for seed in range(3):
        acuity.learn(*scene(36, seed))
    assert acuity.half_px < 45


def test_a_dull_eye_asks_for_larger_patches_a_sharp_one_not_for_smaller_ones() -> None:
    assert learned_from(12).ideal_height_px == pytest.approx(Acuity().ideal_height_px, rel=0.05)
    assert learned_from(60).ideal_height_px > 1.4 * Acuity().ideal_height_px


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (shown(), shown()),
        (shown((0, 0.0)), shown((0, 0.0))),
        (shown((20, 0.0)), shown((60, 0.0))),
        (shown((120, 0.25)), shown((40, 0.0))),
    ],
    ids=["none", "zeros", "never seen", "seen faintly"],
)
def test_what_may_be_no_object_teaches_nothing(before: Sightings, now: Sightings) -> None:
    acuity, taught = Acuity(), learned_from(60)
    half_px = taught.half_px
    for _ in range(50):
        acuity.learn(before, now)
        taught.learn(before, now)
    assert acuity.half_px == PRIOR_HALF_PX
    assert taught.half_px == half_px


def test_what_is_shown_as_tall_as_before_and_not_too_well_seen_says_nothing_of_size() -> None:
    acuity = Acuity()
    for _ in range(50):
        acuity.learn(shown((60, 0.5)), shown((62, 0.2)))
    assert acuity.half_px == PRIOR_HALF_PX


def test_a_score_too_good_for_the_height_sharpens_the_eye() -> None:
    acuity = learned_from(60)
    before = acuity.half_px
    for _ in range(50):
        acuity.learn(shown((40, 0.9)), shown((40, 0.9)))
    assert acuity.half_px < 0.8 * before


def test_objects_missed_when_small_dull_it() -> None:
    acuity = Acuity()
    for _ in range(20):
        acuity.learn(shown((120, 0.8)), shown((40, 0.0)))
    assert acuity.half_px > 1.3 * PRIOR_HALF_PX


def test_one_absurd_look_does_not_turn_what_many_said() -> None:
    acuity = learned_from(50)
    before = acuity.half_px
    acuity.learn(shown((500, 0.9)), shown((250, 0.0)))
    assert abs(np.log2(acuity.half_px / before)) < 0.1


def test_a_tenth_of_absurd_looks_among_the_others_does_not_outweigh_them() -> None:
    acuity = Acuity()
    absurd = shown(*[(15, 0.9)] * (LOOKS // 10))
    for seed in range(3):
        acuity.learn(*scene(60, seed))
        acuity.learn(absurd, absurd)
    assert acuity.half_px == pytest.approx(60, rel=0.1)


sightings = st.lists(st.tuples(st.floats(0, 4000), st.floats(0, 1), st.floats(0, 4000), st.floats(0, 1)), max_size=20)


@REPEATABLE
@given(sightings)
def test_whatever_is_seen_the_half_point_is_finite_and_clearer_is_larger(
    looks: list[tuple[float, float, float, float]],
) -> None:
    acuity = Acuity()
    acuity.learn(shown(*((a, b) for a, b, _, _ in looks)), shown(*((c, d) for _, _, c, d in looks)))
    assert PRIOR_HALF_PX <= acuity.half_px <= HALF_POINTS_PX[-1]
    heights = np.geomspace(1, 2000, 50)
    for chance in (acuity.clarity, acuity.detectability, acuity.visibility):
        values = chance(heights)
        assert (np.diff(values) >= 0).all()
        assert values.min() >= 0
        assert values.max() <= 1
    assert (acuity.detectability(heights) >= acuity.clarity(heights) - 1e-3).all()


def test_the_same_looks_teach_the_same() -> None:
    assert learned_from(50).half_px == learned_from(50).half_px
