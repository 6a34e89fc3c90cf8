"""The synthetic street: exact ground truth, repeatable pixels, people who hide each other."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.types import Size
from app.ingest.street import Street, StreetTruth
from app.ingest.street_config import LABELS, StreetConfig

SMALL = StreetConfig(size=Size(640, 360), n_objects=12, seed=3)
PLAIN = replace(SMALL, light=0, noise=0, shadows=0, occluders=False)
"""Nothing but objects differs between a frame and the empty street."""


def lone(config: StreetConfig) -> tuple[Street, NDArray[np.uint8]]:
    """A street with one object, and the same street empty."""
    empty = Street(replace(config, n_objects=0)).render(0)
    return Street(replace(config, n_objects=1)), empty


def fully_seen(truth: StreetTruth, size: Size) -> bool:
    """One object, whole in the frame."""
    if len(truth) != 1 or truth.visible[0] < 1:
        return False
    x1, y1, x2, y2 = truth.boxes[0]
    return bool(x1 > 0 and y1 > 0 and x2 < size.width and y2 < size.height)


@pytest.mark.parametrize("vehicle_share", [0, 1])
def test_what_changes_against_the_empty_street_is_what_the_box_says(vehicle_share: float) -> None:
    errors = []
    for seed in range(1, 6):
        config = replace(PLAIN, vehicle_share=vehicle_share, seed=seed)
        street, empty = lone(config)
        for index in range(0, 400, 40):
            truth = street.truth(index)
            change = cv2.absdiff(street.render(index), empty).max(axis=2)
            if len(truth) == 0:
                assert np.count_nonzero(change.max(axis=0)) <= 3
            if not fully_seen(truth, config.size):
                continue
            box = truth.boxes[0]
            rows, columns = np.nonzero(change)
            touched = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert np.all(touched[:2] >= box[:2] - 3)
            assert np.all(touched[2:] <= box[2:] + 3)
            rows, columns = np.nonzero(change > 25)
            errors.append(np.abs(box - [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]))
    assert len(errors) >= 8
    assert np.median(errors) < 1
    assert np.quantile(errors, 0.9) < 2


def test_the_same_seed_gives_the_same_pixels_whichever_frame_is_asked_first() -> None:
    config = replace(SMALL, clouds=1, shake=1)
    ahead, behind = Street(config), Street(config)
    indices = [0, 40, 41, 3]
    forward = {index: ahead.render(index) for index in indices}
    for index in reversed(indices):
        assert np.array_equal(behind.render(index), forward[index])
        one, other = behind.truth(index), ahead.truth(index)
        assert np.array_equal(one.boxes, other.boxes)
        assert np.array_equal(one.ids, other.ids)
        assert np.array_equal(one.visible, other.visible)


def test_another_seed_gives_another_street() -> None:
    assert not np.array_equal(Street(SMALL).render(0), Street(replace(SMALL, seed=4)).render(0))


def test_a_frame_belongs_to_the_caller() -> None:
    street = Street(SMALL)
    frame = street.render(0)
    kept = frame.copy()
    frame[:] = 0
    assert np.array_equal(street.render(0), kept)
    assert frame.shape == (360, 640, 3)
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous


def test_truth_is_well_formed_and_ids_are_unique_and_last() -> None:
    street = Street(replace(SMALL, n_objects=25))
    kinds: dict[int, int] = {}
    present = []
    for index in range(0, 1500, 50):
        truth = street.truth(index)
        assert len(set(truth.ids.tolist())) == len(truth)
        assert truth.boxes.dtype == np.float32
        assert truth.boxes.shape == (len(truth), 4)
        assert np.all(truth.boxes[:, :2] >= 0)
        assert np.all(truth.boxes[:, 2:] <= (640, 360))
        assert np.all(truth.boxes[:, 2:] > truth.boxes[:, :2])
        assert np.all((truth.visible >= 0) & (truth.visible <= 1))
        for track_id, class_id in zip(truth.ids.tolist(), truth.class_ids.tolist(), strict=True):
            assert kinds.setdefault(track_id, class_id) == class_id
        present.append(len(truth))
    assert np.mean(present) > 12
    assert len(kinds) > 30
    assert set(kinds.values()) == set(range(len(LABELS)))


def test_days_later_the_street_is_still_full_of_new_people() -> None:
    street = Street(SMALL)
    first = street.truth(0)
    later = street.truth(25 * 3600 * 72)
    assert len(later) > 4
    assert not set(first.ids.tolist()) & set(later.ids[later.class_ids == 0].tolist())


def test_objects_move_smoothly_while_they_keep_their_id() -> None:
    street = Street(replace(SMALL, n_objects=25))
    feet: dict[int, float] = {}
    for index in range(60):
        truth = street.truth(index)
        now = {
            track_id: float(box[3])
            for track_id, box in zip(truth.ids.tolist(), truth.boxes, strict=True)
            if box[0] > 0 and box[2] < 640 and box[3] < 360
        }
        for track_id in now.keys() & feet.keys():
            assert abs(now[track_id] - feet[track_id]) < 6
        feet = now


def test_who_is_hidden_is_less_visible_and_nearer_objects_are_not() -> None:
    street = Street(replace(PLAIN, n_objects=40, vehicle_share=0.2))
    shares = []
    for index in range(0, 300, 30):
        truth = street.truth(index)
        shares += truth.visible.tolist()
        inside = np.all(truth.boxes[:, :2] > 0, axis=1) & np.all(truth.boxes[:, 2:] < (640, 360), axis=1)
        nearest = np.flatnonzero(inside)[-1]
        later = truth.boxes[nearest + 1 :]
        box = truth.boxes[nearest]
        apart = (later[:, 0] > box[2]) | (later[:, 2] < box[0]) | (later[:, 1] > box[3]) | (later[:, 3] < box[1])
        if apart.all():
            assert truth.visible[nearest] == 1
    assert min(shares) < 0.25
    assert sum(share == 1 for share in shares) > 20
    assert sum(0.1 < share < 0.9 for share in shares) > 10


def test_the_visible_share_agrees_with_the_pixels_that_were_drawn() -> None:
    """A pixel of the object is seen where it looks the same with and without trees and lamp posts."""
    compared = 0
    for seed in range(1, 5):
        config = replace(PLAIN, size=Size(960, 540), vehicle_share=0, seed=seed)
        bare, empty = lone(config)
        street = Street(replace(bare.config, occluders=True))
        for index in range(0, 400, 25):
            truth = street.truth(index)
            if not fully_seen(bare.truth(index), config.size):
                continue
            shown = bare.render(index)
            own = (cv2.absdiff(shown, empty).max(axis=2) > 8).astype(np.uint8)
            core = cv2.erode(own, np.ones((3, 3), np.uint8)) > 0
            same = cv2.absdiff(shown, street.render(index)).max(axis=2) <= 3
            if np.count_nonzero(core) < 150:
                continue
            assert truth.visible[0] == pytest.approx(np.mean(same[core]), abs=0.15)
            compared += int(truth.visible[0] < 1)
    assert compared >= 4


def test_occluders_hide_people() -> None:
    with_posts, without = Street(SMALL), Street(replace(SMALL, occluders=False))
    hidden = 0
    for index in range(0, 200, 10):
        one, other = with_posts.truth(index), without.truth(index)
        common = np.intersect1d(one.ids, other.ids, return_indices=True)
        difference = other.visible[common[2]] - one.visible[common[1]]
        assert np.array_equal(one.boxes[common[1]], other.boxes[common[2]])
        assert difference.min(initial=0) >= 0
        hidden += int((difference > 0.2).sum())
    assert hidden > 0


@pytest.mark.parametrize(
    "changed",
    [
        replace(SMALL, night=True),
        replace(SMALL, clouds=1),
        replace(SMALL, light=2),
        replace(SMALL, noise=4),
        replace(SMALL, shadows=0),
    ],
    ids=["night", "clouds", "light", "noise", "shadows"],
)
def test_weather_and_sensor_change_pixels_but_not_the_truth(changed: StreetConfig) -> None:
    usual, other = Street(SMALL), Street(changed)
    assert not np.array_equal(usual.render(90), other.render(90))
    assert np.array_equal(usual.truth(90).boxes, other.truth(90).boxes)


def test_night_is_dark() -> None:
    assert Street(replace(SMALL, night=True)).render(0).mean() < 0.7 * Street(SMALL).render(0).mean()


def test_noise_leaves_the_mean_brightness_alone() -> None:
    quiet, noisy = Street(PLAIN).render(5).astype(int), Street(replace(PLAIN, noise=2)).render(5).astype(int)
    difference = noisy - quiet
    assert abs(difference.mean()) < 0.1
    assert 2 < difference.std() < 5


def test_a_panning_camera_moves_boxes_and_background_together() -> None:
    config = replace(PLAIN, pan=1, n_objects=12)
    street = Street(config)
    first, later = street.render(100), street.render(104)
    height, width = first.shape[:2]
    part = cv2.cvtColor(first, cv2.COLOR_BGR2GRAY)[0:60, width // 4 : width // 2]
    match = cv2.matchTemplate(cv2.cvtColor(later, cv2.COLOR_BGR2GRAY)[0:60], part, cv2.TM_CCOEFF_NORMED)
    shift = int(np.unravel_index(match.argmax(), match.shape)[1]) - width // 4
    assert match.max() > 0.99
    assert 1 <= abs(shift) < 20
    still = Street(replace(config, pan=0))
    assert not np.array_equal(still.truth(100).boxes, street.truth(100).boxes)
    assert (height, width) == (360, 640)


def test_four_k_renders_with_boxes_in_scale() -> None:
    config = replace(SMALL, size=Size(3840, 2160), n_objects=4, noise=0, occluders=False)
    street = Street(config)
    frame, truth = street.render(50), street.truth(50)
    assert frame.shape == (2160, 3840, 3)
    small = Street(replace(config, size=Size(1920, 1080))).truth(50)
    assert truth.ids.tolist() == small.ids.tolist()
    assert np.abs(truth.boxes / 2 - small.boxes).max() < 3


@pytest.mark.parametrize("size", [Size(65, 65), Size(333, 97), Size(270, 480)])
def test_any_size_and_shape_works(size: Size) -> None:
    street = Street(StreetConfig(size=size, n_objects=10, pan=1, shake=2, night=True))
    assert street.render(7).shape == (size.height, size.width, 3)
    assert len(street.truth(7)) > 0


def test_an_empty_street_has_empty_truth() -> None:
    truth = Street(replace(SMALL, n_objects=0)).truth(0)
    assert len(truth) == 0
    assert truth.boxes.shape == (0, 4)
