"""Who is where in the street, and when: the ways of people, and the lanes of vehicles.

Everything is a function of time alone, so that any frame can be asked for first.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.ingest.street_config import StreetConfig
from app.ingest.street_figures import GAIT_PHASES, STANDING, STRIDE_M, USUAL_HEIGHT_M, VIEWS, Look
from app.ingest.street_layout import FACADE_M, FAR_KERB_M, LANES_M, NEAR_KERB_M, PARKING_M, SIDE_STREET_END_M, Layout
from app.ingest.street_vehicles import SPOKES, WHEEL_PHASES, WHEEL_RADIUS_M
from app.ingest.street_view import View

PERSON, CAR = 0, 1
N_LOOKS = 32
"""How many different people, and vehicles, there are."""
TURNS = 64
"""How many ways are made up for each slot, so that an endless stream needs no more memory than a long one."""
_BEYOND_M = 0.8
_CAR_GAP_M = 8.5
_BAY_M = 6.4


@dataclass(frozen=True, slots=True)
class Mover:
    """One person or vehicle at one moment."""

    track_id: int
    class_id: int
    look: int
    x: float
    z: float
    phase: int
    view: int
    """As `draw_figure` takes it; vehicles face 0, the right, or VIEWS / 2, the left."""


@dataclass(frozen=True, slots=True, eq=False)
class _Walk:
    """One person's way through the street, from appearing to leaving."""

    look: int
    height_m: float
    times: NDArray[np.float64]
    """(K,) seconds at which each point is reached; twice the same point is a rest."""
    distances: NDArray[np.float64]
    """(K,) metres walked until then."""
    points: NDArray[np.float64]
    """(K, 2) x, z."""

    def at(self, t: float, track_id: int) -> Mover:
        walked = float(np.interp(t, self.times, self.distances))
        is_resting = float(np.interp(t + 0.03, self.times, self.distances)) - walked < 1e-4
        x, z = self._place(walked)
        (x1, z1), (x2, z2) = self._place(walked - 0.35), self._place(walked + 0.35)
        view = round(math.atan2(z2 - z1, x2 - x1) / (2 * math.pi) * VIEWS) % VIEWS
        stride = STRIDE_M * self.height_m / USUAL_HEIGHT_M
        phase = STANDING if is_resting else math.floor(walked / stride * GAIT_PHASES) % GAIT_PHASES
        return Mover(track_id, PERSON, self.look, x, z, phase, view)

    def _place(self, walked: float) -> tuple[float, float]:
        return (
            float(np.interp(walked, self.distances, self.points[:, 0])),
            float(np.interp(walked, self.distances, self.points[:, 1])),
        )


class _Day:
    """The people who take one slot, one after another; after TURNS of them the same ways begin again."""

    def __init__(self, seed: int, slot: int) -> None:
        self._seed = seed
        self._slot = slot
        self._walks: list[_Walk] = []
        self._ends: list[float] = []
        self._lead_s = 0.0
        """How long the first person has been on the way at time 0."""

    def covers(self, t: float) -> bool:
        """Is it known who is there at time t?"""
        return len(self._walks) == TURNS or (bool(self._ends) and t + self._lead_s < self._ends[-1])

    def next_person(self) -> tuple[np.random.Generator, int]:
        """Chance and look of the person to be added next."""
        turn = len(self._walks)
        rng = np.random.default_rng((self._seed, 1, self._slot, turn))
        return rng, (self._seed + self._slot + 13 * turn) % N_LOOKS

    def add(self, walk: _Walk) -> None:
        """Let the next person come when the last one has left."""
        duration = float(walk.times[-1])
        if not self._walks:
            self._lead_s = duration * float(np.random.default_rng((self._seed, 9, self._slot)).uniform(0.0, 0.85))
        self._ends.append((self._ends[-1] if self._ends else 0.0) + duration)
        self._walks.append(walk)

    def at(self, t: float) -> tuple[_Walk, float, int]:
        """Whose way it is at time t, how long it has lasted, and how many came before."""
        laps, t = divmod(t + self._lead_s, self._ends[-1])
        turn = min(bisect_right(self._ends, t), len(self._walks) - 1)
        walk = self._walks[turn]
        return walk, t - (self._ends[turn] - float(walk.times[-1])), int(laps) * TURNS + turn


