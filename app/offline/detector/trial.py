"""How good a detector is on streets that nothing was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.core.types import BgrPicture, Detector, Frame, FrameBoxes, Size
from app.offline.annotations import FrameTruth
from app.offline.detector.labels import CLASSES
from app.offline.detector.scenes import Scene, street_scenes
from app.offline.evaluation.detection import HEIGHT_RANGES, average_precision, match
from app.offline.evaluation.looks import Looks
from app.offline.evaluation.whole_frame import WholeFrame

STREETS = (
    "synthetic:1280x720@1?objects=25&seed=401",
    "synthetic:1920x1080@1?objects=30&seed=402",
    "synthetic:1280x720@1?objects=25&seed=403&night=1",
    "synthetic:960x540@1?objects=25&seed=404&pan=1&clouds=1",
)
"""Seeds of their own: nothing was trained on these."""
N_FRAMES = 12
"""Of each."""
CANVAS = Size(640, 384)
"""Whole frames are shown at this size, unless another is given."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Average precision at IoU 0.5 of one class on whole frames."""

    label: str
    n_objects: int
    ap50: float | None
    ap50_by_height: dict[str, float | None]
    """By the height in the frame, in pixels."""


def trials(detector: Detector, scenes: Sequence[Scene] | None = None, canvas: Size = CANVAS) -> list[Trial]:
    """Show a detector whole frames of streets (or of other scenes), and judge it class by class."""
    if scenes is None:
        scenes = [scene for text in STREETS for scene in street_scenes(text, N_FRAMES)]
    looks = Looks(detector, None)
    return [_trial(WholeFrame(looks, canvas, detector.class_names.index(label)), label, scenes) for label in CLASSES]


def _trial(method: WholeFrame, label: str, scenes: Sequence[Scene]) -> Trial:
    truths = [truth_of(scene, CLASSES.index(label)) for scene in scenes]
    frames = (Frame(seq, float(seq), BgrPicture(scene.pixels)) for seq, scene in enumerate(scenes, 1))
    outputs = [method.step(frame)[0] for frame in frames]
    return Trial(
        label,
        sum(len(truth.boxes) for truth in truths),
        average_precision(match(truths, outputs)),
        {name: average_precision(match(truths, outputs, heights)) for name, heights in HEIGHT_RANGES.items()},
    )


def truth_of(scene: Scene, class_id: int) -> FrameTruth:
    """A scene's objects of one class, as evaluations take them."""
    boxes = FrameBoxes(scene.boxes[scene.classes == class_id])
    return FrameTruth(boxes, np.arange(len(boxes)), FrameBoxes(scene.ignored))
