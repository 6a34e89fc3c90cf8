"""Files that are models, files that are not, and sharing."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.errors import ModelError, ModelNotFound, ModelUnreadable
from app.core.types import Detector
from app.detect.loader import DetectorStore, load_detector
from tests.detect.graphs import constant_model, square_finder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return square_finder(tmp_path_factory.mktemp("models") / "squares.onnx")


@pytest.fixture
def loads() -> list[Path]:
    """What a store has loaded."""
    return []


def store_of(loads: list[Path], *folders: Path) -> DetectorStore[Detector]:
    def load(path: Path, family: str | None) -> Detector:
        loads.append(path)
        return load_detector(path, family=family, threads=1)

    return DetectorStore(load, folders)


def test_a_file_is_loaded_and_named_after_itself(model: Path) -> None:
    assert load_detector(model).name == "squares"
    assert load_detector(str(model), family="yolox").name == "squares"


def test_a_name_is_looked_up_in_the_folders(model: Path, tmp_path: Path) -> None:
    assert load_detector("squares", folders=[tmp_path, model.parent]).name == "squares"


def test_a_missing_model_is_reported_with_the_known_names(model: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"no model 'circles'.*Installed: squares\."):
        load_detector("circles", folders=[model.parent])
    with pytest.raises(ModelNotFound, match="give the path"):
        load_detector(model.parent / "circles.onnx")


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelUnreadable, match="is a folder"):
        load_detector(tmp_path)


def test_an_empty_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(ModelUnreadable, match="is empty"):
        load_detector(tmp_path / "model.onnx")


def test_a_text_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("Not Found\n")
    with pytest.raises(ModelUnreadable, match="cannot be read as an ONNX model"):
        load_detector(tmp_path / "model.onnx")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_no_model(model: Path, share: float, tmp_path: Path) -> None:
    data = model.read_bytes()
    (tmp_path / "model.onnx").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelUnreadable):
        load_detector(tmp_path / "model.onnx")


@given(st.binary(min_size=1, max_size=200))
@settings(max_examples=30)
def test_any_bytes_are_refused_with_an_error_of_ours(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError):
        load_detector(path)


def test_tensorrt_engines_are_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "model.engine").write_bytes(b"ftrt")
    with pytest.raises(ModelError, match=r"TensorRT engine.*give the ONNX file"):
        load_detector(tmp_path / "model.engine")


def test_a_model_that_is_no_detector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="fit no known detector"):
        load_detector(constant_model(tmp_path / "model.onnx", {"o": np.zeros((1, 10), np.float32)}))


def test_a_store_shares_one_detector_while_it_is_held(model: Path, loads: list[Path]) -> None:
    store = store_of(loads, model.parent)
    first = store.get(model)
    assert store.get("squares") is first
    assert store.get(model.parent / "." / "squares.onnx") is first
    assert (len(loads), len(store)) == (1, 1)
    assert store.get(model, family="yolox") is not first
    del first
    assert len(store) == 0
    store.get(model)
    assert len(loads) == 3


def test_a_store_loads_a_replaced_file_anew(model: Path, loads: list[Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(model, tmp_path / "model.onnx"))
    store = store_of(loads)
    first = store.get(path)
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000))
    assert store.get(path) is not first


def test_threads_that_ask_a_store_at_once_get_one_detector(model: Path, loads: list[Path]) -> None:
    store = store_of(loads)
    with ThreadPoolExecutor(8) as pool:
        detectors = list(pool.map(lambda _: store.get(model), range(16)))
    assert len({id(detector) for detector in detectors}) == len(loads) == 1


def test_a_store_keeps_nothing_of_a_model_that_fails(loads: list[Path], tmp_path: Path) -> None:
    store = store_of(loads)
    with pytest.raises(ModelNotFound):
        store.get(tmp_path / "missing.onnx")
    assert len(store) == 0
