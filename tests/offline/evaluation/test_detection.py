import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from app.offline.annotations import FrameTruth
from app.offline.evaluation.detection import (
    ANY_HEIGHT,
    HEIGHT_RANGES,
    HeightRange,
    Interval,
    Matches,
    average_precision,
    average_precision_by_height,
    best_f1,
    interval_of,
    match,
    resampled_average_precision,
)
from app.offline.evaluation.outputs import FrameOutput
from tests.core.strategies import REPEATABLE
from tests.flexpatch.builders import Rectangle, frame_boxes
from tests.offline.evaluation.builders import FAR, LEFT, RIGHT, Scene, output, perfect, scene, shuffled, truth

SEEDS = st.integers(0, 10_000)


def interval(matches: Matches, frame_s: NDArray[np.float64], *, seed: int = 0) -> Interval | None:
    return interval_of(resampled_average_precision(matches, frame_s, seed=seed))


def precision_of(truths: list[FrameTruth], outputs: list[FrameOutput]) -> float | None:
    return average_precision(match(truths, outputs))


# -------------------------------------------------------------------------------------- average precision


def test_nothing_found_is_worth_nothing() -> None:
    assert precision_of([truth(LEFT)], [output()]) == 0.0


@pytest.mark.parametrize("outputs", [[output()], [output((LEFT, 0.9))]])
def test_where_nothing_is_annotated_there_is_no_precision(outputs: list[FrameOutput]) -> None:
    matches = match([FrameTruth.empty()], outputs)
    assert average_precision(matches) is None
    assert best_f1(matches) is None
    assert interval(matches, np.zeros(1)) is None


def test_average_precision_by_hand() -> None:
    """Hit, miss, hit over two objects: precision 1 at 51 levels to recall ½, then ⅔ at 50 levels to recall 1."""
    value = precision_of([truth(LEFT, RIGHT)], [output((LEFT, 0.9), (FAR, 0.8), (RIGHT, 0.7))])
    assert value == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_an_object_is_found_once() -> None:
    matches = match([truth(LEFT)], [output((LEFT, 0.9), (LEFT, 0.8))])
    assert matches.is_hit.tolist() == [True, False]
    assert matches.is_ignored.tolist() == [False, False]


def test_what_lies_in_an_ignored_region_is_neither_right_nor_wrong() -> None:
    matches = match([truth(LEFT, ignored=(FAR,))], [output((FAR, 0.9), (FAR, 0.8), (LEFT, 0.5))])
    assert matches.is_ignored.tolist() == [True, True, False]
    assert average_precision(matches) == 1.0


def test_an_object_inside_an_ignored_region_still_counts_when_found() -> None:
    assert match([truth(LEFT, ignored=(LEFT,))], [output((LEFT, 0.9))]).is_hit.tolist() == [True]


def test_half_of_an_output_in_an_ignored_region_is_enough() -> None:
    half, less = (5, 0, 15, 20), (6, 0, 16, 20)
    matches = match([truth(ignored=(LEFT,))], [output((half, 0.9), (less, 0.8))])
    assert matches.is_ignored.tolist() == [True, False]


def test_a_frame_without_annotations_counts_what_was_found_there_as_wrong() -> None:
    truths = [truth(LEFT), FrameTruth.empty()]
    assert precision_of(truths, [output((LEFT, 0.5)), output((FAR, 0.9))]) == pytest.approx(0.5)


def test_matches_come_highest_score_first_with_their_frames() -> None:
    matches = match([truth(LEFT), truth(LEFT)], [output((LEFT, 0.25)), output((FAR, 0.25), (LEFT, 0.5))])
    assert matches.scores.tolist() == [0.5, 0.25, 0.25]
    assert matches.frames.tolist() == [1, 0, 1]
    assert matches.is_hit.tolist() == [True, True, False]
    assert matches.n_objects.tolist() == [1, 1]


def test_frames_must_be_aligned() -> None:
    with pytest.raises(ValueError, match="zip"):
        match([truth(LEFT)], [])


@REPEATABLE
@given(SEEDS)
def test_the_truth_itself_is_perfect(seed: int) -> None:
    truths = [*scene(seed).truths, truth(LEFT)]
    matches = match(truths, [perfect(frame) for frame in truths])
    point = best_f1(matches)
    assert average_precision(matches) == 1.0
    assert point is not None
    assert (point.f1, point.precision, point.recall) == (1.0, 1.0, 1.0)


