import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.types import Size
from app.flexpatch.failure import FEATURES, LogisticFailure, correlation, failure_features, hand_set_model
from tests.core.strategies import REPEATABLE
from tests.flexpatch.builders import frame_boxes, tracks_at

FRAME = Size(400, 300)
N_FEATURES = len(FEATURES)
SEEDS = st.integers(0, 100_000)


def random_features(seed: int, n: int = 20) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(0, 3, (n, N_FEATURES))


# ---------------------------------------------------------------------------------------------- features


def feature(name: str, values: NDArray[np.float64]) -> list[float]:
    return [float(value) for value in values[:, FEATURES.index(name)]]


def test_every_feature_has_a_column_of_its_own() -> None:
    tracks = tracks_at(frame_boxes((10, 10, 40, 90), (200, 20, 260, 140)))
    assert failure_features(tracks, 1.0, FRAME).shape == (2, N_FEATURES)


def test_age_and_height_are_told_in_seconds_and_pixels() -> None:
    features = failure_features(tracks_at(frame_boxes((10, 10, 40, 90))), 1.5, FRAME)
    assert feature("detection_age_s", features) == [1.5]
    assert feature("height_px", features) == [80]


def test_what_became_of_a_box_is_told_in_heights_since_it_was_confirmed() -> None:
    tracks = tracks_at(frame_boxes((10, 10, 50, 90)))
    tracks.boxes = frame_boxes((100, 10, 180, 170))
    tracks.velocity[:] = [320, 0]
    features = failure_features(tracks, 1.0, FRAME)
    assert feature("shift", features) == pytest.approx([math.hypot(110, 40) / 80])
    assert feature("growth", features) == pytest.approx([math.log(2)])
    assert feature("speed", features) == pytest.approx([2])
    assert feature("aspect", features) == pytest.approx([0.5])
    tracks.begin_anew(np.array([0]))
    assert feature("shift", failure_features(tracks, 1.0, FRAME)) == [0]


def test_overlap_and_visibility_are_shares() -> None:
    tracks = tracks_at(frame_boxes((-50, 0, 50, 100), (0, 0, 50, 100), (300, 0, 350, 100)))
    features = failure_features(tracks, 1.0, FRAME)
    assert feature("visible_share", features) == pytest.approx([0.5, 1, 1])
    assert feature("overlap", features) == pytest.approx([0.5, 0.5, 0])


# ------------------------------------------------------------------------------------------- correlation


@REPEATABLE
@given(SEEDS, st.floats(-1, 1))
def test_correlation_agrees_with_numpy(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    a = random.uniform(0, 255, (4, 16, 16)).astype(np.float32)
    b = (share * a + random.uniform(0, 100, a.shape)).astype(np.float32)
    expected = [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b, strict=True)]
    assert correlation(a, b) == pytest.approx(np.array(expected), abs=1e-4)


def test_a_flat_template_correlates_with_nothing() -> None:
    flat = np.full((1, 16, 16), 90, np.float32)
    textured = np.random.default_rng(1).uniform(0, 255, (1, 16, 16)).astype(np.float32)
    assert correlation(flat, textured).tolist() == [0]
    assert correlation(flat, flat).tolist() == [0]


def test_exposure_does_not_change_the_correlation() -> None:
    a = np.random.default_rng(1).uniform(0, 100, (1, 16, 16)).astype(np.float32)
    assert correlation(a, a * np.float32(1.7) + np.float32(20)) == pytest.approx([1])


def test_no_templates_have_no_correlation() -> None:
    none = np.zeros((0, 16, 16), np.float32)
    assert correlation(none, none).shape == (0,)


# ---------------------------------------------------------------------------------------------- logistic


@REPEATABLE
@given(SEEDS)
def test_the_logistic_model_is_its_formula(seed: int) -> None:
    random = np.random.default_rng(seed)
    weights, intercept = random.normal(0, 1, N_FEATURES), float(random.normal())
    is_log = random.random(N_FEATURES) < 0.5
    features = random_features(seed)
    expected = []
    for row in features:
        inputs = [math.log10(max(x, 1e-6)) if log else x for x, log in zip(row, is_log, strict=True)]
        expected.append(1 / (1 + math.exp(-(sum(w * x for w, x in zip(weights, inputs, strict=True)) + intercept))))
    assert LogisticFailure(weights, intercept, is_log).predict(features) == pytest.approx(np.array(expected), abs=1e-5)


@REPEATABLE
@given(SEEDS, st.sampled_from([1e-9, 1.0, 1e9]))
def test_any_features_give_a_probability(seed: int, magnitude: float) -> None:
    failure = hand_set_model().predict(random_features(seed) * magnitude)
    assert ((failure >= 0) & (failure <= 1)).all()


@pytest.mark.parametrize(
    ("name", "better", "worse"),
    [("ncc", 0.95, 0.2), ("detection_age_s", 0.1, 2.0), ("inlier_ratio", 1.0, 0.2), ("confidence", 0.9, 0.1)],
)
def test_the_hand_set_model_fears_what_a_person_would(name: str, better: float, worse: float) -> None:
    usual = np.zeros((1, N_FEATURES))
    usual[0, :9] = [0.01, 0.9, 0.02, 0.01, 0.7, 0.01, 0.9, 0.3, 120.0]
    calm, worried = usual.copy(), usual.copy()
    calm[0, FEATURES.index(name)], worried[0, FEATURES.index(name)] = better, worse
    assert hand_set_model().predict(calm)[0] < hand_set_model().predict(worried)[0]


def test_no_tracks_have_no_predictions() -> None:
    assert hand_set_model().predict(np.zeros((0, N_FEATURES))).shape == (0,)


def test_the_hand_set_model_takes_misses_by_bayes_rule() -> None:
    features = np.full((2, N_FEATURES), 0.5)
    features[:, FEATURES.index("miss_log_odds")] = [0, 1.5]
    before, after = hand_set_model().predict(features)
    assert after / (1 - after) == pytest.approx(before / (1 - before) * math.exp(1.5), rel=1e-4)
