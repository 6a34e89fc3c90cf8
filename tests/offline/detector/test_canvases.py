"""Training canvases: boxes follow their pixels, who is hidden is not asked for, same index, same sample."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.types import Size
from app.offline.detector.canvases import LARGEST_PX, SMALLEST_PX, CanvasMaker, Mixture, on_ground, photographed, view
from app.offline.detector.scenes import Scene
from tests.offline.detector.builders import PERSON_BGR, figure, scene

SIZE = Size(256, 192)


def maker(mixture: Mixture | None = None, groups: Sequence[Sequence[Scene]] | None = None) -> CanvasMaker:
    groups = groups or [[scene()], [scene(n_people=0)]]
    return CanvasMaker(groups, [1.0] * len(groups), [figure(), figure(90, 30)], 5, mixture)


def is_person(
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.all(np.abs(pixels.astype(int) - PERSON_BGR) < 30, axis=-1)


@given(seed=st.integers(0, 2**32 - 1), width=st.integers(64, 320), height=st.integers(64, 320))
def test_the_boxes_of_a_view_are_where_the_people_are(seed: int, width: int, height: int) -> None:
    random = np.random.default_rng(seed)
    shown = view(scene(), Size(width, height), random)
    assert shown.pixels.shape == (height, width, 3)
    everything = np.concatenate([shown.boxes, shown.ignored])
    assert np.all(everything[:, :2] >= 0)
    assert np.all(everything[:, 2:] <= (width, height))
    people = is_person(shown.pixels)
    for x1, y1, x2, y2 in shown.boxes.round().astype(int):
        inside = people[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1]
        assert not inside.size or inside.mean() > 0.9
        people[max(y1 - 2, 0) : y2 + 2, max(x1 - 2, 0) : x2 + 2] = False
    for x1, y1, x2, y2 in shown.ignored.round().astype(int):
        people[max(y1 - 2, 0) : y2 + 2, max(x1 - 2, 0) : x2 + 2] = False
    assert not people.any(), "every person on the canvas is labelled or ignored"


@pytest.mark.parametrize("mixture", [Mixture(), Mixture(0, 1), Mixture(1, 0), Mixture(0, 0, 1)])
def test_a_sample_is_the_same_whenever_it_is_made(mixture: Mixture) -> None:
    first = [maker(mixture).sample(index, SIZE) for index in range(8)]
    again = [maker(mixture).sample(index, SIZE) for index in range(8)]
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert np.array_equal(one.boxes, other.boxes)
        assert np.array_equal(one.ignored, other.ignored)
    assert len({sample.pixels.tobytes() for sample in first}) == 8


@pytest.mark.parametrize("mixture", [Mixture(0, 1, 1), Mixture(1, 0, 1), Mixture(0, 0, 1)])
def test_canvases_are_whole_and_their_labels_fit(mixture: Mixture) -> None:
    n_people = 0
    for index in range(40):
        sample = maker(mixture).sample(index, SIZE)
        assert sample.pixels.shape == (SIZE.height, SIZE.width, 3)
        assert sample.pixels.dtype == np.uint8
        assert len(sample.boxes) == len(sample.classes)
        assert sample.boxes.dtype == sample.ignored.dtype == np.float32
        for boxes in (sample.boxes, sample.ignored):
            assert np.all((boxes >= 0) & (boxes <= (SIZE.width, SIZE.height) * 2))
            assert np.all(boxes[:, 2:] > boxes[:, :2])
        n_people += len(sample.boxes)
    assert n_people > 40


def test_people_are_pasted_only_where_the_mixture_says_so() -> None:
    empty = [[scene(n_people=0)]]
    assert all(len(maker(Mixture(0, 0, 0), empty).sample(index, SIZE).boxes) == 0 for index in range(20))
    assert any(len(maker(Mixture(0, 0, 1), empty).sample(index, SIZE).boxes) for index in range(20))


def test_who_is_hidden_behind_others_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pixel of a person that no box or ignored region explains would teach that there is nobody."""
    monkeypatch.setattr("app.offline.detector.canvases.photographed", lambda pixels, _random: pixels)
    monkeypatch.setattr("app.offline.detector.canvases._lit", lambda scaled, *_: scaled.astype(np.float32))
    for index in range(40):
        sample = maker(Mixture(0, 0, 1), [[scene(n_people=0)]]).sample(index, SIZE)
        people = is_person(sample.pixels)
        total = people.sum()
        for x1, y1, x2, y2 in np.concatenate([sample.boxes, sample.ignored]).round().astype(int):
            people[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1] = False
        assert people.sum() <= 0.1 * total


