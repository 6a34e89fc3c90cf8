"""Rows for people as tables, and for machines as JSON."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table

from app.offline.evaluation.catalogue import FLEXPATCH, RIVALS
from app.offline.evaluation.detection import Interval, interval_of
from app.offline.evaluation.judge import Row

_DECIMALS = 9
"""Enough for a comparison of what was written to come out the same: two rivals may differ by a few pixels."""
COLUMNS: Sequence[tuple[str, str, int]] = (
    ("MPx", "megapixels_per_frame", 3),
    ("calls", "detector_calls", 2),
    ("AP", "ap50", 3),
    ("AP<50", "ap50_small", 3),
    ("50-100", "ap50_medium", 3),
    (">100", "ap50_large", 3),
    ("F1", "best_f1", 3),
    ("sAP", "sap50", 3),
    ("HOTA", "hota", 3),
    ("IDF1", "idf1", 3),
    ("delay s", "new_object_delay_s", 2),
    ("never", "never_found", 2),
    ("ms p50", "latency_ms_p50", 1),
    ("p99", "latency_ms_p99", 1),
)
"""Title, field of a row, decimals; times last."""
N_TIMES = 2


@dataclass(frozen=True, slots=True)
class Comparison:
    """FlexPatch at one budget against what the best rivals reach at equal pixels.

    Between two configurations the rivals are taken to be on the straight line from one to the other over the logarithm
    of pixels, as if a schedule mixed them.
    """

    row: Row
    rival: Row | None
    """The best rival with no more pixels; None: no rival is so cheap, and nothing can be compared."""
    rival_ap50: float | None
    rival_delay_s: float | None
    """Of the same rivals, until a new object is found."""
    gain: float | None
    """Average precision above the rivals'."""
    gain_interval: Interval | None
    """Bootstrap over one-second blocks, 95 %, the same blocks for FlexPatch and rivals. Which rivals are best is not
    drawn anew, which favours them."""

    @property
    def is_behind(self) -> bool:
        """Below the rivals beyond doubt."""
        return self.gain_interval is not None and self.gain_interval.high < 0

    @property
    def is_ahead(self) -> bool:
        """Above the rivals beyond doubt."""
        return self.gain_interval is not None and self.gain_interval.low > 0


def as_json(rows: Sequence[Row]) -> dict[str, object]:
    """`{"rows": [...], "comparisons": [...]}`, numbers rounded, the draws of the bootstrap left out."""
    return {
        "rows": [
            {item.name: _rounded(getattr(row, item.name)) for item in fields(row) if item.name != "ap50_draws"}
            for row in rows
        ],
        "comparisons": [
            {
                "sequence": item.row.sequence,
                "fps": item.row.fps,
                "config": item.row.config,
                "rival": f"{item.rival.method} {item.rival.config}" if item.rival else None,
                "rival_ap50": _rounded(item.rival_ap50),
                "rival_delay_s": _rounded(item.rival_delay_s),
                "gain": _rounded(item.gain),
                "gain_low": _rounded(item.gain_interval.low) if item.gain_interval else None,
                "gain_high": _rounded(item.gain_interval.high) if item.gain_interval else None,
            }
            for item in compare(rows)
        ],
    }


def compare(rows: Sequence[Row], rival_names: Collection[str] = RIVALS) -> list[Comparison]:
    """Every FlexPatch row beside the best rivals at its pixels, on the same sequence at the same frame rate."""
    found = []
    for row in rows:
        if row.method != FLEXPATCH:
            continue
        rivals = [
            other
            for other in rows
            if (other.sequence, other.fps) == (row.sequence, row.fps) and other.method in rival_names
        ]
        found.append(_against_front(row, best_so_far(rivals)))
    return found


def _against_front(row: Row, front: Sequence[Row]) -> Comparison:
    cheaper = [other for other in front if other.megapixels_per_frame <= row.megapixels_per_frame]
    if not cheaper or row.ap50 is None:
        return Comparison(row, None, None, None, None, None)
    share = _shares(front, row.megapixels_per_frame)
    rival_ap50 = float(share @ [other.ap50 or 0.0 for other in front])
    draws = row.ap50_draws - share @ np.stack([other.ap50_draws for other in front])
    delays = np.array([np.nan if other.new_object_delay_s is None else other.new_object_delay_s for other in front])
    delay_s = float(share[share > 0] @ delays[share > 0])
    return Comparison(
        row,
        cheaper[-1],
        rival_ap50,
        None if np.isnan(delay_s) else delay_s,
        row.ap50 - rival_ap50,
        interval_of(draws),
    )


def best_so_far(rows: Sequence[Row]) -> list[Row]:
    """Configurations that no cheaper one beats, cheapest first."""
    found: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.megapixels_per_frame, -(row.ap50 or 0.0))):
        if row.ap50 is not None and (not found or row.ap50 > (found[-1].ap50 or 0.0)):
            found.append(row)
    return found


def _shares(front: Sequence[Row], megapixels: float) -> NDArray[np.float64]:
    """(F,) how much of each of the front's rows makes up the point on it that has so many pixels; sums to 1."""
    at = [np.log(max(row.megapixels_per_frame, 1e-6)) for row in front]
    return np.array([np.interp(np.log(max(megapixels, 1e-6)), at, corner) for corner in np.eye(len(front))])


def tables(rows: Sequence[Row]) -> RenderableType:
    """A table for each sequence and frame rate, and the comparison at equal pixels."""
    return Group(*_tables(rows))


def _tables(rows: Sequence[Row]) -> Iterator[RenderableType]:
    for (sequence, fps), group in groupby(rows, key=lambda row: (row.sequence, row.fps)):
        table = Table("method", "config", title=f"{sequence}, {fps:g} frames/s")
        for title, _, _ in COLUMNS:
            table.add_column(title, justify="right")
        for row in sorted(group, key=lambda row: (row.method, row.megapixels_per_frame)):
            figures = (_written(getattr(row, name), decimals) for _, name, decimals in COLUMNS)
            table.add_row(row.method, row.config, *figures)
        yield table
    compared = compare(rows)
    if any(item.rival for item in compared):
        yield _comparison_table(compared)


def _comparison_table(compared: Sequence[Comparison]) -> Table:
    known = [item for item in compared if item.gain is not None]
    table = Table(
        *("sequence", "fps", "MPx", "AP", "best rival with no more pixels", "rivals' AP", "gain", "95 %"),
        *("delay s", "rivals'"),
        title="FlexPatch against the best rivals at equal pixels",
        caption=f"Mean gain {np.mean([item.gain for item in known]):+.3f}: ahead at "
        f"{sum((item.gain or 0) > 0 for item in known)} of {len(known)} points, behind by more than the interval at "
        f"{sum(item.is_behind for item in known)}.",
    )
    for column in table.columns[1:4] + table.columns[5:]:
        column.justify = "right"
    for item in compared:
        row, rival, interval = item.row, item.rival, item.gain_interval
        table.add_row(
            row.sequence,
            f"{row.fps:g}",
            f"{row.megapixels_per_frame:.3f}",
            _written(row.ap50, 3),
            f"{rival.method} {rival.config}" if rival else "none",
            _written(item.rival_ap50, 3),
            "" if item.gain is None else f"{item.gain:+.3f}",
            f"{interval.low:+.3f} to {interval.high:+.3f}" if interval else "",
            _written(row.new_object_delay_s, 2),
            _written(item.rival_delay_s, 2),
        )
    return table


def _written(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, _DECIMALS)
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return value
