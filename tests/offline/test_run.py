"""The engine behind `flexpatch run`."""

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from app.core.clock import ManualClock
from app.core.errors import SettingsError
from app.flexpatch.config import PipelineConfig
from app.flexpatch.failure import hand_set_model
from app.offline.run import RunOptions, RunSummary, Step, run, steps
from tests.offline.clips import ColourDetector, ListSource


def options(**values: Any) -> RunOptions:
    return RunOptions(PipelineConfig(), **values)


def collect(source: ListSource, **values: Any) -> tuple[RunSummary, list[Step]]:
    collected: list[Step] = []
    sinks: list[Callable[[Step], object]] = [collected.append]
    return run(source, ColourDetector(), hand_set_model(), options(**values), sinks), collected


def test_every_frame_gets_a_result_with_tracks_that_last() -> None:
    summary, collected = collect(ListSource(12))
    assert [step.result.seq for step in collected] == list(range(1, 13))
    assert {item.track_id for step in collected for item in step.result.objects} == set(summary.labels)
    assert sorted(summary.labels.values()) == ["blue", "green"]
    last = {item.label: item for item in collected[-1].result.objects}
    assert last["blue"].box[0] == pytest.approx(20 + 2 * 11, abs=3)


def test_the_summary_adds_up_what_the_detector_was_asked() -> None:
    summary, collected = collect(ListSource(12))
    assert summary.n_frames == 12
    assert summary.detector_pixels == sum(step.result.work.detector_pixels for step in collected) > 0
    assert summary.detector_calls == sum(step.result.work.mode != "track" for step in collected) > 0
    assert summary.megapixels_per_frame == summary.detector_pixels / 12 / 1e6
    assert summary.fps == pytest.approx(12 / summary.elapsed_s)


def test_a_summary_of_nothing_divides_by_nothing() -> None:
    summary = run(ListSource(0), ColourDetector(), hand_set_model(), options(), [], clock=ManualClock())
    assert (summary.n_frames, summary.fps, summary.megapixels_per_frame) == (0, 0.0, 0.0)


def test_the_regions_looked_at_come_with_the_step() -> None:
    _, collected = collect(ListSource(3))
    assert collected[0].result.work.mode == "full"
    assert collected[0].patches == ((0.0, 0.0, 320.0, 180.0),)


def test_only_wanted_classes_are_put_out() -> None:
    summary, _ = collect(ListSource(6), classes=("green",))
    assert set(summary.labels.values()) == {"green"}


def test_only_objects_with_the_least_score_are_put_out() -> None:
    summary, _ = collect(ListSource(6), min_score=1.0)
    assert summary.n_frames == 6
    assert summary.labels == {}


def test_no_frame_is_decoded_beyond_the_last_wanted_one() -> None:
    source = ListSource(100)
    summary, _ = collect(source, max_frames=4)
    assert summary.n_frames == 4
    assert source.n_taken == 4


def test_stopping_early_leaves_no_thread() -> None:
    before = threading.active_count()
    with closing(steps(ListSource(1000), ColourDetector(), hand_set_model(), options())) as results:
        next(results)
        next(results)
    assert threading.active_count() == before


def test_a_source_that_breaks_says_so_and_leaves_no_thread() -> None:
    before = threading.active_count()
    collected: list[Step] = []
    with pytest.raises(ConnectionError):
        run(ListSource(9, fails_at=3), ColourDetector(), hand_set_model(), options(), [collected.append])
    assert len(collected) == 3
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"classes": ("bleu",)}, "did you mean blue"),
        ({"classes": ("zebra",)}, "it knows blue, green"),
        ({"min_score": 1.5}, "between 0 and 1"),
        ({"max_frames": 0}, "at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        collect(ListSource(2), **values)
