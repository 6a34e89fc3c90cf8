"""What is known of an object that is not listed on a frame hangs on where the truth comes from."""

import numpy as np
import pytest

from app.core.types import FrameBoxes, Size
from app.ingest.street import Street
from app.ingest.street_config import StreetConfig
from app.offline.annotations import FrameTruth
from app.offline.training.truth import GroundTruth, TruthKind, street_truth

BOX = np.array([0, 0, 10, 10], np.float32)
NONE = FrameBoxes(np.zeros((0, 4), np.float32))


def shown(*ids: int, ignored: FrameBoxes = NONE) -> FrameTruth:
    return FrameTruth(FrameBoxes(np.tile(BOX, (len(ids), 1))), np.array(ids, np.int64), ignored)


def truth(kind: TruthKind, *, last: FrameTruth | None = None) -> GroundTruth:
    """Object 1 on frames 1 and 3, object 2 on all of 1 to 4."""
    frames = {1: shown(1, 2), 2: shown(2), 3: shown(1, 2), 4: last or shown(2)}
    return GroundTruth(kind, frames, frames)


@pytest.mark.parametrize("kind", ["exact", "annotated", "pseudo"])
def test_a_listed_object_is_compared_by_iou(kind: TruthKind) -> None:
    assert truth(kind).overlap(1, BOX, 1) == 1
    assert truth(kind).overlap(1, BOX + np.array([5, 0, 5, 0], np.float32), 1) == pytest.approx(1 / 3)
    assert truth(kind).overlap(1, BOX + 20, 1) == 0


@pytest.mark.parametrize(
    ("kind", "between", "after"), [("exact", 0.0, 0.0), ("annotated", None, 0.0), ("pseudo", None, None)]
)
def test_an_absent_object_is_gone_only_where_that_is_known(
    kind: TruthKind, between: float | None, after: float | None
) -> None:
    assert truth(kind).overlap(1, BOX, 2) == between
    assert truth(kind).overlap(1, BOX, 4) == after


def test_in_an_ignored_region_nothing_is_known() -> None:
    last = shown(2, ignored=FrameBoxes(BOX[np.newaxis]))
    assert truth("annotated", last=last).overlap(1, BOX, 4) is None


def test_where_the_detector_sees_nothing_at_all_an_object_is_gone() -> None:
    assert truth("pseudo").overlap(1, BOX + 5, 4) is None
    assert truth("pseudo").overlap(1, BOX + 20, 4) == 0


def test_a_street_lists_hidden_objects_but_counts_visible_ones_only() -> None:
    street = Street(StreetConfig(size=Size(640, 360), n_objects=20, seed=3))
    found = street_truth(street, 4, frozenset({"person"}))
    assert sorted(found.frames) == [1, 2, 3, 4]
    for number in range(1, 5):
        real = street.truth(number - 1)
        is_person = real.class_ids == 0
        assert found.at(number).ids.tolist() == real.ids[is_person].tolist()
        counted = found.counted[number]
        assert counted.ids.tolist() == real.ids[is_person & (real.visible >= 0.25)].tolist()
        assert len(counted.boxes) + len(counted.ignored) == is_person.sum()


def test_a_frame_that_is_not_listed_shows_nothing() -> None:
    assert len(truth("exact").at(99).ids) == 0
