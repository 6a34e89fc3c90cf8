"""Working ahead: order, errors, bounds, and a thread that always ends."""

import threading
from collections.abc import Iterator

import pytest

from app.offline.prefetch import Prefetch


def n_prefetch_threads() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


def test_items_come_in_their_order() -> None:
    with Prefetch(range(50), 3) as items:
        assert list(items) == list(range(50))
    assert n_prefetch_threads() == 0


def test_an_error_comes_after_the_items_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("third")

    with Prefetch(broken(), 2) as items:
        taking = iter(items)
        assert [next(taking), next(taking)] == [1, 2]
        with pytest.raises(ValueError, match="third"):
            next(taking)
    assert n_prefetch_threads() == 0


def test_no_more_is_made_than_may_wait() -> None:
    made: list[int] = []
    is_full = threading.Event()

    def endless() -> Iterator[int]:
        while True:
            made.append(len(made))
            if len(made) == 4:
                is_full.set()
            yield made[-1]

    with Prefetch(endless(), 2) as items:
        assert next(iter(items)) == 0
        # One is in use, two wait, and the fourth is in the hand of the thread.
        assert is_full.wait(5)
        assert len(made) == 4
    assert n_prefetch_threads() == 0


def test_leaving_early_ends_a_thread_that_waits_for_room() -> None:
    def take_three() -> None:
        with Prefetch(range(1000), 1) as items:
            for item in items:
                if item == 3:
                    raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        take_three()
    assert n_prefetch_threads() == 0


def test_nothing_to_do_is_done_at_once() -> None:
    with Prefetch(range(0), 1) as items:
        assert list(items) == []
