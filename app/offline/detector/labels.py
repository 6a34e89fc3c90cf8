"""Labels by teachers: each frame seen at several scales and in tiles, the looks fused, and linked over time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.boxes import coverage, iou
from app.core.types import Detector, Frame, FrameBoxes, Size
from app.offline.annotations import FrameTruth
from app.offline.training.pseudo import Sighting, chains, truth_of
from app.vision.cpu import to_bgr

CLASSES = ("person", "car")
"""Of the shipped detector; as COCO and the synthetic street call them."""
TEACHER_CLASSES: Mapping[str, int] = {"person": 0, "car": 1, "bus": 1, "truck": 1}
"""Vans, lorries and buses count as cars: detectors of this size do not tell them apart."""

SCALES = (0.6, 1.0, 1.6)
"""Sizes of the whole frame, for teachers that take any size."""
TILE_SHARE = 0.6
"""Of the frame's sides, for teachers of one size: the whole frame and 2 × 2 tiles that overlap."""
_SAME_IOU = 0.55
_AGREEMENT = 3
"""So many looks make a detection sure: its score is the mean of its best, missing ones counted as 0."""
_FAINTEST = 0.12
"""Fainter ones are not even ignored: a background that is mostly ignored teaches nothing."""
_PART_SHARE = 0.6
_CUT_PX = 3.0

Region = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Look:
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int32]


def labelled(frames: Iterable[Frame], teachers: Sequence[Detector]) -> Iterator[tuple[int, list[FrameTruth]]]:
    """Number of each frame and, class by class, what the teachers agree on; the rest they saw is ignored.

    What lies in an object of its class is no other object, but a part of it, and is not ignored.
    """
    sightings = [fused_look(frame, teachers) for frame in frames]
    truths = []
    for class_id in range(len(CLASSES)):
        own = [_of_class(sighting, class_id) for sighting in sightings]
        truths.append(truth_of(chains(own), own))
    for sighting in sightings:
        yield sighting.number, [_without_parts(truth[sighting.number]) for truth in truths]


def _without_parts(truth: FrameTruth) -> FrameTruth:
    is_part = (coverage(truth.ignored, truth.boxes) > _PART_SHARE).any(axis=1)
    return replace(truth, ignored=FrameBoxes(truth.ignored[~is_part]))


def fused_look(frame: Frame, teachers: Sequence[Detector]) -> Sighting:
    """What all looks of all teachers show together: boxes fused as in weighted box fusion (Solovyev et al., 2021)."""
    pixels = to_bgr(frame.picture)
    looks = [look for teacher in teachers for look in _looks(pixels, teacher)]
    boxes = np.concatenate([look.boxes for look in looks])
    scores = np.concatenate([look.scores for look in looks])
    classes = np.concatenate([look.classes for look in looks])
    fused: list[tuple[NDArray[np.float32], float, int]] = []
    left = np.argsort(-scores, kind="stable")
    while len(left):
        best = left[0]
        same = (iou(boxes[best][None], boxes[left])[0] >= _SAME_IOU) & (classes[left] == classes[best])
        group = left[same]
        left = left[~same]
        weights = scores[group] / scores[group].sum()
        agreed = float(np.sort(scores[group])[-_AGREEMENT:].sum()) / _AGREEMENT
        if agreed >= _FAINTEST:
            fused.append((weights @ boxes[group], agreed, int(classes[best])))
    return Sighting(
        frame.seq,
        frame.pts_s,
        FrameBoxes(np.array([box for box, _, _ in fused], np.float32).reshape(-1, 4)),
        np.array([score for _, score, _ in fused], np.float32),
        np.array([class_id for _, _, class_id in fused], np.int32),
    )


def _looks(pixels: NDArray[np.uint8], teacher: Detector) -> Iterator[_Look]:
    height, width = pixels.shape[:2]
    whole = (0, 0, width, height)
    sizes = teacher.input_sizes
    if sizes.fixed:
        for region in (whole, *_tiles(width, height)):
            yield _look(pixels, region, sizes.fixed[-1], teacher)
        return
    for scale in SCALES:
        sides = (max(1, round(side * scale / sizes.stride)) * sizes.stride for side in (width, height))
        yield _look(pixels, whole, Size(*sides), teacher)


def _tiles(width: int, height: int) -> Iterator[Region]:
    w, h = round(width * TILE_SHARE), round(height * TILE_SHARE)
    for left in (0, width - w):
        for top in (0, height - h):
            yield left, top, left + w, top + h


def _look(pixels: NDArray[np.uint8], region: Region, canvas: Size, teacher: Detector) -> _Look:
    """Detections of the wanted classes in one region, in the frame's pixels."""
    left, top, right, bottom = region
    scale = min(canvas.width / (right - left), canvas.height / (bottom - top))
    size = (round((right - left) * scale), round((bottom - top) * scale))
    shown = np.full((canvas.height, canvas.width, 3), teacher.pad_value, np.uint8)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    shown[: size[1], : size[0]] = cv2.resize(pixels[top:bottom, left:right], size, interpolation=method)
    found = teacher.detect(shown[np.newaxis])[0]
    classes = np.array([TEACHER_CLASSES.get(name, -1) for name in teacher.class_names], np.int32)[found.class_ids]
    wanted = classes >= 0
    boxes = found.boxes[wanted] / np.float32(scale) + np.array([left, top, left, top], np.float32)
    look = _Look(np.asarray(boxes, np.float32), found.scores[wanted], classes[wanted])
    return _without_cut(look, region, (pixels.shape[1], pixels.shape[0]))


def _without_cut(look: _Look, region: Region, frame: tuple[int, int]) -> _Look:
    """Without what the edge of a tile cuts: another look sees it whole."""
    low, high = np.array(region[:2]), np.array(region[2:])
    is_cut = (look.boxes[:, :2] < low + _CUT_PX) & (low > 0) | (look.boxes[:, 2:] > high - _CUT_PX) & (high < frame)
    whole = ~is_cut.any(axis=1)
    return _Look(look.boxes[whole], look.scores[whole], look.classes[whole])


def _of_class(sighting: Sighting, class_id: int) -> Sighting:
    own = sighting.class_ids == class_id
    return Sighting(
        sighting.number,
        sighting.pts_s,
        FrameBoxes(sighting.boxes[own]),
        sighting.scores[own],
        sighting.class_ids[own],
    )
