"""From graphs to engines: with the real TensorRT-RTX, and with one that shows what it is asked for."""

import logging
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from app.core.errors import EngineNotBuilt
from app.detect.tensorrt.builder import EngineRequest, build, graph_for
from app.detect.tensorrt.engine_file import EngineKey
from app.detect.tensorrt.library import Capability, Library
from app.detect.tensorrt.options import EngineOptions, Precision
from tests.detect import encoders
from tests.detect.conftest import canvas_with
from tests.detect.graphs import Shape, constant_model, sized_detr, square_finder
from tests.detect.tensorrt.conftest import ADA
from tests.detect.tensorrt.fakes import FakeBuilding, tensorrt_10, tensorrt_11, tensorrt_rtx
from tests.detect.test_recognise import LAYOUTS, NAMES, SIZE, TRUTH, write

BLACKWELL: Capability = (12, 0)
NANO = Path(__file__).parents[3] / "models" / "flexpatch-nano.onnx"
PLAN_START = b"vtrt"
"""Of TensorRT-RTX's."""


def request(
    model: Path,
    library: Library,
    options: EngineOptions | None = None,
    *,
    capability: Capability = ADA,
    is_for_this_gpu: bool = False,
    timing_file: Path | None = None,
) -> EngineRequest:
    key = EngineKey(capability, library.flavour, library.version, "0" * 64, options or EngineOptions("float"))
    return EngineRequest(model, key, is_for_this_gpu, timing_file)


def built(library: Library, model: Path, options: EngineOptions | None = None, capability: Capability = ADA) -> bytes:
    options = options or EngineOptions("float")
    graph = graph_for(library, model, options.precision, [canvas_with(SIZE, {(0, 0): (255, 0, 0)})[0]])
    return build(request(model, library, options, capability=capability), graph, library)


def refusal(library: Library, model: Path, graph: bytes | None = None) -> str:
    with pytest.raises(EngineNotBuilt) as caught:
        build(request(model, library), model.read_bytes() if graph is None else graph, library)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert not message.endswith("..")
    return message


