"""Learning what a teacher says of every cell."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed: PyTorch is missing")
torch.set_num_threads(1)

from app.cli import main  # noqa: E402
from app.core.errors import SettingsError  # noqa: E402
from app.core.types import Size  # noqa: E402
from app.detect.loader import load_detector  # noqa: E402
from app.offline.detector.canvases import CanvasMaker  # noqa: E402
from app.offline.detector.fit import fit  # noqa: E402
from app.offline.detector.imitation import Imitated, Imitator, imitation_loss  # noqa: E402
from app.offline.detector.network import N_BOX, cells  # noqa: E402
from tests.detect import encoders  # noqa: E402
from tests.detect.encoders import Encoder, Objects  # noqa: E402
from tests.detect.graphs import constant_model, square_finder  # noqa: E402
from tests.offline.detector.builders import figure, scene  # noqa: E402
from tests.offline.detector.test_train import QUICK, weights  # noqa: E402


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finds blue, green and red squares of 32 pixels."""
    return square_finder(tmp_path_factory.mktemp("teacher") / "squares.onnx")


def maker() -> CanvasMaker:
    return CanvasMaker([[scene()]], [1.0], [figure()], 1)


def test_it_says_what_the_teacher_says_of_each_cell(teacher: Path) -> None:
    imitated = Imitated(load_detector(teacher))
    canvas = np.zeros((1, 96, 128, 3), np.uint8)
    canvas[0, 32:64, 96:128, 2] = 230
    said = imitated.says(torch.from_numpy(canvas.transpose(0, 3, 1, 2)))
    centres, strides = cells(96, 128)
    assert said.shape == (1, 4 + 1 + 3, len(centres))
    scores = said[0, N_BOX].sigmoid() * said[0, N_BOX + 1 :].sigmoid()
    red = int(scores[2].argmax())
    assert (*centres[red].tolist(), float(strides[red])) == (112, 48, 32)
    assert float(scores[2, red]) == pytest.approx(2 * 230 / 255 - 1, abs=0.01)
    assert said[0, :N_BOX, red].tolist() == pytest.approx([0.5, 0.5, 0, 0])
    assert int((scores > 0.01).sum()) == 1


EVEN = torch.ones(4, 1)


def test_the_loss_is_nothing_only_where_both_say_the_same() -> None:
    torch.manual_seed(1)
    wanted = torch.randn(2, 4 + 1 + 3, 50)
    assert float(imitation_loss(wanted, wanted, EVEN)) == 0
    apart = wanted.clone()
    apart[:, N_BOX + 2] += 1
    farther = wanted.clone()
    farther[:, N_BOX + 2] += 2
    assert 0 < float(imitation_loss(apart, wanted, EVEN)) < float(imitation_loss(farther, wanted, EVEN))


def test_cells_count_where_the_teacher_sees_something() -> None:
    wanted = torch.zeros(1, 4 + 1 + 1, 2)
    wanted[0, N_BOX] = torch.tensor([6.0, -6.0])
    seen, unseen = wanted.clone(), wanted.clone()
    seen[0, 0, 0] += 1
    unseen[0, 0, 1] += 1
    assert float(imitation_loss(seen, wanted, EVEN[:2])) > 15 * float(imitation_loss(unseen, wanted, EVEN[:2])) > 0


@pytest.mark.parametrize(
    ("classes", "expected"),
    [(("car", "truck", "dog"), [1, 0.5, 0.5, 1]), (("person", "cat", "dog"), [1, 1, 0.5, 0.5])],
)
def test_a_class_of_ours_weighs_as_much_as_all_others_together(
    classes: tuple[str, ...], expected: list[float], tmp_path: Path
) -> None:
    path = square_finder(tmp_path / "squares.onnx", metadata={"names": repr(dict(enumerate(classes)))})
    assert Imitated(load_detector(path)).importance[:, 0].tolist() == pytest.approx(expected)


def test_the_network_comes_nearer_to_the_teacher(teacher: Path, tmp_path: Path) -> None:
    imitated = Imitated(load_detector(teacher))
    schedule = replace(QUICK, rounds=(60,), batch=4, warm_up=5, learning_rate=0.01)
    apart = [item.imitation for item in fit(maker(), 2, schedule, tmp_path / "checkpoint.pt", 1, imitated=imitated)]
    assert np.mean(apart[-8:]) < 0.7 * np.mean(apart[:4])


def test_what_is_imitated_reaches_the_network(teacher: Path, tmp_path: Path) -> None:
    imitated = Imitated(load_detector(teacher))
    list(fit(maker(), 2, QUICK, tmp_path / "alone.pt", 1))
    list(fit(maker(), 2, QUICK, tmp_path / "taught.pt", 1, imitated=imitated))
    list(fit(maker(), 2, replace(QUICK, imitation=0.0), tmp_path / "deaf.pt", 1, imitated=imitated))
    stem = "stem.0.0.weight"
    alone, taught, deaf = (weights(tmp_path / f"{name}.pt")[stem] for name in ("alone", "taught", "deaf"))
    assert not np.allclose(alone, taught, atol=1e-4)
    assert np.allclose(alone, deaf, atol=1e-4)


def test_interrupted_it_ends_with_the_same_weights(teacher: Path, tmp_path: Path) -> None:
    imitated = Imitated(load_detector(teacher))
    list(fit(maker(), 2, QUICK, tmp_path / "whole.pt", 1, imitated=imitated))
    for progress in fit(maker(), 2, QUICK, tmp_path / "parts.pt", 1, imitated=imitated):
        if progress.step == 4:
            break
    list(fit(maker(), 2, QUICK, tmp_path / "parts.pt", 1, imitated=imitated))
    whole, parts = weights(tmp_path / "whole.pt"), weights(tmp_path / "parts.pt")
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)


def test_the_imitator_has_a_column_for_each_number() -> None:
    levels = tuple(torch.zeros(1, 48, 12 // scale, 16 // scale) for scale in (1, 2, 4))
    assert Imitator(85)(levels).shape == (1, 85, 12 * 16 + 6 * 8 + 3 * 4)


OBJECTS = Objects(np.array([[10, 10, 90, 100]], np.float32), np.array([0.8], np.float32), np.zeros(1, np.int32))


@pytest.mark.parametrize(
    "encode",
    [encoders.yolov8, partial(encoders.yolo, per_cell=1), encoders.yolox],
    ids=["another layout", "decoded in the graph", "of one size"],
)
def test_only_a_teacher_with_the_same_cells_can_be_imitated(
    encode: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = constant_model(tmp_path / "other.onnx", {"output": encode(OBJECTS, Size(192, 128), 80)[0]})
    with pytest.raises(SettingsError, match="other cannot be imitated: it must have YOLOX's layout"):
        Imitated(load_detector(path))
    assert main(["train-detector", "--output", str(tmp_path / "out"), "--imitate", str(path)]) == 2
    assert "other cannot be imitated" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
