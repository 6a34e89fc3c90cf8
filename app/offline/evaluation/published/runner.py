"""One frame after another through FlexPatch as published."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import clip, empty_boxes
from app.core.clock import Clock
from app.core.errors import SettingsError
from app.core.types import Detector, Frame, FrameBoxes, InputSizes, PreparedFrame, Size, Vision, look_at
from app.flexpatch.canvas import CanvasLayout, FrameDetections, map_back, without_duplicates
from app.offline.evaluation.looks import whole_layout
from app.offline.evaluation.outputs import FrameCost, FrameOutput
from app.offline.evaluation.published.association import Matches, associate, examined
from app.offline.evaluation.published.cells import Cells
from app.offline.evaluation.published.patches import PatchCanvas, object_patches
from app.offline.evaluation.published.priority import Priority, PriorityTree
from app.offline.evaluation.published.tracks import PublishedTracks, born_tracks, drop_departed, follow

CYCLE = 4
"""Three canvases of likely tracking failures, then one of likely new objects."""
RAISE_AFTER_S = 0.5
"""Stream time without a detection that raises a track's priority by one; the paper gives no value."""
MISSES_TO_REMOVE = 3
"""Looks in a row that came back empty; the paper gives no value."""
CONFIDENT = 0.3
"""A usual detection threshold, the paper gives none. Fainter tracks, which precision-recall curves need, ask for a
patch after all others; a cut detection gets a larger patch from this score on."""
FRAMES_PER_CANVAS_SIDE = 3
"""The paper's canvas is a third as wide and high as the frame."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was known of N tracks before the detector was asked."""

    ids: NDArray[np.int64]
    boxes: FrameBoxes
    features: NDArray[np.float64]
    """(N, 5) in the order of `priority.FEATURES`."""


@dataclass(frozen=True, slots=True)
class _Moment:
    """The frame at hand."""

    prepared: PreparedFrame
    pts_s: float

    @property
    def size(self) -> Size:
        return self.prepared.size


@dataclass(slots=True)
class _Stream:
    """What is known of the stream that the first frame began."""

    tracks: PublishedTracks
    cells: Cells
    lead_boxes: FrameBoxes
    """(L, 4) cut detections that wait for a larger patch."""
    lead_scores: NDArray[np.float32]
    """(L,)"""

    def forget_leads(self) -> None:
        self.lead_boxes, self.lead_scores = FrameBoxes(empty_boxes()), np.zeros(0, np.float32)

    def add_leads(self, found: FrameDetections) -> None:
        self.lead_boxes = FrameBoxes(np.concatenate([self.lead_boxes, found.boxes]))
        self.lead_scores = np.concatenate([self.lead_scores, found.scores])


