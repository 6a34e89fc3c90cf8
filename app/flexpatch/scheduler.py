"""What to look at on this frame, at which scale, on which canvas, or not at all.

The whole frame, at any scale, is just another patch. Every candidate has a value (objects that the look may be
expected to mend or find) and a cost in detector pixels; the canvas is chosen that is worth most for its pixels in
the long run, and taken once its value exceeds the price of its pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import clip, contains
from app.core.types import CandidateReport, CanvasBoxes, FrameBoxes, PatchKind, Size, WorkMode
from app.flexpatch.acuity import Acuity
from app.flexpatch.canvas import CanvasLayout
from app.flexpatch.config import PipelineConfig
from app.flexpatch.discovery import Discovery
from app.flexpatch.packing import GUTTER_PX, pack
from app.flexpatch.tracks import TrackTable

CALL_OVERHEAD_PIXELS = 30_000
"""A call is charged so many pixels more than its canvas has: many tiny looks are no gift."""
SHORTEST_INTERVAL_S = 1e-3
PATIENCE_S = 0.15
"""Time constant with which what a look could mend comes to be there."""
DOUBT_WEIGHT = 0.6
"""Worth of a look at a track of which few looks are known, against mending one that surely failed."""
SHARPEN_WEIGHT = 0.1
"""Worth of seeing a sound track clearly that was last seen faintly."""
RIDE_SHARE = 0.8
"""A track that a neighbour's patch shows this well, against its own, needs none of its own."""
BLIND_FACTOR = 0.3
"""A track that was missed at some height is this much less likely to be found at the same or a smaller one."""
DRIFT_CONTEXT = 0.5
"""Extra margin, as a share of the object's size, where flow has surely failed."""
MIN_PATCH_PX = 96.0
"""Smallest side of a patch on the canvas: a detector needs surroundings to know what it sees."""
MIN_WORTH = 0.25
"""Candidates whose value is below this share of their pixels' price are not even considered."""
MAX_OBJECT_CANDIDATES = 48
FIRST_LOOK_FRAMES, NEW_SCENE_FRAMES = 25.0, 6.0
"""The first look of all, and the first at a later scene, take the largest canvas that so many frames pay for."""
WINDOWS = ((Size(320, 192), 1.0), (Size(640, 384), 0.5))
"""Size in the frame and scale of the regions in which new objects are looked for."""
WINDOWS_EACH = 3
RESUME_CUT_VALUE = 0.4
"""Worth of looking again, with more room, where a patch edge cut an unknown object; times its score."""
PACKING_YIELD = 0.85
"""Share of a canvas that packing can be expected to fill."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A region that could be looked at."""

    kind: PatchKind
    source: tuple[int, int, int, int]
    """x1, y1, x2, y2 in whole source-frame pixels, inside the frame."""
    target: Size
    """Size on the canvas."""
    value: float
    rows: tuple[int, ...] = ()
    """Tracks that it was made for."""

    @property
    def pixels(self) -> int:
        return (self.target.width + GUTTER_PX) * (self.target.height + GUTTER_PX)

    @property
    def scale(self) -> float:
        return self.target.height / (self.source[3] - self.source[1])


@dataclass(frozen=True, slots=True)
class Plan:
    """What to show the detector on one frame, and why."""

    layout: CanvasLayout | None
    mode: WorkMode
    reason: str
    price_per_pixel: float
    candidates: tuple[CandidateReport, ...]
    going_rate: float | None = None
    """Worth that a pixel could earn in the long run at this budget; None where nothing was compared."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What the scheduler needs to know of a frame."""

    frame: Size
    tracks: TrackTable
    discovery: Discovery
    acuity: Acuity
    ladder: tuple[Size, ...]
    """Canvas sizes, smallest first."""
    cut: FrameBoxes
    """(C, 4) unknown objects that a patch edge cut last time."""
    cut_scores: NDArray[np.float32]
    """(C,)"""
    frame_interval_s: float
    """Usual stream time from frame to frame; 0 while unknown."""
    since_look_s: float
    """Stream time since the detector last looked at anything."""


class WorthOfLooks:
    """What it is worth to show tracks, in objects mended.

    A look mends tracks that failed, settles those of which few looks are known, and sharpens those that were
    last seen smaller than now.
    """

    def __init__(self, tracks: TrackTable, acuity: Acuity) -> None:
        self._acuity = acuity
        self._heights = tracks.heights
        self._blind_px = tracks.missed_height_px * 1.2
        self._clarity = tracks.clarity
        credibility = tracks.credibility.astype(np.float64)
        self._mending = tracks.failure * credibility
        self._doubt = DOUBT_WEIGHT * credibility * (1 - tracks.evidence.astype(np.float64)) / (tracks.n_looks + 1)
        self._sharpening = SHARPEN_WEIGHT * credibility

    def at(self, scale: NDArray[np.floating], rows: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.float64]:
        """(..., N) for each track, or each of `rows`, shown at `scale` (broadcast with those)."""
        on_canvas = self._heights[rows] * scale
        blind = np.where(on_canvas <= self._blind_px[rows], BLIND_FACTOR, 1.0)
        seen = self._acuity.clarity(on_canvas) * blind
        found = self._acuity.detectability(on_canvas) * blind
        sharpening = self._sharpening[rows] * np.maximum(seen - self._clarity[rows], 0)
        return np.asarray(self._mending[rows] * found + self._doubt[rows] * seen + sharpening)


