"""Training canvases: views of labelled scenes, people pasted into them, and everything that cameras do to a picture.

The detector sees whole frames, tiles, and canvases with many small patches between grey gutters; so it is trained on
all of these.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from app.core.boxes import area, clip, empty_boxes
from app.core.types import Size
from app.offline.detector.scenes import Scene

Point = tuple[float, float]

PERSON = 0
PAD_VALUE = (114, 114, 114)

SMALLEST_PX, LARGEST_PX = 16.0, 400.0
"""Heights of objects on a canvas: what the detector is to be good at."""
_LEAST_ZOOM, _LARGEST_ZOOM = 0.2, 2.2
_SHOWN_SHARE = 0.35
"""An object with less of its box on the canvas, or less of it unhidden, is ignored:"""
_GONE_SHARE = 0.08
"""with less than this, it is not there."""
_LEAST_SIDE_PX = 4.0
_USUAL_PEOPLE = 4.0
"""Pasted into a canvas on average, if they are at least so tall:"""
_CROWD_PX = 80.0
"""smaller ones come in larger numbers, up to three times as many."""
_MOST_PEOPLE = 40
_CROWD_ON_GROUND = 14.0
"""People on average who stand on one ground;"""
_MOST_ON_GROUND = 60
"""and at most."""
_LEAST_PATCH, _LARGEST_PATCH = 48, 200


@dataclass(frozen=True, slots=True)
class Mixture:
    """How often each kind of canvas is made; probabilities."""

    mosaic: float = 0.2
    patches: float = 0.25
    people: float = 0.75
    """Of people being pasted into a canvas of any kind but patches."""
    on_ground: float = 0.5
    """Of these standing on one ground, far ones small and high in the picture; on the harder canvases alone."""


class CanvasMaker:
    """Makes sample `index` of an endless series; same seed and index, same sample."""

    def __init__(
        self,
        groups: Sequence[Sequence[Scene]],
        shares: Sequence[float],
        people: Sequence[NDArray[np.uint8]],
        seed: int,
        mixture: Mixture | None = None,
        *,
        harder_from: int | None = None,
    ) -> None:
        """
        Args:
            groups: scenes that belong together, as the frames of a recording.
            shares: how often views of each group are taken.
            people: cut-outs (H, W, 4) BGR and opacity.
            harder_from: from this sample on there are crowds in perspective too; None: never.
        """
        self._groups = groups
        self._shares = np.array(shares) / np.sum(shares)
        self._people = people
        self._seed = seed
        self._mixture = mixture or Mixture()
        self._harder_from = harder_from

    def sample(self, index: int, size: Size) -> Scene:
        """A canvas of that size."""
        random = np.random.default_rng((self._seed, index))
        kind = random.random()
        place = _scattered
        if self._harder_from is not None and index >= self._harder_from and random.random() < self._mixture.on_ground:
            place = on_ground
        if kind < self._mixture.patches:
            made = self._patches(size, random)
        elif kind < self._mixture.patches + self._mixture.mosaic:
            made = self._populated(self._mosaic(size, random), random, place)
        else:
            made = self._populated(self._view(size, random), random, place)
        return replace(made, pixels=photographed(made.pixels, random))

    def _scene(self, random: Generator) -> Scene:
        group = self._groups[int(random.choice(len(self._groups), p=self._shares))]
        return group[int(random.integers(len(group)))]

    def _view(self, size: Size, random: Generator) -> Scene:
        return view(self._scene(random), size, random)

    def _mosaic(self, size: Size, random: Generator) -> Scene:
        """Four views that meet at a random point."""
        split_x = round(size.width * random.uniform(0.3, 0.7))
        split_y = round(size.height * random.uniform(0.3, 0.7))
        pixels = np.empty((size.height, size.width, 3), np.uint8)
        parts = []
        for left, right in ((0, split_x), (split_x, size.width)):
            for top, bottom in ((0, split_y), (split_y, size.height)):
                part = self._view(Size(right - left, bottom - top), random)
                pixels[top:bottom, left:right] = part.pixels
                parts.append(_moved(part, left, top))
        return _joined(pixels, parts)

    def _patches(self, size: Size, random: Generator) -> Scene:
        """Patches in rows, as FlexPatch packs them, with people in some."""
        pixels = np.full((size.height, size.width, 3), PAD_VALUE, np.uint8)
        gutter = int(random.integers(2, 9))
        parts = []
        top = 0
        while top + _LEAST_PATCH <= size.height:
            tallest = int(random.integers(_LEAST_PATCH, min(_LARGEST_PATCH, size.height - top) + 1))
            left = 0
            while left + _LEAST_PATCH <= size.width:
                width = int(random.integers(_LEAST_PATCH, min(_LARGEST_PATCH, size.width - left) + 1))
                height = int(random.integers(max(_LEAST_PATCH, tallest // 2), tallest + 1))
                part = self._view(Size(width, height), random)
                if random.random() < self._mixture.people / 2:
                    part = self._populated(part, random, _scattered, most=3)
                pixels[top : top + height, left : left + width] = part.pixels
                parts.append(_moved(part, left, top))
                left += width + gutter
            top += tallest + gutter
        return _joined(pixels, parts)

    def _populated(self, sample: Scene, random: Generator, place: "_Placing", most: int = _MOST_ON_GROUND) -> Scene:
        """The same canvas with other things and people pasted in, far ones first."""
        if not self._people or random.random() >= self._mixture.people:
            return sample
        pixels = sample.pixels.copy()
        hidden = np.zeros(pixels.shape[:2], np.uint8)
        for _ in range(random.integers(0, 7)):
            _paste_thing(pixels, hidden, self._scene(random), random)
        crowd = place(Size(pixels.shape[1], pixels.shape[0]), most, random)
        owner = np.full(pixels.shape[:2], -1, np.int16)
        boxes, n_pixels = [], []
        light = random.uniform(0.45, 1.15)
        for number, one in enumerate(np.argsort(crowd.feet[:, 1])):
            figure = self._people[int(random.integers(len(self._people)))]
            scaled = _scaled(figure, float(crowd.heights[one]), random)
            tinted = _lit(scaled, light * random.uniform(0.8, 1.2), random)
            x, y = crowd.feet[one].tolist()
            box, n_solid = _paste(pixels, owner, number, tinted, (x, y))
            boxes.append(box)
            n_pixels.append(n_solid)
        hidden[owner >= 0] = 1
        return _with_people(
            replace(sample, pixels=pixels), hidden, owner, np.array(boxes, np.float32), np.array(n_pixels)
        )


def view(scene: Scene, size: Size, random: Generator) -> Scene:
    """A window on a scene, enlarged or reduced to `size`; half of them mirrored."""
    height, width = scene.pixels.shape[:2]
    covering = max(size.width / width, size.height / height)
    zoom = max(float(np.exp(random.uniform(np.log(0.35), np.log(1.6)))), covering * random.uniform(0.8, 1.2))
    centre = random.uniform(0, 1, 2) * (width, height)
    if len(scene.boxes) and random.random() < 0.75:
        box = scene.boxes[random.integers(len(scene.boxes))]
        wanted = float(np.exp(random.uniform(np.log(SMALLEST_PX), np.log(min(LARGEST_PX, size.height * 1.2)))))
        zoom = float(np.clip(wanted / max(float(box[3] - box[1]), 1.0), _LEAST_ZOOM, _LARGEST_ZOOM))
        centre = (box[:2] + box[2:]) / 2 + random.uniform(-0.5, 0.5, 2) * (size.width, size.height) / zoom
    zooms = np.array([zoom * np.exp(random.normal(0, 0.08)), zoom])
    window = np.array([size.width, size.height]) / zooms
    first = centre - window / 2
    # A window larger than the scene shows all of it; any other stays inside.
    first = np.where(window >= (width, height), 0, np.clip(first, 0, np.maximum((width, height) - window, 0)))
    low = np.floor(first).astype(int)
    high = np.minimum(np.ceil(first + window).astype(int), (width, height))
    part = scene.pixels[low[1] : high[1], low[0] : high[0]]
    target = np.minimum(np.maximum(np.round((high - low) * zooms).astype(int), 1), (size.width, size.height))
    method = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    pixels = np.full((size.height, size.width, 3), PAD_VALUE, np.uint8)
    pixels[: target[1], : target[0]] = cv2.resize(part, target.tolist(), interpolation=method)
    scale = np.tile(target / (high - low), 2)
    boxes = ((scene.boxes - np.tile(low, 2)) * scale).astype(np.float32)
    ignored = ((scene.ignored - np.tile(low, 2)) * scale).astype(np.float32)
    if random.random() < 0.5:
        pixels = np.ascontiguousarray(pixels[:, ::-1])
        boxes, ignored = _mirrored(boxes, size.width), _mirrored(ignored, size.width)
    return _cut(Scene(pixels, boxes, scene.classes, ignored))


def _mirrored(boxes: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def _cut(sample: Scene) -> Scene:
    """Boxes clipped to the canvas; what is hardly on it is ignored, what is not, dropped."""
    height, width = sample.pixels.shape[:2]
    shown = clip(sample.boxes, width, height)
    share = area(shown) / np.maximum(area(sample.boxes), 1e-6)
    is_large = np.minimum(shown[:, 2] - shown[:, 0], shown[:, 3] - shown[:, 1]) >= _LEAST_SIDE_PX
    kept = (share >= _SHOWN_SHARE) & is_large
    unsure = ~kept & (share > 0)
    ignored = clip(sample.ignored, width, height)
    return Scene(
        sample.pixels,
        shown[kept],
        sample.classes[kept],
        np.concatenate([ignored[area(ignored) > 0], shown[unsure & (area(shown) > 0)]]),
    )


def _moved(sample: Scene, left: int, top: int) -> Scene:
    by = np.array([left, top, left, top], np.float32)
    return replace(sample, boxes=sample.boxes + by, ignored=sample.ignored + by)


def _joined(pixels: NDArray[np.uint8], parts: Sequence[Scene]) -> Scene:
    return Scene(
        pixels,
        np.concatenate([empty_boxes(), *(part.boxes for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.classes for part in parts)]),
        np.concatenate([empty_boxes(), *(part.ignored for part in parts)]),
    )


# ------------------------------------------------------------------------------------------------ crowds


@dataclass(frozen=True, slots=True)
class _Crowd:
    heights: NDArray[np.float64]
    """(N,) pixels."""
    feet: NDArray[np.float64]
    """(N, 2) x, y."""


_Placing = Callable[[Size, int, Generator], _Crowd]
"""Where how many people stand on a canvas of that size: at most so many."""


def _scattered(size: Size, most: int, random: Generator) -> _Crowd:
    """People of about one height anywhere, or in one bunch."""
    tallest = min(LARGEST_PX, size.height * 1.3)
    usual = float(np.exp(random.uniform(np.log(SMALLEST_PX), np.log(tallest))))
    mean = _USUAL_PEOPLE * float(np.clip(_CROWD_PX / usual, 1, 3))
    n_people = min(most, _MOST_PEOPLE, 1 + int(random.exponential(mean)))
    heights = np.clip(usual * np.exp(random.normal(0, 0.3, n_people)), SMALLEST_PX, tallest)
    feet = random.uniform(0.1, 1.15, n_people) * size.height
    middles = random.uniform(0, 1, n_people) * size.width
    if random.random() < 0.4:
        middles = random.uniform(0.1, 0.9) * size.width + random.normal(0, usual * 0.6, n_people)
        feet = random.uniform(0.4, 1.0) * size.height + random.normal(0, usual * 0.15, n_people)
    return _Crowd(heights, np.stack([middles, feet], axis=1))


def on_ground(size: Size, most: int, random: Generator) -> _Crowd:
    """People on one ground under one camera: the farther, the smaller and the nearer to the horizon; many in pairs."""
    nearest = float(np.exp(random.uniform(np.log(3 * SMALLEST_PX), np.log(min(LARGEST_PX, size.height * 1.2)))))
    horizon = random.uniform(-0.3, 0.5) * size.height
    n_people = min(most, 1 + int(random.exponential(_CROWD_ON_GROUND)))
    places = np.exp(random.uniform(np.log(SMALLEST_PX), np.log(nearest * 1.1), n_people))
    middles = random.uniform(0, 1, n_people) * size.width
    is_beside = random.random(n_people) < 0.4
    is_beside[0] = False
    beside = np.flatnonzero(is_beside)
    places[beside] = places[beside - 1] * np.exp(random.normal(0, 0.03, len(beside)))
    middles[beside] = middles[beside - 1] + places[beside] * random.normal(0, 0.4, len(beside))
    feet = horizon + places / nearest * (size.height - horizon)
    heights = np.clip(places * np.exp(random.normal(0, 0.08, n_people)), SMALLEST_PX, LARGEST_PX)
    return _Crowd(heights, np.stack([middles, feet], axis=1))


# ------------------------------------------------------------------------------------------------ pasting


def _scaled(figure: NDArray[np.uint8], height: float, random: Generator) -> NDArray[np.uint8]:
    """A cut-out at that height, half of them mirrored, a little wider or narrower."""
    rows = max(4, round(height))
    columns = max(3, round(figure.shape[1] * height / figure.shape[0] * np.exp(random.normal(0, 0.08))))
    method = cv2.INTER_AREA if rows < figure.shape[0] else cv2.INTER_LINEAR
    small = cv2.resize(figure, (columns, rows), interpolation=method)
    return np.asarray(small[:, ::-1] if random.random() < 0.5 else small, np.uint8)


def _lit(figure: NDArray[np.uint8], light: float, random: Generator) -> NDArray[np.float32]:
    """(H, W, 4) with the colours of another light, flatter or with more contrast."""
    lit = figure.astype(np.float32)
    tint = light * random.uniform(0.92, 1.08, 3)
    haze = random.uniform(0, 40) if random.random() < 0.3 else 0.0
    lit[..., :3] = np.clip(lit[..., :3] * tint * (1 - haze / 255) + haze, 0, 255)
    return np.asarray(lit, np.float32)


def _paste(
    pixels: NDArray[np.uint8], owner: NDArray[np.int16], number: int, figure: NDArray[np.float32], feet: Point
) -> tuple[tuple[float, float, float, float], int]:
    """Draw a figure with its feet there.

    Returns:
        Its whole box, on the canvas or not, and how many pixels it has.
    """
    height, width = figure.shape[:2]
    left, top = round(feet[0] - width / 2), round(feet[1] - height)
    box = (float(left), float(top), float(left + width), float(top + height))
    n_solid = int(np.count_nonzero(figure[..., 3] > 127))
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + width, pixels.shape[1]), min(top + height, pixels.shape[0])
    if x1 >= x2 or y1 >= y2:
        return box, n_solid
    part = figure[y1 - top : y2 - top, x1 - left : x2 - left]
    opacity = part[..., 3:] * np.float32(1 / 255)
    under = pixels[y1:y2, x1:x2]
    pixels[y1:y2, x1:x2] = under + (part[..., :3] - under) * opacity
    owner[y1:y2, x1:x2][part[..., 3] > 127] = number
    return box, n_solid


def _with_people(
    sample: Scene,
    hidden: NDArray[np.uint8],
    owner: NDArray[np.int16],
    boxes: NDArray[np.float32],
    n_pixels: NDArray[np.int64],
) -> Scene:
    """The canvas's labels after things and people were pasted: theirs, and those of what is not hidden.

    Args:
        hidden: (H, W) 1 where something was pasted.
        owner: (H, W) the number of the person that is seen there, -1 for none.
        boxes: (P, 4) of the people.
        n_pixels: (P,) of each person, hidden or not.
    """
    counts = np.bincount(owner[owner >= 0], minlength=len(boxes))
    share = counts / np.maximum(n_pixels, 1)
    shown = clip(boxes, sample.pixels.shape[1], sample.pixels.shape[0])
    kept = share >= _SHOWN_SHARE
    unsure = ~kept & (share >= _GONE_SHARE)
    covered = _covered(sample.boxes, cv2.integral(hidden))
    still, gone = covered < 1 - _SHOWN_SHARE, covered > 1 - _GONE_SHARE
    return Scene(
        sample.pixels,
        np.concatenate([sample.boxes[still], shown[kept]]),
        np.concatenate([sample.classes[still], np.full(int(kept.sum()), PERSON, np.int64)]),
        np.concatenate([sample.ignored, sample.boxes[~still & ~gone], shown[unsure]]),
    )


def _covered(boxes: NDArray[np.float32], integral: NDArray[np.int32]) -> NDArray[np.float64]:
    """(N,) share of each box that is marked."""
    x1, y1, x2, y2 = np.round(boxes).astype(int).T
    inside = integral[y2, x2] - integral[y1, x2] - integral[y2, x1] + integral[y1, x1]
    return inside / np.maximum((x2 - x1) * (y2 - y1), 1)


def _paste_thing(pixels: NDArray[np.uint8], hidden: NDArray[np.uint8], scene: Scene, random: Generator) -> None:
    """Paste something that is no person: edges, and upright shapes, are no sign of one by themselves.

    What it covers is marked in `hidden`.
    """
    height, width = pixels.shape[:2]
    h = int(np.clip(np.exp(random.uniform(np.log(SMALLEST_PX), np.log(LARGEST_PX))), 8, height * 0.8))
    w = int(np.clip(h * np.exp(random.uniform(np.log(0.15), np.log(2.0))), 6, width * 0.8))
    if w >= scene.pixels.shape[1] or h >= scene.pixels.shape[0]:
        return
    x, y = int(random.integers(scene.pixels.shape[1] - w)), int(random.integers(scene.pixels.shape[0] - h))
    taken = np.concatenate([scene.boxes, scene.ignored])
    if np.any((taken[:, 0] < x + w) & (taken[:, 2] > x) & (taken[:, 1] < y + h) & (taken[:, 3] > y)):
        return
    thing = scene.pixels[y : y + h, x : x + w] * random.uniform(0.5, 1.3)
    if random.random() < 0.5:
        # One colour, lit from a side.
        shade = np.linspace(random.uniform(0.5, 1), random.uniform(0.5, 1), w)[None, :, None]
        thing = thing * 0.2 + shade * random.uniform(0, 200, 3)
    left, top = int(random.integers(width - w + 1)), int(random.integers(height - h + 1))
    place = np.s_[top : top + h, left : left + w]
    outline = _outline(w, h, random)
    cv2.copyTo(thing.clip(0, 255).astype(np.uint8), outline, pixels[place])
    hidden[place][outline > 0] = 1


def _outline(w: int, h: int, random: Generator) -> NDArray[np.uint8]:
    """(h, w) a shape of the kind that stands about in streets and rooms."""
    mask = np.zeros((h, w), np.uint8)
    thick = max(1, round(min(w, h) * random.uniform(0.04, 0.25)))
    middle = w // 2
    match random.integers(7):
        case 0:  # a boulder, a bush
            cv2.ellipse(mask, (middle, h // 2), (middle, h // 2), 0, 0, 360, 255, -1)
        case 1:  # a box, a roof
            corners = random.uniform(0, 1, (int(random.integers(3, 9)), 2)) * (w, h)
            cv2.fillPoly(mask, [cv2.convexHull(corners.astype(np.int32))], 255)
        case 2:  # a post, perhaps with a lamp or a sign on it
            cv2.line(mask, (middle, 0), (middle, h), 255, thick)
            reach = int(random.integers(1, max(2, middle)))
            cv2.circle(mask, (middle, min(reach, h - 1)), reach, 255, -1)
        case 3:  # a tripod, an easel
            for foot in random.uniform(0, w, 3):
                cv2.line(mask, (middle, 0), (int(foot), h), 255, thick)
        case 4:  # a tree
            cv2.line(mask, (middle, h // 3), (middle, h), 255, thick)
            for x, y in random.uniform(0, 1, (8, 2)) * (w, h * 0.5):
                cv2.circle(mask, (int(x), int(y)), max(2, w // 4), 255, -1)
        case 5:  # a railing
            for x in np.linspace(0, w, int(random.integers(3, 9))):
                cv2.line(mask, (int(x), 0), (int(x), h), 255, thick)
            cv2.line(mask, (0, h // 4), (w, h // 4), 255, thick)
        case _:  # a door, a column, a panel
            mask[:] = 255
    return mask


# ------------------------------------------------------------------------------------------------ the camera


def photographed(pixels: NDArray[np.uint8], random: Generator) -> NDArray[np.uint8]:
    """The canvas as some camera would have sent it: light, colours, blur, noise, compression."""
    if random.random() < 0.06:
        pixels = np.repeat(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2)
    elif random.random() < 0.5:
        grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        colour = float(random.uniform(0.2, 1.5))
        pixels = cv2.addWeighted(pixels, colour, grey, 1 - colour, 0)
    pixels = cv2.LUT(pixels, _response(random))
    kind = random.random()
    if kind < 0.25:
        pixels = cv2.GaussianBlur(pixels, (0, 0), float(random.uniform(0.4, 1.5)))
    elif kind < 0.35:
        pixels = cv2.filter2D(pixels, -1, _motion(random))
    elif kind < 0.42:
        share = float(random.uniform(0.4, 0.8))
        small = cv2.resize(pixels, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        pixels = cv2.resize(small, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    if random.random() < 0.3:
        noise = random.standard_normal(pixels.shape[:2], np.float32) * np.float32(random.uniform(2, 14))
        pixels = np.clip(pixels + noise[..., None], 0, 255).astype(np.uint8)
    if random.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(20, 92))]
        coded = cv2.imencode(".jpg", pixels, quality)[1]
        pixels = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return np.asarray(pixels, np.uint8)


def _response(random: Generator) -> NDArray[np.uint8]:
    """(256, 1, 3) a table for each colour: exposure, contrast, tint; now and then, night."""
    levels = np.linspace(0, 1, 256)[:, None]
    gamma, gain = random.uniform(0.65, 1.5), random.uniform(0.75, 1.25)
    if random.random() < 0.1:
        gain *= random.uniform(0.2, 0.6)
    tint = random.uniform(0.9, 1.1, 3)
    contrast, middle = random.uniform(0.7, 1.25), random.uniform(0.35, 0.65)
    curve = ((levels**gamma - middle) * contrast + middle) * gain * tint
    return np.clip(curve * 255, 0, 255).astype(np.uint8)[:, None, :]


def _motion(random: Generator) -> NDArray[np.float32]:
    """A kernel that smears along a line."""
    length = int(random.integers(3, 10))
    kernel = np.zeros((length, length), np.float32)
    angle = random.uniform(0, np.pi)
    reach = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
    middle = (length - 1) / 2
    first, last = np.round(middle - reach).astype(int), np.round(middle + reach).astype(int)
    cv2.line(kernel, tuple(first.tolist()), tuple(last.tolist()), 1.0)
    return np.asarray(kernel / kernel.sum(), np.float32)
