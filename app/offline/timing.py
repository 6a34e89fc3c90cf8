"""Times as numbers for people."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took."""

    median_ms: float
    p99_ms: float
    mean_ms: float
    n: int
    """How often it was measured."""

    @classmethod
    def of(cls, samples_ms: Sequence[float]) -> "Times":
        """Sum up milliseconds; all 0 for none."""
        values = np.array(samples_ms or [0.0])
        median, p99 = np.percentile(values, [50, 99])
        return cls(float(median), float(p99), float(values.mean()), len(samples_ms))
