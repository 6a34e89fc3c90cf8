"""People on foot: a jointed skeleton that walks, clothed in rounded limbs, seen from any side."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.ingest.street_sprites import Colour, Sketch, Sprite

GAIT_PHASES = 16
"""Steps of one walking cycle (a left and a right step)."""
VIEWS = 16
"""Directions in which a figure can face."""
STANDING = -1
"""The phase of a figure that stands still."""
STRIDE_M = 1.42
"""Ground covered in one walking cycle by a figure of usual height."""
USUAL_HEIGHT_M = 1.75

_THIGH_M, _SHIN_M, _SOLE_M = 0.44, 0.42, 0.035
_PITCH = 0.16
"""How much higher in the picture a point lies that is farther away: the camera looks down."""

_SKINS: tuple[Colour, ...] = ((138, 172, 222), (120, 150, 205), (84, 118, 175), (58, 82, 128), (40, 56, 90))
_HAIRS: tuple[Colour, ...] = ((22, 24, 28), (32, 42, 60), (48, 74, 110), (90, 140, 175), (120, 122, 125))
_TOPS: tuple[Colour, ...] = (
    (40, 40, 44),
    (200, 200, 205),
    (130, 70, 45),
    (52, 46, 150),
    (70, 100, 60),
    (150, 148, 140),
    (60, 130, 190),
    (160, 110, 60),
    (35, 30, 90),
    (110, 175, 205),
)
_BOTTOMS: tuple[Colour, ...] = ((46, 40, 38), (95, 66, 48), (60, 58, 60), (120, 150, 165), (35, 36, 40), (130, 96, 70))

Vector = tuple[float, float, float]
"""Forward, up, left in metres, in the figure's own frame."""


@dataclass(frozen=True, slots=True)
class Look:
    """Body and clothes of one figure."""

    height_m: float
    girth: float
    skin: Colour
    hair: Colour
    top: Colour
    bottom: Colour
    shoes: Colour
    has_long_hair: bool
    has_long_sleeves: bool
    has_skirt: bool
    has_coat: bool
    has_backpack: bool
    has_bag: bool
    stripes_m: float
    seed: int

    @classmethod
    def of(cls, seed: int) -> "Look":
        """The look that belongs to a number."""
        rng = np.random.default_rng((seed, 11))

        def pick(colours: tuple[Colour, ...]) -> Colour:
            base = np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.85, 1.15)
            blue, green, red = np.clip(base + rng.normal(0, 6, 3), 12, 240).tolist()
            return (blue, green, red)

        is_woman = bool(rng.random() < 0.5)
        return cls(
            height_m=float(np.clip(rng.normal(1.68 if is_woman else 1.79, 0.07), 1.45, 2.0)),
            girth=float(rng.uniform(0.92, 1.18)),
            skin=_SKINS[rng.integers(len(_SKINS))],
            hair=_HAIRS[rng.integers(len(_HAIRS))],
            top=pick(_TOPS),
            bottom=pick(_BOTTOMS),
            shoes=pick(((30, 30, 34), (60, 80, 110), (190, 190, 195))),
            has_long_hair=is_woman and bool(rng.random() < 0.7),
            has_long_sleeves=bool(rng.random() < 0.6),
            has_skirt=is_woman and bool(rng.random() < 0.3),
            has_coat=bool(rng.random() < 0.2),
            has_backpack=bool(rng.random() < 0.25),
            has_bag=is_woman and bool(rng.random() < 0.4),
            stripes_m=float(rng.choice([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.05, 0.08])),
            seed=seed,
        )


@dataclass(frozen=True, slots=True)
class _Leg:
    hip: Vector
    knee: Vector
    ankle: Vector
    toe: Vector


def draw_figure(look: Look, phase: int, view: int, px_per_m: float, tile: NDArray[np.float32]) -> Sprite:
    """A figure as a sprite that stands on its anchor.

    Args:
        look: who it is.
        phase: 0 to GAIT_PHASES − 1, or STANDING.
        view: 0 walks to the right, VIEWS / 4 away from the camera, VIEWS / 2 to the left.
        px_per_m: size.
        tile: cloth, from `street_sprites.grain`.
    """
    return _Figure(look, phase, view, px_per_m, tile).draw()


