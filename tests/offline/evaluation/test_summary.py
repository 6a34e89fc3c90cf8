"""The report over several evaluations: nothing mixed up, and no rival chosen by what it is judged on."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from app.cli import main
from app.core.errors import SettingsError
from app.offline.evaluation.judge import Row
from app.offline.evaluation.report import as_json, compare
from app.offline.evaluation.summary import markdown, read_results

FIELDS = {item.name for item in fields(Row)} - {"ap50_draws"}


def row(sequence: str, method: str, config: str, megapixels: float, ap50: float | None, **more: Any) -> dict[str, Any]:
    own = {"sequence": sequence, "fps": 10.0, "method": method, "config": config, "new_object_delay_s": 0.25}
    own |= {"megapixels_per_frame": megapixels, "ap50": ap50, "n_frames": 9, "detector_calls": 1.0, "stage_ms": {}}
    return dict.fromkeys(FIELDS) | own | more


def street(name: str, best_every: int, ap50: float = 0.6, low: float | None = None, high: float | None = None) -> Any:
    """Of the fixed intervals one has .7 and the other .4, both at FlexPatch's pixels."""
    fixed = [
        row(name, "fixed", f"640x384 every {every}", 0.08, 0.7 if every == best_every else 0.4) for every in (2, 4)
    ]
    rows = [row(name, "flexpatch", "0.08 MPx", 0.08, ap50), row(name, "native", "1280x720", 0.92, 0.55), *fixed]
    own = {"sequence": name, "fps": 10.0, "config": "0.08 MPx", "gain": ap50 - 0.7, "gain_low": low, "gain_high": high}
    return {"rows": rows, "comparisons": [own]}


def report(tmp_path: Path, *documents: dict[str, Any]) -> str:
    paths = []
    for number, document in enumerate(documents):
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_text(json.dumps(document))
    return "\n".join(markdown(read_results(paths)))


def test_files_are_joined_and_marked_where_the_difference_is_sure(tmp_path: Path) -> None:
    text = report(
        tmp_path, street("a", 2, 0.8, 0.05, 0.15), street("b", 2, 0.6, -0.2, -0.05), street("c", 2, 0.69, -0.1, 0.1)
    )
    assert "| a | 10 | .080: .800 / .700* |" in text
    assert "| b | 10 | .080: .600 / .700† |" in text
    assert "| c | 10 | .080: .690 / .700 |" in text
    assert "of 3 points FlexPatch is ahead at 1, ahead or within 0.02 at 2." in text
    assert "Of the 3 with an interval it is surely ahead at 1 and surely behind at 1." in text


def test_an_interval_is_not_that_of_rivals_from_another_file(tmp_path: Path) -> None:
    better = {"rows": [row("b", "kalman", "640x384 every 3", 0.08, 0.75)], "comparisons": []}
    text = report(tmp_path, street("b", 2, 0.6, -0.2, -0.05), better)
    assert "| b | 10 | .080: .600 / .750 |" in text
    assert "with an interval" not in text


def test_what_evaluate_compared_is_compared_alike_when_read_again(tmp_path: Path) -> None:
    """Two rivals a few pixels apart, of which one sees twice as much, and FlexPatch between them."""
    draws = np.linspace(0, 0.01, 50)
    figures = (("fixed", 0.0500001, 0.4), ("fixed", 0.0500023, 0.8), ("flexpatch", 0.0500011, 0.7))
    items = [row("a", method, f"{at} every 2", at, ap) for method, at, ap in figures]
    rows = [Row(**item, ap50_draws=item["ap50"] + draws * number) for number, item in enumerate(items, 1)]
    (tmp_path / "rows.json").write_text(json.dumps(as_json(rows)))
    (before,), (after,) = compare(rows), read_results([tmp_path / "rows.json"]).points()
    assert after.gain == pytest.approx(before.gain, abs=1e-3)
    assert before.gain_interval is not None
    assert after.gain_interval is not None
    assert after.gain_interval.low == pytest.approx(before.gain_interval.low)


