"""The words that all parts share: pictures, frames, detections, results, and the two protocols.

Boxes in frame and in canvas coordinates are different types, so that mixing them fails the type check.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, NewType, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

FrameBoxes = NewType("FrameBoxes", NDArray[np.float32])
"""(N, 4) float32 xyxy in source-frame pixels."""

CanvasBoxes = NewType("CanvasBoxes", NDArray[np.float32])
"""(N, 4) float32 xyxy in canvas pixels."""

CaptureSource = Literal["rtcp", "pts", "client", "arrival"]
WorkMode = Literal["patch", "full", "track"]
VisionPlace = Literal["cpu", "gpu"]
Origin = Literal["detected", "tracked"]


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


# ---------------------------------------------------------------------------------------------- pictures


@dataclass(frozen=True, slots=True)
class BgrPicture:
    """A decoded picture as interleaved blue, green, red: what image decoders give."""

    pixels: NDArray[np.uint8]
    """(H, W, 3), C-contiguous."""

    @property
    def size(self) -> Size:
        return Size(self.pixels.shape[1], self.pixels.shape[0])


@dataclass(frozen=True, slots=True)
class YuvPicture:
    """A decoded picture as 4:2:0 planes: what video decoders give. Planes may be strided views."""

    y: NDArray[np.uint8]
    """(H, W) luma."""
    u: NDArray[np.uint8]
    """(ceil(H/2), ceil(W/2)) blue difference."""
    v: NDArray[np.uint8]
    """(ceil(H/2), ceil(W/2)) red difference."""
    is_full_range: bool = False
    """0–255 as in JPEG, rather than 16–235 as in video."""

    @property
    def size(self) -> Size:
        return Size(self.y.shape[1], self.y.shape[0])


Picture = BgrPicture | YuvPicture


@dataclass(frozen=True, slots=True)
class CaptureTime:
    """When the camera took the picture, and how that is known."""

    unix_s: float
    source: CaptureSource


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of one stream, decoded."""

    seq: int
    """Strictly increasing within a session, from 1."""
    pts_s: float
    """Stream time in seconds, strictly increasing."""
    picture: Picture
    capture: CaptureTime | None = None
    decode_ms: float = 0.0
    """How long decoding took, in milliseconds."""

    @property
    def size(self) -> Size:
        return self.picture.size


# -------------------------------------------------------------------------------------------- detections


@dataclass(frozen=True, slots=True)
class CanvasDetections:
    """What a detector saw on one canvas, highest score first, duplicates suppressed."""

    boxes: CanvasBoxes
    scores: NDArray[np.float32]
    """(N,) in [0, 1]."""
    class_ids: NDArray[np.int32]
    """(N,) indices into the detector's class names."""

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of asking a detector about one canvas."""

    seen: CanvasDetections
    took_ms: float
    """From question to answer, waiting for others included."""


@dataclass(frozen=True, slots=True)
class PatchCopy:
    """One rectangle of the frame, resized onto one rectangle of the canvas."""

    source: tuple[int, int, int, int]
    """x1, y1, x2, y2 in source-frame pixels, inside the frame."""
    target: tuple[int, int, int, int]
    """x1, y1, x2, y2 in canvas pixels, inside the canvas."""


@dataclass(frozen=True, slots=True)
class ResidentPicture:
    """A picture in a GPU's memory, complete, which it stays for as long as somebody holds this."""

    gpu: int
    """CUDA's number of the GPU."""
    planes: tuple[int, ...]
    """Addresses: of interleaved BGR; or of Y, U, V. Rows follow one another without a gap."""
    owner: object = field(repr=False)
    """Holds the memory."""


