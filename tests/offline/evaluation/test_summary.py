"""The report over several evaluations: nothing mixed up, and no rival chosen by what it is judged on."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import pytest

from app.cli import main
from app.core.errors import SettingsError
from app.offline.evaluation.judge import Row
from app.offline.evaluation.summary import markdown, read_results

FIELDS = {item.name for item in fields(Row)} - {"ap50_draws"}


def row(sequence: str, method: str, config: str, megapixels: float, ap50: float | None, **more: Any) -> dict[str, Any]:
    own = {"sequence": sequence, "fps": 10.0, "method": method, "config": config, "new_object_delay_s": 0.25}
    own |= {"megapixels_per_frame": megapixels, "ap50": ap50, "n_frames": 9, "detector_calls": 1.0, "stage_ms": {}}
    return dict.fromkeys(FIELDS) | own | more


def comparison(sequence: str, config: str, gain: float | None, low: float | None, high: float | None) -> dict[str, Any]:
    rival_ap50 = None if gain is None else 0.6 - gain
    own = {"sequence": sequence, "fps": 10.0, "config": config, "rival_ap50": rival_ap50, "rival_delay_s": 0.5}
    return own | {"gain": gain, "gain_low": low, "gain_high": high}


def street(name: str, best_every: int, gain: float = 0.1, low: float = 0.05, high: float = 0.15) -> dict[str, Any]:
    """FlexPatch has .6; of the fixed intervals one has .7 and the other .4, both at FlexPatch's pixels."""
    fixed = [
        row(name, "fixed", f"640x384 every {every}", 0.08, 0.7 if every == best_every else 0.4) for every in (2, 4)
    ]
    rows = [row(name, "flexpatch", "0.08 MPx", 0.08, 0.6), row(name, "native", "1280x720", 0.92, 0.55), *fixed]
    return {"rows": rows, "comparisons": [comparison(name, "0.08 MPx", gain, low, high)]}


def report(tmp_path: Path, *documents: dict[str, Any]) -> str:
    paths = []
    for number, document in enumerate(documents):
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_text(json.dumps(document))
    return "\n".join(markdown(read_results(paths)))


def test_files_are_joined_and_marked_where_the_difference_is_sure(tmp_path: Path) -> None:
    text = report(tmp_path, street("a", 2), street("b", 2, -0.1, -0.2, -0.05), street("c", 2, -0.01, -0.1, 0.1))
    assert "| a | 10 | .080: .600 / .500* |" in text
    assert "| b | 10 | .080: .600 / .700† |" in text
    assert "| c | 10 | .080: .600 / .610 |" in text
    assert "of 3 points FlexPatch is ahead at 1, ahead or within 0.02 at 2." in text
    assert "Of the 3 with an interval it is surely ahead at 1 and surely behind at 1." in text


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
    document["comparisons"].append(comparison("a", "0.2 MPx", None, None, None))
    text = report(tmp_path, document)
    assert "| a | 10 | .550 at 0.92 | .600 at .080 | yes |" in text
    assert ".200: .900 / none" in text


def test_ablations_stand_beside_the_whole_at_their_budget(tmp_path: Path) -> None:
    document = street("a", 2)
    document["rows"] += [
        row("a", "flexpatch", "0.02 MPx", 0.02, 0.3),
        row("a", "no-motion", "0.08 MPx", 0.08, 0.51),
        row("a", "known-failures", "0.08 MPx", 0.08, 0.62),
    ]
    document["comparisons"].append(comparison("a", "0.02 MPx", None, None, None))
    text = report(tmp_path, document)
    assert "| sequence | fps | MPx | whole | no-motion | known-failures |" in text
    assert "| a | 10 | 0.08 | .600 | .510 | .620 |" in text


def test_delays_without_a_new_object_are_left_out(tmp_path: Path) -> None:
    assert ".080: 0.25 / 0.50" in report(tmp_path, street("a", 2))
    document = street("a", 2)
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