class Planner(Protocol):
    """Decides what to look at on a frame."""

    def __call__(self, scene: Scene, config: PipelineConfig, price_per_pixel: float, *, must_look: bool) -> Plan: ...


def plan_look(scene: Scene, config: PipelineConfig, price_per_pixel: float, *, must_look: bool) -> Plan:
    """Choose the look that is worth most for its pixels in the long run, and take it once it pays for itself.

    Args:
        must_look: look at the whole frame on the largest canvas whatever it costs (first frame, scene cut).
    """
    outlook = _Outlook.of(scene)
    whole = _whole_frames(scene, outlook)
    if must_look:
        n_frames = FIRST_LOOK_FRAMES if math.isinf(scene.since_look_s) else NEW_SCENE_FRAMES
        affordable = sum(rung.pixels <= n_frames * config.megapixels_per_frame * 1e6 for rung in scene.ladder)
        return _only_whole(scene, whole, max(affordable - 1, 0), price_per_pixel, "the first look at a scene")
    parts = _parts(scene, outlook, config, price_per_pixel)
    looks = [_Look(rung, candidate.value) for rung, candidate in zip(scene.ladder, whole, strict=True)]
    looks += [_Look(rung, value, is_whole=False) for rung in scene.ladder if (value := _value_on(parts, rung))]
    pixels_per_s = config.megapixels_per_frame * 1e6 / max(scene.frame_interval_s, SHORTEST_INTERVAL_S)
    best = max(looks, key=lambda look: look.lasting_value(pixels_per_s))
    going_rate = best.going_rate(pixels_per_s, scene.since_look_s)
    if best.value <= price_per_pixel * best.pixels:
        reason = "the best look is not worth the price of its pixels yet"
        return Plan(None, "track", reason, price_per_pixel, _left(scene, [*whole, *parts], reason), going_rate)
    if best.is_whole:
        reason = "the whole frame on one canvas is worth most"
        plan = _only_whole(scene, whole, scene.ladder.index(best.rung), price_per_pixel, reason)
        others = _left(scene, parts, "not on its own: the whole frame was looked at")
        return replace(plan, candidates=plan.candidates + others, going_rate=going_rate)
    return replace(_packed(scene, whole, parts, best.rung, price_per_pixel), going_rate=going_rate)


@dataclass(frozen=True, slots=True)
class _Look:
    """What one canvas would be worth now, with the whole frame on it or with patches."""

    rung: Size
    value: float
    is_whole: bool = True

    @property
    def pixels(self) -> int:
        return self.rung.pixels + CALL_OVERHEAD_PIXELS

    def lasting_value(self, pixels_per_s: float) -> float:
        """Value for each pixel if the whole budget went into such looks, one after another.

        What a look is worth grows while nobody looks, the slower the longer. A large canvas that comes rarely finds
        as much to mend as a small one that comes often, as long as its interval is short against the time in which
        objects are lost: then what counts is how well it sees.
        """
        return self.value * _grown(self.pixels / pixels_per_s) / self.pixels

    def going_rate(self, pixels_per_s: float, since_look_s: float) -> float:
        """Value for each pixel once looks come as often as the budget allows, judged by what has come by now."""
        return self.lasting_value(pixels_per_s) / _grown(max(since_look_s, SHORTEST_INTERVAL_S))


def _grown(interval_s: float) -> float:
    """Share, 0 to 1, of what a look could mend that comes to be there in this time."""
    return -math.expm1(-interval_s / PATIENCE_S)


# ---------------------------------------------------------------------------------------------- candidates


@dataclass(frozen=True, slots=True)
class _Outlook:
    """What looks at a scene may be expected to bring."""

    tracks: WorthOfLooks
    whole_scales: tuple[float, ...]
    """Of the whole frame on each canvas of the ladder,"""
    news_in_whole: tuple[float, ...]
    """and how many new objects it may be expected to show."""
    window_scales: tuple[float, ...]
    """Of each of `WINDOWS`,"""
    news_at_window_scale: tuple[float, ...]
    """and what the whole frame would show at it: more than any window."""

    @classmethod
    def of(cls, scene: Scene) -> "_Outlook":
        width, height = scene.frame
        top = scene.ladder[-1]
        whole = tuple(min(rung.width / width, rung.height / height) for rung in scene.ladder)
        windows = tuple(min(scale, top.width / size.width, top.height / size.height) for size, scale in WINDOWS)
        news = scene.discovery.value_of_frame(np.array(whole + windows)).tolist()
        n = len(whole)
        return cls(WorthOfLooks(scene.tracks, scene.acuity), whole, tuple(news[:n]), windows, tuple(news[n:]))


