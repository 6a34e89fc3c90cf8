"""A tiny folder in the form of MakeHuman's assets: a box for a body, with an arm that one bone turns, and a shirt."""

import json
from collections.abc import Iterable
from pathlib import Path
from shutil import copytree
from typing import cast

import cv2
import numpy as np

from app.offline.detector import people
from app.offline.detector.figures import Assets

SKIN_BGR, SHIRT_BGR = (120, 160, 210), (200, 40, 40)
TARGETS = ("macrodetails/taller.target",)


def write_assets(folder: Path) -> Path:
    """The folder that `Assets` takes. The last vertex belongs to no face and lies far below, as helpers do."""
    data = folder / "public" / "data"
    body = [(x, y, z) for x in (-1, 1) for y in (0, 16) for z in (-1, 1)]
    arm = [(x, y, z) for x in (2, 8) for y in (12, 13) for z in (-0.5, 0.5)]
    vertices = np.array([*body, *arm, (0, -9, 0)], float)
    quads = [_box_quads(0), _box_quads(8)]
    weights = np.zeros((17, 2))
    weights[:, 0] = 1
    indices = np.zeros((17, 2), int)
    indices[8:16, 0] = 2
    mesh = {
        "vertices": vertices.ravel().tolist(),
        "faces": _faces(np.concatenate(quads)),
        "uvs": [[0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0]],
        "influencesPerVertex": 2,
        "skinIndices": indices.ravel().tolist(),
        "skinWeights": weights.ravel().tolist(),
        "bones": [
            {"name": "root____head", "parent": -1},
            {"name": "root", "parent": 0},
            {"name": "upperarm01.L____head", "parent": 0},
            {"name": "upperarm01.L", "parent": 2},
        ],
        "metadata": {
            "joint_pos_idxs": {
                "root____head": [0, 1],
                "root____tail": [2, 3],
                "upperarm01.L____head": [8, 9, 10, 11],
                "upperarm01.L____tail": [12, 13, 14, 15],
            }
        },
    }
    _write(data / "models" / "human_full_size.json", mesh)
    shirt = {
        "vertices": (vertices[:8] * 1.2).ravel().tolist(),
        "faces": _faces(_box_quads(0)),
        "uvs": mesh["uvs"],
        "influencesPerVertex": 2,
        "skinIndices": [0] * 16,
        "skinWeights": [1.0, 0.0] * 8,
        "ref_vIdxs": [[row, row, row] for row in range(8)],
        "weights": [[1.0, 0.0, 0.0]] * 8,
        "offsets": (np.array(body) * 0.2 * (1, 0, 1)).tolist(),
        "materials": [{"mapDiffuse": "textures/shirt.png"}],
        "metadata": {"deleteVerts": [1] * 8 + [0] * 9},
    }
    _write(data / "proxies" / "clothes" / "shirt" / "shirt.json", shirt)
    _paint(data / "proxies" / "clothes" / "shirt" / "textures" / "shirt.png", SHIRT_BGR)
    _paint(data / "skins" / "plain" / "textures" / "plain_diffuse.png", SKIN_BGR)
    _write(folder / "src" / "json" / "targets" / "target-list.json", {"targets": {f"data/targets/{TARGETS[0]}": []}})
    taller = np.zeros((1, 17, 3), np.int16)
    taller[0, [2, 3, 6, 7], 1] = 4000
    (data / "targets").mkdir(parents=True)
    taller.tofile(data / "targets" / "targets.bin")
    half_turn = [0.0, 0.0, float(np.sin(np.pi / 4)), float(np.cos(np.pi / 4))]
    _write(folder / "src" / "json" / "poses" / "poses.json", {"arm_up": {"upperarm01.L": half_turn}})
    return folder


class _Wanted:
    """Stands for assets, and notes what is asked for."""

    names: dict[str, list[str]]

    def lacks(self, **names: Iterable[str]) -> list[str]:
        self.names = {kind: list(wanted) for kind, wanted in names.items()}
        return []


def write_wardrobe(folder: Path) -> Path:
    """The folder with all that `people` needs: every garment is the shirt, every pose has the arm up."""
    write_assets(folder)
    wanted = _Wanted()
    people.check(cast(Assets, wanted))
    data = folder / "public" / "data"
    for name in wanted.names["garments"]:
        copytree(data / "proxies" / "clothes" / "shirt", data / "proxies" / name)
        (data / "proxies" / name / "shirt.json").rename(data / "proxies" / name / f"{Path(name).name}.json")
    for name in wanted.names["skins"]:
        copytree(data / "skins" / "plain", data / "skins" / name)
    targets = wanted.names["targets"]
    _write(folder / "src" / "json" / "targets" / "target-list.json", {"targets": dict.fromkeys(targets)})
    np.zeros((len(targets), 17, 3), np.int16).tofile(data / "targets" / "targets.bin")
    poses = folder / "src" / "json" / "poses" / "poses.json"
    arm_up = json.loads(poses.read_text())["arm_up"]
    _write(poses, dict.fromkeys(wanted.names["poses"], arm_up))
    return folder


def _box_quads(first: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Six faces of the box with corners in the order of x, y, z."""
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return np.array(quads) + first


def _faces(quads: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> list[int]:
    rows = [[11, *quad, 0, 0, 1, 2, 3] for quad in quads.tolist()]
    return [number for row in rows for number in row]


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _paint(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 8, 3), colour, np.uint8))
