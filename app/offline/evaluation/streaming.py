"""Streaming accuracy: each frame is judged with what was known when it arrived, so that slowness costs.

Source: Li, Wang & Ramanan, "Towards Streaming Perception", ECCV 2020.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.offline.evaluation.outputs import FrameOutput


@dataclass(frozen=True, slots=True)
class StreamRun:
    """P frames processed of those that arrived."""

    indices: NDArray[np.intp]
    """(P,) which frames, in order."""
    finishes_s: NDArray[np.float64]
    """(P,) when each was done, on the clock of the arrivals."""
    outputs: list[FrameOutput]
    """P, in the same order."""
    n_skipped: int
    """Frames that a newer one replaced while they waited."""


def stream(arrivals_s: NDArray[np.float64], process: Callable[[int], tuple[FrameOutput, float]]) -> StreamRun:
    """Simulate one worker that takes the newest frame whenever it is free; one frame waits at most.

    A frame that arrives at the very moment at which the worker becomes free is taken.

    Args:
        arrivals_s: (T,) when each frame arrives, ascending.
        process: called with the index of each frame taken, in order; gives its output and latency in seconds.
    Raises:
        ValueError: arrivals are not in order.
    """
    if (np.diff(arrivals_s) < 0).any():
        raise ValueError("Frames must arrive in order: sort arrivals_s.")
    indices: list[int] = []
    finishes_s: list[float] = []
    outputs: list[FrameOutput] = []
    free_s, following = -math.inf, 0
    while following < len(arrivals_s):
        newest = int(np.searchsorted(arrivals_s, free_s, side="right")) - 1
        index = max(newest, following)
        output, latency_s = process(index)
        free_s = max(free_s, float(arrivals_s[index])) + latency_s
        following = index + 1
        indices.append(index)
        finishes_s.append(free_s)
        outputs.append(output)
    return StreamRun(
        indices=np.array(indices, np.intp),
        finishes_s=np.array(finishes_s, np.float64),
        outputs=outputs,
        n_skipped=len(arrivals_s) - len(indices),
    )


def latest_outputs(
    arrivals_s: NDArray[np.float64], finishes_s: NDArray[np.float64], outputs: Sequence[FrameOutput]
) -> list[FrameOutput]:
    """Pair each frame with the output that had finished last when it arrived, itself included.

    Args:
        arrivals_s: (T,) when each frame arrives.
        finishes_s: (P,) when each processed frame was done, in any order, on the same clock.
        outputs: P, in the order of `finishes_s`; of those done at the same moment the last one holds.
    Returns:
        T outputs, empty before the first is done; `match` judges them against the T annotations.
    Raises:
        ValueError: outputs and finishes differ in length.
    """
    if len(outputs) != len(finishes_s):
        raise ValueError(f"{len(outputs)} outputs need as many finish times, not {len(finishes_s)}.")
    order = np.argsort(finishes_s, kind="stable")
    n_done = np.searchsorted(finishes_s[order], arrivals_s, side="right")
    return [outputs[order[n - 1]] if n else FrameOutput.empty() for n in n_done.tolist()]
