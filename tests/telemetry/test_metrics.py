"""What Prometheus sees."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from app.core.types import FailureAudit
from app.core.wire import error_code
from app.ingest.live.failures import stream_error
from app.ingest.live.wire import Failed, StreamFault
from app.telemetry.metrics import SECONDS, FrameSample, Metrics

SAMPLE = FrameSample(
    session="a",
    latency_s=0.03,
    age_s=0.08,
    stage_s={"decode": 0.004, "detect": 0.009},
    mode="patch",
    source_pixels=1000,
    detector_pixels=100,
    canvas_fill=0.85,
    has_canvas=True,
    model="yolox",
    backend="onnxruntime-cpu",
    n_tracks=3,
    detection_age_s=0.3,
    audit=FailureAudit(1, 2, 3, 4),
    n_waiting=1,
    completed_unix_s=123.0,
    patches={("object", True): 2, ("tile", False): 5},
)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry(), "1.2.3")


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_two_services_in_one_process_count_apart(metrics: Metrics) -> None:
    other = Metrics(CollectorRegistry(), "1.2.3")
    metrics.frame_processed(SAMPLE)
    assert value(metrics, "flexpatch_frames_total", outcome="processed", reason="") == 1
    assert value(other, "flexpatch_frames_total", outcome="processed", reason="") == 0


def test_a_processed_frame_is_counted_and_timed(metrics: Metrics) -> None:
    metrics.session_state("a", None, "running")
    metrics.frame_processed(SAMPLE)
    assert value(metrics, "flexpatch_frame_latency_seconds_bucket", le="0.0333") == 1
    assert value(metrics, "flexpatch_stage_duration_seconds_sum", stage="decode") == 0.004
    assert value(metrics, "flexpatch_detector_duration_seconds_sum", model="yolox", backend="onnxruntime-cpu") == 0.009
    assert value(metrics, "flexpatch_detector_pixels_total") == 100
    assert value(metrics, "flexpatch_source_pixels_total") == 1000
    assert value(metrics, "flexpatch_canvas_fill_ratio_bucket", le="0.9") == 1
    assert value(metrics, "flexpatch_frame_modes_total", mode="patch") == 1
    assert value(metrics, "flexpatch_patches_total", kind="object", placed="true") == 2
    assert value(metrics, "flexpatch_patches_total", kind="tile", placed="false") == 5
    assert value(metrics, "flexpatch_session_tracks", session="a") == 3
    assert value(metrics, "flexpatch_session_queue_depth", session="a") == 1
    assert value(metrics, "flexpatch_session_last_frame_timestamp_seconds", session="a") == 123


def test_a_frame_that_was_only_tracked_says_nothing_about_the_detector(metrics: Metrics) -> None:
    metrics.frame_processed(replace(SAMPLE, mode="track", has_canvas=False, detector_pixels=0))
    assert value(metrics, "flexpatch_detector_pixels_total") == 0
    assert value(metrics, "flexpatch_canvas_fill_ratio_count") == 0


def test_states_move_from_one_gauge_to_the_next(metrics: Metrics) -> None:
    metrics.session_state("a", None, "starting")
    metrics.session_state("a", "starting", "running")
    assert value(metrics, "flexpatch_sessions", state="starting") == 0
    assert value(metrics, "flexpatch_sessions", state="running") == 1
    assert value(metrics, "flexpatch_session_state", session="a", state="running") == 1
    assert value(metrics, "flexpatch_session_state", session="a", state="starting") is None


def test_known_states_are_there_before_a_session_is_and_keep_their_count_when_told_again(metrics: Metrics) -> None:
    metrics.session_states(("starting", "running"))
    assert value(metrics, "flexpatch_sessions", state="running") == 0
    metrics.session_state("a", None, "running")
    metrics.session_states(("starting", "running"))
    assert value(metrics, "flexpatch_sessions", state="running") == 1
    assert value(metrics, "flexpatch_sessions", state="starting") == 0


def test_ages_and_audits_are_counted(metrics: Metrics) -> None:
    metrics.frame_processed(SAMPLE)
    metrics.frame_processed(replace(SAMPLE, age_s=None, detection_age_s=None, audit=FailureAudit()))
    assert value(metrics, "flexpatch_frame_age_seconds_count") == 1
    assert value(metrics, "flexpatch_detection_age_seconds_bucket", le="0.35") == 1
    counts = [value(metrics, "flexpatch_failure_predictions_total", outcome=name) for name in ("tp", "fp", "fn", "tn")]
    assert counts == [1, 2, 3, 4]


def test_what_can_go_wrong_is_counted_from_zero_so_that_the_first_time_is_an_increase(metrics: Metrics) -> None:
    stream_errors = {error_code(stream_error("camera", Failed(fault, ""))) for fault in get_args(StreamFault)}
    assert {value(metrics, "flexpatch_reconnects_total", reason=name) for name in stream_errors} == {0}
    for outcome, reason in (("failed", "frame_corrupt"), ("failed", "internal_error"), ("dropped", "queue_full")):
        assert value(metrics, "flexpatch_frames_total", outcome=outcome, reason=reason) == 0


def test_a_sessions_counters_begin_at_zero_those_of_connections_only_if_it_connects(metrics: Metrics) -> None:
    for name in ("pushed", "camera"):
        metrics.session_state(name, None, "starting")
        for outcome in ("processed", "failed", "dropped"):
            assert value(metrics, "flexpatch_session_frames_total", session=name, outcome=outcome) == 0
    metrics.session_state("camera", "starting", "connecting")
    assert value(metrics, "flexpatch_session_reconnects_total", session="camera") == 0
    assert value(metrics, "flexpatch_session_reconnects_total", session="pushed") is None


def labelled(metrics: Metrics) -> set[str]:
    """Sessions that have series."""
    return set(re.findall(r'session="([^"]+)"', generate_latest(metrics.registry).decode()))


def everything_of(metrics: Metrics, session: str) -> None:
    """A session's whole life, but for its end."""
    metrics.session_state(session, None, "starting")
    metrics.session_state(session, "starting", "running")
    metrics.frame_processed(replace(SAMPLE, session=session))
    metrics.frame_failed(session, "frame_corrupt")
    metrics.frame_dropped(session, "queue_full", 3)
    metrics.stream_lost(session, "stream_stalled")
    metrics.session_thrift(session, 2)


