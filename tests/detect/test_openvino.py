"""OpenVINO, where it is installed."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import BackendFailed, ModelUnreadable
from app.core.types import Size
from app.detect import openvino as module
from app.detect.detector import DetectorChoices, NetworkDetector
from app.detect.openvino import OpenVinoNetwork
from tests.detect.conftest import canvas_with, on_processor
from tests.detect.graphs import square_finder

RED = (0, 0, 255)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    return square_finder(tmp_path_factory.mktemp("models") / "finder.onnx")


@pytest.fixture(scope="module")
def finder(path: Path) -> NetworkDetector:
    network = OpenVinoNetwork(path, on_processor(path).signature, threads=1)
    return NetworkDetector("finder", network, DetectorChoices(), n_parallel=2)


def test_it_finds_what_onnx_runtime_finds(finder: NetworkDetector, path: Path) -> None:
    assert finder.backend == "openvino"
    usual = on_processor(path)
    for size in (Size(192, 128), Size(320, 192), Size(64, 64)):
        canvas = canvas_with(size, {(0, 0): RED, (1, 1): (255, 0, 0)})
        (mine,), (theirs,) = finder.detect(canvas), usual.detect(canvas)
        np.testing.assert_allclose(mine.boxes, theirs.boxes, atol=0.5)
        np.testing.assert_array_equal(mine.class_ids, theirs.class_ids)
        np.testing.assert_allclose(mine.scores, theirs.scores, atol=0.02)


def test_threads_that_share_it_do_not_disturb_each_other(finder: NetworkDetector) -> None:
    canvases = [canvas_with(Size(192, 128), {(n % 6, n % 4): RED}) for n in range(24)]
    alone = [finder.detect(canvas)[0].boxes.tolist() for canvas in canvases]
    with ThreadPoolExecutor(4) as pool:
        together = [found[0].boxes.tolist() for found in pool.map(finder.detect, canvases)]
    assert together == alone


def test_files_that_it_cannot_read_are_told(path: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelUnreadable, match="OpenVINO cannot read"):
        OpenVinoNetwork(tmp_path / "model.onnx", on_processor(path).signature, 1)


def test_errors_of_the_runtime_are_translated(finder: NetworkDetector, path: Path) -> None:
    network = OpenVinoNetwork(path, finder.signature, 1)
    with pytest.raises(BackendFailed):
        network.run(None, {"images": np.zeros((1, 5, 64, 64), np.float32)})


class Core:
    """Of a processor."""

    def __init__(self, name: str) -> None:
        self._name = name

    def get_property(self, device: str, name: str) -> str:
        assert (device, name) == ("CPU", "FULL_DEVICE_NAME")
        return self._name


def test_it_is_tried_unasked_on_intels_processors_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_core", lambda: Core("Intel(R) Xeon(R)"))
    module.check_is_made_for_this()
    monkeypatch.setattr(module, "_core", lambda: Core("AMD EPYC"))
    with pytest.raises(BackendFailed, match="Intel's processors only, and this one is AMD EPYC"):
        module.check_is_made_for_this()


def test_without_openvino_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendFailed, match=r"not installed: pip install 'flexpatch-service\[openvino\]'"):
        module.check_is_made_for_this()
