"""Whole evaluations on a scripted world: rows, files, pictures, and what is said about wrong use."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.cli import main
from app.core.errors import SettingsError
from app.core.types import InputSizes, Size
from app.flexpatch.config import Parts
from app.flexpatch.failure import hand_set_model
from app.offline.evaluation.catalogue import ABLATION_NAMES, FLEXPATCH, RIVALS, Sweep, methods_for
from app.offline.evaluation.evaluate import Subject, evaluate
from app.offline.evaluation.judge import Row
from app.offline.evaluation.latency import TABLE_MS, TABLE_PIXELS, table_s
from app.offline.evaluation.outputs import FrameCost
from app.offline.evaluation.pipeline_methods import ABLATIONS, KNOWN_FAILURES, lost_tracks
from app.offline.evaluation.plots import write_plots
from app.offline.evaluation.published.priority import Priority, PriorityTree
from app.offline.evaluation.report import as_json, best_so_far, compare
from tests.detect.graphs import square_finder
from tests.flexpatch.builders import frame_boxes
from tests.flexpatch.world import ScriptedDetector
from tests.offline.clips import clear_environment
from tests.offline.evaluation.recordings import SIZE, opened

SWEEP = Sweep(
    methods=(*RIVALS, FLEXPATCH, KNOWN_FAILURES, "ablations"),
    canvases=(Size(320, 192), SIZE),
    every=(1, 4),
    budgets=(0.03,),
)
MEASURED = {"latency_ms_p50", "latency_ms_p99", "stage_ms", "sap50_measured"}


def subject(detector: ScriptedDetector | None = None) -> Subject:
    tree = PriorityTree.constant(Priority.MEDIUM)
    return Subject(detector or ScriptedDetector(), "scripted", "person", hand_set_model(), tree)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    folder = tmp_path_factory.mktemp("evaluate")
    return list(evaluate([opened(folder / "world")], subject(), SWEEP, frame_rates=(5, 30), cache=folder / "cache"))


def test_every_method_has_rows_at_every_frame_rate(rows: list[Row]) -> None:
    for fps, n_frames in ((10, 12), (5, 6)):
        own = [row for row in rows if row.fps == fps]
        assert {row.method for row in own} == {*RIVALS, FLEXPATCH, KNOWN_FAILURES, *ABLATION_NAMES}
        assert {row.n_frames for row in own} == {n_frames}
    assert {row.fps for row in rows} == {10, 5}


def test_an_easy_scene_is_solved_by_all_that_see_it_whole(rows: list[Row]) -> None:
    for row in rows:
        if row.method in {"full", "native", "tiled", "fixed", "flow"} and row.fps == 10:
            assert row.ap50 is not None
            assert row.ap50 > 0.8, row


def test_figures_are_shares_and_costs_add_up(rows: list[Row]) -> None:
    shares = (
        "ap50",
        "ap50_low",
        "ap50_high",
        "best_f1",
        "precision",
        "recall",
        "sap50",
        "sap50_measured",
        "hota",
        "idf1",
    )
    for row in rows:
        for name in shares:
            value = getattr(row, name)
            assert value is None or 0 <= value <= 1, (name, row)
        assert row.megapixels_per_frame >= 0
        assert row.latency_ms_p50 <= row.latency_ms_p99
    full = next(row for row in rows if row.method == "full" and row.config == "320x192")
    assert full.megapixels_per_frame == pytest.approx(0.06144)
    assert full.detector_calls == 1


def test_identity_is_judged_where_there_is_one(rows: list[Row]) -> None:
    for row in rows:
        assert (row.hota is None) == (row.method in {"full", "native", "tiled"}), row.method


def test_the_same_evaluation_gives_the_same_figures(rows: list[Row], tmp_path: Path) -> None:
    again = list(evaluate([opened(tmp_path / "world")], subject(), SWEEP, frame_rates=(5,)))
    for one, other in zip(rows, again, strict=True):
        figures = [{k: v for k, v in as_dict(row).items() if k not in MEASURED} for row in (one, other)]
        assert figures[0] == figures[1]


def as_dict(row: Row) -> dict[str, Any]:
    rows: Any = as_json([row])["rows"]
    document: dict[str, Any] = rows[0]
    return document


def test_whole_frames_are_asked_once_over_all_rates_and_runs(tmp_path: Path) -> None:
    detector = ScriptedDetector()
    sweep = replace(SWEEP, methods=("full", "flow", "fixed", "kalman"))
    sequence = opened(tmp_path / "world")
    list(evaluate([sequence], subject(detector), sweep, frame_rates=(5,), cache=tmp_path / "cache"))
    assert len(detector.canvases) == 12 * 2
    list(evaluate([sequence], subject(detector), sweep, frame_rates=(5,), cache=tmp_path / "cache"))
    assert len(detector.canvases) == 12 * 2


def test_flexpatch_is_never_answered_from_memory(tmp_path: Path) -> None:
    sequence = opened(tmp_path / "world")
    sweep = replace(SWEEP, methods=(FLEXPATCH,))
    detectors = [ScriptedDetector(), ScriptedDetector()]
    for detector in detectors:
        list(evaluate([sequence], subject(detector), sweep, cache=tmp_path / "cache"))
    assert len(detectors[0].canvases) == len(detectors[1].canvases) > 0


def test_two_recordings_of_one_name_are_refused(tmp_path: Path) -> None:
    sequences = [opened(tmp_path / folder / "world", n_frames=2) for folder in ("a", "b")]
    with pytest.raises(SettingsError, match="Two sequences are called world"):
        list(evaluate(sequences, subject(), SWEEP))


def test_a_cache_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    detector = ScriptedDetector()
    with pytest.raises(SettingsError, match="another --cache"):
        list(evaluate([opened(tmp_path / "world")], subject(detector), SWEEP, cache=tmp_path / "file" / "cache"))
    assert detector.canvases == []


def test_a_class_that_the_detector_does_not_know_is_told(tmp_path: Path) -> None:
    other = replace(subject(), label="zebra")
    with pytest.raises(SettingsError, match="no class 'zebra'"):
        list(evaluate([opened(tmp_path / "world")], other, SWEEP))


# --------------------------------------------------------------------------------------------------- catalogue


def test_each_ablation_leaves_out_one_part() -> None:
    for parts in ABLATIONS.values():
        differing = [name for name in Parts.__slots__ if getattr(parts, name) is not getattr(Parts(), name)]
        assert len(differing) == 1
    assert len({repr(parts) for parts in ABLATIONS.values()}) == len(ABLATIONS) == len(Parts.__slots__)


def test_a_detector_of_one_size_gets_no_configuration_that_it_cannot_take() -> None:
    only = Size(416, 416)
    methods = methods_for(Sweep(), Size(1920, 1080), InputSizes(fixed=(only,)))
    assert {method.name for method in methods} == {*RIVALS, FLEXPATCH} - {"native"}
    assert all("416x416" in method.config or method.name == FLEXPATCH for method in methods)


def test_every_kth_rivals_spend_about_what_flexpatch_may() -> None:
    sweep = Sweep(methods=("fixed", "flow"), budgets=(0.5, 1.0), ablation_budget=0.5)
    methods = methods_for(sweep, Size(1920, 1080), InputSizes())
    spent = []
    for method in methods:
        canvas, _, every = method.config.partition(" every ")
        width, height = map(int, canvas.split("x"))
        spent.append(width * height / int(every) / 1e6)
        assert int(every) > 1 or method.name == "fixed"
    assert 0.3 <= min(spent) < 0.5
    assert 1.0 < max(spent) <= 1.1


def test_frames_beyond_what_canvases_may_be_have_no_native_row() -> None:
    methods = methods_for(Sweep(), Size(7680, 4320), InputSizes())
    assert "native" not in {method.name for method in methods}
    assert all("7680" not in method.config for method in methods)


def test_a_frame_as_small_as_the_smallest_canvas_has_rows_all_the_same() -> None:
    methods = methods_for(Sweep(), Size(320, 180), InputSizes())
    assert {method.name for method in methods} == {*RIVALS, FLEXPATCH}


def test_a_coarse_stride_is_kept_to() -> None:
    methods = methods_for(Sweep(methods=("motion",)), Size(1920, 1080), InputSizes(stride=128))
    assert methods
    assert all("384x384" in method.config for method in methods)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"methods": ("full", "magic")}, "no method 'magic'"),
        ({"every": (0,)}, "at least 1 frame"),
        ({"budgets": (0.0,)}, "between 0.001 and 16"),
    ],
)
def test_a_sweep_without_meaning_is_told(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Sweep(**values)


def test_a_canvas_that_the_detector_does_not_take_is_told() -> None:
    with pytest.raises(SettingsError, match="multiples of 32"):
        methods_for(Sweep(canvases=(Size(333, 192),)), Size(1920, 1080), InputSizes())


# ----------------------------------------------------------------------------------------------------- latency


def test_the_table_goes_through_its_points_and_on_beyond() -> None:
    costs = [FrameCost(pixels, 1) for pixels in TABLE_PIXELS]
    assert table_s("full", costs) * 1e3 == pytest.approx([ms + 1.0 for ms in TABLE_MS])
    (beyond,) = table_s("full", [FrameCost(4 * TABLE_PIXELS[-1], 1)])
    assert beyond * 1e3 > 3.5 * TABLE_MS[-1]


def test_several_calls_cost_several_times() -> None:
    one, three = table_s("tiled", [FrameCost(640 * 384, 1), FrameCost(3 * 640 * 384, 3)]) * 1e3
    assert three - one == pytest.approx(2 * 9.9)
    (nothing,) = table_s("flow", [FrameCost()])
    assert nothing == pytest.approx(0.004)


# ------------------------------------------------------------------------------------------------------ report


def test_flexpatch_is_compared_with_what_costs_no_more(rows: list[Row]) -> None:
    base = next(row for row in rows if row.method == FLEXPATCH)
    ours = replace(base, megapixels_per_frame=0.1, ap50=0.7)
    cheap = replace(base, method="fixed", megapixels_per_frame=0.05, ap50=0.5)
    worse = replace(base, method="kalman", megapixels_per_frame=0.06, ap50=0.4)
    dear = replace(base, method="full", megapixels_per_frame=0.2, ap50=0.6)
    elsewhere = replace(cheap, sequence="other", ap50=0.95)
    (comparison,) = compare([ours, cheap, worse, dear, elsewhere])
    assert comparison.rival is cheap
    # Half way between .05 and .2 on the logarithmic scale.
    assert comparison.rival_ap50 == pytest.approx(0.55)
    assert comparison.gain == pytest.approx(0.15)
    (alone,) = compare([ours, dear])
    assert (alone.rival, alone.gain) == (None, None)


def test_a_gain_has_an_interval_of_its_own(rows: list[Row]) -> None:
    """Seconds that are hard for both methods say nothing of their difference."""
    base = next(row for row in rows if row.method == FLEXPATCH)
    draws = np.linspace(0.3, 0.9, 101)
    ours = replace(base, megapixels_per_frame=0.1, ap50=0.65, ap50_draws=draws + 0.05, new_object_delay_s=0.1)
    cheap = replace(
        base, method="fixed", megapixels_per_frame=0.05, ap50=0.55, ap50_draws=draws - 0.05, new_object_delay_s=0.2
    )
    dear = replace(cheap, megapixels_per_frame=0.2, ap50=0.65, ap50_draws=draws + 0.05, new_object_delay_s=0.4)
    (comparison,) = compare([ours, cheap, dear])
    assert comparison.gain_interval is not None
    assert (comparison.gain_interval.low, comparison.gain_interval.high) == pytest.approx((0.05, 0.05))
    assert comparison.rival_delay_s == pytest.approx(0.3)
    assert not comparison.is_behind
    (behind,) = compare([replace(ours, ap50=0.5, ap50_draws=draws - 0.1), cheap, dear])
    assert behind.is_behind
    written: Any = as_json([ours, cheap, dear])["comparisons"]
    assert [(item["gain"], item["gain_low"], item["rival"]) for item in written] == [
        (0.05, 0.05, f"fixed {cheap.config}")
    ]


def test_of_an_object_that_no_box_holds_the_nearest_track_is_the_lost_one() -> None:
    tracks = frame_boxes((0, 0, 10, 10), (100, 0, 110, 10), (107, 0, 117, 10), (300, 0, 310, 10))
    objects = frame_boxes((1, 0, 11, 10), (108, 8, 118, 18), (500, 0, 510, 10))
    assert lost_tracks(tracks, objects).tolist() == [False, False, True, False]
    assert lost_tracks(tracks, frame_boxes()).tolist() == [False] * 4
    assert lost_tracks(frame_boxes(), objects).tolist() == []
    held_and_missed = frame_boxes((0, 0, 10, 10), (7, 0, 17, 10))
    assert lost_tracks(frame_boxes((0, 0, 10, 10)), held_and_missed).tolist() == [False]


def test_the_front_of_a_method_is_what_nothing_cheaper_beats(rows: list[Row]) -> None:
    base = rows[0]
    some = [
        replace(base, megapixels_per_frame=pixels, ap50=ap)
        for pixels, ap in ((0.2, 0.6), (0.1, 0.5), (0.15, 0.4), (0.3, 0.6), (0.4, None))
    ]
    assert [(row.megapixels_per_frame, row.ap50) for row in best_so_far(some)] == [(0.1, 0.5), (0.2, 0.6)]


def test_pictures_are_drawn_for_every_rate(rows: list[Row], tmp_path: Path) -> None:
    written = write_plots(rows, tmp_path / "plots")
    assert sorted(path.name for path in written) == [
        "world-10fps-accuracy.png",
        "world-10fps-stages.png",
        "world-5fps-accuracy.png",
        "world-5fps-stages.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {path.name for path in written}


# ----------------------------------------------------------------------------------------------------- command


@pytest.fixture
def detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    clear_environment(monkeypatch)
    metadata = {"names": "{0: 'person', 1: 'car', 2: 'dog'}"}
    return str(square_finder(tmp_path / "finder.onnx", metadata=metadata))


STREET = "synthetic:320x180@10?objects=4&seed=5&frames=4"


def test_the_command_writes_rows_and_pictures(
    detector: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, plots, cache = tmp_path / "rows.json", tmp_path / "plots", tmp_path / "cache"
    arguments = [
        "--detector",
        detector,
        "--methods",
        "full,fixed,published,flexpatch",
        "--budget",
        "0.02",
        "--fps",
        "5",
    ]
    files = ["--json", str(path), "--plots", str(plots), "--cache", str(cache)]
    assert main(["evaluate", STREET, *arguments, *files]) == 0
    found = json.loads(path.read_text())["rows"]
    assert {row["method"] for row in found} == {"full", "fixed", "published", "flexpatch"}
    promised = (
        "sequence fps method config megapixels_per_frame detector_calls ap50 best_f1 precision recall ap50_small "
        "ap50_medium ap50_large sap50 hota idf1 new_object_delay_s never_found latency_ms_p50 latency_ms_p99"
    )
    assert all(set(promised.split()) <= set(row) for row in found)
    names = {path.name for path in plots.iterdir()}
    assert len(names) == 4
    assert all(re.fullmatch(r"[\w.-]+", name) for name in names)
    assert list(cache.rglob("*.npz"))
    shown = capsys.readouterr().out
    assert "frames/s" in shown
    assert "…" not in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "no recording at nowhere"),
        ([STREET, "--methods", "magic"], "no method 'magic'"),
        ([STREET, "--canvas", "big"], "--canvas 'big'"),
        ([STREET, "--canvas", "333x192"], "333x192"),
        ([STREET, "--every", "two"], "--every 'two'"),
        ([STREET, "--every", "1.5"], "whole numbers"),
        ([STREET, "--budget", "-1"], "--budget '-1'"),
        ([STREET, "--fps", "0"], "--fps '0'"),
        ([STREET, "--label", "zebra"], "zebra"),
        (["synthetic:320x180"], "never ends"),
    ],
    ids=" ".join,
)
def test_wrong_use_is_one_sentence(
    detector: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    cache = ["--cache", str(tmp_path / "cache")]
    assert main(["evaluate", *arguments, "--detector", detector, *cache]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("Error: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert not list((tmp_path).glob("cache/*"))
