"""Where the tests of real weights and real frames find them; without them those tests skip."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.core.types import Size
from app.detect.detector import DetectorChoices, NetworkDetector
from app.detect.onnx import load_on_processor
from tests.conftest import data_folder
from tests.detect.graphs import square_finder


@pytest.fixture(scope="session")
def street() -> dict[int, NDArray[np.uint8]]:
    """Some frames of ADL-Rundle-6, by number."""
    folder = data_folder() / "ADL-Rundle-6" / "img1"
    if not folder.is_dir():
        pytest.skip("no ADL-Rundle-6 in FLEXPATCH_DATA")
    frames = {}
    for number in (1, 80, 160, 240):
        picture = cv2.imread(str(folder / f"{number:06d}.jpg"))
        assert picture is not None
        frames[number] = np.asarray(picture, np.uint8)
    return frames


@pytest.fixture(scope="session")
def people() -> NDArray[np.float32]:
    """Ground truth of ADL-Rundle-6: (M, 5) frame number and box xyxy of every person to be found."""
    path = data_folder() / "ADL-Rundle-6" / "gt" / "gt.txt"
    if not path.is_file():
        pytest.skip("no ADL-Rundle-6 in FLEXPATCH_DATA")
    rows = np.loadtxt(path, delimiter=",")
    rows = rows[rows[:, 6] == 1]
    return np.column_stack([rows[:, 0], rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]]).astype(np.float32)


@pytest.fixture(scope="session")
def finder(tmp_path_factory: pytest.TempPathFactory) -> NetworkDetector:
    """A detector of coloured squares, for any canvas."""
    return on_processor(square_finder(tmp_path_factory.mktemp("models") / "finder.onnx"))


def on_processor(
    path: Path,
    *,
    family: str | None = None,
    score_floor: float = 0.05,
    nms_iou: float | None = None,
    threads: int | None = None,
) -> NetworkDetector:
    """A detector that ONNX Runtime runs on the processor."""
    return load_on_processor(path, DetectorChoices(family, score_floor, nms_iou), threads)


def canvas_with(size: Size, squares: dict[tuple[int, int], tuple[int, int, int]]) -> NDArray[np.uint8]:
    """(1, H, W, 3) grey canvas with squares of 32 pixels: cell (column, row) to BGR colour."""
    canvas = np.full((1, size.height, size.width, 3), 114, np.uint8)
    for (column, row), colour in squares.items():
        canvas[0, row * 32 : row * 32 + 32, column * 32 : column * 32 + 32] = colour
    return canvas


def error_of(path: Path, family: str | None = None) -> str:
    """The message with which a model is refused."""
    with pytest.raises(ModelError) as caught:
        on_processor(path, family=family)
    return str(caught.value)
