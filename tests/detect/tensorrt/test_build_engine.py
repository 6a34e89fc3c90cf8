"""Building a detector's engine: the pictures, and what the comparison is of."""

from pathlib import Path

import numpy as np
import pytest

from app.core.clock import SystemClock
from app.core.errors import EngineNotBuilt, SettingsError, SourceError
from app.core.types import BgrPicture, Size
from app.detect.detector import NetworkDetector
from app.detect.tensorrt.cache import EngineCache
from app.detect.tensorrt.library import Capability
from app.detect.tensorrt.options import EngineOptions
from app.offline.engines import BuildReport, build_engine, canvases_of, whole_on_canvas
from app.vision.cpu import CpuVision
from tests.detect import encoders
from tests.detect.conftest import on_processor
from tests.detect.graphs import square_finder
from tests.detect.tensorrt.conftest import ADA
from tests.detect.tensorrt.fakes import FakeBuilding, tensorrt_10, tensorrt_11
from tests.detect.test_recognise import SIZE, write
from tests.offline.clips import image_folder

STREET = "synthetic:1280x720@2?objects=20&seed=31&frames=2"


def report(
    fake: FakeBuilding,
    folder: Path,
    options: EngineOptions,
    pictures: str | None = STREET,
    present: Capability | None = ADA,
) -> BuildReport:
    model = square_finder(folder / "finder.onnx")
    cache = EngineCache(folder / "engines", fake.library)
    return build_engine(
        model, cache, fake.library, options, ADA, present=present, clock=SystemClock(), pictures=pictures
    )


def test_what_is_compared_is_in_the_precision_that_was_asked_for_even_if_flags_ask(tmp_path: Path) -> None:
    by_flag, by_graph = FakeBuilding(tensorrt_10()), FakeBuilding(tensorrt_11())
    half, int8 = (report(by_flag, tmp_path, EngineOptions(precision)) for precision in ("half", "int8"))
    assert half.agreement == report(by_graph, tmp_path, EngineOptions("half")).agreement
    assert int8.agreement == report(by_graph, tmp_path, EngineOptions("int8")).agreement
    assert half.agreement
    assert int8.agreement
    assert int8.agreement.score_difference > 10 * half.agreement.score_difference > 0
    assert half.file.plan == b"plan"
    assert half.seconds >= 0


def test_float_needs_no_pictures_and_no_comparison(tmp_path: Path) -> None:
    made = report(FakeBuilding(tensorrt_10()), tmp_path, EngineOptions("float"), pictures="no-such-folder")
    assert made.agreement is None


def test_int8_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"int8 needs pictures .* with --calibration"):
        report(FakeBuilding(tensorrt_10()), tmp_path, EngineOptions("int8"), pictures=None)


def test_half_is_compared_on_a_street_if_nothing_else_is_given(tmp_path: Path) -> None:
    made = report(FakeBuilding(tensorrt_11()), tmp_path, EngineOptions("half"), pictures=None)
    assert made.agreement
    assert made.agreement.n_objects > 10


def test_pictures_that_cannot_be_read_are_told_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no-such-folder"):
        report(FakeBuilding(tensorrt_11()), tmp_path, EngineOptions("half"), pictures="no-such-folder")
    assert not (tmp_path / "engines").exists()


def test_what_builds_for_the_gpu_at_hand_alone_builds_for_no_other(tmp_path: Path) -> None:
    with pytest.raises(EngineNotBuilt, match="only for the GPU in the machine"):
        report(FakeBuilding(tensorrt_10()), tmp_path, EngineOptions("float"), present=None)


def test_canvases_are_of_a_frequent_size_or_the_models_own(finder: NetworkDetector, tmp_path: Path) -> None:
    pictures = str(image_folder(tmp_path / "clip", 2))
    assert [canvas.shape for canvas in canvases_of(pictures, finder)] == [(384, 640, 3)] * 2
    fixed = on_processor(write(tmp_path / "model.onnx", encoders.yolov8, 80))
    assert [canvas.shape for canvas in canvases_of(pictures, fixed)] == [(SIZE.height, SIZE.width, 3)] * 2


def test_no_more_pictures_are_taken_than_it_learns_from(finder: NetworkDetector) -> None:
    assert len(list(canvases_of("synthetic:64x64@25?objects=1&frames=70", finder))) == 64


@pytest.mark.parametrize(
    ("size", "filled"), [(Size(200, 50), Size(100, 25)), (Size(50, 100), Size(30, 60)), (Size(20, 10), Size(100, 50))]
)
def test_a_picture_fills_the_canvas_as_far_as_its_shape_allows(size: Size, filled: Size) -> None:
    picture = BgrPicture(np.full((size.height, size.width, 3), 200, np.uint8))
    canvas = whole_on_canvas(picture, Size(100, 60), (1, 2, 3), CpuVision())
    assert canvas.shape == (60, 100, 3)
    is_picture = (canvas == 200).all(axis=2)
    assert is_picture[: filled.height, : filled.width].all()
    assert is_picture.sum() == filled.pixels
    assert (canvas[~is_picture] == (1, 2, 3)).all()