@REPEATABLE
@given(SEEDS)
def test_the_order_of_outputs_within_a_frame_changes_nothing(seed: int) -> None:
    given_scene = scene(seed)
    mixed = [shuffled(frame, seed) for frame in given_scene.outputs]
    assert_same(match(given_scene.truths, mixed), match(given_scene.truths, given_scene.outputs))


@REPEATABLE
@given(SEEDS)
def test_a_monotone_change_of_scores_changes_nothing(seed: int) -> None:
    given_scene = scene(seed)
    cubed = [FrameOutput(frame.boxes, frame.scores**3, frame.track_ids) for frame in given_scene.outputs]
    assert precision_of(given_scene.truths, cubed) == precision_of(given_scene.truths, given_scene.outputs)


@REPEATABLE
@given(SEEDS)
def test_one_more_wrong_output_of_the_lowest_score_raises_nothing(seed: int) -> None:
    given_scene = scene(seed)
    wrong = output(((900, 900, 930, 960), 0.0))
    before = match(given_scene.truths, given_scene.outputs)
    after = match([*given_scene.truths, FrameTruth.empty()], [*given_scene.outputs, wrong])
    assert (average_precision(after) or 0) <= (average_precision(before) or 0)
    assert best_f1(after) == best_f1(before)


@REPEATABLE
@given(SEEDS, SEEDS)
def test_repeating_a_frame_is_the_same_as_having_it_twice(seed: int, repeat_seed: int) -> None:
    given_scene = scene(seed, 6)
    repeats = np.random.default_rng(repeat_seed).integers(0, 4, 6)
    copies = np.repeat(np.arange(6), repeats)
    copied = match([given_scene.truths[i] for i in copies], [given_scene.outputs[i] for i in copies])
    repeated = average_precision(match(given_scene.truths, given_scene.outputs), repeats)
    assert repeated == pytest.approx(average_precision(copied), abs=1e-12)


