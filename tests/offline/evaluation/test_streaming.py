import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.offline.evaluation.detection import average_precision, match
from app.offline.evaluation.outputs import FrameOutput
from app.offline.evaluation.streaming import latest_outputs, stream
from tests.core.strategies import REPEATABLE
from tests.offline.evaluation.builders import output, truth

TENTHS = st.integers(0, 30).map(lambda tenths: tenths / 10)


def seen_at(index: int) -> FrameOutput:
    """An output that tells which frame it is of."""
    return output(((10 * index, 0, 10 * index + 10, 20), 0.5))


def frame_of(shown: FrameOutput) -> int:
    """Which frame an output is of; -1 for nothing."""
    return int(shown.boxes[0, 0]) // 10 if len(shown.scores) else -1


def test_a_fast_worker_takes_every_frame() -> None:
    run = stream(np.arange(4.0), lambda index: (seen_at(index), 0.5))
    assert run.indices.tolist() == [0, 1, 2, 3]
    assert run.finishes_s.tolist() == [0.5, 1.5, 2.5, 3.5]
    assert [frame_of(shown) for shown in run.outputs] == [0, 1, 2, 3]
    assert run.n_skipped == 0


def test_a_slow_worker_goes_on_with_the_newest_frame() -> None:
    """Busy 0–2.5 s with frame 0, then 2.5–5 s with frame 2, then with frame 5, which arrives as it gets free."""
    run = stream(np.arange(7.0), lambda index: (seen_at(index), 2.5))
    assert run.indices.tolist() == [0, 2, 5, 6]
    assert run.finishes_s.tolist() == [2.5, 5.0, 7.5, 10.0]
    assert run.n_skipped == 3


def test_the_worker_waits_for_the_next_frame() -> None:
    run = stream(np.array([1.0, 9.0]), lambda index: (seen_at(index), 0.25))
    assert run.finishes_s.tolist() == [1.25, 9.25]


def test_no_frames_are_no_run() -> None:
    run = stream(np.zeros(0), lambda index: (seen_at(index), 1.0))
    assert (len(run.indices), len(run.finishes_s), run.outputs, run.n_skipped) == (0, 0, [], 0)


def test_frames_must_arrive_in_order() -> None:
    with pytest.raises(ValueError, match="sort"):
        stream(np.array([1.0, 0.0]), lambda index: (seen_at(index), 1.0))


def test_each_frame_is_paired_with_what_had_finished_last() -> None:
    shown = latest_outputs(np.arange(5.0), np.array([1.5, 3.0]), [seen_at(0), seen_at(2)])
    assert [frame_of(frame) for frame in shown] == [-1, -1, 0, 2, 2]


def test_outputs_that_finish_out_of_order_are_paired_by_their_finish() -> None:
    shown = latest_outputs(np.arange(4.0), np.array([2.5, 0.5]), [seen_at(0), seen_at(1)])
    assert [frame_of(frame) for frame in shown] == [-1, 1, 1, 0]


def test_every_output_needs_a_finish_time() -> None:
    with pytest.raises(ValueError, match="2 outputs"):
        latest_outputs(np.arange(4.0), np.zeros(1), [seen_at(0), seen_at(1)])


def test_being_a_frame_late_costs_accuracy_where_things_move() -> None:
    truths = [truth((4 * index, 0, 4 * index + 10, 20)) for index in range(5)]
    seen = [output(((4 * index, 0, 4 * index + 10, 20), 0.5)) for index in range(5)]

    def precision_at(latency_s: float) -> float | None:
        run = stream(np.arange(5.0), lambda index: (seen[index], latency_s))
        return average_precision(match(truths, latest_outputs(np.arange(5.0), run.finishes_s, run.outputs)))

    assert [precision_at(0.0), precision_at(0.9)] == [1.0, 0.0]


@REPEATABLE
@given(st.lists(TENTHS, max_size=12), st.lists(TENTHS, min_size=12, max_size=12))
def test_frames_are_taken_in_order_and_never_shown_before_they_are_done(
    gaps_s: list[float], latencies_s: list[float]
) -> None:
    arrivals_s = np.cumsum(gaps_s)
    run = stream(arrivals_s, lambda index: (seen_at(index), latencies_s[index]))
    starts_s = run.finishes_s - np.array(latencies_s)[run.indices]
    shown = latest_outputs(arrivals_s, run.finishes_s, run.outputs)
    finish_s = dict(zip(run.indices.tolist(), run.finishes_s.tolist(), strict=True))
    assert (np.diff(run.indices) > 0).all()
    assert (starts_s >= arrivals_s[run.indices] - 1e-9).all()
    assert (starts_s[1:] >= run.finishes_s[:-1] - 1e-9).all()
    assert len(run.indices) + run.n_skipped == len(arrivals_s)
    assert len(shown) == len(arrivals_s)
    for arrival_s, frame in zip(arrivals_s, shown, strict=True):
        assert frame_of(frame) < 0 or finish_s[frame_of(frame)] <= arrival_s
