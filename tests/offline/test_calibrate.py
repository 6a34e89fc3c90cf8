import json
from pathlib import Path

import numpy as np

from app.flexpatch.failure import FEATURES, hand_set_model, load_failure_model
from app.offline.calibrate import Samples, cross_validated, fit, write

AGE, NCC = FEATURES.index("detection_age_s"), FEATURES.index("ncc")


def samples_of(n: int, *, contradict: bool = False) -> Samples:
    """Tracks fail with age; or on every second street it is the other way round."""
    random = np.random.default_rng(5)
    features = random.uniform(0.01, 1, (n, len(FEATURES)))
    features[:, AGE] = random.uniform(0.01, 3, n)
    street = np.arange(n) % 2
    old = features[:, AGE] > 0.7
    return Samples(features, np.where(street == 1, ~old, old) if contradict else old, street)


def agreement(samples: Samples, predicted: np.ndarray[tuple[int], np.dtype[np.float32]]) -> float:
    return float(np.mean((predicted > 0.5) == samples.has_failed))


def test_a_fitted_model_learns_what_makes_tracks_fail() -> None:
    samples = samples_of(400)
    assert agreement(samples, fit(samples).predict(samples.features)) > 0.95


def test_mistake_11_no_street_is_judged_by_a_model_that_saw_it() -> None:
    samples = samples_of(400, contradict=True)
    assert agreement(samples, cross_validated(samples)) < 0.1


def test_a_written_model_predicts_in_the_service_as_it_did_here(tmp_path: Path) -> None:
    samples = samples_of(100)
    model = fit(samples)
    write(model, tmp_path / "new" / "failure.json")
    read = load_failure_model(tmp_path / "new" / "failure.json")
    assert np.allclose(read.predict(samples.features), model.predict(samples.features), atol=1e-4)
    assert json.loads((tmp_path / "new" / "failure.json").read_text())["kind"] == "logistic"


def test_the_built_in_model_fears_age_and_trusts_likeness() -> None:
    features = np.full((3, len(FEATURES)), 0.5)
    features[1, AGE] = 3.0
    features[2, NCC] = 1.0
    usual, old, alike = hand_set_model().predict(features)
    assert alike < usual < old