def assert_same(one: Matches, other: Matches) -> None:
    for name in ("scores", "is_hit", "is_ignored", "frames", "n_objects"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


# ------------------------------------------------------------------------------------------------- heights


def test_the_ranges_share_out_all_heights() -> None:
    edges = np.array([0.0, 49.999, 50.0, 75.0, 100.0, 100.001, 4000.0], np.float32)
    boxes = frame_boxes(*((0, 0, 10, float(height)) for height in edges))
    found = [heights.contains(boxes).tolist() for heights in HEIGHT_RANGES.values()]
    assert [row.index(True) for row in zip(*found, strict=True)] == [0, 0, 1, 1, 1, 2, 2]
    assert np.sum(found) == len(edges)


def test_objects_and_wrong_outputs_outside_the_range_are_ignored() -> None:
    low, tall = (0, 0, 20, 40), (100, 0, 150, 150)
    given_output = output((low, 0.9), (tall, 0.8), ((300, 0, 350, 150), 0.7), ((300, 0, 320, 40), 0.6))
    by_height = average_precision_by_height([truth(low, tall)], [given_output])
    assert by_height == {"<50": 1.0, "50-100": None, ">100": 1.0}


# ------------------------------------------------------------------------------------------------------ F1


def test_the_best_f1_comes_with_its_threshold() -> None:
    found = output((LEFT, 0.75), (RIGHT, 0.5), (FAR, 0.25))
    point = best_f1(match([truth(LEFT, RIGHT)], [found]))
    assert point is not None
    assert (point.threshold, point.f1, point.precision, point.recall) == (0.5, 1.0, 1.0, 1.0)


def test_no_threshold_divides_equal_scores() -> None:
    point = best_f1(match([truth(LEFT)], [output((LEFT, 0.5), (FAR, 0.5))]))
    assert point is not None
    assert point.precision == 0.5


def test_without_outputs_f1_is_nothing() -> None:
    point = best_f1(match([truth(LEFT)], [output()]))
    assert point is not None
    assert (point.f1, point.precision, point.recall) == (0, 0, 0)


@REPEATABLE
@given(SEEDS)
def test_precision_and_recall_are_those_of_the_outputs_kept_at_the_threshold(seed: int) -> None:
    given_scene = scene(seed, has_ties=True)
    point = best_f1(match(given_scene.truths, given_scene.outputs))
    assert point is not None
    kept = match(given_scene.truths, [frame[frame.scores >= point.threshold] for frame in given_scene.outputs])
    n_hits, n_kept = np.count_nonzero(kept.is_hit), np.count_nonzero(~kept.is_ignored)
    assert point.precision == pytest.approx(n_hits / n_kept)
    assert point.recall == pytest.approx(n_hits / kept.n_objects.sum())
    assert point.f1 == pytest.approx(2 * n_hits / (n_kept + kept.n_objects.sum()))


# ----------------------------------------------------------------------------------------------- bootstrap


def test_the_interval_is_repeatable_and_holds_the_value() -> None:
    given_scene = scene(3, 90)
    matches = match(given_scene.truths, given_scene.outputs)
    found = interval(matches, np.arange(90) / 10, seed=5)
    value = average_precision(matches)
    assert found == interval(matches, np.arange(90) / 10, seed=5)
    assert found != interval(matches, np.arange(90) / 10, seed=6)
    assert found is not None
    assert value is not None
    assert found.low < value < found.high


def test_seconds_that_are_alike_leave_no_doubt() -> None:
    one_second = scene(1, 10)
    matches = match(one_second.truths * 4, one_second.outputs * 4)
    value = average_precision(matches)
    assert value is not None
    found = interval(matches, 7.25 + np.arange(40) / 10)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((value, value))


def test_one_second_says_nothing_of_others() -> None:
    one_second = scene(1, 10)
    assert interval(match(one_second.truths, one_second.outputs), np.arange(10) / 10) is None


def test_resamples_without_objects_are_left_out() -> None:
    truths = [truth(LEFT), *[FrameTruth.empty()] * 2]
    matches = match(truths, [perfect(frame) for frame in truths])
    assert interval(matches, np.arange(3.0)) == Interval(1.0, 1.0)


# ------------------------------------------------------------------------------------- parity with COCO


@pytest.mark.parametrize("heights", [ANY_HEIGHT, *HEIGHT_RANGES.values()], ids=["any", *HEIGHT_RANGES])
@pytest.mark.parametrize("has_ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_that_of_pycocotools(seed: int, has_ties: bool, heights: HeightRange) -> None:
    given_scene = scene(seed, 25, has_ties=has_ties)
    value = average_precision(match(given_scene.truths, given_scene.outputs, heights))
    assert value == pytest.approx(coco_precision(given_scene, heights), abs=1e-9)


@pytest.mark.parametrize("objects", [((0, 0, 10, 20), (4, 0, 14, 20)), ((4, 0, 14, 20), (0, 0, 10, 20))])
def test_of_two_objects_overlapped_alike_the_last_is_taken_as_pycocotools_does(objects: tuple[Rectangle, ...]) -> None:
    """Which one decides whether the second output, which fits only the left object, still finds it free."""
    tied = Scene([truth(*objects)], [output(((2, 0, 12, 20), 0.9), ((-2, 0, 8, 20), 0.8))])
    assert precision_of(tied.truths, tied.outputs) == pytest.approx(coco_precision(tied, ANY_HEIGHT), abs=1e-9)


def coco_precision(given_scene: Scene, heights: HeightRange) -> float:
    """AP@0.5 by pycocotools, which is told heights where it expects areas."""
    with contextlib.redirect_stdout(io.StringIO()):
        annotated = COCO()
        annotated.dataset = {
            "info": {},
            "images": [{"id": index} for index in range(len(given_scene.truths))],
            "categories": [{"id": 1}],
            "annotations": [
                {"id": number, "image_id": index, "category_id": 1, "iscrowd": crowd, "bbox": box, "area": box[3]}
                for number, (index, crowd, box) in enumerate(annotations(given_scene), 1)
            ],
        }
        annotated.createIndex()
        found = annotated.loadRes(
            [
                {"image_id": index, "category_id": 1, "bbox": box, "score": score}
                for index, frame in enumerate(given_scene.outputs)
                for box, score in zip(left_top_width_height(frame.boxes), frame.scores.tolist(), strict=True)
            ]
        )
        for item in found.dataset["annotations"]:
            item["area"] = item["bbox"][3]
        evaluation = COCOeval(annotated, found, "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.areaRng = [[heights.low_px, heights.high_px]]
        evaluation.params.areaRngLbl = ["range"]
        evaluation.params.maxDets = [1000]
        evaluation.evaluate()
        evaluation.accumulate()
    return float(evaluation.eval["precision"].mean())


def annotations(given_scene: Scene) -> list[tuple[int, int, list[float]]]:
    """Frame, is it a crowd, and box of everything annotated."""
    return [
        (index, crowd, box)
        for index, frame in enumerate(given_scene.truths)
        for crowd, boxes in enumerate((frame.boxes, frame.ignored))
        for box in left_top_width_height(boxes)
    ]


def left_top_width_height(boxes: NDArray[np.float32]) -> list[list[float]]:
    wide = boxes.astype(np.float64)
    return np.concatenate([wide[:, :2], wide[:, 2:] - wide[:, :2]], axis=1).tolist()