class PublishedRunner:
    """FlexPatch as published, on one stream. Used by one thread at a time."""

    def __init__(  # noqa: PLR0917 - the order that all rivals share: what sees, what to see, how to decide
        self,
        vision: Vision,
        detector: Detector,
        canvas: Size,
        class_ids: frozenset[int] | None,
        tree: PriorityTree,
        clock: Clock,
    ) -> None:
        """
        Args:
            canvas: of every look; the paper's is given by `paper_canvas`.
            class_ids: what to look for; None: all classes.
            clock: measures the stages.
        Raises:
            SettingsError: the detector takes no such canvas.
        """
        if not detector.input_sizes.accepts(canvas):
            raise SettingsError(f"The detector {detector.name} takes no canvas of {canvas}.")
        self._vision = vision
        self._detector = detector
        self._canvas = canvas
        self._class_ids = class_ids
        self._tree = tree
        self._clock = clock
        self._stream: _Stream | None = None
        self._earlier: PreparedFrame | None = None
        self._n_frames = 0
        self._next_id = 1
        self.last_prediction: Prediction | None = None
        """Of the latest frame; None on the first."""
        self.last_confirmed: NDArray[np.int64] = np.zeros(0, np.int64)
        """Ids of the tracks whose box the detector has set on the latest frame."""
        self.last_layout: CanvasLayout | None = None
        """What the detector was shown on the latest frame."""

    def step(self, frame: Frame) -> tuple[FrameOutput, FrameCost]:
        """All live tracks on the stream's next frame, and what it took to know them.

        Raises:
            DetectorFailed: inference failed.
        """
        watch = _Watch(self._clock)
        now = _Moment(self._vision.prepare(frame.picture), frame.pts_s)
        watch.lap("prepare")
        stream = self._stream or self._begin(now)
        self._follow(stream, now)
        watch.lap("flow")
        layout = self._plan(stream, now)
        watch.lap("plan")
        self.last_confirmed = np.zeros(0, np.int64)
        if layout is not None:
            canvas = self._vision.canvas(now.prepared, layout.copies(), layout.size, self._detector.pad_value)
            watch.lap("canvas")
            seen = look_at(self._detector, [canvas])[0]
            watch.lap("detect")
            found = without_duplicates(self._wanted(map_back(layout, seen, now.size)))
            self._merge(stream, now, layout, found)
        tracks = stream.tracks
        output = FrameOutput(clip(tracks.boxes, *now.size), tracks.scores.copy(), tracks.ids.copy())
        watch.lap("merge")
        self._earlier, self._n_frames, self.last_layout = now.prepared, self._n_frames + 1, layout
        pixels, calls = (0, 0) if layout is None else (layout.size.pixels, 1)
        return output, FrameCost(pixels, calls, watch.stage_ms)

    def _begin(self, now: _Moment) -> _Stream:
        nothing = np.zeros(0, np.float32)
        boxes = FrameBoxes(empty_boxes())
        self._stream = _Stream(
            tracks=self._born(now, boxes, nothing, np.zeros(0, np.int32)),
            cells=Cells(now.size),
            lead_boxes=boxes,
            lead_scores=nothing,
        )
        return self._stream

    def _follow(self, stream: _Stream, now: _Moment) -> None:
        if self._earlier is None:
            return
        tracks = stream.tracks
        follow(tracks, self._vision, self._earlier, now.prepared)
        drop_departed(tracks, *now.size)
        self.last_prediction = Prediction(tracks.ids.copy(), FrameBoxes(tracks.boxes.copy()), tracks.features.copy())

    # -------------------------------------------------------------------------------------------------- plan

    def _plan(self, stream: _Stream, now: _Moment) -> CanvasLayout | None:
        """What to show the detector; None if no track and no cell asks for a look."""
        if self._n_frames == 0:
            return whole_layout(now.size, self._canvas)
        stream.cells.advance()
        canvas = PatchCanvas(now.size, self._canvas)
        if self._n_frames % CYCLE:
            canvas.add(self._failing(stream, now.pts_s))
            stream.forget_leads()
        known = FrameBoxes(np.concatenate([stream.tracks.boxes, canvas.sources]))
        edges = stream.cells.edge_pixels(self._vision.edge_map(now.prepared), self._vision.cell_px)
        for window in stream.cells.windows(stream.cells.priority(edges, known)):
            if not canvas.add_new_object(window):
                break
        return canvas.layout()

    def _failing(self, stream: _Stream, pts_s: float) -> FrameBoxes:
        """Patches of the tracks of high and medium priority, most urgent first, ties by detector confidence.

        A lead, as an object whose box is surely wrong, has high priority.
        """
        tracks = stream.tracks
        n_raised = ((pts_s - tracks.detected_pts_s) // RAISE_AFTER_S).astype(np.int32)
        raised = np.minimum(self._tree.predict(tracks.features) + n_raised, Priority.HIGH)
        urgent = np.flatnonzero(raised >= Priority.MEDIUM)
        boxes = np.concatenate([stream.lead_boxes, tracks.boxes[urgent]])
        scores = np.concatenate([stream.lead_scores, tracks.scores[urgent]])
        priority = np.concatenate([np.full(len(stream.lead_scores), Priority.HIGH), raised[urgent]])
        order = np.lexsort((-scores, -priority, scores < CONFIDENT))
        return object_patches(FrameBoxes(boxes[order]))

    # ------------------------------------------------------------------------------------------------- merge

    def _wanted(self, found: FrameDetections) -> FrameDetections:
        if self._class_ids is None:
            return found
        return found[np.isin(found.class_ids, list(self._class_ids))]

    def _merge(self, stream: _Stream, now: _Moment, layout: CanvasLayout, found: FrameDetections) -> None:
        """Correct, age, remove and add tracks by what one look has found."""
        stream.cells.record_look(layout.source)
        tracks = stream.tracks
        matches = associate(tracks.boxes, tracks.class_ids, found)
        is_missed = examined(tracks.boxes, layout, now.size)
        is_missed[matches.tracks] = is_missed[matches.touched] = False
        self._correct(tracks, now, matches, found)
        confirmed = tracks.ids[matches.tracks]
        tracks.n_misses += is_missed
        tracks.keep(tracks.n_misses < MISSES_TO_REMOVE)
        new = found[matches.new]
        born = self._born(now, new.boxes, new.scores, new.class_ids)
        tracks.append(born)
        self.last_confirmed = np.concatenate([confirmed, born.ids])
        cut = found[matches.leads]
        stream.add_leads(cut[cut.scores >= CONFIDENT])

    def _correct(self, tracks: PublishedTracks, now: _Moment, matches: Matches, found: FrameDetections) -> None:
        """Matched tracks take the detection's box; those that a cut one confirms keep their own."""
        rows, boxes = matches.tracks, FrameBoxes(found.boxes[matches.detections])
        tracks.boxes[rows] = boxes
        tracks.scores[rows] = found.scores[matches.detections]
        tracks.points[rows] = np.nan
        tracks.templates[rows] = self._vision.templates(now.prepared, boxes)
        for seen in (rows, matches.touched):
            tracks.detected_pts_s[seen] = now.pts_s
            tracks.n_misses[seen] = 0

    def _born(
        self, now: _Moment, boxes: FrameBoxes, scores: NDArray[np.float32], class_ids: NDArray[np.int32]
    ) -> PublishedTracks:
        ids = np.arange(self._next_id, self._next_id + len(scores), dtype=np.int64)
        self._next_id += len(scores)
        templates = self._vision.templates(now.prepared, boxes)
        return born_tracks(ids, boxes, scores, class_ids, templates, now.pts_s)


def paper_canvas(frame: Size, sizes: InputSizes) -> Size:
    """The paper's canvas, 640×360 for 1080p: a third of the frame's sides, rounded up to what the detector takes.

    Of a detector with fixed sizes, the smallest with so many pixels, or else its largest.
    """
    third = Size(-(-frame.width // FRAMES_PER_CANVAS_SIDE), -(-frame.height // FRAMES_PER_CANVAS_SIDE))
    if sizes.fixed:
        by_pixels = sorted(sizes.fixed, key=lambda size: size.pixels)
        return next((size for size in by_pixels if size.pixels >= third.pixels), by_pixels[-1])
    return Size(*(-(-side // sizes.stride) * sizes.stride for side in third))


class _Watch:
    """Milliseconds by stage, from one lap to the next."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_s = clock.now_s()
        self._stage_ms: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now_s = self._clock.now_s()
        self._stage_ms[stage] = self._stage_ms.get(stage, 0.0) + (now_s - self._since_s) * 1e3
        self._since_s = now_s

    @property
    def stage_ms(self) -> Mapping[str, float]:
        return dict(self._stage_ms)