def test_files_with_flexpatch_and_with_its_rivals_can_be_joined(tmp_path: Path) -> None:
    document = street("a", 2)
    own = {"rows": document["rows"][:1], "comparisons": []}
    assert "| a | 10 | .080: .600 / .700 |" in report(tmp_path, own, {"rows": document["rows"][1:], "comparisons": []})


def test_rivals_with_a_tracker_of_their_own_are_counted_apart(tmp_path: Path) -> None:
    document = street("a", 2)
    document["rows"] += [row("a", "kalman", "640x384 every 2", 0.08, 0.5), row("a", "flow", "x", 0.02, 0.1)]
    text = report(tmp_path, document)
    assert "among the rivals: mean difference +0.100, median +0.100; of 1 points FlexPatch is ahead at 1" in text
    assert "among the rivals" not in report(tmp_path, street("b", 2))


def test_the_interval_of_a_rival_is_chosen_on_the_other_sequences_only(tmp_path: Path) -> None:
    text = report(tmp_path, street("a", 2), street("b", 4), street("c", 4), street("d", 4))
    part = text[text.index("## Against an interval") : text.index("## An eighth")]
    assert "| a | 10 | .080: .600 / .400 (every 4) |" in part
    assert "of 4 points FlexPatch is ahead at 1," in part


def test_an_interval_does_not_win_because_hard_sequences_cannot_afford_it(tmp_path: Path) -> None:
    """On the sequence that has both, every 4 is better; the poor one, `hard`, has that alone."""
    easy, hard = street("easy", 4), street("hard", 4)
    easy["rows"] = [item for item in easy["rows"] if item["method"] != "fixed"]
    easy["rows"] += [row("easy", "fixed", f"640x384 every {every}", 0.08, ap) for every, ap in ((2, 0.80), (4, 0.85))]
    hard["rows"] = [item for item in hard["rows"] if not item["config"].endswith("every 2")]
    hard["rows"][-1]["ap50"] = 0.2
    text = report(tmp_path, street("a", 4), easy, hard)
    assert "| a | 10 | .080: .600 / .700 (every 4) |" in text


def test_other_sequences_are_asked_at_the_same_pixels(tmp_path: Path) -> None:
    """At the pixels of `a` the other one is better with every 4, whatever its own budgets took."""
    first, second = street("a", 2), street("b", 2)
    second["rows"] = [row("b", "flexpatch", "0.08 MPx", 0.3, 0.6)]
    for every, dear in ((2, 0.9), (4, 0.6)):
        second["rows"].append(row("b", "fixed", f"320x192 every {every}", 0.08, 1 - dear))
        second["rows"].append(row("b", "fixed", f"640x384 every {every}", 0.3, dear))
    assert "| a | 10 | .080: .600 / .400 (every 4) |" in report(tmp_path, first, second)


def test_one_sequence_has_no_others_to_choose_by(tmp_path: Path) -> None:
    assert "chosen on other sequences" not in report(tmp_path, street("a", 2))


def test_a_rival_between_two_canvases_is_taken_in_proportion(tmp_path: Path) -> None:
    first, second = street("a", 2), street("b", 2)
    first["rows"] = [item for item in first["rows"] if item["method"] != "fixed"]
    first["rows"] += [
        row("a", "fixed", f"{size} every 2", at, ap)
        for size, at, ap in (("320x192", 0.04, 0.3), ("960x544", 0.16, 0.5), ("1280x736", 0.32, 0.9))
    ]
    assert "| a | 10 | .080: .600 / .400 (every 2) |" in report(tmp_path, first, second)


def test_an_interval_dearer_than_flexpatch_is_no_rival(tmp_path: Path) -> None:
    first, second = street("a", 2), street("b", 2)
    for item in first["rows"]:
        if item["config"].endswith("every 2"):
            item["megapixels_per_frame"] = 0.1
    assert "| a | 10 | .080: .600 / .400 (every 4) |" in report(tmp_path, first, second)