class _Figure:
    """One drawing in progress. Lengths are metres of a figure of usual height until they are projected."""

    def __init__(self, look: Look, phase: int, view: int, px_per_m: float, tile: NDArray[np.float32]) -> None:
        self.look = look
        self.cycle = 2 * math.pi * phase / GAIT_PHASES
        self.amount = 0.0 if phase == STANDING else 1.0
        angle = 2 * math.pi * view / VIEWS
        self.cos, self.sin = math.cos(angle), math.sin(angle)
        self.scale = px_per_m * look.height_m / USUAL_HEIGHT_M
        self.px_per_m = px_per_m
        width, height = math.ceil(1.7 * self.scale) + 4, math.ceil(2.15 * self.scale) + 4
        self.sheet = Sketch(width, height, tile, look.seed)
        self.origin = (width / 2, height - 0.22 * self.scale)
        self.parts: list[tuple[float, Callable[[], None]]] = []
        legs = [self._leg(self.cycle, 0.095), self._leg(self.cycle + math.pi, -0.095)]
        ground = min(min(leg.ankle[1] - 0.05, leg.toe[1]) for leg in legs) - _SOLE_M
        self.legs = [_Leg(*(self._up(joint, -ground) for joint in _joints(leg))) for leg in legs]
        self.hip_m = -ground

    def draw(self) -> Sprite:
        for leg in self.legs:
            self._dress_leg(leg)
        self._dress_torso()
        for side in (1, -1):
            self._dress_arm(side)
        self._dress_head()
        for _, paint in sorted(self.parts, key=lambda part: -part[0]):
            paint()
        return self.sheet.cut(self.origin, self.px_per_m)

    @staticmethod
    def _up(joint: Vector, rise: float) -> Vector:
        return (joint[0], joint[1] + rise, joint[2])

    def _leg(self, cycle: float, left: float) -> _Leg:
        """Joints with the hips at height 0: the thigh swings, the knee bends while it comes forward."""
        thigh = self.amount * (0.44 * math.cos(cycle) + 0.05)
        lag = math.remainder(cycle - 1.40 * math.pi, 2 * math.pi)
        bend = 0.04 + self.amount * (0.12 + 0.95 * math.exp(-((lag / 0.75) ** 2)))
        shin = thigh - bend
        hip = (0.0, 0.0, left)
        knee = (_THIGH_M * math.sin(thigh), -_THIGH_M * math.cos(thigh), left)
        ankle = (knee[0] + _SHIN_M * math.sin(shin), knee[1] - _SHIN_M * math.cos(shin), left * 0.85)
        foot = self.amount * 0.75 * (shin + 0.1)
        toe = (ankle[0] + 0.19 * math.cos(foot), ankle[1] - 0.05 + 0.19 * math.sin(foot), left)
        return _Leg(hip, knee, ankle, toe)

    def _project(self, joint: Vector) -> tuple[tuple[float, float], float]:
        """Where a joint is on the sheet, and how far behind the figure's middle it lies."""
        forward, up, left = joint
        depth = forward * self.sin + left * self.cos
        x = forward * self.cos - left * self.sin
        return (self.origin[0] + self.scale * x, self.origin[1] - self.scale * (up + _PITCH * depth)), depth

    def _limb(
        self,
        start: Vector,
        end: Vector,
        radii: tuple[float, ...],
        colour: Colour,
        *,
        nearer: float = 0.0,
        weave: float = 0.07,
        stripes: float = 0.0,
        is_hemmed: bool = False,
    ) -> None:
        a, depth_a = self._project(start)
        b, depth_b = self._project(end)
        sizes = [self.scale * radius for radius in radii]
        depth = (depth_a + depth_b) / 2 - nearer
        dim = 1 - 0.35 * min(max(depth, 0.0), 0.3) / 0.3
        colour = (colour[0] * dim, colour[1] * dim, colour[2] * dim)
        self.parts.append(
            (
                depth,
                lambda: self.sheet.limb(
                    a, b, sizes, colour, weave=weave, stripes=stripes * self.scale, is_hemmed=is_hemmed
                ),
            )
        )

    def _across(self, front: float, side: float) -> float:
        """Half width on the sheet of something `front` wide and `side` deep."""
        return math.hypot(front * self.sin, side * self.cos)

    def _dress_leg(self, leg: _Leg) -> None:
        look, girth = self.look, self.look.girth
        bare = look.has_skirt
        cloth = look.skin if bare else look.bottom
        wide = girth * (0.9 if bare else 1.08)
        self._limb(leg.hip, leg.knee, (0.098 * wide, 0.088 * wide, 0.066 * wide), cloth)
        self._limb(leg.knee, leg.ankle, (0.064 * wide, 0.062 * wide, 0.05 * wide), cloth, nearer=0.001)
        heel = (leg.ankle[0] - 0.04, leg.ankle[1] - 0.045, leg.ankle[2])
        self._limb(heel, leg.toe, (0.045, 0.048, 0.034), look.shoes, nearer=0.002, weave=0.03)

    def _dress_torso(self) -> None:
        look, girth = self.look, self.look.girth
        hip, neck = self.hip_m, self.hip_m + 0.55
        front = (0.06, 0.15, 0.182, 0.18, 0.168, 0.16, 0.165, 0.172)
        side = (0.05, 0.095, 0.122, 0.125, 0.115, 0.112, 0.122, 0.122)
        widths = tuple(girth * self._across(f, s) for f, s in zip(front, side, strict=True))
        lean = 0.03 * self.amount
        top: Vector = (lean, neck, 0.0)
        self._limb(
            (0, hip + 0.06, 0), (0, hip - 0.07, 0), (widths[-1] * 0.96, widths[-1] * 0.9), look.bottom, nearer=0.06
        )
        if look.has_skirt:
            swing = 0.03 * math.sin(2 * self.cycle)
            hem = self._across(0.21, 0.19) * girth
            self._limb(
                (0, hip + 0.05, 0), (swing, hip - 0.34, 0), (widths[-1], hem), look.bottom, nearer=0.12, is_hemmed=True
            )
        self._limb(top, (0, hip - 0.06, 0), widths, look.top, nearer=0.13, stripes=look.stripes_m, is_hemmed=True)
        if look.has_coat:
            hem = self._across(0.2, 0.18) * girth
            self._limb((0, hip + 0.1, 0), (0, hip - 0.28, 0), (widths[-2], hem), look.top, nearer=0.14, is_hemmed=True)
        if look.has_backpack:
            away = self.sin > 0.1
            pack = self._across(0.14, 0.085)
            at = -0.17
            self._limb(
                (at, neck - 0.09, 0),
                (at, neck - 0.38, 0),
                (pack * 0.85, pack, pack),
                _darker(look.bottom, 0.8),
                nearer=0.36 if away else -0.1,
            )
        if look.has_bag:
            self._limb((0.03, hip + 0.02, -0.21), (0.03, hip - 0.14, -0.21), (0.07, 0.1, 0.1), _darker(look.shoes, 0.9))

    def _dress_arm(self, side: int) -> None:
        look = self.look
        swing = -side * 0.42 * math.cos(self.cycle) * self.amount
        bend = 0.18 + self.amount * 0.28
        shoulder: Vector = (0.02, self.hip_m + 0.475, side * 0.172 * look.girth)
        elbow: Vector = (
            shoulder[0] + 0.29 * math.sin(swing - 0.05),
            shoulder[1] - 0.29 * math.cos(swing),
            shoulder[2] + side * 0.05,
        )
        hand: Vector = (
            elbow[0] + 0.26 * math.sin(swing + bend),
            elbow[1] - 0.26 * math.cos(swing + bend),
            elbow[2],
        )
        beside = 0.15 if side * self.cos < 0 else 0.0
        sleeve = look.top if look.has_long_sleeves else look.skin
        self._limb(elbow, hand, (0.046, 0.042, 0.034), sleeve, nearer=beside)
        self._limb(shoulder, elbow, (0.06, 0.056, 0.05), look.top, nearer=beside + 0.001, stripes=look.stripes_m)
        tip: Vector = (hand[0] + 0.01, hand[1] - 0.06, hand[2])
        self._limb(hand, tip, (0.036, 0.04), look.skin, nearer=beside, weave=0.02)

    def _dress_head(self) -> None:
        look = self.look
        base, lean = self.hip_m + 0.55, 0.03 * self.amount + 0.02
        chin: Vector = (lean + 0.02, base + 0.105, 0)
        crown: Vector = (lean, base + 0.235, 0)
        self._limb((lean - 0.01, base - 0.02, 0), (lean, base + 0.1, 0), (0.058, 0.052), look.skin, nearer=0.131)
        round_ = self._across(0.0, 0.012)
        self._limb(chin, crown, (0.066, 0.084 + round_, 0.089 + round_, 0.082), look.skin, nearer=0.2, weave=0.03)
        is_behind = self.sin > -0.35
        hair_from: Vector = (lean - 0.028, base + (0.02 if look.has_long_hair else 0.17), 0)
        hair_to: Vector = (lean - 0.018, base + 0.25, 0)
        wide = (0.088, 0.1, 0.098, 0.09) if look.has_long_hair else (0.08, 0.092, 0.094, 0.088)
        self._limb(hair_from, hair_to, wide, look.hair, nearer=0.23 if is_behind else 0.05, weave=0.18)
        self._limb(
            (lean + 0.015, base + 0.265, 0),
            (lean - 0.02, base + 0.27, 0),
            (0.066, 0.07),
            look.hair,
            nearer=0.24,
            weave=0.18,
        )
        if self.sin < 0.3:
            for left in (0.032, -0.032):
                eye: Vector = (lean + 0.085, base + 0.175, left)
                if self._project(eye)[1] < 0.02:
                    self._limb(eye, (eye[0], eye[1] + 0.004, left), (0.011, 0.011), _darker(look.skin, 0.4), nearer=0.3)


def _joints(leg: _Leg) -> tuple[Vector, Vector, Vector, Vector]:
    return (leg.hip, leg.knee, leg.ankle, leg.toe)


def _darker(colour: Colour, factor: float) -> Colour:
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)
