"""Ground truth from a detector: native looks at every frame, linked over time and smoothed.

What is measured against it is agreement with that detector, never accuracy.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from app.core.boxes import centres, clip, iou
from app.core.types import CanvasBoxes, Detector, Frame, FrameBoxes, PatchCopy, Size, Vision, look_at
from app.flexpatch.canvas import CanvasLayout, canvas_ladder, map_back
from app.offline.annotations import FrameTruth
from app.offline.training.truth import GroundTruth
from app.vision.cpu import CpuVision

LINK_SCORE = 0.15
"""Fainter detections are not used at all."""
SURE_SCORE = 0.45
"""A chain is an object only if its best detections reach this score, the median of its upper half."""
LINK_IOU = 0.3
LONGEST_GAP_S = 0.5
"""Shorter pauses in a chain are filled by interpolation."""
SHORTEST_CHAIN_S = 0.4
SMOOTHING_S = 0.15
"""Width of the running mean over a chain's boxes."""

Place = tuple[int, int]
"""A detection: index of the sighting, and its row there."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the detector saw on one frame at native size."""

    number: int
    """Of the frame, from 1."""
    pts_s: float
    boxes: FrameBoxes
    """(N, 4)"""
    scores: NDArray[np.float32]
    """(N,)"""
    class_ids: NDArray[np.int32]
    """(N,)"""


@dataclass(slots=True)
class _Tip:
    """The newest detection of a chain that is being linked."""

    place: Place
    pts_s: float
    box: NDArray[np.float32]
    velocity: NDArray[np.float32]
    """(2,) px/s of the centre."""
    class_id: int

    def box_at(self, pts_s: float) -> NDArray[np.float32]:
        """(4,) where the object should be, if it moves on as it did."""
        return self.box + np.tile(self.velocity * np.float32(pts_s - self.pts_s), 2)


def pseudo_truth(frames: Iterable[Frame], detector: Detector, class_ids: frozenset[int]) -> GroundTruth:
    """Look natively at every frame, and make the detections of the wanted classes a ground truth.

    Raises:
        DetectorFailed: inference itself failed.
    """
    vision = CpuVision()
    sightings = [look_natively(frame, detector, vision, class_ids) for frame in frames]
    truth = truth_of(chains(sightings), sightings)
    return GroundTruth("pseudo", truth, truth)


def look_natively(frame: Frame, detector: Detector, vision: Vision, class_ids: frozenset[int]) -> Sighting:
    """The whole frame at its own size (or the largest that the detector takes)."""
    canvas = _native_canvas(frame.size, detector)
    scale = min(canvas.width / frame.size.width, canvas.height / frame.size.height, 1.0)
    target = (0, 0, round(frame.size.width * scale), round(frame.size.height * scale))
    source = (0, 0, *frame.size)
    prepared = vision.prepare(frame.picture)
    picture = vision.canvas(prepared, [PatchCopy(source, target)], canvas, detector.pad_value)
    layout = CanvasLayout(
        canvas, FrameBoxes(np.array([source], np.float32)), CanvasBoxes(np.array([target], np.float32))
    )
    seen = map_back(layout, look_at(detector, [picture])[0], frame.size)
    wanted = seen[np.isin(seen.class_ids, list(class_ids)) & (seen.scores >= LINK_SCORE)]
    boxes = clip(wanted.boxes, *frame.size)
    return Sighting(frame.seq, frame.pts_s, boxes, wanted.scores.copy(), wanted.class_ids.copy())


