"""The queue of a session."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from app.core.errors import QueueFull, SessionEnded
from app.sessions.mailbox import Mailbox
from tests.sessions.fakes import WAIT_S


def test_frames_come_out_in_order_and_errands_before_them() -> None:
    box = Mailbox[str](4)
    for frame in ("first", "second"):
        box.put(frame)
    box.put_first("errand")
    assert [box.take() for _ in range(3)] == ["errand", "first", "second"]


def test_a_full_box_refuses_and_says_how_long_the_frames_ahead_take() -> None:
    box = Mailbox[int](2)
    for _ in range(100):
        box.note_duration(0.2)
    box.put(1)
    box.put(2)
    with pytest.raises(QueueFull, match="600 ms") as refused:
        box.put(3)
    assert refused.value.retry_after_s == pytest.approx(0.6)
    assert len(box) == 2
    assert box.take() == 1
    box.put(3)


def test_a_box_can_be_made_larger_while_in_use() -> None:
    box = Mailbox[int](1)
    box.put(1)
    box.resize(2)
    box.put(2)
    assert box.depth == 2


def test_errands_are_bounded_too() -> None:
    box = Mailbox[int](1)
    for errand in range(64):
        box.put_first(errand)
    with pytest.raises(QueueFull, match="requests"):
        box.put_first(64)


def test_closing_hands_back_what_waits_and_refuses_the_rest() -> None:
    box = Mailbox[str](2)
    box.put("frame")
    box.put_first("errand")
    assert box.close() == ["errand", "frame"]
    assert box.take() is None
    with pytest.raises(SessionEnded):
        box.put("late")
    with pytest.raises(SessionEnded):
        box.put_first("late")


def test_closing_wakes_a_waiting_worker() -> None:
    box = Mailbox[int](1)
    taken: list[int | None] = []
    worker = threading.Thread(target=lambda: taken.append(box.take()))
    worker.start()
    box.close()
    worker.join(WAIT_S)
    assert taken == [None]


def test_who_waits_for_an_answer_is_woken_by_whatever_comes_first() -> None:
    box: Mailbox[str] = Mailbox(4)

    def waits(*, until: Callable[["Future[int]"], object], timeout_s: float = WAIT_S) -> float:
        answer: Future[int] = Future()
        began_s = time.monotonic()
        threading.Timer(0.02, until, [answer]).start()
        box.wait_for(answer, timeout_s)
        return time.monotonic() - began_s

    assert waits(until=lambda answer: answer.set_result(1)) < WAIT_S / 2
    assert 0.01 <= waits(until=lambda _: None, timeout_s=0.01) < WAIT_S / 2
    assert waits(until=lambda _: box.put("frame")) < WAIT_S / 2
    assert waits(until=lambda _: None) < WAIT_S / 2, "a frame waits already"
    assert box.take() == "frame"
    assert waits(until=lambda _: box.put_first("errand")) < WAIT_S / 2
    assert box.take() == "errand"
    assert waits(until=lambda _: box.close()) < WAIT_S / 2