# ---------------------------------------------------------------------------------------------- TensorRT-RTX itself


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_becomes_an_engine(layout: str, rtx: Library, tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", LAYOUTS[layout][1], 4, NAMES)
    assert built(rtx, path).startswith(PLAN_START)
    assert built(rtx, path, EngineOptions("half")).startswith(PLAN_START)


def test_a_detr_that_is_told_the_size_becomes_an_engine(rtx: Library, tmp_path: Path) -> None:
    unit = np.array([*SIZE, *SIZE], np.float32)
    labels = np.array([[2, 0]], np.int64)
    path = sized_detr(tmp_path / "model.onnx", labels, TRUTH.boxes[None] / unit, TRUTH.scores[None])
    for precision in ("float", "half"):
        assert built(rtx, path, EngineOptions(precision)).startswith(PLAN_START)


@pytest.mark.parametrize("capability", [ADA, BLACKWELL, (7, 5)], ids=str)
def test_an_engine_is_for_the_gpu_that_was_asked_for(capability: Capability, rtx: Library, tmp_path: Path) -> None:
    path = square_finder(tmp_path / "finder.onnx")
    plan = built(rtx, path, capability=capability)
    assert plan.startswith(PLAN_START)
    assert set(re.findall(rb"sm(\d{2,3})", plan)) == {b"%d%d" % capability}


@pytest.mark.parametrize("options", [EngineOptions("half", 8, 1280), EngineOptions("int8", 2, 8192)], ids=str)
def test_open_sizes_and_batches_become_engines(options: EngineOptions, rtx: Library, tmp_path: Path) -> None:
    path = square_finder(tmp_path / "finder.onnx")
    assert built(rtx, path, options).startswith(PLAN_START)


@pytest.mark.parametrize(
    "name", ["flexpatch-nano", "fastestdet_352", "nanodet_m_320", "nanodet_m_416", "yolox_nano_416"]
)
def test_public_weights_become_engines_in_half_precision(
    name: str, rtx: Library, request: pytest.FixtureRequest
) -> None:
    path = NANO if name == NANO.stem else request.getfixturevalue("weights") / f"{name}.onnx"
    plan = built(rtx, path, EngineOptions("half"))
    assert plan.startswith(PLAN_START)
    assert len(plan) > 1_000_000


def test_public_weights_for_any_size_become_an_engine_for_another_gpu(rtx: Library, weights: Path) -> None:
    plan = built(rtx, weights / "yolox_nano_dynamic.onnx", EngineOptions("float", 4), BLACKWELL)
    assert plan.startswith(PLAN_START)


@pytest.mark.parametrize("name", ["yolo11n_int8_320", "yolov8n_int8_640"])
def test_weights_that_are_quantised_on_the_way_are_refused_by_their_operators(
    name: str, rtx: Library, weights: Path
) -> None:
    path = weights / f"{name}.onnx"
    message = refusal(rtx, path)
    assert message == f"{rtx} cannot read {path}: it does not know ConvInteger, DynamicQuantizeLinear as used there."


@pytest.mark.parametrize(
    "part", [b"no graph at all", b"", slice(0, 300), bytes(1000)], ids=["text", "empty", "cut", "0"]
)
def test_damaged_bytes_are_refused(part: bytes | slice, rtx: Library, tmp_path: Path) -> None:
    path = square_finder(tmp_path / "finder.onnx")
    message = refusal(rtx, path, path.read_bytes()[part] if isinstance(part, slice) else part)
    assert str(path) in message
    assert str(rtx) in message


def test_a_gpu_that_it_does_not_build_for_is_refused(rtx: Library, tmp_path: Path) -> None:
    path = square_finder(tmp_path / "finder.onnx")
    with pytest.raises(EngineNotBuilt, match=r"does not build for compute capability 9\.0; it builds for .*8\.9"):
        built(rtx, path, capability=(9, 0))


def test_it_measures_nothing_when_it_builds_and_keeps_no_timings(rtx: Library, tmp_path: Path) -> None:
    path, timings = square_finder(tmp_path / "finder.onnx"), tmp_path / "rtx.timings"
    assert build(request(path, rtx, timing_file=timings), path.read_bytes(), rtx).startswith(PLAN_START)
    assert not timings.exists()


# -------------------------------------------------------------------------------------------- what it is asked for


@pytest.mark.parametrize(
    ("precision", "flags", "is_converted"),
    [("float", [], False), ("half", ["FP16"], False), ("int8", ["FP16", "INT8"], True)],
)
def test_up_to_10_flags_ask_for_precision_and_only_int8_needs_another_graph(
    precision: Precision, flags: list[str], is_converted: bool, tmp_path: Path
) -> None:
    fake, path = FakeBuilding(tensorrt_10()), square_finder(tmp_path / "finder.onnx")
    graph = graph_for(fake.library, path, precision, [canvas_with(SIZE, {(0, 0): (255, 0, 0)})[0]])
    options = EngineOptions(precision)
    assert build(request(path, fake.library, options, is_for_this_gpu=True), graph, fake.library) == b"plan"
    assert fake.config.flags == flags
    assert (fake.graph != path.read_bytes()) == is_converted
    assert (b"QuantizeLinear" in fake.graph) == is_converted
    assert fake.config.num_compute_capabilities == 0


@pytest.mark.parametrize("made", [tensorrt_11, tensorrt_rtx])
def test_later_ones_take_precision_from_the_graph(made: Any, tmp_path: Path) -> None:
    fake, path = FakeBuilding(made()), square_finder(tmp_path / "finder.onnx")
    graph = graph_for(fake.library, path, "half")
    build(request(path, fake.library, EngineOptions("half"), is_for_this_gpu=True), graph, fake.library)
    assert fake.config.flags == []
    assert b"Cast" in fake.graph


@pytest.mark.parametrize("can", [True, False])
def test_an_engine_can_be_recorded_where_the_network_allows_it(can: bool, tmp_path: Path) -> None:
    made = tensorrt_rtx()
    made.BuilderFlag.REQUIRE_USER_ALLOCATION = "REQUIRE_USER_ALLOCATION"
    fake, path = FakeBuilding(made), square_finder(tmp_path / "finder.onnx")
    fake.cannot_with = None if can else "REQUIRE_USER_ALLOCATION"
    assert build(request(path, fake.library), path.read_bytes(), fake.library) == b"plan"
    assert fake.config.flags == (["REQUIRE_USER_ALLOCATION"] if can else [])


def test_only_an_engine_for_another_gpu_names_it(tmp_path: Path) -> None:
    fake, path = FakeBuilding(tensorrt_rtx()), square_finder(tmp_path / "finder.onnx")
    build(request(path, fake.library, is_for_this_gpu=True), path.read_bytes(), fake.library)
    assert fake.config.capability is None
    build(request(path, fake.library), path.read_bytes(), fake.library)
    assert fake.config.capability == "SM89"


@pytest.mark.parametrize(
    ("shape", "least", "usual", "most"),
    [
        (("b", 3, "h", "w"), (1, 3, 32, 32), (4, 3, 384, 640), (4, 3, 1280, 1280)),
        ((1, 3, "h", "w"), (1, 3, 32, 32), (1, 3, 384, 640), (1, 3, 1280, 1280)),
        (("b", 3, 128, 192), (1, 3, 128, 192), (4, 3, 128, 192), (4, 3, 128, 192)),
        (("b", "h", "w", 3), (1, 32, 32, 3), (4, 384, 640, 3), (4, 1280, 1280, 3)),
    ],
    ids=str,
)
def test_what_the_graph_leaves_open_gets_a_range(
    shape: Shape, least: object, usual: object, most: object, tmp_path: Path
) -> None:
    path = constant_model(
        tmp_path / "model.onnx",
        {"output": encoders.yolov8(TRUTH, SIZE, 80)[0]},
        image=("images", TensorProto.FLOAT, shape),
        others=[("orig_target_sizes", TensorProto.INT64, (shape[0], 2))],
    )
    fake = FakeBuilding(tensorrt_10())
    build(
        request(path, fake.library, EngineOptions("float", 4, 1280), is_for_this_gpu=True),
        path.read_bytes(),
        fake.library,
    )
    (profile,) = fake.config.profiles
    assert profile["images"] == (least, usual, most)
    assert profile.get("orig_target_sizes") == (None if shape[0] == 1 else ((1, 2), (4, 2), (4, 2)))


def test_a_graph_that_leaves_nothing_open_has_no_profile(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", encoders.yolov8, 80)
    fake = FakeBuilding(tensorrt_10())
    build(request(path, fake.library, is_for_this_gpu=True), path.read_bytes(), fake.library)
    assert fake.config.profiles == []


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        (
            ["[x] Error Code 4:\n no kernel.", "[x] Error Code 4:\n no kernel.", "second"],
            "Error Code 4: no kernel; second",
        ),
        ([], "it does not say why"),
    ],
)
def test_what_tensorrt_reports_is_the_reason(errors: list[str], words: str, tmp_path: Path) -> None:
    path = square_finder(tmp_path / "finder.onnx")
    fake = FakeBuilding(tensorrt_rtx(), plan=None, errors=errors)
    assert refusal(fake.library, path).endswith(f"{words}.")


