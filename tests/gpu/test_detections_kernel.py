"""What the kernel finds in raw outputs is what each family's decoder finds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.types import CanvasDetections, Size
from app.detect.decoders import (
    Decoder,
    FastestDetDecoder,
    NanodetDecoder,
    YoloDecoder,
    YoloV8Decoder,
    YoloxDecoder,
)
from app.detect.grid import n_cells
from app.detect.selection import Thresholds
from app.gpu.structures import FIND_BLOCK, FOUND_DETECTIONS, MAX_DETECTIONS, PREDICTION_SET, Family
from tests.gpu.kernels import ALONE, Dimensions, Kernels, Place

FloatArray = NDArray[np.float32]
STRIDES = (8, 16, 32)
PLUS_STRIDES = (8, 16, 32, 64)
FASTEST_STRIDE = 16
USUAL = Thresholds()
SMALL = Size(96, 64)
POISON = (np.nan, -np.nan, np.inf, -np.inf, 1e5, -1e5, 0.0, -0.0)
"""Nothing further out: OpenCV tells classes apart by moving boxes, and loses the digits of all once one is far away."""
EXACT = (Family.YOLO, Family.YOLOV8)
"""Without exp, tanh, powers or sums, whose last bits differ from one library to the next."""


@dataclass(frozen=True)
class Scene:
    """What random outputs are made for."""

    rng: np.random.Generator
    size: Size
    n_canvases: int
    n_classes: int

    def levels(self, values: FloatArray, strides: Sequence[int]) -> FloatArray:
        """Scores of few different values, so that many are equal: (B, N, `values`' choice)."""
        return self.table(n_cells(self.size, strides), self.n_classes, values)

    def table(self, n_rows: int, n_columns: int, values: FloatArray) -> FloatArray:
        return self.rng.choice(values, (self.n_canvases, n_rows, n_columns))

    def normal(self, n_rows: int, n_columns: int, deviation: float) -> FloatArray:
        shape = (self.n_canvases, n_rows, n_columns)
        return self.rng.normal(0, deviation, shape).astype(np.float32)

    def pixels(self, n_rows: int) -> FloatArray:
        """(B, N, 4) centres and sizes in half pixels: overlaps are often just at a threshold; some are inverted."""
        centres = self.rng.integers(-16, 2 * max(self.size), (self.n_canvases, n_rows, 2)) / 2
        sizes = self.rng.choice([-8, 0, 8, 16, 24, 40, 40.5], (self.n_canvases, n_rows, 2))
        return np.concatenate([centres, sizes], axis=2).astype(np.float32)


SIXTEENTHS = (np.arange(13) / 16).astype(np.float32)
OBJECTNESS = (np.array([0, 1, 2, 4, 7]) / 16).astype(np.float32)
CLASS_SHARES = (np.array([0, 11, 17]) / 17).astype(np.float32)
"""With OBJECTNESS, products of powers are equal or far apart."""


def yolox(scene: Scene) -> list[FloatArray]:
    scores = scene.levels(SIXTEENTHS, STRIDES)
    n = scores.shape[1]
    objectness = scene.table(n, 1, SIXTEENTHS)
    return [np.concatenate([scene.normal(n, 2, 1), scene.normal(n, 2, 0.7), objectness, scores], axis=2)]


def yolo(scene: Scene) -> list[FloatArray]:
    scores = scene.levels(SIXTEENTHS, STRIDES)
    n = scores.shape[1]
    return [np.concatenate([scene.pixels(n), scene.table(n, 1, SIXTEENTHS), scores], axis=2)]


def yolov8(scene: Scene) -> list[FloatArray]:
    scores = scene.levels(SIXTEENTHS, STRIDES)
    joined = np.concatenate([scene.pixels(scores.shape[1]), scores], axis=2)
    return [np.ascontiguousarray(joined.transpose(0, 2, 1))]


def nanodet(scene: Scene) -> list[FloatArray]:
    counts = [n_cells(scene.size, (stride,)) for stride in STRIDES]
    scores = [scene.table(n, scene.n_classes, SIXTEENTHS) for n in counts]
    return [*scores, *(scene.normal(n, 32, 2) for n in counts)]


def nanodet_plus(scene: Scene) -> list[FloatArray]:
    scores = scene.levels(SIXTEENTHS, PLUS_STRIDES)
    return [np.concatenate([scores, scene.normal(scores.shape[1], 32, 2)], axis=2)]


def fastestdet(scene: Scene) -> list[FloatArray]:
    columns, rows = -(-scene.size.width // FASTEST_STRIDE), -(-scene.size.height // FASTEST_STRIDE)
    n = columns * rows
    parts = [scene.table(n, 1, OBJECTNESS), scene.normal(n, 4, 1), scene.table(n, scene.n_classes, CLASS_SHARES)]
    joined = np.concatenate(parts, axis=2).transpose(0, 2, 1)
    return [np.ascontiguousarray(joined).reshape(scene.n_canvases, -1, rows, columns)]


@dataclass(frozen=True)
class Model:
    """One family: its random outputs, its decoder, and what the kernel is told about it."""

    outputs: Callable[[Scene], list[FloatArray]]
    decoder: Callable[[int], Decoder]
    strides: tuple[int, ...] = ()
    centre: float = 0.0


MODELS = {
    Family.YOLOX: Model(yolox, YoloxDecoder, STRIDES),
    Family.YOLO: Model(yolo, YoloDecoder),
    Family.YOLOV8: Model(yolov8, YoloV8Decoder),
    Family.NANODET: Model(nanodet, NanodetDecoder, STRIDES, 0.5),
    Family.NANODET_PLUS: Model(nanodet_plus, lambda n: NanodetDecoder(n, PLUS_STRIDES, 0.0), PLUS_STRIDES),
    Family.FASTESTDET: Model(fastestdet, FastestDetDecoder),
}
each_family = pytest.mark.parametrize("family", MODELS, ids=lambda family: family.name.lower())


@dataclass(frozen=True)
class Question:
    """Outputs of a batch, and what is wanted of them."""

    family: Family
    outputs: list[NDArray[Any]]
    size: Size
    n_classes: int
    thresholds: Thresholds

    @property
    def n_canvases(self) -> int:
        return len(self.outputs[0])

    @property
    def n_predictions(self) -> int:
        first = self.outputs[0]
        if self.family == Family.FASTESTDET:
            return int(np.prod(first.shape[2:]))
        if self.family == Family.YOLOV8:
            return first.shape[2]
        return sum(output.shape[1] for output in self.outputs[: max(1, len(self.outputs) // 2)])


def told(question: Question, place: Place) -> NDArray[np.void]:
    """The kernel's argument."""
    model, thresholds = MODELS[question.family], question.thresholds
    argument = np.zeros((), PREDICTION_SET)
    argument["outputs"][: len(question.outputs)] = [place(output) for output in question.outputs]
    argument["family"], argument["n_classes"] = question.family, question.n_classes
    argument["n_predictions"] = question.n_predictions
    argument["width"], argument["height"] = question.size
    argument["n_columns"] = question.outputs[0].shape[-1]
    argument["n_strides"], argument["strides"][: len(model.strides)] = len(model.strides), model.strides
    argument["max_candidates"] = thresholds.max_candidates
    argument["is_half"] = question.outputs[0].dtype == np.float16
    power = 0.6 if question.family == Family.FASTESTDET else 1
    argument["score_floor"], argument["objectness_floor"] = (
        thresholds.score_floor,
        thresholds.score_floor ** (1 / power),
    )
    argument["nms_iou"] = -1 if thresholds.nms_iou is None else thresholds.nms_iou
    argument["centre"] = model.centre
    return argument


def by_kernel(kernels: Kernels, question: Question, block: Dimensions = ALONE) -> list[CanvasDetections]:
    scratch = np.full(question.n_canvases * question.n_predictions, 0xA5A5, np.uint64)
    found = np.zeros(question.n_canvases, FOUND_DETECTIONS)
    found.view(np.uint8)[:] = 0xA5

    def arguments(place: Place) -> list[NDArray[Any]]:
        return [told(question, place), place(scratch), place(found)]

    kernels.run("find_detections", (question.n_canvases, 1, 1), block, arguments, [found])
    return [
        CanvasDetections(one["boxes"][: one["n"]], one["scores"][: one["n"]], one["class_ids"][: one["n"]])
        for one in found
    ]


def by_processor(question: Question) -> list[CanvasDetections]:
    decoder = MODELS[question.family].decoder(question.n_classes)
    with np.errstate(all="ignore"):
        outputs = [output.astype(np.float32) for output in question.outputs]
        return decoder(outputs, question.size, question.thresholds)


def assert_same(family: Family, found: list[CanvasDetections], expected: list[CanvasDetections]) -> None:
    # A few units in the last place of a coordinate, which is a difference of numbers up to the canvas's width or so.
    absolute, relative = (0.0, 0.0) if family in EXACT else (3e-4, 2e-6)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.class_ids, other.class_ids)
        np.testing.assert_allclose(one.scores, other.scores, rtol=relative, atol=0)
        np.testing.assert_allclose(one.boxes, other.boxes, rtol=relative, atol=absolute)


def poison(outputs: list[FloatArray], rng: np.random.Generator, share: float) -> None:
    for output in outputs:
        is_hit = rng.random(output.shape) < share
        output[is_hit] = rng.choice(np.array(POISON, np.float32), int(is_hit.sum()))


def question_of(
    family: Family,
    thresholds: Thresholds = USUAL,
    *,
    seed: int = 1,
    size: Size = SMALL,
    n_canvases: int = 1,
    n_classes: int = 3,
    poisoned: float = 0.0,
    is_half: bool = False,
) -> Question:
    rng = np.random.default_rng(seed)
    outputs = MODELS[family].outputs(Scene(rng, size, n_canvases, n_classes))
    poison(outputs, rng, poisoned)
    with np.errstate(over="ignore"):
        raw = [np.ascontiguousarray(output, np.float16 if is_half else np.float32) for output in outputs]
    return Question(family, raw, size, n_classes, thresholds)


@st.composite
def questions(draw: st.DrawFn, family: Family) -> Question:
    thresholds = Thresholds(
        score_floor=draw(st.sampled_from([0.0, 0.05, 0.25, 0.5, 0.74, 0.95])),
        nms_iou=draw(st.sampled_from([None, 0.2, 0.5, 0.6, 1.0])),
        max_candidates=draw(st.sampled_from([1, 4, 33, 300, 512])),
    )
    return question_of(
        family,
        thresholds,
        seed=draw(st.integers(0, 2**32 - 1)),
        size=draw(st.sampled_from([SMALL, Size(100, 70), Size(16, 40), Size(256, 160)])),
        n_canvases=draw(st.integers(1, 3)),
        n_classes=draw(st.sampled_from([1, 2, 3, 11, 80])),
        poisoned=draw(st.sampled_from([0.0, 0.003, 0.05])),
        is_half=draw(st.booleans()),
    )


@each_family
@settings(max_examples=60)
@given(data=st.data())
def test_finds_what_the_decoder_finds(kernels: Kernels, family: Family, data: st.DataObject) -> None:
    question = data.draw(questions(family))
    assert_same(family, by_kernel(kernels, question), by_processor(question))


@each_family
@pytest.mark.parametrize("max_candidates", [1, 100, 300, MAX_DETECTIONS])
def test_of_too_many_candidates_the_strongest_and_first_stay(
    kernels: Kernels, family: Family, max_candidates: int
) -> None:
    size = Size(640, 384)
    question = question_of(family, Thresholds(0.0, None, max_candidates), size=size)
    assert question.n_predictions > max_candidates
    assert_same(family, by_kernel(kernels, question), by_processor(question))


@each_family
def test_nothing_above_the_floor_is_no_detection(kernels: Kernels, family: Family) -> None:
    found = by_kernel(kernels, question_of(family, Thresholds(0.95), n_canvases=2))
    assert [len(one) for one in found] == [0, 0]


def test_a_class_share_below_zero_counts_as_none(kernels: Kernels) -> None:
    question = question_of(Family.FASTESTDET, Thresholds(0.0, None, MAX_DETECTIONS))
    question.outputs[0][:, 5:] = -0.5
    (found,) = by_kernel(kernels, question)
    assert len(found) > 0
    assert_same(Family.FASTESTDET, [found], by_processor(question))


def test_specks_are_duplicates_of_each_other_whatever_their_class(kernels: Kernels) -> None:
    question = question_of(Family.YOLOV8, Thresholds(0.05, 0.5), n_classes=2)
    question.outputs[0][:] = 0
    question.outputs[0][0, 2:4, :2] = 1e-9
    question.outputs[0][0, 4, 0] = question.outputs[0][0, 5, 1] = 0.5
    found = by_kernel(kernels, question)
    assert found[0].class_ids.tolist() == [0]
    assert_same(Family.YOLOV8, found, by_processor(question))


def test_equal_scores_keep_the_order_of_the_predictions(kernels: Kernels) -> None:
    question = question_of(Family.YOLOV8, Thresholds(0.05, None, 40))
    question.outputs[0][:, 4:] = np.float32(0.5)
    question.outputs[0][:, :4] = np.array([40, 30, 8, 8], np.float32)[:, None]
    question.outputs[0][0, 0] += np.arange(question.n_predictions, dtype=np.float32) / 8
    (found,) = by_kernel(kernels, question)
    np.testing.assert_array_equal(found.boxes[:, 0], 36 + np.arange(40) / 8)
    assert not found.class_ids.any()


@pytest.mark.parametrize("nms_iou", [0.25, 0.5, 0.6, 0.75])
def test_boxes_that_overlap_just_at_the_threshold_fall_as_in_opencv(kernels: Kernels, nms_iou: float) -> None:
    # In rows of ten by one cells, shifted by whole cells, shares such as 3/5 come often.
    question = question_of(Family.YOLOV8, Thresholds(0.0, nms_iou, 512), size=Size(256, 160), n_classes=2)
    rng = np.random.default_rng(2)
    shape = question.outputs[0][:, 0].shape
    question.outputs[0][:, 0] = 0.1 + rng.integers(0, 12, shape) * 0.7
    question.outputs[0][:, 1] = 77.7
    question.outputs[0][:, 2] = rng.integers(1, 11, shape) * 1.4
    question.outputs[0][:, 3] = 3.3
    assert_same(Family.YOLOV8, by_kernel(kernels, question), by_processor(question))


@each_family
@pytest.mark.parametrize("block", [(32, 1, 1), FIND_BLOCK], ids=str)
def test_any_block_finds_the_same(kernels: Kernels, family: Family, block: Dimensions) -> None:
    thresholds = Thresholds(0.05, 0.5, 60)
    question = question_of(family, thresholds, size=Size(100, 70), n_canvases=2, poisoned=0.003)
    assert_same(family, by_kernel(kernels, question, block), by_processor(question))
