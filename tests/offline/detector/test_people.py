"""People: every name that they need is checked, and each is another, the same one for the same seed."""

from pathlib import Path

import numpy as np
import pytest

from app.core.errors import SettingsError
from app.offline.detector import people
from app.offline.detector.figures import Assets
from app.offline.detector.sprites import outlined
from tests.offline.detector.assets import write_assets, write_wardrobe


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Assets:
    return Assets(write_wardrobe(tmp_path_factory.mktemp("assets")))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "HEIGHT", 40)


def test_what_people_need_is_all_that_they_take(assets: Assets) -> None:
    people.check(assets)
    for seed in range(40):
        people.person(assets, np.random.default_rng(seed))


def test_what_is_lacking_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"The assets lack akimbo01, clothes/Coat, .* and more"):
        people.check(Assets(write_assets(tmp_path)))


def test_the_sides_of_a_cut_out_are_those_of_the_person(assets: Assets) -> None:
    for seed in range(20):
        opaque = people.person(assets, np.random.default_rng(seed))[..., 3] // 128
        assert abs(len(opaque) - people.HEIGHT) <= 4
        for side in (opaque[0], opaque[-1], opaque[:, 0], opaque[:, -1]):
            assert side.any()


def test_people_differ_and_the_same_seed_gives_the_same_one(assets: Assets) -> None:
    cut_outs = [people.person(assets, np.random.default_rng(seed)) for seed in (1, 2, 3, 1)]
    assert np.array_equal(cut_outs[0], cut_outs[3])
    assert len({cut_out.tobytes() for cut_out in cut_outs}) == 3


def test_people_are_rendered_once_and_only_those_asked_for_are_given(assets: Assets, tmp_path: Path) -> None:
    first = list(people.render(assets, tmp_path, range(3), 1))
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(written) == 3
    again = list(people.render(assets, tmp_path, range(2), 1))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written
    assert len(again) == 2
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=False))


def test_an_outline_is_what_is_opaque() -> None:
    picture = np.zeros((10, 12, 4), np.uint8)
    picture[2:7, 3:5, 3] = 255
    picture[8, 9, 3] = 100
    assert outlined(picture).shape == (5, 2, 4)
