"""Pseudo ground truth: linked over time, gaps filled, faint and short things left out."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.types import FrameBoxes, Size
from app.offline.training.pseudo import Sighting, chains, look_natively, pseudo_truth, truth_of
from app.vision.cpu import CpuVision
from tests.flexpatch.world import Actor, ScriptedDetector, World

PERSON = frozenset([0])
FPS = 10.0
Seen = tuple[float, float, float]
"""Left and top of a box of 20 by 40, and its score."""


def sightings(*frames: Sequence[Seen]) -> list[Sighting]:
    def boxes(items: Sequence[Seen]) -> NDArray[np.float32]:
        return np.array([(x, y, x + 20, y + 40) for x, y, _ in items], np.float32).reshape(-1, 4)

    return [
        Sighting(
            index + 1,
            index / FPS,
            FrameBoxes(boxes(items)),
            np.array([score for _, _, score in items], np.float32),
            np.zeros(len(items), np.int32),
        )
        for index, items in enumerate(frames)
    ]


def test_a_moving_object_is_one_chain() -> None:
    seen = sightings(*([(8.0 * index, 0, 0.8)] for index in range(8)))
    assert chains(seen) == [[(index, 0) for index in range(8)]]


def test_a_velocity_once_known_bridges_frames_without_overlap() -> None:
    places = [0, 8, 16, 24, None, None, 48, 56, 64]
    seen = sightings(*([(float(x), 0, 0.8)] if x is not None else [] for x in places))
    assert len(chains(seen)) == 1
    truth = truth_of(chains(seen), seen)
    assert truth[5].boxes[0, 0] == pytest.approx(32, abs=1)
    assert truth[6].boxes[0, 0] == pytest.approx(40, abs=1)
    assert len({int(number) for frame in truth.values() for number in frame.ids}) == 1


def test_a_long_gap_ends_a_chain() -> None:
    seen = sightings(*([(0, 0, 0.8)] if index < 5 or index > 12 else [] for index in range(18)))
    assert len(chains(seen)) == 2


def test_where_forward_and_backward_disagree_the_chain_is_cut() -> None:
    # Two become one and two again: which of them goes on where cannot be told.
    seen = sightings([(0, 0, 0.8), (14, 0, 0.8)], [(7, 0, 0.8)], [(0, 0, 0.8), (14, 0, 0.8)])
    for chain in chains(seen):
        assert len(chain) == len({index for index, _ in chain})
    places = [place for chain in chains(seen) for place in chain]
    assert sorted(places) == [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)]


def test_classes_are_never_linked() -> None:
    seen = sightings([(0, 0, 0.8)], [(0, 0, 0.8)])
    seen[1].class_ids[:] = 1
    assert len(chains(seen)) == 2


@pytest.mark.parametrize(("n_frames", "score"), [(3, 0.8), (12, 0.3)], ids=["short", "faint"])
def test_what_may_be_no_object_is_ignored(n_frames: int, score: float) -> None:
    seen = sightings(*([(0, 0, score)] for _ in range(n_frames)))
    truth = truth_of(chains(seen), seen)
    assert all(len(frame.ids) == 0 and len(frame.ignored) == 1 for frame in truth.values())


def test_jitter_is_smoothed() -> None:
    noise = np.random.default_rng(3).normal(0, 1, 40)
    frames = [
        replace(item, pts_s=item.pts_s / 3)  # at 30 frames a second
        for item in sightings(*([(100 + float(x), 0, 0.8)] for x in noise))
    ]
    truth = truth_of(chains(frames), frames)
    smooth = np.array([truth[number].boxes[0, 0] for number in range(1, 41)])
    assert np.std(smooth) < 0.7 * np.std(noise)


def test_a_native_look_is_at_the_frames_own_scale() -> None:
    world = World(Size(300, 170), (Actor((50, 40, 80, 100)),))
    detector = ScriptedDetector()
    seen = look_natively(world.frame(1), detector, CpuVision(), PERSON)
    assert detector.canvases == [Size(320, 192)]
    assert seen.boxes == pytest.approx(np.array([[50, 40, 80, 100]]), abs=2)


def test_the_truth_of_a_world_is_where_its_actors_are() -> None:
    world = World(
        Size(320, 192), (Actor((20, 40, 50, 100), (60, 0)), Actor((200, 50, 240, 90), class_id=1)), frame_rate=15
    )
    truth = pseudo_truth(world.frames(12), ScriptedDetector(), PERSON)
    assert truth.kind == "pseudo"
    for number, frame in truth.frames.items():
        assert frame.ids.tolist() == [1]
        assert frame.boxes[0] == pytest.approx(world.boxes(number)[0], abs=5)
