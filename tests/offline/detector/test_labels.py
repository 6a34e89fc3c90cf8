"""Labels by teachers: looks agree, objects last, parts and faint sights are told from both."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.errors import SettingsError
from app.core.types import BgrPicture, CanvasBoxes, CanvasDetections, Frame, InputSizes, Size
from app.offline.detector.labels import fused_look, labelled
from app.offline.detector.scenes import background_scenes, load, save, street_scenes
from app.offline.evaluation.looks import Looks
from tests.offline.detector.builders import PERSON_BGR, scene


class BlockFinder:
    """Finds the red block of each canvas; to it, a canvas wider than `blind_above` is empty."""

    backend = "test"
    class_names: tuple[str, ...] = ("person", "bicycle", "truck")
    pad_value = (114, 114, 114)

    def __init__(self, name: str, score: float, sizes: InputSizes, class_id: int = 0, blind_above: int = 10**6) -> None:
        self.name, self.score, self.input_sizes = name, score, sizes
        self.class_id, self.blind_above = class_id, blind_above

    def detect(self, canvases: NDArray[np.uint8]) -> Sequence[CanvasDetections]:
        return [self._found(canvas) for canvas in canvases]

    def _found(self, canvas: NDArray[np.uint8]) -> CanvasDetections:
        red = np.all(np.abs(canvas.astype(int) - PERSON_BGR) < 40, axis=2)
        rows, columns = np.nonzero(red)
        if not len(rows) or canvas.shape[1] > self.blind_above:
            return CanvasDetections(CanvasBoxes(np.zeros((0, 4), np.float32)), np.zeros(0, np.float32), _no_ids())
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        scores = np.array([self.score], np.float32)
        return CanvasDetections(CanvasBoxes(np.array([box], np.float32)), scores, np.array([self.class_id], np.int32))


def _no_ids() -> NDArray[np.int32]:
    return np.zeros(0, np.int32)


ANY = InputSizes(fixed=(), stride=32)
FIXED = InputSizes(fixed=(Size(256, 256),), stride=32)


def walk(n_frames: int = 12, step: int = 5) -> list[Frame]:
    """A red block that walks to the right, so many pixels a frame, at six frames a second."""
    frames = []
    for index in range(n_frames):
        pixels = np.full((180, 320, 3), 90, np.uint8)
        cv2.rectangle(pixels, (40 + step * index, 50), (69 + step * index, 129), PERSON_BGR, -1)
        frames.append(Frame(index + 1, index / 6, BgrPicture(pixels)))
    return frames


def test_looks_at_all_scales_and_tiles_are_fused_to_one_box() -> None:
    teachers = [BlockFinder("any", 0.9, ANY), BlockFinder("fixed", 0.7, FIXED)]
    seen = fused_look(walk(1)[0], [Looks(teacher, None) for teacher in teachers])
    assert len(seen.boxes) == 1
    assert np.allclose(seen.boxes[0], (40, 50, 70, 130), atol=3)
    assert seen.scores[0] == pytest.approx(0.9, abs=0.01)


def test_what_one_look_alone_saw_is_unsure() -> None:
    seen = fused_look(walk(1)[0], [Looks(BlockFinder("any", 0.9, ANY, blind_above=200), None)])
    assert seen.scores == pytest.approx([0.3], abs=0.01)


def test_what_lasts_is_an_object_on_every_frame() -> None:
    truths = dict(labelled(walk(), [BlockFinder("any", 0.9, ANY)]))
    assert sorted(truths) == list(range(1, 13))
    for number, (people, cars) in truths.items():
        assert len(cars.boxes) == 0
        assert np.allclose(people.boxes, [(40 + 5 * (number - 1), 50, 70 + 5 * (number - 1), 130)], atol=3)


def test_what_is_faint_is_ignored_and_what_is_seen_once_is_no_object() -> None:
    faint = dict(labelled(walk(), [BlockFinder("any", 0.3, ANY)]))
    assert all(len(people.boxes) == 0 and len(people.ignored) == 1 for people, _ in faint.values())
    once = dict(labelled(walk(1), [BlockFinder("any", 0.9, ANY)]))
    assert [len(people.boxes) for people, _ in once.values()] == [0]


def test_lorries_count_as_cars() -> None:
    truths = dict(labelled(walk(), [BlockFinder("any", 0.9, ANY, class_id=2)]))
    assert all(len(people.boxes) == 0 and len(cars.boxes) == 1 for people, cars in truths.values())


def test_classes_that_are_not_wanted_are_not_seen() -> None:
    assert len(fused_look(walk(1)[0], [Looks(BlockFinder("any", 0.9, ANY, class_id=1), None)]).boxes) == 0


# ------------------------------------------------------------------------------------------------ scenes


def test_scenes_come_back_as_they_were_saved(tmp_path: Path) -> None:
    scenes = [scene(), scene((64, 48), 0)]
    save(tmp_path / "scenes.npz", scenes)
    for before, after in zip(scenes, load(tmp_path / "scenes.npz"), strict=True):
        for field in ("pixels", "boxes", "classes", "ignored"):
            assert np.array_equal(getattr(before, field), getattr(after, field))
    assert [path.name for path in tmp_path.iterdir()] == ["scenes.npz"]


def test_street_scenes_hold_people_and_cars_with_the_truth() -> None:
    scenes = list(street_scenes("synthetic:640x360@1?objects=20&seed=3&vehicles=0.5", 3))
    assert len(scenes) == 3
    classes = np.concatenate([item.classes for item in scenes])
    assert set(classes.tolist()) == {0, 1}
    assert all(len(item.boxes) == len(item.classes) for item in scenes)


def test_panoramas_become_views_and_pictures_stay_pictures(tmp_path: Path) -> None:
    columns = np.linspace(0, 255, 512).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([np.tile(columns, (256, 1))] * 3))
    cv2.imwrite(str(tmp_path / "b.jpg"), np.full((50, 70, 3), 7, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    scenes = list(background_scenes(tmp_path))
    assert len(scenes) == 13
    assert scenes[-1].pixels.shape == (50, 70, 3)
    assert {item.pixels.shape for item in scenes[:-1]} == {(256, 384, 3)}
    means = [float(item.pixels.mean()) for item in scenes[:6]]
    assert len({round(mean) for mean in means}) == 6, "each looks another way"
    assert all(len(item.boxes) == 0 for item in scenes)


def test_a_folder_without_pictures_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="holds no pictures"):
        list(background_scenes(tmp_path))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(SettingsError, match=r"broken\.png is no picture"):
        list(background_scenes(tmp_path))
