"""Recognition of model families from files."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from app.core.errors import ModelNotRecognised, SettingsError
from app.core.types import InputSizes, Size
from app.detect.class_names import COCO_80
from app.detect.families import FAMILIES
from tests.detect import encoders
from tests.detect.conftest import error_of, on_processor
from tests.detect.encoders import Encoder, Objects
from tests.detect.graphs import IMAGE, constant_model, sequence_model, sized_detr, square_finder

SIZE = Size(192, 128)
CANVAS = np.full((1, 128, 192, 3), 114, np.uint8)
TRUTH = Objects(
    np.array([[10, 10, 90, 100], [100, 30, 180, 120]], np.float32),
    np.array([0.8, 0.4], np.float32),
    np.array([2, 0], np.int32),
)
NAMES = {"names": "{0: 'ant', 1: 'bee', 2: 'cat', 3: 'dog'}"}

LAYOUTS: dict[str, tuple[str, Encoder]] = {
    "yolox": ("yolox", encoders.yolox),
    "yolov5": ("yolo", encoders.yolo),
    "yolov6": ("yolo", encoders.yolov6),
    "yolov8": ("yolov8", encoders.yolov8),
    "yolov10": ("yolo-end2end", encoders.end_to_end),
    "raw detr": ("detr", encoders.detr_queries),
    "joined detr": ("detr", encoders.detr_joined),
    "nanodet": ("nanodet", encoders.nanodet),
    "nanodet plus": ("nanodet", encoders.nanodet_plus),
    "fastestdet": ("fastestdet", encoders.fastestdet),
}


def write(path: Path, encode: Encoder, n_classes: int, metadata: dict[str, str] | None = None) -> Path:
    arrays = encode(TRUTH, SIZE, n_classes)
    names = ("logits", "pred_boxes") if encode is encoders.detr_queries else [f"o{i}" for i in range(len(arrays))]
    return constant_model(path, dict(zip(names, arrays, strict=True)), metadata=metadata)


@pytest.mark.parametrize("n_classes", [4, 80])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognised_and_decoded(layout: str, n_classes: int, tmp_path: Path) -> None:
    family, encode = LAYOUTS[layout]
    path = write(tmp_path / "model.onnx", encode, n_classes, NAMES if n_classes == 4 else None)
    detector = on_processor(path)
    assert detector.family == family
    assert detector.class_names == (("ant", "bee", "cat", "dog") if n_classes == 4 else COCO_80)
    assert detector.input_sizes == InputSizes((SIZE,), detector.input_sizes.stride)
    assert detector.pad_value == FAMILIES[detector.family].pad_value
    (found,) = detector.detect(CANVAS)
    np.testing.assert_allclose(found.boxes, TRUTH.boxes, atol=0.05)
    np.testing.assert_allclose(found.scores, TRUTH.scores, atol=1e-3)
    assert found.class_ids.tolist() == [2, 0]


def test_layouts_of_a_single_class_are_told_apart(tmp_path: Path) -> None:
    truth = Objects(TRUTH.boxes, TRUTH.scores, np.zeros(2, np.int32))
    for layout in ("yolox", "yolov5", "yolov8", "yolov10"):
        family, encode = LAYOUTS[layout]
        path = constant_model(tmp_path / f"{layout}.onnx", {"o": encode(truth, SIZE, 1)[0]})
        detector = on_processor(path)
        assert detector.family == family
        assert len(detector.detect(CANVAS)[0]) == 2


def test_yolox_decoded_in_the_graph_keeps_yolox_input(tmp_path: Path) -> None:
    (raw,) = encoders.yolo(TRUTH, SIZE, 80, per_cell=1)
    detector = on_processor(constant_model(tmp_path / "model.onnx", {"output": raw}))
    assert detector.family == "yolox"
    np.testing.assert_allclose(detector.detect(CANVAS)[0].boxes, TRUTH.boxes, atol=0.01)


def test_raw_feature_maps_beside_the_decoded_output_are_ignored(tmp_path: Path) -> None:
    (raw,) = encoders.yolo(TRUTH, SIZE, 80)
    outputs = {"output": raw, "map8": np.zeros((1, 3, 16, 24, 85), np.float32)}
    detector = on_processor(constant_model(tmp_path / "model.onnx", outputs))
    assert detector.family == "yolo"
    assert len(detector.detect(CANVAS)[0]) == 2


def test_detr_with_post_processing_is_told_the_canvas_size(tmp_path: Path) -> None:
    unit = np.array([192, 128, 192, 128], np.float32)
    path = sized_detr(
        tmp_path / "model.onnx", np.array([[2, 0]], np.int64), TRUTH.boxes[None] / unit, TRUTH.scores[None]
    )
    detector = on_processor(path)
    assert detector.family == "detr"
    (found,) = detector.detect(CANVAS)
    np.testing.assert_allclose(found.boxes, TRUTH.boxes, atol=0.01)
    assert found.class_ids.tolist() == [2, 0]


def test_rf_detr_is_known_by_its_output_names_even_with_four_classes(tmp_path: Path) -> None:
    logits, boxes = encoders.detr_queries(TRUTH, SIZE, 4)
    detector = on_processor(constant_model(tmp_path / "model.onnx", {"dets": boxes, "labels": logits}))
    assert detector.family == "detr"
    assert detector.pad_value == (104, 116, 124)
    np.testing.assert_allclose(detector.detect(CANVAS)[0].boxes, TRUTH.boxes, atol=0.01)


def test_the_first_detr_has_a_no_object_column(tmp_path: Path) -> None:
    logits = np.zeros((1, 5, 92), np.float32)
    logits[..., 91] = 20
    logits[0, 3, 1] = 40
    boxes = np.full((1, 5, 4), 0.5, np.float32)
    detector = on_processor(constant_model(tmp_path / "model.onnx", {"logits": logits, "pred_boxes": boxes}))
    (found,) = detector.detect(CANVAS)
    assert [detector.class_names[i] for i in found.class_ids] == ["person"]


def test_a_dynamic_graph_is_known_by_a_trial(tmp_path: Path) -> None:
    detector = on_processor(square_finder(tmp_path / "model.onnx"))
    assert detector.family == "yolox"
    assert detector.input_sizes == InputSizes((), 32)
    assert detector.class_names == ("class_0", "class_1", "class_2")


def test_a_dynamic_graph_that_runs_at_one_size_only_gets_that_size(tmp_path: Path) -> None:
    path = square_finder(tmp_path / "model.onnx", only_size=(96, 64), metadata={"imgsz": "[64, 96]"})
    assert on_processor(path).input_sizes.fixed == (Size(96, 64),)


def test_a_stride_in_the_metadata_counts(tmp_path: Path) -> None:
    path = square_finder(tmp_path / "model.onnx", metadata={"stride": "64"})
    assert on_processor(path).input_sizes == InputSizes((), 64)


def test_class_names_that_do_not_fit_the_outputs_rule_a_layout_out(tmp_path: Path) -> None:
    message = error_of(write(tmp_path / "model.onnx", encoders.yolov8, 7, NAMES))
    assert "4 class names" in message


def test_what_is_no_detector_is_refused_with_what_was_found_and_expected(tmp_path: Path) -> None:
    message = error_of(constant_model(tmp_path / "model.onnx", {"logits": np.zeros((1, 1000), np.float32)}))
    assert "images float32[1,3,128,192]" in message
    assert "logits float32[1,1000]" in message
    assert all(name in message for name in FAMILIES)
    assert "--detector-family" in message


@pytest.mark.parametrize(
    ("image", "others"),
    [
        (("tokens", TensorProto.INT64, (1, 128)), ()),
        (("images", TensorProto.INT8, (1, 3, 128, 192)), ()),
        (("images", TensorProto.FLOAT, (1, 1, 128, 192)), ()),
        (IMAGE, (("second", TensorProto.FLOAT, (1, 3, 128, 192)),)),
    ],
)
def test_without_one_image_input_it_is_no_detector(
    image: tuple[str, int, tuple[int, ...]], others: tuple[tuple[str, int, tuple[int, ...]], ...], tmp_path: Path
) -> None:
    outputs = {"output": encoders.yolov8(TRUTH, SIZE, 80)[0]}
    message = error_of(constant_model(tmp_path / "model.onnx", outputs, image=image, others=others))
    assert "one image input" in message
    assert image[0] in message


def test_inputs_that_cannot_be_given_are_named(tmp_path: Path) -> None:
    outputs = {"output": encoders.yolov8(TRUTH, SIZE, 80)[0]}
    others = [("scale_factor", TensorProto.FLOAT, (1, 2)), ("im_shape", TensorProto.FLOAT, (1, 2))]
    assert "scale_factor" in error_of(constant_model(tmp_path / "model.onnx", outputs, others=others))


def test_logits_of_a_segmentation_model_are_no_fastestdet(tmp_path: Path) -> None:
    logits = np.linspace(-5, 5, 19 * 8 * 12, dtype=np.float32).reshape(1, 19, 8, 12)
    assert "fit no known detector" in error_of(constant_model(tmp_path / "model.onnx", {"o": logits}))


def test_outputs_that_are_no_tensors_are_refused(tmp_path: Path) -> None:
    path = sequence_model(tmp_path / "model.onnx")
    assert "plain tensors" in error_of(path)


def test_other_tasks_than_detection_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", encoders.yolov8, 80, {"task": "segment"})
    assert "'segment'" in error_of(path)


def test_a_graph_that_cannot_run_is_refused_with_the_reason(tmp_path: Path) -> None:
    message = error_of(square_finder(tmp_path / "model.onnx", only_size=(97, 61)))
    assert "could not be run" in message
    assert "images float32[?,3,?,?]" in message


def test_a_named_family_is_believed_where_shapes_leave_a_choice(tmp_path: Path) -> None:
    (raw,) = encoders.yolo(TRUTH, SIZE, 80, per_cell=1)
    path = constant_model(tmp_path / "model.onnx", {"output": raw[:, 5:]})
    with pytest.raises(ModelNotRecognised):
        on_processor(path)
    detector = on_processor(path, family="yolo")
    assert detector.family == "yolo"
    assert len(detector.detect(CANVAS)[0]) > 0


def test_a_named_family_that_cannot_be_is_refused(tmp_path: Path) -> None:
    message = error_of(write(tmp_path / "model.onnx", encoders.yolov8, 80), family="nanodet")
    assert "nanodet" in message
    assert "Leave out --detector-family" in message


def test_unknown_families_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", encoders.yolov8, 80)
    with pytest.raises(SettingsError, match=r"'yolo99'; choose one of .*yolox"):
        on_processor(path, family="yolo99")
