"""The plan of the street: where houses, doors, the side street, trees and lamps stand, in metres."""

from dataclasses import dataclass

import numpy as np

from app.ingest.street_sprites import Colour

NEAR_KERB_M = 11.6
FAR_KERB_M = 24.6
FACADE_M = 33.0
SIDE_STREET_END_M = 95.0
LANES_M = (14.0, 17.6)
"""Distance of the driving lanes: the nearer drives to the right, the farther to the left."""
PARKING_M = 22.6
DOOR_HEIGHT_M = 2.35
END_DOOR_WIDTH_M = 1.6

_WALLS: tuple[Colour, ...] = (
    (150, 168, 186),
    (96, 116, 158),
    (168, 190, 202),
    (140, 140, 142),
    (110, 140, 170),
    (168, 176, 170),
)


@dataclass(frozen=True, slots=True)
class House:
    """One house front."""

    x1: float
    x2: float
    wall: Colour
    floor_m: float
    has_shop: bool
    door_m: float
    """Middle of its door."""
    door_width_m: float


@dataclass(frozen=True, slots=True)
class Post:
    """A tree or a lamp post."""

    x: float
    z: float
    is_tree: bool
    seed: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that stands still."""

    houses: tuple[House, ...]
    side_street: tuple[float, float]
    """x of its left and right wall."""
    end_door: float
    """Middle of the door in the house that closes the side street."""
    crossings: tuple[float, ...]
    """Middles of the zebra crossings."""
    posts: tuple[Post, ...]

    @classmethod
    def of(cls, seed: int, half_width_m: float, *, has_posts: bool) -> "Layout":
        """The street that belongs to a seed.

        Args:
            seed: which street.
            half_width_m: how far the house fronts reach to each side.
            has_posts: with trees and lamp posts.
        """
        rng = np.random.default_rng((seed, 3))
        middle = float(rng.uniform(-0.35, 0.35)) * half_width_m
        side = (middle - 4.2, middle + 4.2)
        edges = [
            *reversed(_row(rng, side[0], -half_width_m - 2, -1)),
            *_row(rng, side[1], half_width_m + 2, 1),
        ]
        houses = tuple(_house(rng, low, high) for low, high in edges)
        crossings = tuple(middle + shift for shift in np.arange(-3, 4) * 21.0 if abs(middle + shift) < half_width_m)
        end_door = middle + float(rng.uniform(-2.0, 2.0))
        posts = _posts(rng, half_width_m, crossings) if has_posts else ()
        return cls(houses, side, end_door, crossings, posts)

    @property
    def lamps(self) -> tuple[Post, ...]:
        """The lamp posts."""
        return tuple(post for post in self.posts if not post.is_tree)


def _row(rng: np.random.Generator, start: float, end: float, sign: int) -> list[tuple[float, float]]:
    edges = []
    at = start
    while sign * (end - at) > 0:
        following = at + sign * float(rng.uniform(6.5, 11.0))
        edges.append((min(at, following), max(at, following)))
        at = following
    return edges


def _house(rng: np.random.Generator, low: float, high: float) -> House:
    wall = np.array(_WALLS[rng.integers(len(_WALLS))]) * rng.uniform(0.7, 1.05)
    blue, green, red = wall.tolist()
    return House(
        x1=low,
        x2=high,
        wall=(blue, green, red),
        floor_m=float(rng.uniform(3.0, 3.5)),
        has_shop=bool(rng.random() < 0.55),
        door_m=low + float(rng.uniform(0.25, 0.75)) * (high - low),
        door_width_m=float(rng.uniform(1.3, 1.9)),
    )


def _posts(rng: np.random.Generator, half_width_m: float, crossings: tuple[float, ...]) -> tuple[Post, ...]:
    """Lamps at the near kerb, lamps and trees at the far kerb, none on a crossing."""
    posts = []
    for z, gap, trees in ((FAR_KERB_M + 0.7, 5.2, 0.6), (NEAR_KERB_M - 0.6, 4.6, 0.35)):
        reach = half_width_m * z / FACADE_M
        x = -reach + float(rng.uniform(0, gap))
        while x < reach:
            if all(abs(x - crossing) > 2.4 for crossing in crossings):
                posts.append(Post(x, z, bool(rng.random() < trees), int(rng.integers(1 << 30))))
            x += gap * float(rng.uniform(0.75, 1.35))
    return tuple(sorted(posts, key=lambda post: -post.z))