def test_only_budgets_within_an_eighth_of_native_pixels_are_held_against_it(tmp_path: Path) -> None:
    document = street("a", 2)
    document["rows"].append(row("a", "flexpatch", "0.2 MPx", 0.2, 0.9))
    text = report(tmp_path, document)
    assert "| a | 10 | .550 at 0.92 | .600 at .080 | yes |" in text


def test_ablations_stand_beside_the_whole_at_their_budget(tmp_path: Path) -> None:
    document = street("a", 2)
    document["rows"] += [
        row("a", "flexpatch", "0.02 MPx", 0.02, 0.3),
        row("a", "no-motion", "0.08 MPx", 0.08, 0.51),
        row("a", "known-failures", "0.08 MPx", 0.08, 0.62),
    ]
    text = report(tmp_path, document)
    assert "| sequence | fps | MPx | whole | no-motion | known-failures |" in text
    assert "| a | 10 | 0.08 | .600 | .510 | .620 |" in text


def test_delays_without_a_new_object_are_left_out(tmp_path: Path) -> None:
    document = street("a", 2)
    document["rows"][-2]["new_object_delay_s"] = 0.5
    assert ".080: 0.25 / 0.50" in report(tmp_path, document)
    for item in document["rows"]:
        item["new_object_delay_s"] = None
    assert "Until a new object" not in report(tmp_path, document)


def test_all_figures_of_configurations_that_no_cheaper_one_beats_are_listed(tmp_path: Path) -> None:
    document = street("a", 2)
    document["rows"] += [
        row("a", "full", "320x192", 0.06, 0.5, hota=0.41),
        row("a", "full", "640x384", 0.25, 0.4),
        row("a", "full", "960x544", 0.52, None),
    ]
    text = report(tmp_path, document)
    part = text[text.index("### a, 10 frames a second") :]
    assert "| full | 320x192 | .060 | 1.00 | .500 |" in part
    assert "| .410 |" in part
    assert "640x384 |" not in part
    assert "960x544 |" not in part


def test_runs_over_different_parts_of_a_sequence_are_not_mixed(tmp_path: Path) -> None:
    shorter = {"rows": [row("a", "no-motion", "0.08 MPx", 0.08, 0.5, n_frames=5)], "comparisons": []}
    with pytest.raises(SettingsError, match="5 frames of a, another file 9"):
        report(tmp_path, street("a", 2), shorter)


def test_nothing_to_sum_up_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no rows"):
        report(tmp_path, {"rows": [], "comparisons": []})


def test_a_method_of_another_version_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="a method that this version does not know"):
        report(tmp_path, {"rows": [row("a", "magic", "x", 0.1, 0.5)], "comparisons": []})


def test_the_same_row_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"1\.json repeats flexpatch 0\.08 MPx on a: leave one file out"):
        report(tmp_path, street("a", 2), street("a", 2))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"rows": [{}], "comparisons": []}',
        '{"rows": [], "comparisons": [{"sequence": "a"}]}',
        '{"rows": [{"a": 1}], "comparisons": []}',
        '{"rows": 3, "comparisons": 3}',
    ],
)
def test_what_evaluate_did_not_write_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(SettingsError, match="was not written by flexpatch evaluate --json"):
        read_results([tmp_path / "x.json"])


def test_the_command_prints_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(street("a", 2)))
    assert main(["summary", str(tmp_path / "a.json")]) == 0
    assert "## Accuracy at equal pixels" in capsys.readouterr().out
    picture = tmp_path / "overview.png"
    assert main(["summary", str(tmp_path / "a.json"), "--plot", str(picture)]) == 0
    assert cv2.imread(str(picture)) is not None
    assert main(["summary", str(tmp_path / "a.json"), "--plot", str(tmp_path / "no" / "o.png")]) != 0
    assert main(["summary", str(tmp_path / "nowhere.json")]) == 2
    assert "nowhere.json cannot be read" in capsys.readouterr().err
