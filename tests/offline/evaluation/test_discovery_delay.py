import numpy as np
import pytest

from app.offline.annotations import FrameTruth
from app.offline.evaluation.discovery_delay import DiscoveryDelay, discovery_delay
from tests.offline.evaluation.builders import FAR, LEFT, RIGHT, output, truth

FRAME_S = 5.0 + np.arange(6) / 2


def test_objects_of_the_first_frame_are_not_new() -> None:
    delay = discovery_delay([truth(LEFT)] * 6, [output((LEFT, 0.9))] * 6, FRAME_S, 0.3)
    assert delay == DiscoveryDelay(n_objects=0, never_found=None, mean_s=None, p95_s=None)


def test_an_object_found_on_its_first_frame_has_no_delay() -> None:
    delay = discovery_delay([truth(), truth(LEFT)], [output(), output((LEFT, 0.9))], FRAME_S, 0.3)
    assert delay == DiscoveryDelay(n_objects=1, never_found=0.0, mean_s=0.0, p95_s=0.0)


def test_the_delay_runs_from_the_first_counted_frame_to_the_first_good_enough_output() -> None:
    """Three objects enter on frame 1: one is found on frame 3, one on frame 5, one never."""
    truths = [truth(ignored=(LEFT,)), *[truth(LEFT, RIGHT, FAR, ids=(7, 3, 5))] * 5]
    faint, poor = output((LEFT, 0.2), (RIGHT, 0.2)), output(((6, 0, 16, 20), 0.9))
    outputs = [output((LEFT, 0.9)), faint, poor, output((LEFT, 0.3)), output((LEFT, 0.9)), output((RIGHT, 0.9))]
    delay = discovery_delay(truths, outputs, FRAME_S, 0.3)
    assert delay.n_objects == 3
    assert delay.never_found == pytest.approx(1 / 3)
    assert delay.mean_s == pytest.approx((1.0 + 2.0) / 2)
    assert delay.p95_s == pytest.approx(1.95)


def test_an_object_that_comes_back_is_not_new_again() -> None:
    truths = [truth(), truth(LEFT, ids=(4,)), FrameTruth.empty(), truth(LEFT, ids=(4,))]
    outputs = [output(), output(), output(), output((LEFT, 0.9))]
    assert discovery_delay(truths, outputs, FRAME_S, 0.3).mean_s == pytest.approx(1.0)


def test_an_object_of_the_first_frame_that_is_found_late_is_not_counted() -> None:
    truths = [truth(LEFT, ids=(1,)), truth(LEFT, RIGHT, ids=(1, 2))]
    delay = discovery_delay(truths, [output(), output((LEFT, 0.9))], FRAME_S, 0.3)
    assert delay == DiscoveryDelay(n_objects=1, never_found=1.0, mean_s=None, p95_s=None)


def test_one_output_may_find_two_objects_that_lie_on_each_other() -> None:
    truths = [truth(), truth(LEFT, (1, 0, 11, 20))]
    assert discovery_delay(truths, [output(), output((LEFT, 0.9))], FRAME_S, 0.3).never_found == 0.0


def test_frames_must_be_aligned() -> None:
    with pytest.raises(ValueError, match="zip"):
        discovery_delay([truth(LEFT)], [], FRAME_S, 0.3)