@given(seed=st.integers(0, 2**32 - 1))
def test_a_camera_changes_neither_shape_nor_type(seed: int) -> None:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (64, 96, 3), np.uint8)
    before = pixels.copy()
    seen = photographed(pixels, random)
    assert seen.shape == pixels.shape
    assert seen.dtype == np.uint8
    assert np.array_equal(pixels, before)


def test_views_are_enlarged_and_reduced() -> None:
    heights = np.concatenate(
        [_heights(view(scene(), Size(320, 320), np.random.default_rng(seed))) for seed in range(60)]
    )
    assert heights.min() < 30
    assert heights.max() > 150


def _heights(sample: Scene) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.asarray(sample.boxes[:, 3] - sample.boxes[:, 1], np.float32)


def test_a_scene_of_another_shape_is_padded_with_grey() -> None:
    flat = replace(scene(n_people=0), pixels=scene(n_people=0).pixels[:40])
    n_padded = 0
    for seed in range(10):
        shown = view(flat, Size(320, 320), np.random.default_rng(seed)).pixels.astype(int)
        is_grey, is_scene = np.all(shown == 114, axis=2), np.all(np.abs(shown - 90) < 3, axis=2)
        assert np.all(is_grey | is_scene)
        assert is_scene.any()
        n_padded += bool(is_grey.any())
    assert n_padded > 2


def test_what_clutter_hides_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes whose person cannot be seen any more would teach that posts and panels are people."""
    monkeypatch.setattr("app.offline.detector.canvases.photographed", lambda pixels, _random: pixels)
    nobody = np.zeros((16, 8, 4), np.uint8)
    series = CanvasMaker([[scene()], [scene(n_people=0)]], [1, 1], [nobody], 3, Mixture(0, 0, 1))
    shares = []
    for index in range(300):
        sample = series.sample(index, SIZE)
        people = is_person(sample.pixels)
        for x1, y1, x2, y2 in sample.boxes.round().astype(int):
            shares.append(people[y1:y2, x1:x2].mean())
    assert len(shares) > 200
    assert np.mean(np.array(shares) < 0.25) < 0.02


def test_harder_canvases_begin_where_they_are_told_to() -> None:
    usual, harder = (
        CanvasMaker([[scene()]], [1.0], [figure(), figure(90, 30)], 5, Mixture(0, 0, 1), harder_from=first)
        for first in (None, 20)
    )
    pairs = [(usual.sample(index, SIZE), harder.sample(index, SIZE)) for index in range(40)]
    same = [np.array_equal(one.pixels, other.pixels) for one, other in pairs]
    assert all(same[:20])
    assert not all(same[20:])


def test_on_one_ground_the_farther_are_smaller_and_higher_up() -> None:
    random = np.random.default_rng(1)
    crowds = [on_ground(Size(640, 384), 60, random) for _ in range(200)]
    large = [crowd for crowd in crowds if len(crowd.heights) >= 8]
    assert len(large) > 60
    for crowd in large:
        slope = np.polyfit(crowd.heights, crowd.feet[:, 1], 1)[0]
        assert slope > 0
        assert np.corrcoef(crowd.heights, crowd.feet[:, 1])[0, 1] > 0.8
    heights = np.concatenate([crowd.heights for crowd in crowds])
    assert heights.min() >= SMALLEST_PX
    assert heights.max() <= LARGEST_PX
    assert max(len(crowd.heights) for crowd in crowds) <= 60
