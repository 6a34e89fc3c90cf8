"""How long each frame takes: by the clock of this machine, or by a table that is the same everywhere."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.offline.evaluation.outputs import FrameCost

TABLE_PIXELS = (0, 128 * 128, 416 * 416, 640 * 384, 960 * 544, 1920 * 1088)
TABLE_MS = (0.5, 1.2, 7.7, 9.9, 22.0, 90.0)
"""YOLOX-nano by ONNX Runtime on two cores, by canvas pixels; straight lines between and beyond."""
OWN_MS = {"full": 1.0, "native": 1.0, "tiled": 2.0, "kalman": 1.0, "motion": 3.0, "flow": 4.0}
"""All but the detector, by method; `PIPELINE_MS` for those not listed."""
PIPELINE_MS = 6.0
"""What the pipeline may cost beside the detector on two cores at 1080p."""


def measured_s(costs: Sequence[FrameCost]) -> NDArray[np.float64]:
    """Seconds (T,) each frame took when it was run, decoding left out."""
    return np.array([cost.total_ms for cost in costs], np.float64) / 1e3


def table_s(method: str, costs: Sequence[FrameCost]) -> NDArray[np.float64]:
    """Seconds (T,) each frame is taken to need: its detector calls by the table, the rest by the method.

    Args:
        method: its name.
        costs: T frames.
    """
    own_ms = OWN_MS.get(method, PIPELINE_MS)
    return np.array([own_ms + cost.calls * _call_ms(cost.pixels / max(cost.calls, 1)) for cost in costs]) / 1e3


def _call_ms(pixels: float) -> float:
    """One detector call."""
    if pixels <= TABLE_PIXELS[-1]:
        return float(np.interp(pixels, TABLE_PIXELS, TABLE_MS))
    slope = (TABLE_MS[-1] - TABLE_MS[-2]) / (TABLE_PIXELS[-1] - TABLE_PIXELS[-2])
    return TABLE_MS[-1] + (pixels - TABLE_PIXELS[-1]) * slope
