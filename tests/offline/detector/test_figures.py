"""Figures: bodies take shape, pose and clothes; pictures of them show what is in front."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from app.core.errors import SettingsError
from app.offline.detector.figures import Assets
from app.offline.detector.sprites import View, draw
from tests.offline.detector.assets import SHIRT_BGR, SKIN_BGR, TARGETS, write_assets

FRONT = View(yaw=0, elevation=0, distance=8, light=np.array([0, 0, 1], np.float32), ambient=1.0)


@pytest.fixture
def assets(tmp_path: Path) -> Assets:
    return Assets(write_assets(tmp_path))


def test_a_target_changes_the_body_in_decimetres(assets: Assets) -> None:
    plain = assets.figure({}, {}, "plain", [])[0].vertices
    taller = assets.figure({TARGETS[0]: 0.5}, {}, "plain", [])[0].vertices
    assert np.ptp(taller[:8, 1]) == pytest.approx(np.ptp(plain[:8, 1]) + 2)
    assert np.allclose(taller[8:], plain[8:])


def test_a_pose_turns_what_hangs_on_the_bone_about_its_head(assets: Assets) -> None:
    body = assets.figure({}, assets.pose("arm_up"), "plain", [])[0].vertices
    head = np.array([2, 12.5, 0])
    rest = assets.figure({}, {}, "plain", [])[0].vertices
    assert np.allclose(body[:8], rest[:8])
    expected = head + (rest[8:16] - head) @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    assert np.allclose(body[8:16], expected, atol=1e-5)


def test_clothes_follow_the_body_and_hide_it(assets: Assets) -> None:
    body, shirt = assets.figure({TARGETS[0]: 1.0}, {}, "plain", ["clothes/shirt"])
    assert len(body.quads) == 6, "only the arm is seen"
    assert shirt.vertices[:, 1].max() == pytest.approx(20)
    assert shirt.vertices[:, 0].max() == pytest.approx(1.2)


def test_a_picture_is_cut_to_the_outline_and_shows_what_is_in_front(assets: Assets) -> None:
    picture = draw(assets.figure({}, {}, "plain", ["clothes/shirt"]), FRONT, 100)
    assert abs(picture.shape[0] - 100) <= 2
    opaque = picture[..., 3] // 128
    assert opaque.max(axis=1).all(), "no empty row, whatever lies below the feet without a face"
    assert opaque.max(axis=0)[[0, -1]].all()
    middle = picture[50, np.flatnonzero(opaque[50])[3], :3]
    assert np.abs(middle.astype(int) - SHIRT_BGR).max() < 12
    arm = picture[20, picture.shape[1] - 8]
    assert arm[3] > 127
    assert np.abs(arm[:3].astype(int) - SKIN_BGR).max() < 12
    assert not opaque[80, -10:].any(), "nothing hangs below the arm"


def test_a_surface_has_no_holes(assets: Assets) -> None:
    for yaw in np.linspace(0, 2 * np.pi, 7):
        view = View(float(yaw), 0.4, 3, FRONT.light, 0.6)
        picture = draw(assets.figure({}, {}, "plain", ["clothes/shirt"]), view, 160)
        clear = np.pad((picture[..., 3] <= 127).astype(np.uint8), 1, constant_values=1)
        _, regions = cv2.connectedComponents(clear, connectivity=4)
        assert np.all(regions[clear == 1] == regions[0, 0]), "all that is clear hangs together around the figure"


def test_a_camera_above_sees_the_top(assets: Assets) -> None:
    level = draw(assets.figure({}, {}, "plain", []), FRONT, 100)
    above = draw(assets.figure({}, {}, "plain", []), View(0, 1.2, 8, FRONT.light, 1.0), 100)
    assert above.shape[1] / above.shape[0] > 1.5 * level.shape[1] / level.shape[0]


def test_a_folder_without_assets_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not hold MakeHuman's assets"):
        Assets(tmp_path)
