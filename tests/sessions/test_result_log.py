"""The ring of results and those who follow it."""

import asyncio

import pytest

from app.core.errors import ResultNotFound, SessionEnded
from app.sessions.result_log import Gap, LogEvent, ResultLog, ResultRecord
from app.sessions.state import SessionState, Status
from tests.sessions.fakes import WAIT_S


def record(seq: int) -> ResultRecord:
    return ResultRecord(seq, f'{{"seq":{seq}}}'.encode())


def filled(*seqs: int, size: int = 3) -> ResultLog:
    log = ResultLog(size)
    for seq in seqs:
        log.append(record(seq))
    return log


async def read(log: ResultLog, after_seq: int | None, n_events: int) -> list[LogEvent]:
    events: list[LogEvent] = []
    with log.subscribe(after_seq) as subscription:
        while len(events) < n_events:
            events += await subscription.next(WAIT_S)
    return events


def test_an_empty_log_has_no_latest_result() -> None:
    with pytest.raises(ResultNotFound):
        ResultLog(3).latest()


def test_pages_start_after_a_number_and_tell_what_is_gone() -> None:
    log = filled(1, 2, 4, 7, 9)
    page = log.after(0, 2)
    assert [item.seq for item in page.records] == [4, 7]
    assert (page.last_seq, page.discarded_to_seq) == (9, 2)
    assert [item.seq for item in log.after(4, 10).records] == [7, 9]
    assert log.after(9, 10).records == ()
    assert log.latest().seq == 9


def test_a_subscriber_gets_the_state_then_what_it_missed_then_what_comes() -> None:
    async def scenario() -> list[LogEvent]:
        log = filled(1, 2)
        log.publish(Status(SessionState.RUNNING))
        asyncio.get_running_loop().call_soon(log.append, record(3))
        return await read(log, 1, 3)

    assert asyncio.run(scenario()) == [Status(SessionState.RUNNING), record(2), record(3)]


def test_a_new_subscriber_without_a_number_gets_only_what_comes() -> None:
    async def scenario() -> list[LogEvent]:
        log = filled(1, 2)
        asyncio.get_running_loop().call_soon(log.append, record(3))
        return await read(log, None, 2)

    assert asyncio.run(scenario())[1:] == [record(3)]


def test_a_slow_subscriber_gets_a_gap_instead_of_a_growing_buffer() -> None:
    async def scenario() -> list[LogEvent]:
        log = filled(1)
        with log.subscribe(0) as subscription:
            first = await subscription.next(WAIT_S)
            for seq in range(2, 8):
                log.append(record(seq))
            return first[1:] + await subscription.next(WAIT_S)

    assert asyncio.run(scenario()) == [record(1), Gap(2, 4), record(5), record(6), record(7)]


def test_waiting_ends_with_the_time_allowed() -> None:
    async def scenario() -> tuple[list[LogEvent], ResultRecord | None]:
        log = filled(1)
        with log.subscribe() as subscription:
            await subscription.next(WAIT_S)
            return await subscription.next(0.001), await subscription.newest(0)

    assert asyncio.run(scenario()) == ([], None)


def test_the_newest_result_skips_those_between() -> None:
    async def scenario() -> list[int]:
        log = filled(1, 2, 3)
        with log.subscribe(0) as subscription:
            first = await subscription.newest(WAIT_S)
            asyncio.get_running_loop().call_soon(log.append, record(4))
            second = await subscription.newest(WAIT_S)
        return [item.seq for item in (first, second) if item]

    assert asyncio.run(scenario()) == [3, 4]


def test_a_result_appended_by_another_thread_wakes_the_loop() -> None:
    async def scenario() -> ResultRecord | None:
        log = ResultLog(3)
        with log.subscribe(0) as subscription:
            waiting = asyncio.create_task(subscription.newest(WAIT_S))
            await asyncio.to_thread(log.append, record(1))
            return await waiting

    assert asyncio.run(scenario()) == record(1)


def test_subscribers_of_a_closed_log_read_the_rest_then_the_last_state_then_end() -> None:
    async def scenario() -> list[LogEvent]:
        log = filled(*range(1, 41), size=50)
        log.publish(Status(SessionState.STOPPED, "Deleted."))
        log.close()
        with log.subscribe(0) as subscription:
            events = await subscription.next(WAIT_S) + await subscription.next(WAIT_S)
            with pytest.raises(SessionEnded, match=r"Deleted\."):
                await subscription.next(WAIT_S)
        with log.subscribe(40) as subscription, pytest.raises(SessionEnded):
            await subscription.newest(WAIT_S)
        return events

    events = asyncio.run(scenario())
    assert events == [*map(record, range(1, 41)), Status(SessionState.STOPPED, "Deleted.")]


def test_a_subscription_ends_with_its_block_and_a_dead_loop_does_no_harm() -> None:
    log = ResultLog(3)

    async def scenario() -> None:
        with log.subscribe():
            assert log.n_subscriptions == 1

    asyncio.run(scenario())
    assert log.n_subscriptions == 0

    async def leave_open() -> object:
        subscription = log.subscribe()
        subscription.__enter__()
        return subscription

    kept = asyncio.run(leave_open())
    log.append(record(1))
    assert kept is not None
