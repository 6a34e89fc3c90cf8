"""The second detector of the README's tables."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from app.core.types import Size
from app.detect.loader import load_detector
from tests.offline.evaluation.free_nanodet import freed


@pytest.fixture(scope="module")
def fixed_file(weights: Path) -> Path:
    path = weights / "nanodet_m_416.onnx"
    if not path.is_file():
        pytest.skip(f"no {path.name} among the weights")
    return path


@pytest.fixture(scope="module")
def free_file(fixed_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nanodet") / "nanodet_m.onnx"
    onnx.save(freed(onnx.load(fixed_file)), path)
    return path


def test_at_its_own_size_it_answers_as_before(fixed_file: Path, free_file: Path) -> None:
    pixels = np.random.default_rng(0).normal(0, 1, (1, 3, 416, 416)).astype(np.float32)
    before, after = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"input.1": pixels})
        for path in (fixed_file, free_file)
    )
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("canvas", [Size(320, 192), Size(640, 384)])
def test_it_takes_other_canvases(free_file: Path, canvas: Size) -> None:
    detector = load_detector(free_file)
    assert detector.input_sizes.accepts(canvas)
    assert len(detector.detect(np.full((1, canvas.height, canvas.width, 3), 114, np.uint8))) == 1


def test_another_network_is_refused(weights: Path) -> None:
    with pytest.raises(ValueError, match="no NanoDet-m"):
        freed(onnx.load(weights / "yolox_nano_416.onnx"))
