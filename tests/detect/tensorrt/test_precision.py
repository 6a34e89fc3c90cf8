"""Half and eight-bit graphs: still the same detector, as far as their precision goes."""

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from app.core.errors import EngineNotBuilt, GpuMissing, ModelNotRecognised
from app.core.types import CanvasBoxes, CanvasDetections, Size
from app.detect.detector import NetworkDetector
from app.detect.onnx import signature_of
from app.detect.tensorrt import precision
from app.detect.tensorrt.options import Precision
from app.detect.tensorrt.precision import Agreement, compare, converted
from app.offline.engines import canvases_of
from tests.detect import encoders
from tests.detect.conftest import canvas_with, on_processor
from tests.detect.graphs import constant_model, sized_detr, square_finder
from tests.detect.test_recognise import LAYOUTS, NAMES, SIZE, TRUTH, write

pytest.importorskip("onnxruntime.transformers.float16", reason="the package onnx is not installed")

NANO = Path(__file__).parents[3] / "models" / "flexpatch-nano.onnx"
STREET = "synthetic:1280x720@2?objects=20&seed=31&frames=2"
BLUE, GREEN, RED = (255, 0, 0), (0, 255, 0), (0, 0, 255)
SQUARES = [
    canvas_with(Size(192, 128), {(0, 0): BLUE, (2, 1): GREEN, (4, 2): RED})[0],
    canvas_with(Size(192, 128), {(1, 0): RED, (3, 3): BLUE})[0],
]


def street(path: Path) -> list[NDArray[np.uint8]]:
    return list(canvases_of(STREET, on_processor(path)))