def test_a_session_has_series_of_its_own(metrics: Metrics) -> None:
    everything_of(metrics, "a")
    assert value(metrics, "flexpatch_session_frames_total", session="a", outcome="dropped") == 3
    assert value(metrics, "flexpatch_session_frames_total", session="a", outcome="failed") == 1
    assert value(metrics, "flexpatch_session_reconnects_total", session="a") == 1
    assert value(metrics, "flexpatch_session_frame_age_seconds", session="a") == 0.08
    assert value(metrics, "flexpatch_session_detector_pixels_total", session="a") == 100
    assert value(metrics, "flexpatch_session_thrift_step", session="a") == 2


def test_a_forgotten_session_leaves_no_series_whatever_comes_late(metrics: Metrics) -> None:
    everything_of(metrics, "a")
    metrics.forget_session("a", "running")
    metrics.frame_processed(SAMPLE)
    metrics.frame_dropped("a", "session_ended")
    metrics.frame_failed("a", "frame_corrupt")
    metrics.stream_lost("a", "stream_broken")
    metrics.session_thrift("a", 1)
    assert b'session="a"' not in generate_latest(metrics.registry)
    assert value(metrics, "flexpatch_sessions", state="running") == 0


def test_sessions_beyond_the_cap_count_in_totals_and_are_told(metrics: Metrics) -> None:
    metrics = Metrics(CollectorRegistry(), "1.2.3", max_labelled_sessions=2)
    for name in ("a", "b", "c", "d"):
        everything_of(metrics, name)
    assert labelled(metrics) == {"a", "b"}
    assert value(metrics, "flexpatch_sessions_without_series") == 2
    assert value(metrics, "flexpatch_frames_total", outcome="processed", reason="") == 4
    metrics.forget_session("d", "running")
    assert value(metrics, "flexpatch_sessions_without_series") == 1


def test_who_waits_longest_gets_the_place_of_a_session_that_ends() -> None:
    metrics = Metrics(CollectorRegistry(), "1.2.3", max_labelled_sessions=2)
    for name in ("a", "b", "c", "d"):
        everything_of(metrics, name)
    metrics.forget_session("a", "running")
    assert labelled(metrics) == {"b", "c"}
    assert value(metrics, "flexpatch_sessions_without_series") == 1
    assert value(metrics, "flexpatch_session_state", session="c", state="running") == 1
    assert value(metrics, "flexpatch_session_thrift_step", session="c") == 2
    assert value(metrics, "flexpatch_session_frames_total", session="c", outcome="processed") == 0
    metrics.frame_processed(replace(SAMPLE, session="c"))
    metrics.session_state("c", "running", "stale")
    assert value(metrics, "flexpatch_session_frames_total", session="c", outcome="processed") == 1
    assert value(metrics, "flexpatch_session_state", session="c", state="stale") == 1
    assert value(metrics, "flexpatch_session_state", session="c", state="running") is None
    metrics.forget_session("c", "stale")
    assert labelled(metrics) == {"b", "d"}
    assert value(metrics, "flexpatch_sessions_without_series") == 0


def test_a_camera_that_waited_for_its_series_has_its_connections_counted_from_zero() -> None:
    metrics = Metrics(CollectorRegistry(), "1.2.3", max_labelled_sessions=1)
    metrics.session_state("a", None, "starting")
    metrics.session_state("camera", None, "starting")
    metrics.session_state("camera", "starting", "connecting")
    metrics.session_state("camera", "connecting", "running")
    metrics.forget_session("a", "starting")
    assert value(metrics, "flexpatch_session_reconnects_total", session="camera") == 0


def test_sessions_that_come_and_go_on_many_threads_leave_nothing_and_wait_for_nothing() -> None:
    metrics = Metrics(CollectorRegistry(), "1.2.3", max_labelled_sessions=3)

    def live(number: int) -> None:
        for again in range(20):
            everything_of(metrics, f"{number}-{again}")
            metrics.forget_session(f"{number}-{again}", "running")

    everything_of(metrics, "last")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(live, range(8)))
    assert labelled(metrics) == {"last"}
    assert value(metrics, "flexpatch_sessions_without_series") == 0
    everything_of(metrics, "next")
    assert labelled(metrics) == {"last", "next"}


def test_creation_times_are_left_out_of_what_is_scraped(metrics: Metrics) -> None:
    metrics.frame_processed(SAMPLE)
    text = metrics.exposition()
    assert b"_created" not in text
    assert b'flexpatch_frames_total{outcome="processed",reason=""} 1.0' in text


def test_bucket_edges_lie_at_frame_periods() -> None:
    assert set(SECONDS) >= {0.001, 0.0167, 0.0333, 0.0667, 5.0}
    assert list(SECONDS) == sorted(SECONDS)


def test_names_have_the_prefix_and_base_units(metrics: Metrics) -> None:
    metrics.frame_processed(SAMPLE)
    for family in metrics.registry.collect():
        assert family.name.startswith(("flexpatch_", "process_"))
        assert not family.name.endswith(("_ms", "_percent"))
        assert family.documentation