@dataclass(frozen=True, slots=True)
class CanvasOrder:
    """A canvas that is yet to be drawn, by whoever looks at it: on a GPU, straight into the network's input."""

    picture: Picture
    copies: tuple[PatchCopy, ...]
    size: Size
    pad_value: tuple[int, int, int]
    """BGR."""
    draw: Callable[[], NDArray[np.uint8]]
    """Draws it on the processor: (H, W, 3) BGR. Any thread may."""
    resident: ResidentPicture | None = None
    """The picture where a vision that works on a GPU has put it."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """As of the array that is drawn."""
        return self.size.height, self.size.width, 3


Canvas = NDArray[np.uint8] | CanvasOrder
"""(H, W, 3) uint8 BGR, or what is to be on it."""

Ask = Callable[[Canvas], "Future[Answer]"]
"""Has a detector look at one canvas, which must not change until the answer is there.

The future, or the call itself, raises DetectorFailed.
"""


@dataclass(frozen=True, slots=True)
class InputSizes:
    """Which canvas sizes a detector takes: the listed ones, or any multiple of `stride` if none is listed."""

    fixed: tuple[Size, ...] = ()
    stride: int = 32
    largest: Size | None = None
    """Greatest width and greatest height, where none is listed; None: without end."""

    def accepts(self, size: Size) -> bool:
        if self.fixed:
            return size in self.fixed
        is_within = self.largest is None or (size.width <= self.largest.width and size.height <= self.largest.height)
        return is_within and size.width % self.stride == 0 and size.height % self.stride == 0 and min(size) > 0

    def __str__(self) -> str:
        if self.fixed:
            return ", ".join(str(size) for size in self.fixed)
        return f"multiples of {self.stride}" + (f" up to {self.largest}" if self.largest else "")


class Detector(Protocol):
    """An object detector: canvases in, boxes out. One instance may serve several sessions' threads."""

    @property
    def name(self) -> str:
        """The model's name, fit for a metric label."""
        ...

    @property
    def backend(self) -> str:
        """For example `onnxruntime-cpu`."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def input_sizes(self) -> InputSizes: ...

    @property
    def pad_value(self) -> tuple[int, int, int]:
        """BGR colour of canvas pixels that belong to no patch, as in the model's own training."""
        ...

    def detect(self, canvases: NDArray[np.uint8]) -> Sequence[CanvasDetections]:
        """Run on canvases (B, H, W, 3) uint8 BGR of one size; one result for each.

        Scores go down to the detector's floor (0.05 by default): precision-recall needs the low ones.

        Raises:
            DetectorFailed: the runtime reported an error, or the size is not among `input_sizes`.
        """
        ...


class DrawingDetector(Detector, Protocol):
    """A detector that draws its canvases itself."""

    def look(self, orders: Sequence[CanvasOrder]) -> Sequence[CanvasDetections]:
        """Draw canvases of one size, and run on them; one result for each.

        Raises:
            DetectorFailed: as `detect`.
        """
        ...


@runtime_checkable
class DetectorSource(Protocol):
    """A model that gives each user a detector of their own."""

    @property
    def name(self) -> str: ...

    @property
    def backend(self) -> str:
        """Where a new user's detector would run."""
        ...

    def open(self) -> Detector:
        """A detector for one user, who calls `close_detector` in the end.

        Raises:
            GpuMemoryShort: there is no room for another one.
            DetectorFailed: nothing can run the model any more.
        """
        ...


def close_detector(detector: Detector) -> None:
    """Give back what is one user's own, if anything is."""
    if (close := getattr(detector, "close", None)) is not None:
        close()


def draws_canvases(detector: Detector) -> bool:
    """Whether it draws them itself, at the moment."""
    return bool(getattr(detector, "draws", False))


def may_draw_canvases(detector: Detector) -> bool:
    """Whether it draws them itself, or may come to."""
    return bool(getattr(detector, "may_draw", draws_canvases(detector)))


