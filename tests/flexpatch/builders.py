"""Parts of the pipeline made by hand, for tests of one part at a time."""

import math
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.core.types import (
    Alignment,
    CanvasBoxes,
    CanvasDetections,
    FrameBoxes,
    PatchCopy,
    Picture,
    PointFlow,
    PreparedFrame,
    Size,
    VisionPlace,
)
from app.flexpatch.acuity import Acuity
from app.flexpatch.canvas import CanvasLayout, FrameDetections
from app.flexpatch.config import PipelineConfig
from app.flexpatch.failure import hand_set_model
from app.flexpatch.look import Beliefs, Look
from app.flexpatch.tracker import MergeOutcome, Tracker
from app.flexpatch.tracks import TrackTable
from app.vision.alignment import NO_SHIFT

Rectangle = tuple[float, float, float, float]

N_CLASSES = 2
FRAME_S = 1 / 30
FRAME_SIZE = Size(1280, 720)
TEMPLATE = np.random.default_rng(0).uniform(0, 255, (16, 16)).astype(np.float32)


def frame_boxes(*boxes: Rectangle) -> FrameBoxes:
    return FrameBoxes(np.array(boxes, np.float32).reshape(-1, 4))


def canvas_boxes(*boxes: Rectangle) -> CanvasBoxes:
    return CanvasBoxes(np.array(boxes, np.float32).reshape(-1, 4))


def layout_of(size: Size, *patches: tuple[Rectangle, Rectangle]) -> CanvasLayout:
    """A canvas from pairs of source and target rectangles."""
    return CanvasLayout(size, frame_boxes(*(p[0] for p in patches)), canvas_boxes(*(p[1] for p in patches)))


def one_patch(source: Rectangle, scale: float) -> CanvasLayout:
    """A canvas that is filled by one patch of the frame at `scale`."""
    width, height = round((source[2] - source[0]) * scale), round((source[3] - source[1]) * scale)
    return layout_of(Size(width, height), (source, (0, 0, width, height)))


def on_canvas(*boxes: Rectangle, score: float = 0.8) -> CanvasDetections:
    """Persons that a detector saw on a canvas."""
    n = len(boxes)
    return CanvasDetections(canvas_boxes(*boxes), np.full(n, score, np.float32), np.zeros(n, np.int32))


def in_frame(
    boxes: FrameBoxes,
    scores: Sequence[float] | float = 0.8,
    *,
    class_ids: Sequence[int] | int = 0,
    is_cut: Sequence[bool] | bool = False,
) -> FrameDetections:
    """Detections that are already back in the frame, seen at native scale."""
    n = len(boxes)
    return FrameDetections(
        boxes=boxes,
        scores=np.array(np.broadcast_to(scores, n), np.float32),
        class_ids=np.array(np.broadcast_to(class_ids, n), np.int32),
        is_cut=np.array(np.broadcast_to(is_cut, n), bool),
        scale=np.ones(n, np.float32),
    )


@dataclass(frozen=True, slots=True)
class PaperFrame:
    """A frame without pixels."""

    size: Size


