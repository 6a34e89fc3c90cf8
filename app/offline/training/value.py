"""What a model is worth to the pipeline: average precision at fixed pixels, and its time."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.core.clock import SystemClock
from app.core.types import Detector, Frame, FrameBoxes
from app.flexpatch.config import PipelineConfig
from app.flexpatch.failure import FEATURES, FailureModel
from app.flexpatch.pipeline import Pipeline
from app.offline.annotations import truths_of
from app.offline.evaluation.detection import average_precision, match
from app.offline.evaluation.outputs import FrameOutput
from app.offline.training.sequences import TrainingSequence
from app.vision.cpu import CpuVision

N_TRACKS = 50
LIMIT_MS = 0.2
"""For predicting `N_TRACKS` tracks."""
_REPETITIONS = 400
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """The pipeline with one model on one sequence that the model had not seen."""

    model: str
    sequence: str
    budget: float
    """Megapixels that it might spend on an average frame."""
    megapixels_per_frame: float
    """That it did spend."""
    ap50: float


def end_to_end(
    sequence: TrainingSequence,
    detector: Detector,
    models: Mapping[str, FailureModel],
    budgets: Sequence[float],
    advance: Callable[[], object],
) -> list[EndToEnd]:
    """Run the pipeline with each model at each budget.

    Args:
        models: by name; none of them saw the sequence.
        advance: called after each run.
    """
    frames = list(sequence.frames())
    found = []
    for name, model in models.items():
        for budget in budgets:
            config = PipelineConfig(megapixels_per_frame=budget)
            pipeline = Pipeline(CpuVision(), detector, config, model, SystemClock())
            spent, ap50 = _run(pipeline, sequence, frames)
            found.append(EndToEnd(name, sequence.name, budget, spent, ap50))
            advance()
    return found


def _run(pipeline: Pipeline, sequence: TrainingSequence, frames: Sequence[Frame]) -> tuple[float, float]:
    """Megapixels spent on an average frame, and AP@0.5."""
    pipeline.focus(sequence.class_ids, None)
    outputs, pixels = [], 0
    for frame in frames:
        result = pipeline.step(frame)
        pixels += result.work.detector_pixels
        outputs.append(
            FrameOutput.untracked(
                FrameBoxes(np.array([item.box for item in result.objects], np.float32).reshape(-1, 4)),
                np.array([item.score for item in result.objects], np.float32),
            )
        )
    truths = truths_of(sequence.truth.counted, (frame.seq for frame in frames))
    return pixels / max(len(frames), 1) / 1e6, average_precision(match(truths, outputs)) or 0.0


def prediction_ms(model: FailureModel) -> float:
    """Median milliseconds to predict 50 tracks: the best of several rounds, so that a busy machine counts less."""
    features = np.random.default_rng(1).uniform(0, 1, (N_TRACKS, len(FEATURES)))
    medians = []
    for _ in range(_ROUNDS):
        times_s = []
        for _ in range(_REPETITIONS):
            start_s = time.perf_counter()
            model.predict(features)
            times_s.append(time.perf_counter() - start_s)
        medians.append(float(np.median(times_s)))
    return min(medians) * 1e3
