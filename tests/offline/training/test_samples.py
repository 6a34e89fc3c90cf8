"""Samples: judged by the object that the track held, whatever it sits on now."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import SettingsError, SourceError
from app.core.types import FrameBoxes, TrackedObject
from app.flexpatch.failure import FEATURES
from app.flexpatch.failure_forms import CLASSES
from app.ingest.street import Street
from app.ingest.street_config import parse_street
from app.ingest.street_export import write_motchallenge, write_video
from app.offline.annotations import FrameTruth
from app.offline.training.samples import COLUMNS, Judge, collect, joined, write_csv
from app.offline.training.sequences import DEFAULT_SEQUENCES, ground_truth_choice, open_sequence
from app.offline.training.truth import GroundTruth
from tests.flexpatch.world import ScriptedDetector
from tests.offline.training.scenes import AGE, hectic_world, made_up_samples, write_sequence

NONE = FrameBoxes(np.zeros((0, 4), np.float32))
LEFT, RIGHT = (0.0, 0.0, 10.0, 20.0), (50.0, 0.0, 60.0, 20.0)


def frame_truth(*items: tuple[int, tuple[float, float, float, float]]) -> FrameTruth:
    boxes = np.array([box for _, box in items], np.float32).reshape(-1, 4)
    return FrameTruth(FrameBoxes(boxes), np.array([number for number, _ in items], np.int64), NONE)


def track(track_id: int, box: tuple[float, float, float, float]) -> TrackedObject:
    return TrackedObject(track_id, 0, "person", box, 0.9, "detected", 0.0, 0.0)


def test_a_track_that_jumped_to_a_neighbour_has_lost_its_object() -> None:
    shown = frame_truth((1, LEFT), (2, RIGHT))
    judge = Judge(GroundTruth("exact", {1: shown, 2: shown}, {}))
    judge.confirm([track(7, LEFT)], shown)
    assert judge.overlap(7, np.array(LEFT, np.float32), 2) == 1
    assert judge.overlap(7, np.array(RIGHT, np.float32), 2) == 0
    assert judge.overlap(8, np.array(RIGHT, np.float32), 2) is None


def test_a_track_confirmed_on_nothing_holds_nothing() -> None:
    shown = frame_truth((1, LEFT))
    judge = Judge(GroundTruth("exact", {1: shown, 2: shown}, {}))
    judge.confirm([track(7, LEFT)], shown)
    judge.confirm([track(7, RIGHT)], shown)
    assert judge.overlap(7, np.array(LEFT, np.float32), 2) is None
    judge.confirm([track(7, LEFT)], frame_truth())
    assert judge.overlap(7, np.array(LEFT, np.float32), 2) is None


def test_the_classes_are_the_papers() -> None:
    samples = made_up_samples(6)
    object.__setattr__(samples, "iou", np.array([0, 1e-9, 0.3, 0.5, 0.500001, 1]))
    assert [CLASSES[index] for index in samples.classes] == ["high", "medium", "medium", "medium", "low", "low"]


def test_fewer_pixels_make_older_tracks(tmp_path: Path) -> None:
    detector = ScriptedDetector()
    folder = write_sequence(hectic_world(2), tmp_path / "hectic", 40)
    sequence = open_sequence(str(folder), detector, "auto", ["person"], 40)
    assert sequence.truth.kind == "annotated"
    ages_s = [
        np.array([features[AGE] for features, *_ in collect(sequence, detector, budget)]) for budget in (0.05, 0.01)
    ]
    assert 0 < ages_s[0].mean() < ages_s[1].mean()
    assert ages_s[1].max() > 1


def test_the_csv_holds_the_published_columns_first_and_the_label_last() -> None:
    samples = made_up_samples(12)
    stream = io.StringIO()
    write_csv(samples, stream)
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert tuple(rows[0]) == COLUMNS
    assert COLUMNS[:5] == ("min_eigenvalue", "ncc", "acceleration", "flow_std", "confidence")
    assert COLUMNS[-1] == "iou_label"
    assert {"sequence", "frame", "track_id", "iou"} <= set(COLUMNS)
    assert len(rows) == 12
    read = np.array([[float(row[name]) for name in FEATURES] for row in rows])
    assert read == pytest.approx(samples.features, rel=1e-5)
    assert [row["iou_label"] for row in rows] == [CLASSES[index] for index in samples.classes]


def test_no_rows_are_no_samples() -> None:
    assert len(joined([], [])) == 0
    assert joined([], []).features.shape == (0, len(FEATURES))


# ----------------------------------------------------------------------------------------------- sequences


def test_a_street_has_exact_truth_and_other_sequences_what_lies_beside_them(tmp_path: Path) -> None:
    detector = ScriptedDetector()
    folder = write_sequence(hectic_world(1), tmp_path / "hectic", 10)
    street = "synthetic:320x192@10?objects=3&seed=1"
    assert open_sequence(street, detector, "mot", ["person"], 3).truth.kind == "exact"
    assert open_sequence(street, detector, "pseudo", ["person"], 3).truth.kind == "pseudo"
    assert open_sequence(str(folder), detector, "mot", ["person"], 10).truth.kind == "annotated"
    assert open_sequence(str(folder), detector, "pseudo", ["person"], 10).truth.kind == "pseudo"
    assert open_sequence(str(folder / "img1"), detector, "auto", ["person"], 10).truth.kind == "pseudo"


def test_a_video_may_have_its_annotations_beside_it(tmp_path: Path) -> None:
    street = Street(parse_street("synthetic:320x192@10?objects=3&seed=1"))
    write_motchallenge(street, tmp_path / "folder", 6)
    write_video(street, tmp_path / "clip.mp4", 6)
    (tmp_path / "folder" / "gt" / "gt.txt").rename(tmp_path / "clip.txt")
    sequence = open_sequence(str(tmp_path / "clip.mp4"), ScriptedDetector(), "mot", ["person"], 6)
    assert (sequence.name, sequence.truth.kind) == ("clip", "annotated")
    assert sum(1 for _ in sequence.frames()) == 6


def test_truth_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    folder = write_sequence(hectic_world(1), tmp_path / "hectic", 2)
    with pytest.raises(SourceError, match=r"no ground truth .*gt\.txt"):
        open_sequence(str(folder / "img1"), ScriptedDetector(), "mot", ["person"], 2)


def test_a_detector_without_the_classes_is_refused() -> None:
    with pytest.raises(SettingsError, match="none of the classes zebra"):
        open_sequence("synthetic:320x192?frames=2", ScriptedDetector(), "pseudo", ["zebra"], 2)


def test_an_unknown_choice_of_truth_is_refused() -> None:
    assert ground_truth_choice("pseudo") == "pseudo"
    with pytest.raises(SettingsError, match="use auto, mot or pseudo"):
        ground_truth_choice("guess")


def test_the_default_sequences_are_streets_of_their_own_seeds() -> None:
    seeds = [text.partition("seed=")[2].partition("&")[0] for text in DEFAULT_SEQUENCES]
    assert len(set(seeds)) == len(DEFAULT_SEQUENCES)
    assert all(text.startswith("synthetic:") for text in DEFAULT_SEQUENCES)
    assert any("pan=" in text for text in DEFAULT_SEQUENCES)
    assert any("night=1" in text for text in DEFAULT_SEQUENCES)
