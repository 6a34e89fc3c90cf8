"""When a camera's session does with less, and when no longer."""

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from app.flexpatch.thrift import STEPS
from app.sessions.overload import CALM_S, LONGEST_CALM_S, WINDOW_S, Overload, was_late

FRAME_S = 0.1
MOST = len(STEPS) - 1


class Day:
    """Frames, ten a second."""

    def __init__(self) -> None:
        self.overload = Overload()
        self.now_s = 0.0

    def pass_s(self, seconds: float, *, late_every: int = 0) -> list[int]:
        """Steps after each frame; every n-th one is late (0: none)."""
        steps = []
        for number in range(1, round(seconds / FRAME_S) + 1):
            self.now_s += FRAME_S
            self.overload.note(self.now_s, is_late=bool(late_every) and number % late_every == 0)
            steps.append(self.overload.step)
        return steps


def test_one_late_frame_changes_nothing() -> None:
    day = Day()
    day.pass_s(3)
    assert day.pass_s(10, late_every=20) == [0] * 100


def test_step_by_step_as_long_as_frames_are_late() -> None:
    day = Day()
    day.pass_s(WINDOW_S)
    steps = day.pass_s(20, late_every=3)
    assert steps == sorted(steps), "never back"
    assert set(steps) == set(range(MOST + 1))
    assert steps[-1] == MOST
    assert steps.index(2) - steps.index(1) >= WINDOW_S / FRAME_S, "each step gets time to show what it does"


def test_back_step_by_step_in_calm_times() -> None:
    day = Day()
    day.pass_s(10, late_every=3)
    top = day.overload.step
    assert top >= 3
    steps = day.pass_s((top + 1) * CALM_S)
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] == 0
    assert steps[: round(CALM_S / FRAME_S) - 5] == [top] * (round(CALM_S / FRAME_S) - 5)


def test_what_was_taken_back_too_early_is_taken_back_later_the_next_time() -> None:
    """A machine that can carry one step and no less: changes become rare."""
    day = Day()
    changes = []
    for _ in range(6000):
        day.now_s += FRAME_S
        if day.overload.note(day.now_s, is_late=day.overload.step == 0):
            changes.append(day.now_s)
    pauses = [round(later - earlier) for earlier, later in zip(changes[::2], changes[1::2], strict=False)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (CALM_S, LONGEST_CALM_S)


@given(st.lists(st.tuples(st.floats(0.001, 5), st.booleans()), max_size=300))
def test_the_step_is_always_one_that_there_is(frames: list[tuple[float, bool]]) -> None:
    overload, now_s, before = Overload(), 0.0, 0
    for passed_s, is_late in frames:
        now_s += passed_s
        has_changed = overload.note(now_s, is_late=is_late)
        assert 0 <= overload.step <= MOST
        assert has_changed == (overload.step != before)
        assert abs(overload.step - before) <= 1
        before = overload.step


def test_what_counts_as_late() -> None:
    late = partial(was_late, n_lost=0, waited_s=0.0, detect_s=0.0)
    assert not late(0.1)
    assert late(0.1, n_lost=1)
    assert late(0.1, waited_s=0.06)
    assert not late(0.1, waited_s=0.04)
    assert late(0.1, detect_s=0.25)
    assert not late(0.1, detect_s=0.15)
    assert not late(0.0, waited_s=9.0), "before it is known how often frames come"