def _whole_frames(scene: Scene, outlook: _Outlook) -> list[Candidate]:
    """The whole frame on each canvas of the ladder."""
    width, height = scene.frame
    values = outlook.tracks.at(np.array(outlook.whole_scales)[:, None]).sum(axis=1) + np.array(outlook.news_in_whole)
    return [
        Candidate("frame", (0, 0, width, height), _target_size(width, height, scale, rung), value)
        for rung, scale, value in zip(scene.ladder, outlook.whole_scales, values.tolist(), strict=True)
    ]


def _parts(scene: Scene, outlook: _Outlook, config: PipelineConfig, price_per_pixel: float) -> list[Candidate]:
    """Everything smaller than the whole frame, most value per pixel first."""
    if not config.parts.patches:
        return []
    parts = _object_patches(scene, outlook.tracks, config, price_per_pixel)
    parts += _windows(scene, outlook, price_per_pixel, with_tiles=config.parts.tiles)
    parts += _cut_objects(scene)
    worthy = [part for part in parts if part.value >= MIN_WORTH * price_per_pixel * part.pixels]
    return sorted(worthy, key=lambda part: -part.value / part.pixels)


def _object_patches(
    scene: Scene, worth_of: WorthOfLooks, config: PipelineConfig, price_per_pixel: float
) -> list[Candidate]:
    """A patch for each track that deserves one; a neighbour that fits in rides along."""
    tracks, top = scene.tracks, scene.ladder[-1]
    if not len(tracks):
        return []
    size = tracks.boxes[:, 2:] - tracks.boxes[:, :2]
    tall = np.maximum(size[:, 1], 0.6 * size[:, 0])
    # Enlarging small objects costs more pixels than the detector gains by it.
    height_px = config.object_height_px or scene.acuity.ideal_height_px
    scale = np.minimum(height_px / np.maximum(tall, 1), 1)
    if not config.parts.patch_scaling:
        scale = np.ones_like(scale)
    wanted = config.context * tracks.patch_growth + DRIFT_CONTEXT * tracks.failure
    margin = np.maximum(size.max(axis=1, keepdims=True) * wanted[:, None], (MIN_PATCH_PX / scale[:, None] - size) / 2)
    low = np.floor(np.clip(tracks.boxes[:, :2] - margin, 0, np.array(scene.frame) - 1))
    high = np.ceil(np.clip(tracks.boxes[:, 2:] + margin, low + 1, np.array(scene.frame)))
    extent = high - low
    scale = np.minimum(scale, (np.array(top, np.float32) / extent).min(axis=1))
    worth = worth_of.at(scale)
    pixels = np.prod(extent * scale[:, None] + GUTTER_PX, axis=1)
    open_rows = worth >= MIN_WORTH * price_per_pixel * pixels
    source = np.concatenate([low, high], axis=1).astype(np.float32)
    rides_along = contains(source, clip(tracks.boxes, *scene.frame)) & open_rows & open_rows[:, None]
    np.fill_diagonal(rides_along, val=False)
    hosts, guests = np.nonzero(rides_along)
    worth_shared = np.zeros(rides_along.shape)
    worth_shared[hosts, guests] = worth_of.at(scale[hosts], guests)
    found: list[Candidate] = []
    for row in np.argsort(-worth / pixels, kind="stable").tolist():
        if not open_rows[row] or len(found) == MAX_OBJECT_CANDIDATES:
            continue
        rides = np.flatnonzero(rides_along[row] & open_rows)
        value = float(worth[row] + worth_shared[row, rides].sum())
        open_rows[rides[worth_shared[row, rides] >= RIDE_SHARE * worth[rides]]] = False
        open_rows[row] = False
        x1, y1, x2, y2 = (int(side) for side in source[row])
        target = _target_size(x2 - x1, y2 - y1, float(scale[row]), top)
        found.append(Candidate("object", (x1, y1, x2, y2), target, value, (row, *rides.tolist())))
    return found


