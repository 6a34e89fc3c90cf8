"""What the detector sees on fixed regions of a recording's frames: computed once, then remembered on disk.

Rivals that always look at the same regions ask the same questions again and again, at every frame rate and for
every k. What FlexPatch looks at depends on all that it saw before, and is never remembered.
"""

import hashlib
import io
import time
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.core.types import CanvasBoxes, CanvasDetections, Detector, Frame, FrameBoxes, PatchCopy, Size
from app.flexpatch.canvas import CanvasLayout, FrameDetections, map_back
from app.offline.output import unfinished_file
from app.vision.cpu import CpuVision

_VERSION = 2
"""Of the way from a frame to its canvas and from the detector's outputs to boxes; another one forgets all that is
remembered."""


@dataclass(frozen=True, slots=True)
class Look:
    """The detector's answer about one region of one frame."""

    layout: CanvasLayout
    seen: CanvasDetections
    canvas_ms: float
    detect_ms: float

    @property
    def pixels(self) -> int:
        return self.layout.size.pixels

    def found(self, frame: Size, class_id: int) -> FrameDetections:
        """Detections of one class in frame coordinates."""
        found = map_back(self.layout, self.seen, frame)
        return found[found.class_ids == class_id]


def whole_layout(frame: Size, canvas: Size) -> CanvasLayout:
    """The whole frame in the upper left corner of a canvas, as large as fits.

    A canvas of the frame's own size, rounded up to the detector's stride, shows it pixel by pixel.
    """
    scale = min(canvas.width / frame.width, canvas.height / frame.height)
    return region_layout((0, 0, *frame), canvas, 1.0 if 1 < scale < 1.1 else scale)


def region_layout(source: tuple[int, int, int, int], canvas: Size, scale: float = 1.0) -> CanvasLayout:
    """One region of the frame in the upper left corner of a canvas.

    Args:
        source: x1, y1, x2, y2 in source-frame pixels.
        scale: canvas pixels per frame pixel.
    """
    width = min(canvas.width, max(1, round((source[2] - source[0]) * scale)))
    height = min(canvas.height, max(1, round((source[3] - source[1]) * scale)))
    return CanvasLayout(
        canvas,
        FrameBoxes(np.array([source], np.float32)),
        CanvasBoxes(np.array([(0, 0, width, height)], np.float32)),
    )


USUAL_BACKEND = "onnxruntime-cpu"


def model_digest(path: Path, family: str | None, backend: str = USUAL_BACKEND) -> str:
    """Tells detectors apart: the start of the file's SHA-256, what was said of its outputs, and what runs it."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return "-".join(filter(None, (digest, family, "" if backend == USUAL_BACKEND else backend)))


class Looks:
    """One detector's looks at one recording. Used by one thread at a time."""

    def __init__(self, detector: Detector, folder: Path | None) -> None:
        """
        Args:
            folder: where the looks at this recording by this detector are kept; None: nowhere.
        """
        self.detector = detector
        self._folder = folder
        self._vision = CpuVision()
        self._known: dict[str, dict[int, Look]] = {}
        self._changed: set[str] = set()

    def look(self, frame: Frame, layout: CanvasLayout) -> Look:
        """Show the detector one region of a frame, or remember what it saw.

        Raises:
            DetectorFailed: the detector does not take the canvas, or failed.
        """
        key = _key(layout)
        if key not in self._known:
            self._known[key] = self._load(key, layout)
        known = self._known[key]
        if frame.seq not in known:
            known[frame.seq] = self.ask(frame, layout)
            self._changed.add(key)
        return known[frame.seq]

    def save(self) -> None:
        """Keep what was seen since the last time.

        Raises:
            OSError: the folder cannot be written.
        """
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for key in sorted(self._changed):
            with unfinished_file(self._folder / f"{key}.npz") as temporary:
                temporary.write_bytes(_packed(self._known[key]))
        self._changed.clear()

    def ask(self, frame: Frame, layout: CanvasLayout) -> Look:
        """Show the detector one region of a frame, and forget it.

        Raises:
            DetectorFailed: the detector does not take the canvas, or failed.
        """
        started_s = time.perf_counter()
        prepared = self._vision.prepare(frame.picture)
        copies: list[PatchCopy] = layout.copies()
        canvas = self._vision.canvas(prepared, copies, layout.size, self.detector.pad_value)
        shown_s = time.perf_counter()
        seen = self.detector.detect(canvas[np.newaxis])[0]
        detect_ms = (time.perf_counter() - shown_s) * 1e3
        kept = CanvasDetections(CanvasBoxes(seen.boxes.copy()), seen.scores.copy(), seen.class_ids.copy())
        return Look(layout, kept, (shown_s - started_s) * 1e3, detect_ms)

    def _load(self, key: str, layout: CanvasLayout) -> dict[int, Look]:
        if self._folder is None:
            return {}
        try:
            with (
                (self._folder / f"{key}.npz").open("rb") as file,
                np.load(file, allow_pickle=False) as arrays,
            ):
                return _unpacked(arrays, layout)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return {}  # missing, or damaged: it is asked again


def _key(layout: CanvasLayout) -> str:
    """A name for a region on a canvas, fit for a file."""
    rectangle = "_".join(str(int(side)) for side in layout.source[0])
    return f"v{_VERSION}-{layout.size}-{rectangle}"


def _packed(looks: Mapping[int, Look]) -> bytes:
    numbers = sorted(looks)
    seen = [looks[number].seen for number in numbers]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        numbers=np.array(numbers),
        counts=np.array([len(item) for item in seen]),
        boxes=np.concatenate([item.boxes for item in seen]),
        scores=np.concatenate([item.scores for item in seen]),
        class_ids=np.concatenate([item.class_ids for item in seen]),
        milliseconds=np.array([(looks[number].canvas_ms, looks[number].detect_ms) for number in numbers]),
    )
    return buffer.getvalue()


def _unpacked(arrays: Mapping[str, NDArray[np.generic]], layout: CanvasLayout) -> dict[int, Look]:
    numbers, ends = arrays["numbers"].tolist(), np.cumsum(arrays["counts"]).tolist()
    boxes, scores, class_ids = arrays["boxes"], arrays["scores"], arrays["class_ids"]
    looks: dict[int, Look] = {}
    start = 0
    for number, end, (canvas_ms, detect_ms) in zip(numbers, ends, arrays["milliseconds"].tolist(), strict=True):
        part = slice(start, end)
        seen = CanvasDetections(
            CanvasBoxes(boxes[part].astype(np.float32)),
            scores[part].astype(np.float32),
            class_ids[part].astype(np.int32),
        )
        looks[number] = Look(layout, seen, canvas_ms, detect_ms)
        start = end
    return looks
