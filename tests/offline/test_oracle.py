"""The oracle sees on a canvas just what the street shows there."""

import numpy as np
import pytest

from app.core.clock import SystemClock
from app.core.types import BgrPicture, Frame, FrameBoxes, InputSizes, PatchCopy, Size
from app.flexpatch.config import PipelineConfig
from app.flexpatch.failure import hand_set_model
from app.ingest.street import Street, StreetTruth
from app.ingest.street_config import StreetConfig
from app.offline.oracle import Oracle, OraclePipeline

CANVAS = np.zeros((1, 100, 100, 3), np.uint8)


def truth(*boxes: tuple[float, float, float, float], visible: float = 1.0) -> StreetTruth:
    n = len(boxes)
    return StreetTruth(
        np.arange(n), np.zeros(n, np.int32), FrameBoxes(np.array(boxes, np.float32)), np.full(n, visible, np.float32)
    )


def test_boxes_are_mapped_to_where_their_patch_lies() -> None:
    oracle = Oracle(InputSizes())
    oracle.truth = truth((120, 60, 160, 100))
    oracle.copies = (PatchCopy((100, 50, 200, 150), (10, 20, 60, 70)),)
    seen = oracle.detect(CANVAS)[0]
    assert seen.boxes.tolist() == [[20, 25, 40, 45]]


def test_an_object_on_two_patches_is_seen_twice_and_cut_at_the_edge() -> None:
    oracle = Oracle(InputSizes())
    oracle.truth = truth((80, 10, 120, 50))
    oracle.copies = (PatchCopy((0, 0, 100, 100), (0, 0, 50, 50)), PatchCopy((100, 0, 200, 100), (50, 0, 100, 50)))
    assert oracle.detect(CANVAS)[0].boxes.tolist() == [[40, 5, 50, 25], [50, 5, 60, 25]]


@pytest.mark.parametrize(
    "shown",
    [truth((120, 60, 160, 100), visible=0.1), truth((300, 60, 340, 100)), truth((120, 60, 124, 100))],
    ids=["hidden", "elsewhere", "too small"],
)
def test_what_cannot_be_recognised_is_not_seen(shown: StreetTruth) -> None:
    oracle = Oracle(InputSizes())
    oracle.truth = shown
    oracle.copies = (PatchCopy((100, 50, 200, 150), (10, 20, 60, 70)),)
    assert len(oracle.detect(CANVAS)[0]) == 0


def test_an_oracle_without_a_frame_refuses_to_look() -> None:
    with pytest.raises(ValueError, match="known frame"):
        Oracle(InputSizes()).detect(CANVAS)


def test_the_pipeline_follows_about_as_many_objects_as_can_be_seen() -> None:
    street = Street(StreetConfig(size=Size(640, 360), fps=30.0, n_objects=8, seed=3))
    truths = [street.truth(index) for index in range(12)]
    pipeline = OraclePipeline(truths, PipelineConfig(), SystemClock(), InputSizes(), failure_model=hand_set_model())
    results = [
        pipeline.step(Frame(index + 1, index / 30, BgrPicture(street.render(index)))) for index in range(len(truths))
    ]
    objects = results[-1].objects
    n_seen = int((truths[-1].visible >= 0.25).sum())
    assert len(objects) == pytest.approx(n_seen, abs=3)
    assert {item.label for item in objects} <= {"person", "car"}
