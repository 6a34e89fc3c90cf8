"""Running detectors on ONNX Runtime."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto

from app.core.errors import DetectorFailed, SettingsError
from app.core.types import CanvasDetections, Detector, Size
from app.detect.detector import NetworkDetector
from tests.detect import encoders
from tests.detect.conftest import canvas_with, on_processor
from tests.detect.encoders import Objects
from tests.detect.graphs import constant_model, square_finder

BLUE, GREEN, RED = (255, 0, 0), (0, 255, 0), (0, 0, 255)
SIZE = Size(192, 128)


def same(a: CanvasDetections, b: CanvasDetections) -> bool:
    return (
        np.array_equal(a.boxes, b.boxes)
        and np.array_equal(a.scores, b.scores)
        and np.array_equal(a.class_ids, b.class_ids)
    )


def test_it_is_a_detector(finder: NetworkDetector) -> None:
    detector: Detector = finder
    assert detector.name == "finder"
    assert detector.backend == "onnxruntime-cpu"
    assert detector.pad_value == (114, 114, 114)


@given(
    st.builds(Size, st.integers(1, 6).map(lambda n: n * 32), st.integers(1, 6).map(lambda n: n * 32)),
    st.dictionaries(st.tuples(st.integers(0, 5), st.integers(0, 5)), st.sampled_from([BLUE, GREEN, RED]), max_size=6),
)
@settings(max_examples=40)
def test_squares_are_found_where_they_are_in_blue_green_red_order(
    finder: NetworkDetector, size: Size, squares: dict[tuple[int, int], tuple[int, int, int]]
) -> None:
    inside = {
        cell: colour for cell, colour in squares.items() if cell[0] * 32 < size.width and cell[1] * 32 < size.height
    }
    (found,) = finder.detect(canvas_with(size, inside))
    expected = {
        (column * 32.0, row * 32.0, column * 32.0 + 32, row * 32.0 + 32, colour.index(255))
        for (column, row), colour in inside.items()
    }
    assert {(*box, class_id) for box, class_id in zip(found.boxes.tolist(), found.class_ids, strict=True)} == expected
    np.testing.assert_allclose(found.scores, 1, atol=1e-5)


def test_a_batch_gives_what_its_canvases_give_alone(finder: NetworkDetector) -> None:
    first = canvas_with(SIZE, {(0, 0): RED, (3, 2): BLUE})
    second = canvas_with(SIZE, {(5, 3): GREEN})
    both = finder.detect(np.concatenate([first, second]))
    assert [len(found) for found in both] == [2, 1]
    assert same(both[0], finder.detect(first)[0])
    assert same(both[1], finder.detect(second)[0])


def test_no_canvases_give_no_results(finder: NetworkDetector) -> None:
    assert list(finder.detect(np.zeros((0, 64, 64, 3), np.uint8))) == []


def test_the_same_canvas_gives_the_same_result(finder: NetworkDetector) -> None:
    canvas = np.random.default_rng(1).integers(0, 256, (1, 128, 192, 3), np.uint8)
    assert same(finder.detect(canvas)[0], finder.detect(canvas)[0])


def test_threads_that_share_a_detector_do_not_disturb_each_other(finder: NetworkDetector) -> None:
    sizes = [Size(192, 128), Size(64, 64), Size(320, 192), Size(128, 256)]
    canvases = [canvas_with(size, {(n % 2, 1): (BLUE, GREEN, RED)[n % 3]}) for n, size in enumerate(sizes * 12)]
    alone = [finder.detect(canvas)[0] for canvas in canvases]
    with ThreadPoolExecutor(4) as pool:
        together = [found[0] for found in pool.map(finder.detect, canvases)]
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize(
    ("canvases", "words"),
    [
        (np.zeros((1, 64, 64, 3), np.float32), "uint8"),
        (np.zeros((64, 64, 3), np.uint8), "canvases"),
        (np.zeros((1, 64, 64, 4), np.uint8), "canvases"),
        (np.zeros((1, 64, 65, 3), np.uint8), "65x64 canvas; it takes multiples of 32"),
        (np.zeros((1, 0, 64, 3), np.uint8), "64x0"),
    ],
)
def test_canvases_that_do_not_fit_are_refused(finder: NetworkDetector, canvases: NDArray[np.uint8], words: str) -> None:
    with pytest.raises(DetectorFailed, match=words):
        finder.detect(canvases)


def test_a_fixed_size_is_named_when_another_is_given(tmp_path: Path) -> None:
    nothing = {"o": np.zeros((1, 84, 504), np.float32)}
    detector = on_processor(constant_model(tmp_path / "fixed.onnx", nothing))
    with pytest.raises(DetectorFailed, match="fixed cannot take a 96x64 canvas; it takes 192x128"):
        detector.detect(np.zeros((1, 64, 96, 3), np.uint8))


def test_errors_of_the_runtime_are_translated(tmp_path: Path) -> None:
    detector = on_processor(square_finder(tmp_path / "model.onnx", only_size=(192, 128)))
    with pytest.raises(DetectorFailed, match="model failed: ") as caught:
        detector.detect(canvas_with(Size(64, 96), {}))
    assert caught.value.__cause__ is not None
    assert "\n" not in str(caught.value)
    assert len(detector.detect(canvas_with(SIZE, {(1, 1): RED}))[0]) == 1


def test_graphs_that_take_one_canvas_only_run_once_for_each(tmp_path: Path) -> None:
    truth = Objects(np.array([[8, 8, 40, 60]], np.float32), np.array([0.7], np.float32), np.array([5], np.int32))
    path = constant_model(
        tmp_path / "model.onnx",
        {"output": encoders.yolov8(truth, SIZE, 80)[0]},
        image=("images", TensorProto.FLOAT, ("batch", 3, 128, 192)),
    )
    found = on_processor(path).detect(np.zeros((3, 128, 192, 3), np.uint8))
    assert [one.class_ids.tolist() for one in found] == [[5], [5], [5]]


def test_fixed_batches_are_filled_up_and_cut(tmp_path: Path) -> None:
    raw = np.concatenate(
        [
            encoders.yolov8(
                Objects(np.array([[8, 8, 40, 60]], np.float32), np.array([0.7], np.float32), np.array([n], np.int32)),
                SIZE,
                80,
            )[0]
            for n in range(4)
        ]
    )
    path = constant_model(
        tmp_path / "model.onnx", {"output": raw}, image=("images", TensorProto.FLOAT, (4, 3, 128, 192))
    )
    found = on_processor(path).detect(np.zeros((6, 128, 192, 3), np.uint8))
    assert [one.class_ids.tolist() for one in found] == [[0], [1], [2], [3], [0], [1]]


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (TensorProto.FLOAT16, (1, 3, 128, 192)),
        (TensorProto.UINT8, (1, 3, 128, 192)),
        (TensorProto.FLOAT, (1, 128, 192, 3)),
        (TensorProto.UINT8, (1, 128, 192, 3)),
    ],
)
def test_other_input_types_and_orders_are_taken(kind: int, shape: tuple[int, ...], tmp_path: Path) -> None:
    truth = Objects(np.array([[8, 8, 40, 60]], np.float32), np.array([0.75], np.float32), np.array([5], np.int32))
    raw = encoders.yolov8(truth, SIZE, 80)[0].astype(np.float16 if kind == TensorProto.FLOAT16 else np.float32)
    detector = on_processor(constant_model(tmp_path / "model.onnx", {"output": raw}, image=("images", kind, shape)))
    (found,) = detector.detect(np.zeros((1, 128, 192, 3), np.uint8))
    assert found.boxes.tolist() == [[8, 8, 40, 60]]
    assert found.boxes.dtype == found.scores.dtype == np.float32


def test_score_floor_and_overlap_can_be_chosen(tmp_path: Path) -> None:
    truth = Objects(
        np.array([[0, 0, 100, 100], [0, 0, 100, 70]], np.float32),
        np.array([0.9, 0.2], np.float32),
        np.array([1, 1], np.int32),
    )
    path = constant_model(tmp_path / "model.onnx", {"output": encoders.yolov8(truth, SIZE, 80)[0]})
    canvas = np.zeros((1, 128, 192, 3), np.uint8)
    assert len(on_processor(path).detect(canvas)[0]) == 1
    assert len(on_processor(path, nms_iou=0.8).detect(canvas)[0]) == 2
    assert len(on_processor(path, nms_iou=0.8, score_floor=0.3).detect(canvas)[0]) == 1


def test_warming_up_runs_the_sizes_given(finder: NetworkDetector) -> None:
    finder.warm_up([Size(64, 64), Size(128, 96)])
    finder.warm_up()
    with pytest.raises(DetectorFailed):
        finder.warm_up([Size(65, 64)])


def test_arguments_outside_their_range_are_refused_before_loading(tmp_path: Path) -> None:
    missing = tmp_path / "missing.onnx"
    with pytest.raises(SettingsError, match="threads is 0"):
        on_processor(missing, threads=0)
    with pytest.raises(SettingsError, match="score_floor"):
        on_processor(missing, score_floor=1)


def test_results_do_not_depend_on_the_number_of_threads(finder: NetworkDetector, tmp_path: Path) -> None:
    single = on_processor(square_finder(tmp_path / "single.onnx"), threads=1)
    canvas = canvas_with(SIZE, {(2, 2): RED})
    assert same(single.detect(canvas)[0], finder.detect(canvas)[0])
