"""Labels by teachers: each frame seen at several scales and in tiles, the looks fused, and linked over time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import coverage, iou
from app.core.types import Detector, Frame, FrameBoxes, InputSizes, Size
from app.flexpatch.canvas import CanvasLayout, FrameDetections, joined, map_back
from app.offline.annotations import FrameTruth
from app.offline.evaluation.looks import Looks, whole_layout
from app.offline.evaluation.whole_frame import tile_layouts
from app.offline.training.pseudo import Sighting, chains, truth_of

CLASSES = ("person", "car")
"""Of the shipped detector; as COCO and the synthetic street call them."""
TEACHER_CLASSES: Mapping[str, int] = {"person": 0, "car": 1, "bus": 1, "truck": 1}
"""Vans, lorries and buses count as cars: detectors of this size do not tell them apart."""

SCALES = (0.6, 1.0, 1.6)
"""Sizes of the whole frame, for teachers that take any size; those of one size see it whole and in tiles."""
_SAME_IOU = 0.55
_AGREEMENT = 3
"""So many looks make a detection sure: its score is the mean of its best, missing ones counted as 0."""
_FAINTEST = 0.12
"""Fainter ones are not even ignored: a background that is mostly ignored teaches nothing."""
_PART_SHARE = 0.6


def labelled(frames: Iterable[Frame], teachers: Sequence[Detector]) -> Iterator[tuple[int, list[FrameTruth]]]:
    """Number of each frame and, class by class, what the teachers agree on; the rest they saw is ignored.

    What lies in an object of its class is no other object, but a part of it, and is not ignored.
    """
    looks = [Looks(teacher, None) for teacher in teachers]
    sightings = [fused_look(frame, looks) for frame in frames]
    truths = []
    for class_id in range(len(CLASSES)):
        own = [_of_class(sighting, class_id) for sighting in sightings]
        truths.append(truth_of(chains(own), own))
    for sighting in sightings:
        yield sighting.number, [_without_parts(truth[sighting.number]) for truth in truths]


def _without_parts(truth: FrameTruth) -> FrameTruth:
    is_part = (coverage(truth.ignored, truth.boxes) > _PART_SHARE).any(axis=1)
    return replace(truth, ignored=FrameBoxes(truth.ignored[~is_part]))


def fused_look(frame: Frame, teachers: Sequence[Looks]) -> Sighting:
    """What all looks of all teachers show together: boxes fused as in weighted box fusion (Solovyev et al., 2021)."""
    seen = joined([_seen(frame, teacher) for teacher in teachers])
    boxes, scores, classes = seen.boxes, seen.scores, seen.class_ids
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


def _seen(frame: Frame, teacher: Looks) -> FrameDetections:
    """What one teacher sees in all its looks, in classes of ours; what a tile cuts, another look sees whole."""
    looks = [teacher.ask(frame, layout) for layout in _layouts(frame.size, teacher.detector.input_sizes)]
    found = joined([map_back(look.layout, look.seen, frame.size) for look in looks])
    ours = np.array([TEACHER_CLASSES.get(name, -1) for name in teacher.detector.class_names], np.int32)
    found = replace(found, class_ids=ours[found.class_ids])
    return found[(found.class_ids >= 0) & ~found.is_cut]


def _layouts(frame: Size, sizes: InputSizes) -> list[CanvasLayout]:
    if sizes.fixed:
        return tile_layouts(frame, sizes.fixed[-1])
    canvases = [[max(1, round(side * scale / sizes.stride)) * sizes.stride for side in frame] for scale in SCALES]
    return [whole_layout(frame, Size(*canvas)) for canvas in canvases]


def _of_class(sighting: Sighting, class_id: int) -> Sighting:
    own = sighting.class_ids == class_id
    return replace(
        sighting,
        boxes=FrameBoxes(sighting.boxes[own]),
        scores=sighting.scores[own],
        class_ids=sighting.class_ids[own],
    )
