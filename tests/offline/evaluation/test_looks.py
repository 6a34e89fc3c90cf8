"""What the detector saw is remembered, and asked again where it is not."""

from pathlib import Path

import pytest

from app.core.types import Size
from app.offline.evaluation.looks import Looks, model_digest, region_layout, whole_layout
from tests.flexpatch.world import ScriptedDetector
from tests.offline.evaluation.recordings import SIZE, WORLD

CANVAS = Size(320, 192)


def test_a_look_is_asked_once(tmp_path: Path) -> None:
    detector = ScriptedDetector()
    looks = Looks(detector, tmp_path)
    first, second = (looks.look(WORLD.frame(1), whole_layout(SIZE, CANVAS)) for _ in range(2))
    assert first is second
    assert detector.canvases == [CANVAS]


def test_looks_outlive_the_process(tmp_path: Path) -> None:
    looks = Looks(ScriptedDetector(), tmp_path / "cache")
    before = [looks.look(WORLD.frame(seq), whole_layout(SIZE, CANVAS)) for seq in (1, 2, 3)]
    looks.save()
    detector = ScriptedDetector()
    again = Looks(detector, tmp_path / "cache")
    after = [again.look(WORLD.frame(seq), whole_layout(SIZE, CANVAS)) for seq in (1, 2, 3)]
    assert detector.canvases == []
    for old, new in zip(before, after, strict=True):
        assert new.seen.boxes.tolist() == old.seen.boxes.tolist()
        assert new.seen.scores.tolist() == old.seen.scores.tolist()
        assert new.seen.class_ids.tolist() == old.seen.class_ids.tolist()
        assert (new.canvas_ms, new.detect_ms) == (old.canvas_ms, old.detect_ms)


def test_other_regions_are_other_looks(tmp_path: Path) -> None:
    detector = ScriptedDetector()
    looks = Looks(detector, tmp_path)
    frame = WORLD.frame(1)
    looks.look(frame, whole_layout(SIZE, CANVAS))
    looks.look(frame, whole_layout(SIZE, SIZE))
    looks.look(frame, region_layout((0, 0, 320, 192), CANVAS))
    assert detector.canvases == [CANVAS, SIZE, CANVAS]


def test_a_damaged_memory_is_asked_again(tmp_path: Path) -> None:
    looks = Looks(ScriptedDetector(), tmp_path)
    looks.look(WORLD.frame(1), whole_layout(SIZE, CANVAS))
    looks.save()
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"PK\x03\x04 no archive"):
        file.write_bytes(damaged)
        detector = ScriptedDetector()
        assert len(Looks(detector, tmp_path).look(WORLD.frame(1), whole_layout(SIZE, CANVAS)).seen) == 2
        assert detector.canvases == [CANVAS]


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    looks = Looks(ScriptedDetector(), None)
    looks.look(WORLD.frame(1), whole_layout(SIZE, CANVAS))
    looks.save()
    assert list(tmp_path.iterdir()) == []


def test_detections_come_back_to_the_frame() -> None:
    look = Looks(ScriptedDetector(), None).look(WORLD.frame(1), whole_layout(SIZE, CANVAS))
    found = look.found(SIZE, 0)
    assert sorted(found.boxes.tolist()) == [pytest.approx(box, abs=3) for box in sorted(WORLD.boxes(1).tolist())]
    assert len(look.found(SIZE, 1)) == 0


def test_detectors_are_told_apart_by_file_family_and_backend(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"a")
    (tmp_path / "b.onnx").write_bytes(b"b")
    a, b = (model_digest(tmp_path / name, None) for name in ("a.onnx", "b.onnx"))
    assert model_digest(tmp_path / "a.onnx", "yolox") == f"{a}-yolox"
    assert model_digest(tmp_path / "a.onnx", None, "tensorrt") == f"{a}-tensorrt"
    assert model_digest(tmp_path / "a.onnx", None, "onnxruntime-cpu") == a != b
