"""From what a method put out on a sequence to one row of figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.offline.annotations import FrameTruth, truths_of
from app.offline.evaluation.detection import (
    average_precision,
    average_precision_by_height,
    best_f1,
    interval_of,
    match,
    resampled_average_precision,
)
from app.offline.evaluation.discovery_delay import discovery_delay
from app.offline.evaluation.identity import identity_scores
from app.offline.evaluation.latency import measured_s, table_s
from app.offline.evaluation.outputs import FrameCost, FrameOutput
from app.offline.evaluation.streaming import latest_outputs, stream

_HEIGHT_NAMES = {"<50": "small", "50-100": "medium", ">100": "large"}


@dataclass(slots=True)
class MethodRun:
    """A method on every frame of a sequence."""

    numbers: list[int] = field(default_factory=list)
    """Of the frames, in the ground truth."""
    frame_s: list[float] = field(default_factory=list)
    """Stream time of each."""
    outputs: list[FrameOutput] = field(default_factory=list)
    costs: list[FrameCost] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Row:
    """One method in one configuration on one sequence at one frame rate. None: there is nothing to measure."""

    sequence: str
    fps: float
    n_frames: int
    method: str
    config: str
    megapixels_per_frame: float
    detector_calls: float
    """A frame."""
    ap50: float | None
    ap50_low: float | None
    """Bootstrap over one-second blocks, 95 %."""
    ap50_high: float | None
    ap50_draws: NDArray[np.float64] = field(compare=False)
    """(R,) of the bootstrap; rows of one sequence at one frame rate are drawn alike."""
    ap50_small: float | None
    """Objects lower than 50 px."""
    ap50_medium: float | None
    """50 to 100 px."""
    ap50_large: float | None
    """Above 100 px."""
    best_f1: float | None
    precision: float | None
    """At the score threshold of the best F1, like all figures below that need one."""
    recall: float | None
    sap50: float | None
    """Streaming average precision, by the latency table."""
    sap50_measured: float | None
    """The same by this machine's clock."""
    hota: float | None
    """None for methods without identities."""
    idf1: float | None
    new_object_delay_s: float | None
    new_object_delay_p95_s: float | None
    never_found: float | None
    latency_ms_p50: float
    """Measured, the remembered detector times of the rivals included; decoding left out."""
    latency_ms_p99: float
    stage_ms: Mapping[str, float]
    """Mean over all frames."""


def judge(
    run: MethodRun, truth: Mapping[int, FrameTruth], *, sequence: str, fps: float, method: str, config: str
) -> Row:
    """All figures of one run.

    Args:
        truth: by frame number.
    """
    truths = truths_of(truth, run.numbers)
    frame_s = np.array(run.frame_s, np.float64)
    matches = match(truths, run.outputs)
    draws = resampled_average_precision(matches, frame_s)
    interval = interval_of(draws)
    point = best_f1(matches)
    threshold = point.threshold if point else 1.0
    by_height = average_precision_by_height(truths, run.outputs)
    identities = identity_scores(truths, run.outputs, threshold)
    delay = discovery_delay(truths, run.outputs, frame_s, threshold)
    latency_ms = measured_s(run.costs) * 1e3
    p50, p99 = np.percentile(latency_ms, [50, 99])
    heights = {_HEIGHT_NAMES[name]: value for name, value in by_height.items()}
    return Row(
        sequence=sequence,
        fps=fps,
        n_frames=len(run.numbers),
        method=method,
        config=config,
        megapixels_per_frame=float(np.mean([cost.pixels for cost in run.costs])) / 1e6,
        detector_calls=float(np.mean([cost.calls for cost in run.costs])),
        ap50=average_precision(matches),
        ap50_low=interval.low if interval else None,
        ap50_high=interval.high if interval else None,
        ap50_draws=draws,
        ap50_small=heights["small"],
        ap50_medium=heights["medium"],
        ap50_large=heights["large"],
        best_f1=point.f1 if point else None,
        precision=point.precision if point else None,
        recall=point.recall if point else None,
        sap50=_streaming(run, truths, frame_s, table_s(method, run.costs)),
        sap50_measured=_streaming(run, truths, frame_s, measured_s(run.costs)),
        hota=identities.hota if identities else None,
        idf1=identities.idf1 if identities else None,
        new_object_delay_s=delay.mean_s,
        new_object_delay_p95_s=delay.p95_s,
        never_found=delay.never_found,
        latency_ms_p50=float(p50),
        latency_ms_p99=float(p99),
        stage_ms=_mean_stages(run.costs),
    )


def _streaming(
    run: MethodRun, truths: Sequence[FrameTruth], frame_s: NDArray[np.float64], latency_s: NDArray[np.float64]
) -> float | None:
    """Average precision when each frame is judged with the output that had finished by then.

    A method too slow for every frame answers only some. Its answers are those it gives when it sees all frames,
    which flatters slow trackers a little.
    """
    done = stream(frame_s, lambda index: (run.outputs[index], float(latency_s[index])))
    return average_precision(match(truths, latest_outputs(frame_s, done.finishes_s, done.outputs)))


def _mean_stages(costs: Sequence[FrameCost]) -> dict[str, float]:
    stages = dict.fromkeys(stage for cost in costs for stage in cost.stage_ms)
    return {stage: sum(cost.stage_ms.get(stage, 0.0) for cost in costs) / len(costs) for stage in stages}
