"""A small world of textured rectangles before a textured background, and a detector that sees it.

Nothing tells the detector where the objects are: it finds them by their colour on the canvas that it is given,
so what it reports depends on what the pipeline has cut, scaled and placed there.
"""

import math
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.boxes import iou
from app.core.clock import ManualClock
from app.core.errors import DetectorFailed
from app.core.types import (
    Alignment,
    BgrPicture,
    Canvas,
    CanvasBoxes,
    CanvasDetections,
    Detector,
    Frame,
    FrameBoxes,
    FrameResult,
    InputSizes,
    PatchCopy,
    Picture,
    PointFlow,
    PreparedFrame,
    Size,
    TrackedObject,
    Vision,
    VisionPlace,
)
from app.flexpatch.config import PipelineConfig
from app.flexpatch.failure import FailureModel, hand_set_model
from app.flexpatch.pipeline import Pipeline
from app.flexpatch.scheduler import Planner, plan_look
from app.vision.alignment import NO_SHIFT
from app.vision.cpu import CpuVision

CLASS_NAMES = ("person", "car")
RED_OVER_OTHERS = 45
FRAME_RATE = 30.0


def texture(size: Size, seed: int, grain_px: int = 6) -> NDArray[np.uint8]:
    """(H, W) grey blotches of about `grain_px`, full of corners to follow."""
    coarse = np.random.default_rng(seed).integers(
        20, 236, (-(-size.height // grain_px) + 1, -(-size.width // grain_px) + 1), np.uint8
    )
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.uint8)


@dataclass(frozen=True, slots=True)
class Actor:
    """A rectangle that moves at constant speed: red if it is a person, blue if it is a car."""

    box: tuple[int, int, int, int]
    """Where it is at 0 s."""
    velocity: tuple[float, float] = (0.0, 0.0)
    """Pixels a second."""
    class_id: int = 0
    from_s: float = 0.0
    until_s: float = 1e9
    seed: int = 1

    def box_at(self, pts_s: float) -> tuple[int, int, int, int]:
        x, y = (round(speed * pts_s) for speed in self.velocity)
        return self.box[0] + x, self.box[1] + y, self.box[2] + x, self.box[3] + y


@dataclass(frozen=True, slots=True)
class World:
    """What the camera sees: frames are numbered from 1, the first one at 0 s."""

    size: Size
    actors: tuple[Actor, ...] = ()
    seed: int = 7
    camera_velocity: tuple[float, float] = (0.0, 0.0)
    """Pixels a second by which the background moves over the picture (0 or more to the left and up)."""
    frame_rate: float = FRAME_RATE
    grain_px: int = 9
    """Of the background's texture."""
    background: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        # Room for a few seconds of panning to the right and down.
        room = [0 if speed == 0 else 400 for speed in self.camera_velocity]
        grey = texture(Size(self.size.width + room[0], self.size.height + room[1]), self.seed, self.grain_px)
        object.__setattr__(self, "background", np.repeat(grey[..., None], 3, axis=2))

    def pts_s(self, seq: int) -> float:
        return (seq - 1) / self.frame_rate

    def picture(self, pts_s: float) -> BgrPicture:
        x, y = (round(speed * pts_s) for speed in self.camera_velocity)
        pixels = self.background[y : y + self.size.height, x : x + self.size.width].copy()
        for actor in self.actors:
            if actor.from_s <= pts_s < actor.until_s:
                _paint(pixels, actor, actor.box_at(pts_s))
        return BgrPicture(pixels)

    def frame(self, seq: int) -> Frame:
        return Frame(seq, self.pts_s(seq), self.picture(self.pts_s(seq)))

    def frames(self, n: int, first: int = 1) -> Iterator[Frame]:
        return (self.frame(seq) for seq in range(first, first + n))

    def boxes(self, seq: int) -> NDArray[np.float32]:
        """(A, 4) where the actors on stage really are, cut to the frame."""
        pts_s = self.pts_s(seq)
        on_stage = [a.box_at(pts_s) for a in self.actors if a.from_s <= pts_s < a.until_s]
        limit = np.tile(np.array(self.size, np.float32), 2)
        return np.clip(np.array(on_stage, np.float32).reshape(-1, 4), 0, limit)


def _paint(pixels: NDArray[np.uint8], actor: Actor, box: tuple[int, int, int, int]) -> None:
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = box
    grey = texture(Size(x2 - x1, y2 - y1), actor.seed).astype(np.float32)
    left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    if right <= left or bottom <= top:
        return
    grey = grey[top - y1 : bottom - y1, left - x1 : right - x1]
    colour = np.stack([grey * 0.3, grey * 0.3, 100 + grey * 0.6], axis=2).astype(np.uint8)
    pixels[top:bottom, left:right] = colour if actor.class_id == 0 else colour[..., ::-1]


@dataclass(slots=True)
class ScriptedDetector:
    """Finds coloured rectangles on the canvas. Touching ones of a colour merge, as people in a crowd do."""

    input_sizes: InputSizes = field(default_factory=InputSizes)
    min_height_px: int = 10
    """Lower objects are not seen."""
    score: float = 0.8
    blind_calls: Container[int] = ()
    """Calls, counted from 0, on which nothing is reported."""
    failing_calls: Container[int] = ()
    """Calls, counted from 0, on which the runtime fails."""
    canvases: list[Size] = field(default_factory=list)
    """The canvas of every call so far."""
    reports: list[CanvasDetections] = field(default_factory=list)
    """The answer to every call that did not fail."""

    name: str = "scripted"
    backend: str = "test"
    class_names: tuple[str, ...] = CLASS_NAMES
    pad_value: tuple[int, int, int] = (114, 114, 114)

    def detect(self, canvases: NDArray[np.uint8]) -> Sequence[CanvasDetections]:
        call = len(self.canvases)
        self.canvases.append(Size(canvases.shape[2], canvases.shape[1]))
        if call in self.failing_calls:
            raise DetectorFailed("The scripted detector was told to fail.")
        seen = [no_detections() if call in self.blind_calls else self._see(canvas) for canvas in canvases]
        self.reports += seen
        return seen

    def _see(self, canvas: NDArray[np.uint8]) -> CanvasDetections:
        blue, green, red = np.moveaxis(canvas.astype(np.int16), 2, 0)
        found: list[tuple[int, int, int, int]] = []
        class_ids: list[int] = []
        for class_id, (own, other) in enumerate(((red, blue), (blue, red))):
            mask = (own - np.maximum(other, green) > RED_OVER_OTHERS).astype(np.uint8)
            _, _, statistics, _ = cv2.connectedComponentsWithStats(mask)
            for x, y, width, height, _ in statistics[1:].tolist():
                if height >= self.min_height_px and width >= 2:
                    found.append((x, y, x + width, y + height))
                    class_ids.append(class_id)
        return CanvasDetections(
            CanvasBoxes(np.array(found, np.float32).reshape(-1, 4)),
            np.full(len(found), self.score, np.float32),
            np.array(class_ids, np.int32),
        )


def no_detections() -> CanvasDetections:
    return CanvasDetections(CanvasBoxes(np.zeros((0, 4), np.float32)), np.zeros(0, np.float32), np.zeros(0, np.int32))


@dataclass(slots=True)
class CountingVision:
    """A vision that counts what it is asked for, and leaves the work to another."""

    inner: Vision = field(default_factory=CpuVision)
    flow_calls: int = 0
    points_followed: list[int] = field(default_factory=list)

    @property
    def cell_px(self) -> int:
        return self.inner.cell_px

    @property
    def place(self) -> VisionPlace:
        return self.inner.place

    def close(self) -> None:
        self.inner.close()

    def prepare(self, picture: Picture) -> PreparedFrame:
        return self.inner.prepare(picture)

    def flow(
        self,
        earlier: PreparedFrame,
        later: PreparedFrame,
        points: NDArray[np.float32],
        guess: NDArray[np.float32],
        reach_px: float = math.inf,
    ) -> PointFlow:
        self.flow_calls += 1
        self.points_followed.append(len(points))
        return self.inner.flow(earlier, later, points, guess, reach_px)

    def corners(self, frame: PreparedFrame, boxes: FrameBoxes, grid: tuple[int, int]) -> NDArray[np.float32]:
        return self.inner.corners(frame, boxes, grid)

    def templates(self, frame: PreparedFrame, boxes: FrameBoxes) -> NDArray[np.float32]:
        return self.inner.templates(frame, boxes)

    def edge_map(self, frame: PreparedFrame) -> NDArray[np.float32]:
        return self.inner.edge_map(frame)

    def motion_map(
        self, earlier: PreparedFrame, later: PreparedFrame, camera: NDArray[np.float64] | None
    ) -> NDArray[np.float32]:
        return self.inner.motion_map(earlier, later, camera)

    def alignment(
        self, earlier: PreparedFrame, later: PreparedFrame, expected_px: NDArray[np.floating] = NO_SHIFT
    ) -> Alignment:
        return self.inner.alignment(earlier, later, expected_px)

    def canvas(
        self, frame: PreparedFrame, copies: Sequence[PatchCopy], size: Size, pad_value: tuple[int, int, int]
    ) -> Canvas:
        return self.inner.canvas(frame, copies, size, pad_value)


def make_pipeline(
    detector: Detector | None = None,
    config: PipelineConfig | None = None,
    *,
    vision: Vision | None = None,
    failure_model: FailureModel | None = None,
    planner: Planner = plan_look,
) -> Pipeline:
    return Pipeline(
        vision or CpuVision(),
        detector or ScriptedDetector(),
        config or PipelineConfig(),
        failure_model or hand_set_model(),
        ManualClock(),
        planner=planner,
    )


def run(pipeline: Pipeline, frames: Iterable[Frame]) -> list[FrameResult]:
    return [pipeline.step(frame) for frame in frames]


def result_boxes(result: FrameResult) -> NDArray[np.float32]:
    """(N, 4) boxes of all objects of a result."""
    return np.array([item.box for item in result.objects], np.float32).reshape(-1, 4)


def n_covered(result: FrameResult, truth: NDArray[np.float32]) -> int:
    """How many of the true boxes (A, 4) have an object on them by an IoU of a half."""
    if not len(truth) or not result.objects:
        return 0
    return int((iou(truth, result_boxes(result)) > 0.5).any(axis=1).sum())


def object_at(result: FrameResult, box: Sequence[float]) -> TrackedObject:
    """The object that overlaps the box most."""
    overlaps = iou(np.array([box], np.float32), result_boxes(result))[0]
    return result.objects[int(overlaps.argmax())]