def look_at(detector: Detector, canvases: Sequence[Canvas]) -> Sequence[CanvasDetections]:
    """Run a detector on canvases of one size, drawn or not.

    Raises:
        DetectorFailed: as `Detector.detect`.
    """
    orders = [canvas for canvas in canvases if isinstance(canvas, CanvasOrder)]
    if orders and len(orders) == len(canvases) and (look := getattr(detector, "look", None)):
        found: Sequence[CanvasDetections] = look(orders)
        return found
    drawn = [canvas.draw() if isinstance(canvas, CanvasOrder) else canvas for canvas in canvases]
    return detector.detect(drawn[0][np.newaxis] if len(drawn) == 1 else np.stack(drawn))


# ------------------------------------------------------------------------------------------------ vision


class PreparedFrame(Protocol):
    """A frame as one vision keeps it (in GPU memory, perhaps); of use to that one alone."""

    @property
    def size(self) -> Size: ...


@dataclass(frozen=True, slots=True)
class Alignment:
    """Two pictures laid over each other."""

    shift_px: NDArray[np.float32]
    """(2,) by which the earlier one is moved, in source-frame pixels: a fifth of the frame at most, to a hundredth of
    it or so."""
    difference: float
    """Of the middle of the earlier one from where it lies then, or of the whole pictures unmoved, whichever is less:
    0 the same but for exposure, 1 unrelated."""


@dataclass(frozen=True, slots=True)
class PointFlow:
    """Where points went between two frames, forward and back. All lengths in source-frame pixels."""

    points: NDArray[np.float32]
    """(M, 2) positions in the later frame."""
    is_found: NDArray[np.bool_]
    """(M,) the search converged inside the frame, there and back."""
    round_trip_px: NDArray[np.float32]
    """(M,) distance between a point and itself after going forward and back."""
    min_eigenvalue: NDArray[np.float32]
    """(M,) smaller eigenvalue of the spatial gradient matrix round the point in the earlier frame, per window
    pixel, for luma scaled to 0..1 (OpenCV's scale)."""


class Vision(Protocol):
    """All work on pixels. Arrays that go in and out are small; pixels stay inside. Not thread-safe."""

    @property
    def place(self) -> VisionPlace:
        """Where it works at the moment."""
        ...

    @property
    def cell_px(self) -> int:
        """Width of a cell of the scene maps, in source-frame pixels; fixed by the first frame's size."""
        ...

    def prepare(self, picture: Picture) -> PreparedFrame:
        """Make a picture ready for all that follows (luma at reduced size, on the device)."""
        ...

    def flow(
        self,
        earlier: PreparedFrame,
        later: PreparedFrame,
        points: NDArray[np.float32],
        guess: NDArray[np.float32],
        reach_px: float = math.inf,
    ) -> PointFlow:
        """Follow points (M, 2) from the earlier to the later frame, starting the search at `guess` (M, 2).

        Args:
            reach_px: how far from the guess a point need be looked for, in source pixels; less is faster.
        """
        ...

    def corners(self, frame: PreparedFrame, boxes: FrameBoxes, grid: tuple[int, int]) -> NDArray[np.float32]:
        """The best point to follow in each cell of a `grid` (columns, rows) laid over each box.

        Returns:
            (N, columns · rows, 2) positions in source-frame pixels; NaN where the cell has no texture or lies
            outside the frame.
        """
        ...

    def templates(self, frame: PreparedFrame, boxes: FrameBoxes) -> NDArray[np.float32]:
        """The luma inside each box, resampled to a fixed grid: (N, T, T), 0 to 255."""
        ...

    def edge_map(self, frame: PreparedFrame) -> NDArray[np.float32]:
        """Share of edge pixels in each cell of `cell_px` source pixels: (rows, columns), 0 to 1."""
        ...

    def motion_map(
        self, earlier: PreparedFrame, later: PreparedFrame, camera: NDArray[np.float64] | None
    ) -> NDArray[np.float32]:
        """Share of pixels in each cell that changed once the camera's own motion is undone: (rows, columns).

        Args:
            camera: (2, 3) affine that takes source-frame points of the earlier frame to the later one; None
                for a camera at rest.
        """
        ...

    def alignment(
        self, earlier: PreparedFrame, later: PreparedFrame, expected_px: NDArray[np.floating] = ...
    ) -> Alignment:
        """The shift of the whole picture that makes the two most alike, and how different they remain.

        Args:
            expected_px: (2,) shift that is as likely as none; others must explain the pictures better.
        """
        ...

    def canvas(
        self, frame: PreparedFrame, copies: Sequence[PatchCopy], size: Size, pad_value: tuple[int, int, int]
    ) -> Canvas:
        """Cut, resize and place patches on a canvas filled with `pad_value`."""
        ...

    def close(self) -> None:
        """Give back what it holds; it must not be asked any more. Canvases that were ordered can still be drawn."""
        ...


