"""Which models a client may name."""

from pathlib import Path

import pytest

from app.core.errors import ModelNotFound
from app.core.types import Detector
from app.sessions.detectors import DetectorCatalogue
from tests.sessions.fakes import BlindDetector


class Loader:
    def __init__(self) -> None:
        self.paths: list[Path] = []

    def __call__(self, path: Path) -> Detector:
        self.paths.append(path)
        return BlindDetector()


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "sub").mkdir(parents=True)
    for name in ("yolo.onnx", "sub/other.onnx", "notes.txt"):
        (folder / name).write_bytes(b"x")
    (tmp_path / "secret.onnx").write_bytes(b"x")
    (folder / "link.onnx").symlink_to(tmp_path / "secret.onnx")
    return folder


def test_names_and_files_of_the_folder_are_found(models_dir: Path) -> None:
    load = Loader()
    catalogue = DetectorCatalogue(BlindDetector(), (models_dir,), load)
    for name in ("yolo", "yolo.onnx", "sub/other", str(models_dir / "yolo.onnx")):
        catalogue.get(name)
    yolo, other = models_dir / "yolo.onnx", models_dir / "sub" / "other.onnx"
    assert load.paths == [yolo, yolo, other, yolo]


@pytest.mark.parametrize(
    "name",
    [
        "../secret.onnx",
        "../secret",
        "link",
        "notes.txt",
        "none",
        "sub",
        ".",
        "/etc/passwd",
        "x\0y",
        "y" * 5000,
        "a/" * 99,
    ],
)
def test_nothing_else_is_opened_or_told_apart(models_dir: Path, name: str) -> None:
    load = Loader()
    with pytest.raises(ModelNotFound, match=r"There is no model .* It has link, yolo\."):
        DetectorCatalogue(BlindDetector(), (models_dir,), load).get(name)
    assert load.paths == []


def test_the_default_serves_those_who_name_none_or_itself(tmp_path: Path) -> None:
    default = BlindDetector()
    catalogue = DetectorCatalogue(default, (tmp_path,), Loader())
    assert catalogue.get(None) is catalogue.get("blind") is catalogue.default is default