def _native_canvas(frame: Size, detector: Detector) -> Size:
    sizes = detector.input_sizes
    native = Size(*(-(-side // sizes.stride) * sizes.stride for side in frame))
    return canvas_ladder(frame, sizes, None if sizes.fixed else native)[-1]


def chains(sightings: Sequence[Sighting]) -> list[list[Place]]:
    """Detections linked over time, each list in order of time: only links that hold forward and backward.

    Forward and backward each predict a constant velocity and match mutual best overlaps; where the two disagree,
    as when objects cross, the chain is cut.
    """
    forward = set(_links(sightings, range(len(sightings))))
    backward = {(later, earlier) for earlier, later in _links(sightings, range(len(sightings) - 1, -1, -1))}
    following = dict(sorted(forward & backward))
    ends = set(following.values())
    starts = [
        (index, row)
        for index, sighting in enumerate(sightings)
        for row in range(len(sighting.scores))
        if (index, row) not in ends
    ]
    return [list(_followed(start, following)) for start in starts]


def _followed(place: Place, following: dict[Place, Place]) -> Iterator[Place]:
    while True:
        yield place
        if place not in following:
            return
        place = following[place]


def _links(sightings: Sequence[Sighting], order: Iterable[int]) -> Iterator[tuple[Place, Place]]:
    """Pairs of detections that follow one another, in the order of sightings given."""
    tips: list[_Tip] = []
    for index in order:
        sighting = sightings[index]
        tips = [tip for tip in tips if abs(sighting.pts_s - tip.pts_s) <= LONGEST_GAP_S]
        fresh = [_fresh_tip(sighting, index, row) for row in range(len(sighting.scores))]
        used = set()
        for tip_row, row in _mutual_best(tips, fresh, sighting):
            tip, new = tips[tip_row], fresh[row]
            shift = centres(new.box[np.newaxis])[0] - centres(tip.box[np.newaxis])[0]
            new.velocity = shift / np.float32(new.pts_s - tip.pts_s)
            used.add(tip_row)
            yield tip.place, new.place
        tips = [tip for row, tip in enumerate(tips) if row not in used] + fresh


def _fresh_tip(sighting: Sighting, index: int, row: int) -> _Tip:
    at_rest = np.zeros(2, np.float32)
    return _Tip((index, row), sighting.pts_s, sighting.boxes[row], at_rest, int(sighting.class_ids[row]))


def _mutual_best(tips: Sequence[_Tip], fresh: Sequence[_Tip], sighting: Sighting) -> Iterator[tuple[int, int]]:
    """Rows of tips and of new detections of the same class that overlap each other best."""
    if not tips or not fresh:
        return
    expected = np.array([tip.box_at(sighting.pts_s) for tip in tips], np.float32)
    same = np.array([tip.class_id for tip in tips])[:, None] == sighting.class_ids[None, :]
    overlap = np.where(same, iou(expected, sighting.boxes), 0)
    best_new, best_tip = overlap.argmax(axis=1), overlap.argmax(axis=0)
    for row, column in enumerate(best_new.tolist()):
        if overlap[row, column] >= LINK_IOU and best_tip[column] == row:
            yield row, column


def truth_of(found: Sequence[Sequence[Place]], sightings: Sequence[Sighting]) -> dict[int, FrameTruth]:
    """Frame by frame, the chains that are objects; too faint or short ones become ignored regions."""
    boxes: dict[int, list[tuple[int, NDArray[np.float32]]]] = {sighting.number: [] for sighting in sightings}
    ignored: dict[int, list[NDArray[np.float32]]] = {sighting.number: [] for sighting in sightings}
    n_objects = 0
    for chain in found:
        is_object = _is_object(chain, sightings)
        n_objects += is_object
        for index, box in _smoothed(chain, sightings):
            number = sightings[index].number
            if is_object:
                boxes[number].append((n_objects, box))
            else:
                ignored[number].append(box)
    return {
        number: FrameTruth(
            FrameBoxes(np.array([box for _, box in items], np.float32).reshape(-1, 4)),
            np.array([object_id for object_id, _ in items], np.int64),
            FrameBoxes(np.array(ignored[number], np.float32).reshape(-1, 4)),
        )
        for number, items in boxes.items()
    }


def _is_object(chain: Sequence[Place], sightings: Sequence[Sighting]) -> bool:
    lasted_s = sightings[chain[-1][0]].pts_s - sightings[chain[0][0]].pts_s
    scores = np.sort([sightings[index].scores[row] for index, row in chain])
    return lasted_s >= SHORTEST_CHAIN_S and float(np.median(scores[len(scores) // 2 :])) >= SURE_SCORE


def _smoothed(chain: Sequence[Place], sightings: Sequence[Sighting]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Index of the sighting and box (4,) on every frame from the chain's first to its last."""
    indices = range(chain[0][0], chain[-1][0] + 1)
    times_s = np.array([sightings[index].pts_s for index in indices])
    known_s = np.array([sightings[index].pts_s for index, _ in chain])
    known = np.array([sightings[index].boxes[row] for index, row in chain])
    boxes = np.stack([np.interp(times_s, known_s, known[:, side]) for side in range(4)], axis=1)
    if len(times_s) > 1:
        period_s = float(np.median(np.diff(times_s)))
        width = 2 * int(SMOOTHING_S / 2 / period_s) + 1
        boxes = uniform_filter1d(boxes, width, axis=0, mode="nearest")
    yield from zip(indices, boxes.astype(np.float32), strict=True)