# ----------------------------------------------------------------------------------------------- results


@dataclass(frozen=True, slots=True)
class TrackedObject:
    """One object on one frame."""

    track_id: int
    class_id: int
    label: str
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in source-frame pixels, inside the frame."""
    score: float
    """Evidence over all looks, times the probability that the box still holds the object."""
    origin: Origin
    """`detected`: with this frame came a detector's answer that confirms it; `tracked`: carried on by optical flow."""
    detection_age_s: float
    """Seconds of stream time since a detector last confirmed it."""
    failure_probability: float


@dataclass(frozen=True, slots=True)
class Work:
    """What the detector was asked on one frame."""

    mode: WorkMode
    """`full`: the whole frame was looked at, perhaps reduced; `patch`: parts of it; `track`: nothing."""
    patches: int = 0
    canvas: Size | None = None
    canvas_fill: float = 0.0
    """Share of the canvas covered by patches, 0 to 1."""
    detector_pixels: int = 0
    backend: str = ""
    """Of the detector."""
    vision: VisionPlace = "cpu"
    """Where optical flow and all other work on pixels was done."""


@dataclass(frozen=True, slots=True)
class FailureAudit:
    """How the tracking-failure model did on tracks that a detector looked at again, by count.

    A track is taken to have been predicted failing from a probability of a half on, and to have failed if the look
    found its object elsewhere or not at all.
    """

    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    true_negatives: int = 0

    def __add__(self, other: "FailureAudit") -> "FailureAudit":
        return FailureAudit(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
            self.true_negatives + other.true_negatives,
        )


@dataclass(frozen=True, slots=True)
class FrameResult:
    """All live tracks on one frame, and what it took to know them."""

    seq: int
    pts_s: float
    size: Size
    objects: tuple[TrackedObject, ...]
    work: Work
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds by stage: decode, prepare, flow, plan, canvas, detect, merge."""
    capture: CaptureTime | None = None
    audit: FailureAudit = FailureAudit()
    """Of what the detector's answer showed on this frame."""


PatchKind = Literal["object", "frame", "tile", "motion", "new_object"]


@dataclass(frozen=True, slots=True)
class CandidateReport:
    """One region that was considered on a frame, and what became of it."""

    kind: PatchKind
    box: tuple[float, float, float, float]
    """Source-frame pixels."""
    scale: float
    """Canvas pixels per frame pixel."""
    value: float
    """Expected worth of looking, in objects mended or found."""
    pixels: int
    """Detector pixels that it would cost."""
    track_ids: tuple[int, ...]
    """Tracks that the region was made for."""
    is_taken: bool
    reason: str
    """Why it was taken or left, in words."""
    canvas_box: tuple[int, int, int, int] | None = None
    """Where on the canvas it landed, if taken."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why each region was or was not looked at on one frame."""

    seq: int
    price_per_megapixel: float
    """Worth that a megapixel of detector input had to promise on this frame."""
    canvas: Size | None
    reason: str
    """Why this canvas, or none."""
    candidates: tuple[CandidateReport, ...]
