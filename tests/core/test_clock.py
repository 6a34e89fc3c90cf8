import pytest

from app.core.clock import ManualClock, SystemClock


def test_a_manual_clock_stands_still() -> None:
    clock = ManualClock(3.0)
    assert clock.now_s() == clock.now_s() == 3.0


def test_a_manual_clock_adds_up_what_it_is_advanced_by() -> None:
    clock = ManualClock()
    clock.advance(0.25)
    clock.advance(0.5)
    assert clock.now_s() == 0.75


def test_a_manual_clock_may_be_advanced_by_nothing() -> None:
    clock = ManualClock(1.0)
    clock.advance(0.0)
    assert clock.now_s() == 1.0


def test_a_manual_clock_never_goes_back() -> None:
    clock = ManualClock(1.0)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-0.5)
    assert clock.now_s() == 1.0


def test_the_system_clock_never_goes_back() -> None:
    clock = SystemClock()
    times = [clock.now_s() for _ in range(100)]
    assert times == sorted(times)