def session(graph: bytes | Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(graph if isinstance(graph, bytes) else str(graph), options)


def check_same_interface(path: Path, graph: bytes) -> None:
    """The converted graph is valid, and takes and gives what the model does."""
    onnx.checker.check_model(onnx.load_model_from_string(graph), full_check=True)
    before, after = signature_of(session(path)), signature_of(session(graph))
    assert after.inputs == before.inputs
    assert after.outputs == before.outputs
    assert dict(before.metadata).items() <= dict(after.metadata).items()


def weight_types(graph: bytes) -> set[int]:
    """Element types of all but the smallest constants: scales of resizing stay as they are."""
    content = onnx.load_model_from_string(graph).graph
    held = [attribute.t for node in content.node for attribute in node.attribute if attribute.HasField("t")]
    return {weight.data_type for weight in (*content.initializer, *held) if np.prod(weight.dims) > 16}


@pytest.mark.parametrize(
    ("name", "wanted", "n_more", "score", "box_px"),
    [
        ("flexpatch-nano", "half", 0, 0.002, 0.1),
        ("flexpatch-nano", "int8", 0.1, 0.05, 1.5),
        ("yolox_nano_416", "int8", 0.3, 0.2, 4),
        ("nanodet_m_416", "half", 0, 0.005, 0.2),
        ("nanodet_m_416", "int8", 0.2, 0.1, 3),
    ],
)
def test_a_converted_detector_finds_nearly_the_same(
    name: str, wanted: Precision, n_more: float, score: float, box_px: float, *, request: pytest.FixtureRequest
) -> None:
    path = NANO if name == NANO.stem else request.getfixturevalue("weights") / f"{name}.onnx"
    canvases = street(path)
    graph = converted(path, wanted, canvases)
    check_same_interface(path, graph)
    kinds = weight_types(graph)
    if wanted == "half":
        assert onnx.TensorProto.FLOAT16 in kinds
        assert onnx.TensorProto.FLOAT not in kinds
    else:
        assert onnx.TensorProto.INT8 in kinds
    agreement = compare(path, graph, canvases)
    assert agreement.n_objects > 10
    assert agreement.n_found >= (1 - n_more) * agreement.n_objects
    assert agreement.n_new <= max(n_more * agreement.n_objects, 0)
    assert 0 < agreement.score_difference < score
    assert 0 < agreement.box_difference_px < box_px


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_stays_the_same_detector_in_half_precision(layout: str, tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", LAYOUTS[layout][1], 4, NAMES)
    graph = converted(path, "half")
    check_same_interface(path, graph)
    agreement = compare(path, graph, [np.full((SIZE.height, SIZE.width, 3), 114, np.uint8)])
    assert (agreement.n_objects, agreement.n_found, agreement.n_new) == (2, 2, 0)


def test_the_size_of_the_canvas_stays_a_whole_number(tmp_path: Path) -> None:
    unit = np.array([*SIZE, *SIZE], np.float32)
    path = sized_detr(
        tmp_path / "model.onnx", np.array([[2, 0]], np.int64), TRUTH.boxes[None] / unit, TRUTH.scores[None]
    )
    graph = converted(path, "half")
    check_same_interface(path, graph)
    assert compare(path, graph, [np.zeros((SIZE.height, SIZE.width, 3), np.uint8)]).n_found == 2


def test_float_is_the_file_as_it_is(tmp_path: Path) -> None:
    path = square_finder(tmp_path / "finder.onnx")
    assert converted(path, "float") == path.read_bytes()


def test_int8_learns_from_the_pictures_that_it_is_given(tmp_path: Path) -> None:
    path = square_finder(tmp_path / "finder.onnx")
    learnt = compare(path, converted(path, "int8", SQUARES), SQUARES)
    grey = np.full((128, 192, 3), 1, np.uint8)
    unlearnt = compare(path, converted(path, "int8", [grey]), SQUARES)
    assert (learnt.n_objects, learnt.n_found, learnt.n_new) == (5, 5, 0)
    assert unlearnt.n_found < learnt.n_found or unlearnt.score_difference > 2 * learnt.score_difference


@pytest.mark.parametrize("pictures", [[], np.zeros((0, 64, 64, 3), np.uint8)], ids=["none", "an empty array"])
def test_int8_without_pictures_is_refused(pictures: Any, tmp_path: Path) -> None:
    path = square_finder(tmp_path / "finder.onnx")
    with pytest.raises(EngineNotBuilt, match="without pictures of what it will see: name a folder"):
        converted(path, "int8", pictures)


@pytest.mark.parametrize("wanted", ["half", "int8"])
@pytest.mark.parametrize("data", [b"no graph", b""], ids=["not ONNX", "empty"])
def test_what_is_no_graph_cannot_be_converted(wanted: Precision, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises((EngineNotBuilt, ModelNotRecognised), match=r"model\.onnx") as caught:
        converted(path, wanted, SQUARES)
    assert "\n" not in str(caught.value)


def test_a_conversion_that_fails_in_any_way_says_so_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = square_finder(tmp_path / "finder.onnx")

    def fail(*arguments: object, **options: object) -> None:
        raise KeyError("Resize\nof a kind that is not known")

    monkeypatch.setattr("onnxruntime.transformers.float16.convert_float_to_float16", fail)
    with pytest.raises(EngineNotBuilt, match=r"cannot be converted to half precision: .*Resize") as caught:
        converted(path, "half")
    assert "\n" not in str(caught.value)


def test_a_conversion_that_gives_no_valid_graph_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = square_finder(tmp_path / "finder.onnx")

    def spoil(graph: Any, **options: object) -> Any:
        graph.graph.node[-1].input[0] = "nowhere"
        return graph

    monkeypatch.setattr("onnxruntime.transformers.float16.convert_float_to_float16", spoil)
    with pytest.raises(EngineNotBuilt, match="cannot be converted to half precision"):
        converted(path, "half")


@pytest.mark.parametrize("wanted", ["half", "int8"])
def test_without_the_package_onnx_it_says_how_to_get_it(
    wanted: Precision, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = square_finder(tmp_path / "finder.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(GpuMissing, match=rf"to {wanted} precision needs the package onnx: pip install"):
        converted(path, wanted, SQUARES)
    assert converted(path, "float") == path.read_bytes()


def test_the_converters_advice_is_not_passed_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    level = logging.getLogger().level
    converted(square_finder(tmp_path / "finder.onnx"), "int8", SQUARES)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert logging.getLogger().level == level


def test_a_detector_that_is_not_recognised_is_converted_and_compared_as_the_family_that_was_named(
    tmp_path: Path,
) -> None:
    (raw,) = encoders.yolo(TRUTH, SIZE, 80, per_cell=1)
    path = constant_model(tmp_path / "model.onnx", {"output": raw[:, 5:]})
    canvas = np.zeros((SIZE.height, SIZE.width, 3), np.uint8)
    with pytest.raises(EngineNotBuilt, match="fit no known detector"):
        converted(path, "int8", [canvas])
    for wanted in ("half", "int8"):
        agreement = compare(path, converted(path, wanted, [canvas], "yolo"), [canvas], "yolo")
        assert agreement.n_objects == agreement.n_found > 0


# ------------------------------------------------------------------------------------------------- comparing


def spoilt(path: Path, change: Any) -> bytes:
    """The graph of a square finder whose constants of stride 32 were changed."""
    graph = onnx.load(path)
    for node in graph.graph.node:
        if node.op_type == "Constant" and node.output[0] in {"weight32", "bias32"}:
            value = numpy_helper.to_array(node.attribute[0].t).copy()
            change(node.output[0], value)
            node.attribute[0].t.CopyFrom(numpy_helper.from_array(value))
    return graph.SerializeToString()


def test_a_model_agrees_with_itself(tmp_path: Path) -> None:
    path = square_finder(tmp_path / "finder.onnx")
    assert compare(path, path.read_bytes(), SQUARES) == Agreement(5, 5, 0, 0.0, 0.0)


def test_what_the_model_itself_is_not_sure_of_does_not_count(tmp_path: Path) -> None:
    path = square_finder(tmp_path / "finder.onnx")
    faint = canvas_with(Size(192, 128), {(0, 0): BLUE, (2, 1): (0, 153, 0)})
    assert sorted(on_processor(path).detect(faint)[0].scores) == pytest.approx([0.2, 1])
    assert compare(path, path.read_bytes(), [*faint]) == Agreement(1, 1, 0, 0.0, 0.0)


def test_what_is_not_found_any_more_is_lost(tmp_path: Path) -> None:
    def is_blind_to_blue(name: str, value: NDArray[np.float32]) -> None:
        if name == "bias32":
            value[5] = -9

    path = square_finder(tmp_path / "finder.onnx")
    agreement = compare(path, spoilt(path, is_blind_to_blue), SQUARES)
    assert (agreement.n_objects, agreement.n_found, agreement.n_new) == (5, 3, 0)


def test_what_is_found_as_something_else_is_lost_and_new(tmp_path: Path) -> None:
    def takes_blue_for_green(name: str, value: NDArray[np.float32]) -> None:
        value[[5, 6]] = value[[6, 5]]

    path = square_finder(tmp_path / "finder.onnx")
    agreement = compare(path, spoilt(path, takes_blue_for_green), SQUARES)
    assert (agreement.n_objects, agreement.n_found, agreement.n_new) == (5, 2, 3)


def test_what_only_the_converted_one_finds_is_new(tmp_path: Path) -> None:
    def is_blind_to_red(name: str, value: NDArray[np.float32]) -> None:
        if name == "bias32":
            value[7] = -9

    path = square_finder(tmp_path / "finder.onnx")
    blind = tmp_path / "blind.onnx"
    blind.write_bytes(spoilt(path, is_blind_to_red))
    agreement = compare(blind, path.read_bytes(), SQUARES)
    assert (agreement.n_objects, agreement.n_found, agreement.n_new) == (3, 3, 2)


def test_differences_are_means_of_what_both_find(tmp_path: Path) -> None:
    def is_less_sure(name: str, value: NDArray[np.float32]) -> None:
        if name == "bias32":
            value[4] = 0.75
            value[0] = 0.5 + 3 / 32

    path = square_finder(tmp_path / "finder.onnx")
    agreement = compare(path, spoilt(path, is_less_sure), SQUARES)
    assert (agreement.n_found, agreement.n_new) == (5, 0)
    assert agreement.score_difference == pytest.approx(0.25)
    # Three pixels to the right: left and right sides differ, upper and lower ones do not.
    assert agreement.box_difference_px == pytest.approx(1.5)


def test_nothing_on_the_canvases_is_no_difference(tmp_path: Path) -> None:
    path = square_finder(tmp_path / "finder.onnx")
    empty = np.full((128, 192, 3), 114, np.uint8)
    assert compare(path, path.read_bytes(), [empty]) == Agreement(0, 0, 0, 0.0, 0.0)
    assert compare(path, path.read_bytes(), []) == Agreement(0, 0, 0, 0.0, 0.0)


def test_a_converted_graph_that_is_no_detector_is_told(tmp_path: Path) -> None:
    path = square_finder(tmp_path / "finder.onnx")
    other = constant_model(tmp_path / "other.onnx", {"logits": np.zeros((1, 1000), np.float32)})
    with pytest.raises(ModelNotRecognised):
        compare(path, other.read_bytes(), SQUARES)


class Stub:
    """A detector that always finds these boxes, all of one class and sure."""

    def __init__(self, boxes: list[tuple[float, float, float, float]]) -> None:
        self._boxes = np.array(boxes, np.float32).reshape(-1, 4)

    def detect(self, canvases: NDArray[np.uint8]) -> list[CanvasDetections]:
        n = len(self._boxes)
        return [CanvasDetections(CanvasBoxes(self._boxes), np.full(n, 0.9, np.float32), np.zeros(n, np.int32))]


def test_one_object_is_not_taken_for_two(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    near: list[tuple[float, float, float, float]] = [(0, 0, 100, 100), (20, 0, 120, 100)]
    stubs: list[Stub] = [Stub(near), Stub([(10, 0, 110, 100)])]

    def load(*arguments: object) -> NetworkDetector:
        stub: Any = stubs.pop(0)
        return stub

    monkeypatch.setattr(precision, "load_on_processor", load)
    agreement = compare(tmp_path / "model.onnx", b"", SQUARES[:1])
    assert (agreement.n_objects, agreement.n_found, agreement.n_new) == (2, 1, 0)
