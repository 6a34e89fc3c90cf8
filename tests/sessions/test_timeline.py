"""Numbers and times of pushed frames."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import FrameOutOfOrder
from app.core.types import CaptureTime
from app.sessions.timeline import LAST_SEQ, Timeline


def captured(unix_s: float) -> CaptureTime:
    return CaptureTime(unix_s, "client")


def pushed(timeline: Timeline, arrival_s: float, capture_unix_s: float | None = None, seq: int | None = None) -> float:
    capture = None if capture_unix_s is None else captured(capture_unix_s)
    stamp = timeline.stamp(seq, capture, arrival_s)
    timeline.accept(stamp)
    return stamp.pts_s


def test_frames_are_counted_from_one() -> None:
    timeline = Timeline()
    numbers = []
    for _ in range(3):
        timeline.accept(stamp := timeline.stamp(None, None, 0.0))
        numbers.append(stamp.seq)
    assert numbers == [1, 2, 3]


def test_the_clients_own_numbers_may_leap_but_not_fall() -> None:
    timeline = Timeline()
    pushed(timeline, 0.0, seq=10)
    pushed(timeline, 0.1)
    assert timeline.last_seq == 11
    for stale in (11, 5):
        with pytest.raises(FrameOutOfOrder, match=f"Frame {stale} comes after frame 11"):
            timeline.stamp(stale, None, 0.2)


def test_a_refused_frame_leaves_no_trace() -> None:
    timeline = Timeline()
    timeline.stamp(None, captured(100.0), 3.0)
    assert timeline.last_seq == 0
    assert pushed(timeline, 4.0, 200.0) == 0.0


def test_capture_times_give_stream_time_whatever_the_arrival() -> None:
    timeline = Timeline()
    base = 1_767_225_600.123456
    got = [pushed(timeline, arrival, base + step / 30) for step, arrival in enumerate((0.0, 9.0, 9.0, 9.1))]
    assert got == [round(step / 30, 6) for step in range(4)]


def test_without_capture_times_arrival_counts() -> None:
    timeline = Timeline()
    assert [pushed(timeline, arrival) for arrival in (5.0, 5.04, 5.1)] == [0.0, 0.04, 0.1]


def test_a_capture_time_that_does_not_increase_falls_back_on_arrival() -> None:
    timeline = Timeline()
    assert pushed(timeline, 0.0, 100.0) == 0.0
    assert pushed(timeline, 0.5, 100.0) == 0.5
    assert pushed(timeline, 0.6, 101.0) == 1.0


@given(st.lists(st.tuples(st.floats(0, 100), st.none() | st.floats(0, 4e9), st.booleans()), min_size=1, max_size=30))
def test_stream_time_and_numbers_always_increase(frames: list[tuple[float, float | None, bool]]) -> None:
    timeline = Timeline()
    arrival_s, seqs, times = 0.0, [0], [-1.0]
    for pause_s, unix_s, is_numbered in frames:
        arrival_s += pause_s
        seq = timeline.last_seq + 3 if is_numbered else None
        timeline.accept(stamp := timeline.stamp(seq, None if unix_s is None else captured(unix_s), arrival_s))
        seqs.append(stamp.seq)
        times.append(stamp.pts_s)
    assert all(before < after for before, after in pairwise(seqs))
    assert all(before < after for before, after in pairwise(times))


def test_a_clip_played_in_a_loop_keeps_its_own_pace() -> None:
    timeline = Timeline()
    times = [100.0, 100.5, 101.0, 100.0, 100.5, 101.0]
    stamps = []
    for index, unix_s in enumerate(times):
        stamp = timeline.stamp(None, CaptureTime(unix_s, "client"), 0.1 * index)
        timeline.accept(stamp)
        stamps.append(stamp.pts_s)
    assert stamps == [0.0, 0.5, 1.0, 1.1, 1.6, 2.1]


def test_when_all_numbers_are_used_up_no_frame_is_taken() -> None:
    timeline = Timeline()
    pushed(timeline, 0.0, seq=LAST_SEQ - 1)
    pushed(timeline, 0.1)
    assert timeline.last_seq == LAST_SEQ
    for seq in (None, LAST_SEQ + 1):
        with pytest.raises(FrameOutOfOrder, match="has the last number that there is"):
            timeline.stamp(seq, None, 0.2)