@dataclass(frozen=True, slots=True, eq=False)
class _Lane:
    """How the vehicles of a lane drive, brake and wait, all together, again and again."""

    times: NDArray[np.float64]
    """(K,) seconds within one round."""
    covered: NDArray[np.float64]
    """(K,) metres come since the round began."""
    start_s: float

    @classmethod
    def of(cls, seed: int, lane: int) -> "_Lane":
        """The rhythm of a lane."""
        rng = np.random.default_rng((seed, 4, lane))
        speed, go, wait = rng.uniform(4.0, 6.5), rng.uniform(7, 12), rng.uniform(2, 4)
        times = np.linspace(0, go + wait, 241)
        speeds = np.interp(times, [0.0, 1.5, go - 1.5, go, go + wait], [0.0, speed, speed, 0.0, 0.0])
        covered = np.concatenate([[0.0], np.cumsum((speeds[1:] + speeds[:-1]) / 2 * np.diff(times))])
        return cls(times, covered, float(rng.uniform(0, go)))

    def driven(self, t: float) -> float:
        """Metres that the lane's vehicles have come by time t."""
        rounds, rest = divmod(t + self.start_s, float(self.times[-1]))
        return float(rounds * self.covered[-1] + np.interp(rest, self.times, self.covered))


class Traffic:
    """All people and vehicles of a street. Remembers the ways it has made up: not thread-safe."""

    def __init__(self, config: StreetConfig, view: View, layout: Layout) -> None:
        self._seed = config.seed
        self._view = view
        self._layout = layout
        self._n_cars = round(config.n_objects * config.vehicle_share)
        self._n_people = config.n_objects - self._n_cars
        self._slots = config.n_objects
        self._days = [_Day(config.seed, slot) for slot in range(self._n_people)]
        self._lanes = [_Lane.of(config.seed, lane) for lane in range(len(LANES_M))]
        self._bays = self._choose_bays()

    def at(self, t: float) -> list[Mover]:
        """Everyone in the street at time t ≥ 0 in seconds, farthest first."""
        movers = [self._person(slot, t) for slot in range(self._n_people)] + self._cars(t)
        return sorted(movers, key=lambda mover: (-mover.z, mover.track_id))

    def _person(self, slot: int, t: float) -> Mover:
        """Each slot is taken by one person after another; who comes `turn`-th has the id turn · slots + slot + 1."""
        day = self._days[slot]
        while not day.covers(t):
            day.add(self._plan(*day.next_person()))
        walk, since, turn = day.at(t)
        return walk.at(since, turn * self._slots + slot + 1)

    def _plan(self, rng: np.random.Generator, look: int) -> _Walk:
        route = self._route(rng)
        if rng.random() < 0.5:
            route = route[::-1]
        points = np.array(route, np.float64)
        steps = np.hypot(*np.diff(points, axis=0).T)
        speed = float(np.clip(rng.normal(1.35, 0.25), 0.7, 2.0)) * (1.9 if rng.random() < 0.06 else 1.0)
        times = [0.0]
        distances = [0.0]
        kept = [points[0]]
        rest = int(rng.integers(1, len(points) - 1)) if len(points) > 2 and rng.random() < 0.4 else -1
        for index, step in enumerate(steps.tolist(), start=1):
            times.append(times[-1] + step / speed)
            distances.append(distances[-1] + step)
            kept.append(points[index])
            if index == rest:
                times.append(times[-1] + float(rng.uniform(1.0, 5.0)))
                distances.append(distances[-1])
                kept.append(points[index])
        return _Walk(look, Look.of(look).height_m, np.array(times), np.array(distances), np.array(kept))

    def _route(self, rng: np.random.Generator) -> list[tuple[float, float]]:
        near = float(rng.uniform(max(7.7, self._view.nearest_m() + 0.5), NEAR_KERB_M - 1.0))
        far = float(rng.uniform(FAR_KERB_M + 1.0, FACADE_M - 0.9))
        side = 1 if rng.random() < 0.5 else -1
        kind = rng.random()
        if kind < 0.28:
            return self._along(rng, near)
        if kind < 0.56 or not self._layout.crossings:
            return self._along(rng, far)
        if kind < 0.70:
            x = float(rng.choice(self._layout.crossings) + rng.uniform(-1.3, 1.3))
            return [(side * self._edge(near), near), (x, near), (x, far), (-side * self._edge(far), far)]
        if kind < 0.84:
            return [*self._through_door(rng), (side * self._edge(far), far)]
        return [*self._through_side_street(rng), (side * self._edge(far), far)]

    def _edge(self, z: float) -> float:
        return self._view.half_width_m(z) + _BEYOND_M

    def _along(self, rng: np.random.Generator, z: float) -> list[tuple[float, float]]:
        edge = self._edge(z)
        inner = np.sort(rng.uniform(-edge, edge, 3)).tolist()
        sway = rng.uniform(-0.35, 0.35, 3).tolist()
        return [(-edge, z), *((x, z + dz) for x, dz in zip(inner, sway, strict=True)), (edge, z)]

    def _through_door(self, rng: np.random.Generator) -> list[tuple[float, float]]:
        reach = self._view.half_width_m(FACADE_M) - 1.5
        houses = [house for house in self._layout.houses if abs(house.door_m) < reach] or self._layout.houses
        house = houses[int(rng.integers(len(houses)))]
        hidden = house.door_m + house.door_width_m / 2 + 1.1
        return [
            (hidden, FACADE_M + 1.0),
            (house.door_m, FACADE_M + 0.8),
            (house.door_m, FACADE_M - float(rng.uniform(1.5, 5.0))),
        ]

    def _through_side_street(self, rng: np.random.Generator) -> list[tuple[float, float]]:
        left, right = self._layout.side_street
        door, end = self._layout.end_door, SIDE_STREET_END_M
        x = rng.uniform(left + 0.6, right - 0.6, 2).tolist()
        return [
            (door + 2.2, end + 0.9),
            (door, end + 0.7),
            (door, end - 2.0),
            (x[0], float(rng.uniform(50, 75))),
            (x[1], FACADE_M - 1.0),
        ]

    def _choose_bays(self) -> list[float]:
        """Where vehicles are parked: a third of them, as far as there is room beside the crossings."""
        reach = self._view.half_width_m(PARKING_M) + 2
        bays = [
            x
            for x in np.arange(-reach, reach, _BAY_M).tolist()
            if all(abs(x - crossing) > 4.8 for crossing in self._layout.crossings)
        ]
        rng = np.random.default_rng((self._seed, 2))
        rng.shuffle(bays)
        return bays[: self._n_cars // 3]

    def _cars(self, t: float) -> list[Mover]:
        first = self._n_people + 1
        movers = [
            Mover(first + index, CAR, self._look(index), x, PARKING_M, 0, 0) for index, x in enumerate(self._bays)
        ]
        moving = range(len(self._bays), self._n_cars)
        for lane, z in enumerate(LANES_M):
            indices = moving[lane :: len(LANES_M)]
            sign = 1 if lane == 0 else -1
            reach = self._view.half_width_m(z) + 3.2
            lap_m = max(2 * reach, _CAR_GAP_M * len(indices))
            driven = self._lanes[lane].driven(t)
            for place, index in enumerate(indices):
                lap, along = divmod(driven + lap_m * (place + 0.5) / len(indices), lap_m)
                turn = math.floor(along / WHEEL_RADIUS_M / (2 * math.pi) * SPOKES * WHEEL_PHASES) % WHEEL_PHASES
                track_id = int(lap) * self._slots + first + index
                view = 0 if sign > 0 else VIEWS // 2
                movers.append(
                    Mover(track_id, CAR, self._look(index + 31 * int(lap)), sign * (along - lap_m / 2), z, turn, view)
                )
        return movers

    def _look(self, number: int) -> int:
        return (self._seed + number) % N_LOOKS
