"""Rows for people as tables, and for machines as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table

from app.offline.evaluation.catalogue import FLEXPATCH, RIVALS
from app.offline.evaluation.judge import Row

_DECIMALS = 5
_COLUMNS: Sequence[tuple[str, str, int]] = (
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


@dataclass(frozen=True, slots=True)
class Comparison:
    """FlexPatch at one budget against what the best rivals reach at equal pixels."""

    row: Row
    rival: Row | None
    """The best rival with no more pixels; None: no rival is so cheap."""
    rival_ap50: float | None
    """What the best rivals reach at FlexPatch's pixels: between two configurations, on the straight line from one to
    the other over the logarithm of pixels, as if a schedule mixed them."""

    @property
    def gain(self) -> float | None:
        """Average precision above the rivals'."""
        return None if self.rival_ap50 is None or self.row.ap50 is None else self.row.ap50 - self.rival_ap50


def as_json(rows: Sequence[Row]) -> dict[str, object]:
    """`{"rows": [...]}`, one object a row, numbers rounded."""
    return {"rows": [{name: _rounded(value) for name, value in asdict(row).items()} for row in rows]}


def compare(rows: Sequence[Row]) -> list[Comparison]:
    """Every FlexPatch row beside the best rivals at its pixels, on the same sequence at the same frame rate."""
    found = []
    for row in rows:
        if row.method != FLEXPATCH:
            continue
        rivals = [
            other for other in rows if (other.sequence, other.fps) == (row.sequence, row.fps) and other.method in RIVALS
        ]
        front = best_so_far(rivals)
        cheaper = [other for other in front if other.megapixels_per_frame <= row.megapixels_per_frame]
        found.append(Comparison(row, cheaper[-1] if cheaper else None, _on_front(front, row.megapixels_per_frame)))
    return found


def best_so_far(rows: Sequence[Row]) -> list[Row]:
    """Configurations that no cheaper one beats, cheapest first."""
    found: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.megapixels_per_frame, -(row.ap50 or 0.0))):
        if row.ap50 is not None and (not found or row.ap50 > (found[-1].ap50 or 0.0)):
            found.append(row)
    return found


def _on_front(front: Sequence[Row], megapixels: float) -> float | None:
    """Average precision on the line through the front's rows; None below the cheapest of them."""
    pixels = [max(row.megapixels_per_frame, 1e-6) for row in front]
    if not pixels or megapixels < pixels[0]:
        return None
    return float(np.interp(np.log(megapixels), np.log(pixels), [row.ap50 or 0.0 for row in front]))


def tables(rows: Sequence[Row]) -> RenderableType:
    """A table for each sequence and frame rate, and the comparison at equal pixels."""
    return Group(*_tables(rows))


def _tables(rows: Sequence[Row]) -> Iterator[RenderableType]:
    for (sequence, fps), group in groupby(rows, key=lambda row: (row.sequence, row.fps)):
        table = Table("method", "config", title=f"{sequence}, {fps:g} frames/s")
        for title, _, _ in _COLUMNS:
            table.add_column(title, justify="right")
        for row in sorted(group, key=lambda row: (row.method, row.megapixels_per_frame)):
            figures = (_written(getattr(row, name), decimals) for _, name, decimals in _COLUMNS)
            table.add_row(row.method, row.config, *figures)
        yield table
    compared = compare(rows)
    if any(item.rival for item in compared):
        yield _comparison_table(compared)


def _comparison_table(compared: Sequence[Comparison]) -> Table:
    table = Table("sequence", "fps", "MPx", "AP", "best rival with no more pixels", "rivals' AP", "gain")
    for column in table.columns[1:4] + table.columns[5:]:
        column.justify = "right"
    for item in compared:
        row, rival = item.row, item.rival
        table.add_row(
            row.sequence,
            f"{row.fps:g}",
            f"{row.megapixels_per_frame:.3f}",
            _written(row.ap50, 3),
            f"{rival.method} {rival.config}" if rival else "none",
            _written(item.rival_ap50, 3),
            "" if item.gain is None else f"{item.gain:+.3f}",
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