@dataclass(slots=True)
class PaperVision:
    """A vision without pixels: everything moves by `shift` from frame to frame and looks the same for ever."""

    frame: PaperFrame
    shift: tuple[float, float] = (0.0, 0.0)
    background_shift: tuple[float, float] = (0.0, 0.0)
    is_lost: bool = False
    """Flow finds none of the points on objects."""
    is_background_lost: bool = False
    """Flow finds none of the points on the background."""
    has_background: bool = True
    """There is something to follow on the background."""
    swing: tuple[float, float] = (0.0, 0.0)
    """Pixels by which the whole picture seems to move."""
    expected: list[tuple[float, float]] = field(default_factory=list)
    """Shifts that were expected so far."""
    n_background: int = 0
    """Points that were set all over the frame; they come last among those to follow."""
    cell_px: int = 16

    def prepare(self, picture: Picture) -> PreparedFrame:
        return self.frame

    place: VisionPlace = "cpu"

    def close(self) -> None: ...

    def flow(
        self,
        earlier: PreparedFrame,
        later: PreparedFrame,
        points: NDArray[np.float32],
        guess: NDArray[np.float32],
        reach_px: float = math.inf,
    ) -> PointFlow:
        is_own = np.arange(len(points)) < len(points) - self.n_background
        shift = np.where(is_own[:, None], self.shift, self.background_shift).astype(np.float32)
        n = len(points)
        return PointFlow(
            points=points + shift,
            is_found=np.where(is_own, not self.is_lost, not self.is_background_lost),
            round_trip_px=np.zeros(n, np.float32),
            min_eigenvalue=np.full(n, 0.01, np.float32),
        )

    def corners(self, frame: PreparedFrame, boxes: FrameBoxes, grid: tuple[int, int]) -> NDArray[np.float32]:
        if boxes.tolist() == [[0, 0, *self.frame.size]]:
            self.n_background = grid[0] * grid[1] if self.has_background else 0
            return (
                self._grid(boxes, grid)
                if self.has_background
                else np.full((1, grid[0] * grid[1], 2), np.nan, np.float32)
            )
        return self._grid(boxes, grid)

    def templates(self, frame: PreparedFrame, boxes: FrameBoxes) -> NDArray[np.float32]:
        return np.broadcast_to(TEMPLATE, (len(boxes), *TEMPLATE.shape)).copy()

    def edge_map(self, frame: PreparedFrame) -> NDArray[np.float32]:
        return self._map()

    def motion_map(
        self, earlier: PreparedFrame, later: PreparedFrame, camera: NDArray[np.float64] | None
    ) -> NDArray[np.float32]:
        return self._map()

    def alignment(
        self, earlier: PreparedFrame, later: PreparedFrame, expected_px: NDArray[np.floating] = NO_SHIFT
    ) -> Alignment:
        self.expected.append((float(expected_px[0]), float(expected_px[1])))
        return Alignment(np.array(self.swing, np.float32), 0.0)

    def canvas(
        self, frame: PreparedFrame, copies: Sequence[PatchCopy], size: Size, pad_value: tuple[int, int, int]
    ) -> NDArray[np.uint8]:
        return np.zeros((size.height, size.width, 3), np.uint8)

    def _map(self) -> NDArray[np.float32]:
        width, height = self.frame.size
        return np.zeros((-(-height // self.cell_px), -(-width // self.cell_px)), np.float32)

    def _grid(self, boxes: FrameBoxes, grid: tuple[int, int]) -> NDArray[np.float32]:
        columns, rows = grid
        y, x = np.divmod(np.arange(columns * rows), columns)
        shares = np.stack([(x + 0.5) / columns, (y + 0.5) / rows], axis=1).astype(np.float32)
        return boxes[:, None, :2] + shares * (boxes[:, 2:] - boxes[:, :2])[:, None, :]


class PaperStage:
    """A tracker on frames without pixels, thirty a second."""

    def __init__(
        self, size: Size = FRAME_SIZE, config: PipelineConfig | None = None, acuity: Acuity | None = None
    ) -> None:
        self.frame = PaperFrame(size)
        self.vision = PaperVision(self.frame)
        self.acuity = acuity or Acuity()
        self.tracker = Tracker(self.vision, N_CLASSES, hand_set_model(), self.acuity)
        self.config = config or PipelineConfig()
        self.pts_s = 0.0

    @property
    def tracks(self) -> TrackTable:
        return self.tracker.tracks

    def see(self, detections: FrameDetections, layout: CanvasLayout | None = None) -> MergeOutcome:
        """The detector looked, at the whole frame at native scale unless a layout is given."""
        whole = one_patch((0, 0, *self.frame.size), 1.0)
        look = Look(1, self.pts_s, self.frame, layout or whole, Beliefs.of(self.tracks), Future())
        return self.tracker.merge(self.frame, self.pts_s, look, detections, self.config)

    def pass_frames(self, n: int = 1) -> None:
        """Time goes on and tracks follow the flow; nobody looks."""
        for _ in range(n):
            self.pts_s += FRAME_S
            self.tracker.propagate(self.frame, self.frame, self.pts_s, FRAME_S)
            self.tracker.judge(self.frame, self.pts_s, FRAME_S)


def tracks_at(
    boxes: FrameBoxes,
    *,
    scores: Sequence[float] | float = 0.8,
    failure: Sequence[float] | float = 0.0,
    size: Size = FRAME_SIZE,
) -> TrackTable:
    """Tracks of persons seen once, clearly; of boxes that lie on one another only one may stay."""
    stage = PaperStage(size)
    stage.see(in_frame(boxes, scores))
    failures = np.array(np.broadcast_to(failure, len(boxes)), np.float32)
    stage.tracks.failure = failures[stage.tracks.ids - 1]
    return stage.tracks
