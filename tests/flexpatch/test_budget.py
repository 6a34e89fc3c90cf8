import pytest

from app.flexpatch.budget import FLOOR_PRICE, Budget

UNIT = 500_000
"""Pixels of the largest canvas."""
FRAME_S = 1 / 30


def budget_after_the_first_look(per_frame: float = 80_000) -> Budget:
    budget = Budget(per_frame, UNIT)
    budget.spend(UNIT)
    return budget


def spent_on(value_per_megapixel: float, *, per_frame: float, canvas_pixels: int, n_frames: int) -> int:
    """Pixels spent by a scene that offers the same look at the same worth on every frame."""
    budget, spent = Budget(per_frame, UNIT), 0
    for _ in range(n_frames):
        budget.accrue(FRAME_S)
        if value_per_megapixel / 1e6 > budget.price_per_pixel:
            budget.spend(canvas_pixels)
            spent += canvas_pixels
    return spent


@pytest.mark.parametrize("value_per_megapixel", [0.6, 1.0, 4.0, 50.0])
@pytest.mark.parametrize("canvas_pixels", [100_000, 250_000, UNIT])
@pytest.mark.parametrize("per_frame", [20_000, 80_000])
def test_constant_demand_is_met_at_the_budget(value_per_megapixel: float, canvas_pixels: int, per_frame: int) -> None:
    spent = spent_on(value_per_megapixel, per_frame=per_frame, canvas_pixels=canvas_pixels, n_frames=4000)
    assert spent / 4000 == pytest.approx(per_frame, rel=0.05)


def test_demand_below_the_floor_is_never_met_whatever_was_saved() -> None:
    assert spent_on(0.99 * FLOOR_PRICE, per_frame=80_000, canvas_pixels=60_000, n_frames=2000) == 0


def test_the_price_never_falls_below_its_floor() -> None:
    budget = Budget(80_000, UNIT)
    for _ in range(2000):
        budget.accrue(FRAME_S)
    assert budget.price_per_pixel == pytest.approx(FLOOR_PRICE / 1e6)


def test_spending_raises_the_price_and_saving_lowers_it() -> None:
    budget = budget_after_the_first_look()
    before = budget.price_per_pixel
    budget.spend(2 * UNIT)
    dear = budget.price_per_pixel
    budget.accrue(FRAME_S)
    assert before < dear
    assert before < budget.price_per_pixel < dear


def test_savings_do_not_pile_up_for_ever() -> None:
    rested, fresh = budget_after_the_first_look(), budget_after_the_first_look()
    for _ in range(100_000):
        rested.accrue(FRAME_S)
    for budget in (rested, fresh):
        budget.spend(5 * UNIT)
    assert rested.price_per_pixel > 0.04 * fresh.price_per_pixel


def test_a_huge_debt_has_a_finite_price() -> None:
    budget = budget_after_the_first_look()
    budget.spend(10_000 * UNIT)
    assert budget.price_per_pixel < float("inf")


@pytest.mark.parametrize("frame_s", [1 / 30, 1 / 5])
def test_the_first_rate_that_is_learned_sets_the_price_at_once(frame_s: float) -> None:
    budget = budget_after_the_first_look()
    budget.learn(40 / 1e6, frame_s)
    assert budget.price_per_pixel == pytest.approx(40 / 1e6)


def test_the_price_follows_what_looks_are_worth() -> None:
    budget = budget_after_the_first_look()
    for rate in [40.0] * 100 + [4.0] * 600:
        budget.learn(rate / 1e6, 1 / 30)
    assert budget.price_per_pixel == pytest.approx(4 / 1e6, rel=0.1)


def test_a_scene_where_nothing_is_worth_a_look_lowers_the_price_to_the_floor_only() -> None:
    budget = Budget(80_000, UNIT)
    for _ in range(1000):
        budget.learn(1e-12, 1 / 30)
        budget.accrue(FRAME_S)
    assert budget.price_per_pixel == pytest.approx(FLOOR_PRICE / 1e6)


def test_a_long_idle_time_does_not_keep_the_price_down_once_looks_are_worth_something() -> None:
    budget = budget_after_the_first_look()
    for rate in [1e-6] * 1000 + [40.0] * 90:
        budget.learn(rate / 1e6, 1 / 30)
    assert 5e-6 < budget.price_per_pixel < 20e-6


@pytest.mark.parametrize("wrong_by", [0.2, 1.0, 5.0])
def test_a_wrong_idea_of_the_rate_does_not_break_the_budget(wrong_by: float) -> None:
    budget, spent = Budget(80_000, UNIT), 0
    for _ in range(4000):
        budget.accrue(FRAME_S)
        budget.learn(10 * wrong_by / 1e6, 1 / 30)
        if budget.price_per_pixel < 10 / 1e6:
            budget.spend(100_000)
            spent += 100_000
    assert spent / 4000 == pytest.approx(80_000, rel=0.05)


def test_the_first_look_is_a_gift() -> None:
    assert budget_after_the_first_look().price_per_pixel == Budget(80_000, UNIT).price_per_pixel


def gap_after_a_look(frame_s: float, worth: float) -> int:
    """Frames from a look to the next one, which seems worth so many times more than the first."""
    budget = budget_after_the_first_look(20_000)
    budget.accrue(frame_s)
    price = budget.price_per_pixel
    budget.spend(60_000)
    n_frames = 0
    while budget.price_per_pixel > worth * price:
        budget.accrue(frame_s)
        n_frames += 1
    return n_frames


def test_at_low_frame_rates_looks_come_at_even_distances_whatever_they_seem_worth() -> None:
    assert gap_after_a_look(1 / 5, worth=1.0) == gap_after_a_look(1 / 30, worth=1.0)
    assert gap_after_a_look(1 / 5, worth=1.15) > gap_after_a_look(1 / 30, worth=1.15)