def _windows(scene: Scene, outlook: _Outlook, price_per_pixel: float, *, with_tiles: bool) -> list[Candidate]:
    """Tiles where births are overdue, and places where something moves that no track explains."""
    found = []
    top = scene.ladder[-1]
    for (size, _), scale, most in zip(WINDOWS, outlook.window_scales, outlook.news_at_window_scale, strict=True):
        pixels = size.pixels * scale**2
        if min(size.width / scene.frame.width, size.height / scene.frame.height) >= 1:
            continue
        if most < MIN_WORTH * price_per_pixel * pixels:
            continue  # the whole frame holds less than one window would have to
        for window in scene.discovery.windows(size, scale, WINDOWS_EACH):
            if not (with_tiles or window.is_motion):
                continue
            x1, y1, x2, y2 = (int(value) for value in window.box)
            target = _target_size(x2 - x1, y2 - y1, scale, top)
            kind: PatchKind = "motion" if window.is_motion else "tile"
            found.append(Candidate(kind, (x1, y1, x2, y2), target, window.value))
    return found


def _cut_objects(scene: Scene) -> list[Candidate]:
    found = []
    for (x1, y1, x2, y2), score in zip(scene.cut.tolist(), scene.cut_scores.tolist(), strict=True):
        side = max(x2 - x1, y2 - y1)
        left, top = max(0, int(x1 - side)), max(0, int(y1 - side))
        right = max(left + 1, min(scene.frame.width, int(x2 + side)))
        bottom = max(top + 1, min(scene.frame.height, int(y2 + side)))
        # The object may be twice as tall as the part that was seen; show it at the size of the others.
        scale = min(1.0, scene.ladder[-1].height / (bottom - top), scene.ladder[-1].width / (right - left))
        target = _target_size(right - left, bottom - top, scale, scene.ladder[-1])
        found.append(Candidate("new_object", (left, top, right, bottom), target, RESUME_CUT_VALUE * score))
    return found


def _target_size(width: int, height: int, scale: float, top: Size) -> Size:
    return Size(max(1, min(top.width, round(width * scale))), max(1, min(top.height, round(height * scale))))


# ------------------------------------------------------------------------------------------------- choices


def _value_on(parts: Sequence[Candidate], rung: Size) -> float:
    """Value of the parts that a canvas may be expected to hold."""
    room = PACKING_YIELD * rung.pixels
    value = 0.0
    for part in parts:
        if part.pixels <= room and part.target.width <= rung.width and part.target.height <= rung.height:
            room -= part.pixels
            value += part.value
    return value


def _only_whole(scene: Scene, whole: Sequence[Candidate], chosen: int, price_per_pixel: float, reason: str) -> Plan:
    candidate = whole[chosen]
    target = (0, 0, *candidate.target)
    layout = CanvasLayout(
        scene.ladder[chosen],
        FrameBoxes(np.array([candidate.source], np.float32)),
        CanvasBoxes(np.array([target], np.float32)),
    )
    taken = _report(scene, candidate, is_taken=True, reason=reason, target=target)
    others = [item for index, item in enumerate(whole) if index != chosen]
    left = _left(scene, others, f"a canvas of {scene.ladder[chosen]} is worth more for its price")
    return Plan(layout, "full", reason, price_per_pixel, (taken, *left))


def _packed(
    scene: Scene, whole: Sequence[Candidate], parts: Sequence[Candidate], rung: Size, price_per_pixel: float
) -> Plan:
    sizes = np.array([part.target for part in parts], np.int32)
    placement = pack(sizes, rung)
    reports: list[CandidateReport] = []
    sources, targets = [], []
    for part, (x, y) in zip(parts, placement.origins.tolist(), strict=True):
        if x < 0:
            reports.append(_report(scene, part, is_taken=False, reason="no room left on the canvas"))
            continue
        target = (x, y, x + part.target.width, y + part.target.height)
        reports.append(_report(scene, part, is_taken=True, reason="worth its pixels", target=target))
        sources.append(part.source)
        targets.append(target)
    layout = CanvasLayout(
        rung,
        FrameBoxes(np.array(sources, np.float32)),
        CanvasBoxes(np.array(targets, np.float32)),
    )
    left = _left(scene, whole, "patches are worth more for their price")
    reason = "patches on one canvas are worth most"
    return Plan(layout, "patch", reason, price_per_pixel, (*reports, *left))


def _left(scene: Scene, candidates: Sequence[Candidate], reason: str) -> tuple[CandidateReport, ...]:
    return tuple(_report(scene, candidate, is_taken=False, reason=reason) for candidate in candidates)


def _report(
    scene: Scene,
    candidate: Candidate,
    *,
    is_taken: bool,
    reason: str,
    target: tuple[int, int, int, int] | None = None,
) -> CandidateReport:
    x1, y1, x2, y2 = candidate.source
    return CandidateReport(
        kind=candidate.kind,
        box=(float(x1), float(y1), float(x2), float(y2)),
        scale=candidate.scale,
        value=candidate.value,
        pixels=candidate.target.pixels,
        track_ids=tuple(scene.tracks.ids[list(candidate.rows)].tolist()),
        is_taken=is_taken,
        reason=reason,
        canvas_box=target,
    )