def test_where_cuda_does_not_start_no_engine_is_built(tmp_path: Path) -> None:
    fake = FakeBuilding(tensorrt_10(), starts=False)
    message = refusal(fake.library, square_finder(tmp_path / "finder.onnx"))
    assert message == "TensorRT 10.9.0.34 does not start: CUDA initialization failure with error: 35."


# ------------------------------------------------------------------------------------------------------- timings


def build_with_timings(fake: FakeBuilding, timing_file: Path, tmp_path: Path) -> bytes:
    path = square_finder(tmp_path / "finder.onnx")
    return build(
        request(path, fake.library, is_for_this_gpu=True, timing_file=timing_file), path.read_bytes(), fake.library
    )


def test_the_next_build_gets_the_timings_of_the_last(tmp_path: Path) -> None:
    fake, timings = FakeBuilding(tensorrt_10()), tmp_path / "x.timings"
    for n_builds in (1, 2, 3):
        build_with_timings(fake, timings, tmp_path)
        assert timings.read_bytes() == b"+" * n_builds


def test_damaged_timings_are_begun_anew(tmp_path: Path) -> None:
    fake, timings = FakeBuilding(tensorrt_10()), tmp_path / "x.timings"
    timings.write_bytes(b"damaged")
    assert build_with_timings(fake, timings, tmp_path) == b"plan"
    assert timings.read_bytes() == b"+"


def test_a_library_that_keeps_no_timings_writes_none(tmp_path: Path) -> None:
    timings = tmp_path / "x.timings"
    fake = FakeBuilding(tensorrt_10(), keeps_no_timings=True)
    assert build_with_timings(fake, timings, tmp_path) == b"plan"
    assert not timings.exists()


def test_a_failed_build_leaves_the_timings_as_they_were(tmp_path: Path) -> None:
    timings = tmp_path / "x.timings"
    timings.write_bytes(b"known")
    with pytest.raises(EngineNotBuilt):
        build_with_timings(FakeBuilding(tensorrt_10(), plan=None), timings, tmp_path)
    assert timings.read_bytes() == b"known"


def test_timings_that_cannot_be_read_or_written_cost_no_engine(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    fake, timings = FakeBuilding(tensorrt_10()), tmp_path / "x.timings"
    timings.mkdir()
    assert build_with_timings(fake, timings, tmp_path) == b"plan"

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert build_with_timings(fake, tmp_path / "y.timings", tmp_path) == b"plan"
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["timings cannot be written", "timings cannot be written"]
