"""Stream time and time of day of live pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ingest.live.timing import CaptureClock, LiveClock

PERIOD_S = 0.1
STEPS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(-1e5, 1e5)),
        st.floats(0, 10),
    ),
    min_size=2,
    max_size=30,
)


@given(STEPS)
def test_stream_time_moves_forward_whatever_the_clock_says(steps: list[tuple[float | None, float]]) -> None:
    clock = LiveClock(PERIOD_S)
    arrivals = np.cumsum([wait for _, wait in steps])
    times = [clock.tick(noted, float(arrival)) for (noted, _), arrival in zip(steps, arrivals, strict=True)]
    assert times[0] == 0
    assert np.all(np.diff(times) > 0)
    assert times[-1] <= arrivals[-1] - arrivals[0] + 2.0 * len(steps)


def test_it_follows_the_streams_clock_and_not_the_networks() -> None:
    clock = LiveClock(PERIOD_S)
    arrivals = [0.0, 0.25, 0.26, 0.27, 0.4]
    assert [clock.tick(5 + number * PERIOD_S, at) for number, at in enumerate(arrivals)] == pytest.approx(
        [0, 0.1, 0.2, 0.3, 0.4]
    )
    assert clock.n_jumps == 0


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0, -0.1, 2.5])
def test_a_jump_of_the_streams_clock_is_none_of_stream_time(jump_s: float) -> None:
    clock = LiveClock(PERIOD_S)
    before = clock.tick(10.0, 0.0)
    after = clock.tick(10.0 + jump_s, PERIOD_S)
    assert after - before == pytest.approx(PERIOD_S)
    assert clock.tick(10.1 + jump_s, 2 * PERIOD_S) - after == pytest.approx(PERIOD_S)
    assert clock.n_jumps == 1


def test_after_a_long_pause_it_goes_on_as_the_stream_says() -> None:
    clock = LiveClock(PERIOD_S)
    clock.tick(0.0, 0.0)
    assert clock.tick(30.0, 30.5) == pytest.approx(30.0)
    assert clock.n_jumps == 0


def test_without_a_clock_of_its_own_arrival_counts() -> None:
    clock = LiveClock(PERIOD_S)
    assert [clock.tick(None, at) for at in (1.0, 1.5, 1.5)] == pytest.approx([0.0, 0.5, 0.51])


def test_the_senders_word_counts_if_it_can_be_true() -> None:
    clock = CaptureClock()
    told = clock.of(0.0, 999.9, 1000.0, has_pts=True)
    assert (told.unix_s, told.source) == (999.9, "rtcp")
    for lie in (0.0, 900.0, 1003.5, 5000.0):
        assert clock.of(1.0, lie, 1001.0, has_pts=True).source == "pts"


def test_by_its_own_clock_the_picture_that_came_fastest_tells() -> None:
    clock = CaptureClock()
    delays = [0.3, 0.1, 0.4, 0.1]
    times = [clock.of(n * 1.0, None, 1000 + n + delay, has_pts=True).unix_s for n, delay in enumerate(delays)]
    assert times == pytest.approx([1000.3, 1001.1, 1002.1, 1003.1], abs=0.01)
    assert clock.of(9.0, None, 1009.0, has_pts=False).source == "arrival"


def test_clocks_that_run_apart_are_followed() -> None:
    clock = CaptureClock()
    drift = 5e-4
    seconds = np.arange(0, 4000.0)
    late = [now - clock.of(now * (1 - drift), None, now, has_pts=True).unix_s for now in seconds.tolist()]
    assert max(late) < 0.1
