"""A recorded stream through the same pipeline as the service's sessions."""

import difflib
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice

from app.core.clock import Clock, SystemClock
from app.core.errors import SettingsError
from app.core.types import Detector, Frame, FrameResult, Vision
from app.flexpatch.config import PipelineConfig
from app.flexpatch.failure import FailureModel
from app.flexpatch.pipeline import Pipeline
from app.ingest.source import Source
from app.offline.prefetch import Prefetch
from app.vision.cpu import CpuVision

FRAMES_AHEAD = 4
"""Decoded frames that wait for the pipeline at most."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What to look for, and how much of the stream to process.

    Raises:
        SettingsError: a value is outside its range.
    """

    config: PipelineConfig
    classes: tuple[str, ...] | None = None
    """Labels of the detector to keep; None: all."""
    min_score: float = 0.0
    """Objects with a lower score are not put out."""
    max_frames: int | None = None
    """Stop after so many frames; None: at the end."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1:
            raise SettingsError(f"The least score is {self.min_score:g}; it must be between 0 and 1.")
        if self.max_frames is not None and self.max_frames < 1:
            raise SettingsError(f"{self.max_frames} frames are nothing to process; give at least 1.")


@dataclass(frozen=True, slots=True)
class Step:
    """One frame and what became of it."""

    frame: Frame
    result: FrameResult
    """With the wanted objects only."""
    patches: tuple[tuple[float, float, float, float], ...]
    """Regions that the detector looked at, x1, y1, x2, y2 in source-frame pixels."""


@dataclass(slots=True)
class RunSummary:
    """What a run did."""

    n_frames: int = 0
    n_corrupt: int = 0
    """Damaged frames that were skipped."""
    elapsed_s: float = 0.0
    detector_pixels: int = 0
    detector_calls: int = 0
    labels: dict[int, str] = field(default_factory=dict)
    """Label of every track put out, by its id."""

    @property
    def fps(self) -> float:
        """Frames processed a second."""
        return self.n_frames / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def megapixels_per_frame(self) -> float:
        """Detector pixels on an average frame, in millions."""
        return self.detector_pixels / max(self.n_frames, 1) / 1e6

    def count(self, result: FrameResult) -> None:
        """Add one frame."""
        self.n_frames += 1
        self.detector_pixels += result.work.detector_pixels
        self.detector_calls += result.work.mode != "track"
        for item in result.objects:
            self.labels[item.track_id] = item.label


def steps(
    source: Source,
    detector: Detector,
    failure_model: FailureModel,
    options: RunOptions,
    *,
    clock: Clock | None = None,
    vision: Vision | None = None,
) -> Generator[Step, None, None]:
    """Process a stream frame by frame; the next frames are decoded meanwhile in a thread.

    Close the iterator to stop early: the thread has ended then.

    Args:
        vision: closed at the end; None: OpenCV's.
    Raises:
        SourceError: a frame cannot be read.
        SettingsError: the detector does not know a class, or cannot take the canvas.
        DetectorFailed: inference itself failed.
    """
    class_ids = _class_ids(options.classes, detector.class_names)
    pipeline = Pipeline(vision or CpuVision(), detector, options.config, failure_model, clock or SystemClock())
    pipeline.focus(class_ids, None)
    with closing(pipeline), Prefetch(islice(source, options.max_frames), FRAMES_AHEAD) as frames:
        for frame in frames:
            result = pipeline.step(frame)
            objects = tuple(
                item
                for item in result.objects
                if item.score >= options.min_score and (class_ids is None or item.class_id in class_ids)
            )
            explanation = pipeline.explain(frame.seq)
            candidates = explanation.candidates if explanation else ()
            patches = tuple(candidate.box for candidate in candidates if candidate.is_taken)
            yield Step(frame, replace(result, objects=objects), patches)


def run(
    source: Source,
    detector: Detector,
    failure_model: FailureModel,
    options: RunOptions,
    sinks: Sequence[Callable[[Step], object]],
    *,
    clock: Clock | None = None,
    vision: Vision | None = None,
) -> RunSummary:
    """Process a stream to its end and hand every step to every sink.

    Args:
        vision: as `steps`.
    Raises:
        SourceError, SettingsError, DetectorFailed: as `steps`.
        OSError: what a sink wrote could not be stored.
    """
    clock = clock or SystemClock()
    summary = RunSummary()
    started_s = clock.now_s()
    with closing(steps(source, detector, failure_model, options, clock=clock, vision=vision)) as results:
        for step in results:
            summary.count(step.result)
            for sink in sinks:
                sink(step)
    summary.n_corrupt = source.n_corrupt
    summary.elapsed_s = clock.now_s() - started_s
    return summary


def _class_ids(classes: Sequence[str] | None, class_names: Sequence[str]) -> frozenset[int] | None:
    if classes is None:
        return None
    for label in classes:
        if label not in class_names:
            close = difflib.get_close_matches(label, class_names, n=1)
            known = f"did you mean {close[0]}?" if close else f"it knows {', '.join(class_names[:12])}"
            more = ", …" if not close and len(class_names) > 12 else ""
            raise SettingsError(f"The detector knows no class {label!r}; {known}{more}")
    return frozenset(index for index, name in enumerate(class_names) if name in classes)
