"""Which scores can be believed, learned from how many tracks there are of each."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from app.flexpatch.credibility import MEMORY_S, Credibility
from tests.core.strategies import REPEATABLE

RNG = np.random.default_rng(7)
OBJECTS = np.linspace(0.03, 1.0, 2000)
"""Real ones: their scores are spread evenly."""
NOTHING = np.minimum(0.03 + RNG.exponential(0.04, 10_000), 0.3)
"""What a detector sees where there is nothing."""
DT_S = 0.1


def after(*frames: NDArray[np.floating]) -> Credibility:
    credibility = Credibility()
    for evidence in frames:
        credibility.learn(evidence, DT_S)
    return credibility


def test_before_anything_is_known_every_track_is_believed() -> None:
    assert Credibility().of(np.array([0.05, 0.9])).tolist() == [1, 1]


def test_where_scores_are_spread_evenly_all_are_believed() -> None:
    assert after(OBJECTS).of(np.array([0.04, 0.12, 0.35, 0.9])).min() > 0.9


@pytest.mark.parametrize(("low", "high"), [(0.05, 0.1), (0.1, 0.15), (0.15, 0.2)])
def test_among_many_faint_ones_the_share_of_objects_is_found(low: float, high: float) -> None:
    both = np.concatenate([OBJECTS, NOTHING])
    n_objects = np.count_nonzero((low <= OBJECTS) & (high > OBJECTS))
    share = n_objects / np.count_nonzero((low <= both) & (high > both))
    assert after(both).of(np.array([(low + high) / 2]))[0] == pytest.approx(share, rel=0.35)


def test_strong_evidence_is_believed_whatever_else_there_is() -> None:
    assert after(NOTHING).of(np.array([0.4, 0.7])).tolist() == [1, 1]


def test_a_single_faint_object_is_worth_looking_at() -> None:
    assert after(np.array([0.12])).of(np.array([0.12]))[0] > 0.04


def test_what_was_learned_fades() -> None:
    credibility = after(np.concatenate([OBJECTS, NOTHING]))
    faint = np.array([0.07])
    doubted = float(credibility.of(faint)[0])
    for _ in range(int(4 * MEMORY_S / DT_S)):
        credibility.learn(OBJECTS, DT_S)
    assert float(credibility.of(faint)[0]) > 2 * doubted


def test_one_frame_does_not_overturn_what_seconds_have_shown() -> None:
    credibility = after(*[OBJECTS] * 50)
    before = float(credibility.of(np.array([0.07]))[0])
    credibility.learn(np.concatenate([OBJECTS, NOTHING]), DT_S)
    assert float(credibility.of(np.array([0.07]))[0]) > 0.4 * before


@REPEATABLE
@given(
    st.lists(arrays(np.float32, st.integers(0, 40), elements=st.floats(0, 1, width=32)), max_size=6),
    st.floats(1e-3, 5.0),
)
def test_a_chance_that_grows_with_evidence(frames: list[NDArray[np.float32]], dt_s: float) -> None:
    credibility = Credibility()
    for evidence in frames:
        credibility.learn(evidence, dt_s)
    chances = credibility.of(np.linspace(0, 1, 101))
    assert ((chances > 0) & (chances <= 1)).all()
    assert (np.diff(chances) >= 0).all()
