"""A look under way: what the detector is shown, and what was believed when it was asked."""

from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import centres, sizes
from app.core.types import Answer, FrameBoxes, PreparedFrame
from app.flexpatch.canvas import CanvasLayout
from app.flexpatch.flow import STILL, CameraMotion, one_after_the_other
from app.flexpatch.tracks import TrackTable


@dataclass(frozen=True, slots=True)
class Beliefs:
    """Where N tracks were thought to be."""

    ids: NDArray[np.int64]
    """(N,) ascending."""
    boxes: FrameBoxes
    failure: NDArray[np.float32]
    """(N,) probability that the box is wrong."""

    @classmethod
    def of(cls, tracks: TrackTable) -> "Beliefs":
        return cls(tracks.ids.copy(), FrameBoxes(tracks.boxes.copy()), tracks.failure.copy())

    def of_those(self, ids: NDArray[np.int64]) -> "Beliefs":
        """The rows of `ids` (K,), all of them among these."""
        rows = np.searchsorted(self.ids, ids)
        return Beliefs(ids, FrameBoxes(self.boxes[rows]), self.failure[rows])


@dataclass(slots=True)
class Look:
    """One question to the detector, and what happened to the stream since it was put."""

    seq: int
    pts_s: float
    frame: PreparedFrame
    """That the canvas was cut from."""
    layout: CanvasLayout
    beliefs: Beliefs
    answer: "Future[Answer]"
    camera: CameraMotion = STILL
    """How the camera has moved since."""
    is_void: bool = False
    """The scene is another one since: whatever the answer is, nobody wants it."""

    def camera_moved(self, motion: CameraMotion) -> None:
        """The stream went on by a frame."""
        self.camera = one_after_the_other(self.camera, motion)


def moved_along(
    boxes: NDArray[np.float32], before: NDArray[np.float32], after: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Take boxes (K, 4) to where they would be had each gone with another box from `before` to `after` (K, 4).

    Returns:
        (K, 4), and by how much each grew (K,).
    """
    growth = (after[:, 3] - after[:, 1]) / np.maximum(before[:, 3] - before[:, 1], 1e-3)
    middle = centres(after) + (centres(boxes) - centres(before)) * growth[:, None]
    half = sizes(boxes) * np.float32(0.5) * growth[:, None]
    return np.concatenate([middle - half, middle + half], axis=1).astype(np.float32), growth.astype(np.float32)
