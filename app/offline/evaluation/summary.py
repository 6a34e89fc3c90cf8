"""What evaluations of many sequences say together, as Markdown."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from app.core.errors import SettingsError
from app.offline.evaluation.catalogue import ABLATION_NAMES, FLEXPATCH, RIVALS
from app.offline.evaluation.judge import Row
from app.offline.evaluation.pipeline_methods import KNOWN_FAILURES
from app.offline.evaluation.report import COLUMNS, N_TIMES, best_so_far

Compared = Mapping[str, Any]
"""One of `comparisons` in what `report.as_json` writes."""
Place = tuple[str, float]
"""A sequence at a frame rate."""
Beside = TypeVar("Beside")
FIXED, NATIVE = "fixed", "native"
CLOSE = 0.02
"""Average precision that one run differs from the next by chance."""
EIGHTH = 1 / 8
SLACK = 1.02
"""A budget is not kept to the pixel."""


@dataclass(frozen=True, slots=True)
class Results:
    """Rows and comparisons of one or several evaluations with one detector, as `report.as_json` writes them."""

    rows: Sequence[Row]
    """Without draws of the bootstrap."""
    comparisons: Sequence[Compared]

    @property
    def places(self) -> list[Place]:
        return list(dict.fromkeys(_place(row) for row in self.rows))

    def of(self, method: str, place: Place) -> list[Row]:
        """Rows with an average precision, cheapest first."""
        own = [row for row in self.rows if (row.method, *_place(row)) == (method, *place) and row.ap50 is not None]
        return sorted(own, key=lambda row: row.megapixels_per_frame)

    def points(self) -> list[tuple[Row, Compared]]:
        """FlexPatch's rows, each beside its comparison."""
        compared = {(item["sequence"], item["fps"], item["config"]): item for item in self.comparisons}
        own = [row for place in self.places for row in self.of(FLEXPATCH, place)]
        return [(row, compared[*_place(row), row.config]) for row in own]


def read_results(paths: Sequence[Path]) -> Results:
    """Join what several runs of `flexpatch evaluate --json` wrote.

    Raises:
        SettingsError: a file is none of those, or two hold the same row.
    """
    rows: dict[tuple[str, float, str, str], Row] = {}
    comparisons: list[Compared] = []
    for path in paths:
        found = _read(path)
        for row in found.rows:
            key = (*_place(row), row.method, row.config)
            if key in rows:
                raise SettingsError(f"{path} repeats {row.method} {row.config} on {row.sequence}: leave one file out.")
            rows[key] = row
        comparisons += found.comparisons
    return Results(list(rows.values()), comparisons)


def _read(path: Path) -> Results:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = Results([Row(**row, ap50_draws=np.zeros(0)) for row in content["rows"]], content["comparisons"])
        found.points()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} was not written by flexpatch evaluate --json.") from error
    return found


def markdown(results: Results) -> Iterator[str]:
    """The lines of a report."""
    sections: Sequence[tuple[str, Callable[[Results], Iterator[str]]]] = (
        ("Accuracy at equal pixels", _accuracy),
        ("Against an interval chosen on other sequences", _transferred),
        ("An eighth of native pixels", _eighth),
        ("Until a new object is found", _delays),
        ("Without one part", _ablations),
        ("All figures", _figures),
    )
    for title, section in sections:
        lines = list(section(results))
        if lines:
            yield from (f"## {title}", "", *lines, "")


# ------------------------------------------------------------------------------------------------- at equal pixels


def _accuracy(results: Results) -> Iterator[str]:
    """AP of FlexPatch and of the best rivals, and in how many points it is ahead."""
    points = results.points()
    known = [item for _, item in points if item["gain"] is not None]
    if not known:
        return
    yield "Megapixels a frame: AP at IoU 0.5 of FlexPatch / of the best of all rivals. † below, * above by more than"
    yield "the 95 % interval of the difference."
    yield ""
    yield from _by_place(points, _accuracy_cell)
    gains = np.array([item["gain"] for item in known])
    sure = [item for item in known if item["gain_low"] is not None]
    yield ""
    yield (
        "All points: "
        + _tally(gains)
        + (
            f" Of the {len(sure)} with an interval it is surely ahead at {sum(item['gain_low'] > 0 for item in sure)} "
            f"and surely behind at {sum(item['gain_high'] < 0 for item in sure)}."
        )
    )
    others = [(row, best_so_far(_independent_rivals(results, _place(row)))) for row, _ in points]
    gains = np.array(
        [_ap(row) - _between(front, row.megapixels_per_frame) for row, front in others if _reaches(front, row)]
    )
    if len(gains):
        yield ""
        yield f"Without `{FIXED}`, which uses FlexPatch's own tracker, among the rivals: {_tally(gains)}"


def _independent_rivals(results: Results, place: Place) -> list[Row]:
    return [row for method in RIVALS if method != FIXED for row in results.of(method, place)]


def _reaches(rows: Sequence[Row], row: Row) -> bool:
    """Whether one of them, cheapest first, has no more pixels."""
    return bool(rows) and rows[0].megapixels_per_frame <= row.megapixels_per_frame


def _accuracy_cell(row: Row, item: Compared) -> str:
    if item["gain"] is None:
        return f"{_short(row.megapixels_per_frame)}: {_short(row.ap50)} / none"
    is_sure = item["gain_low"] is not None
    mark = "†" if is_sure and item["gain_high"] < 0 else "*" if is_sure and item["gain_low"] > 0 else ""
    return f"{_short(row.megapixels_per_frame)}: {_short(row.ap50)} / {_short(item['rival_ap50'])}{mark}"


def _tally(gains: np.ndarray) -> str:
    return (
        f"mean difference {gains.mean():+.3f}, median {np.median(gains):+.3f}; of {len(gains)} points FlexPatch is "
        f"ahead at {(gains > 0).sum()}, ahead or within {CLOSE:g} at {(gains > -CLOSE).sum()}."
    )


def _transferred(results: Results) -> Iterator[str]:
    """The best rivals are picked with the ground truth of the very sequence; a user has none.

    Here the interval between looks of `fixed` is the one that is best on average on the other sequences, at the same
    frame rate and budget, with the canvas that the pixels pay for.
    """
    points = [row for row, _ in results.points()]
    by_interval = [_by_interval(results.of(FIXED, _place(row)), row.megapixels_per_frame) for row in points]
    cells: dict[tuple[Place, str], str] = {}
    gains = []
    for row, own in zip(points, by_interval, strict=True):
        others = [
            found
            for other, found in zip(points, by_interval, strict=True)
            if (round(other.fps), other.config) == (round(row.fps), row.config) and other.sequence != row.sequence
        ]
        means = {k: np.mean([found[k] for found in others if k in found]) for k in own if any(k in f for f in others)}
        if not means:
            continue
        chosen = max(means, key=lambda k: means[k])
        gains.append(_ap(row) - own[chosen])
        cells[_place(row), row.config] = (
            f"{_short(row.megapixels_per_frame)}: {_short(row.ap50)} / {_short(own[chosen])} (every {chosen})"
        )
    if not gains:
        return
    yield "Megapixels a frame: AP of FlexPatch / of its own tracker with a whole frame in every interval of frames that"
    yield "is best on average on the other sequences, on the canvas that the pixels pay for."
    yield ""
    shown = [(row, row) for row in points if (_place(row), row.config) in cells]
    yield from _by_place(shown, lambda row, _: cells[_place(row), row.config])
    yield ""
    yield "All points: " + _tally(np.array(gains))


def _by_interval(fixed: Sequence[Row], megapixels: float) -> dict[int, float]:
    """AP at so many pixels for each interval between looks, on the canvases between which the pixels lie."""
    grouped: dict[int, list[Row]] = {}
    for row in fixed:
        grouped.setdefault(int(row.config.rsplit(" ", 1)[1]), []).append(row)
    return {
        every: _between(rows, megapixels)
        for every, rows in grouped.items()
        if rows[0].megapixels_per_frame <= megapixels * SLACK
    }


def _between(rows: Sequence[Row], megapixels: float) -> float:
    """AP at so many pixels, on straight lines from row to row over the logarithm of pixels."""
    at = np.log([max(row.megapixels_per_frame, 1e-6) for row in rows])
    return float(np.interp(np.log(max(megapixels, 1e-6)), at, [_ap(row) for row in rows]))


# ------------------------------------------------------------------------------------------------- other questions


def _eighth(results: Results) -> Iterator[str]:
    """Is FlexPatch at an eighth of the pixels as good as the detector on every frame at native size?"""
    lines = []
    for place in results.places:
        for native in results.of(NATIVE, place):
            most = native.megapixels_per_frame * EIGHTH * SLACK
            within = [row for row in results.of(FLEXPATCH, place) if row.megapixels_per_frame <= most]
            if within:
                best = max(within, key=_ap)
                found = f"{_short(best.ap50)} at {_short(best.megapixels_per_frame)}"
                answer = "yes" if _ap(best) >= _ap(native) else "no"
                at = f"{_short(native.ap50)} at {native.megapixels_per_frame:.2f}"
                lines.append(f"| {place[0]} | {place[1]:g} | {at} | {found} | {answer} |")
    if lines:
        yield "| sequence | fps | native on every frame, at MPx | FlexPatch within an eighth | as good |"
        yield "|---|---|---|---|---|"
        yield from lines


def _delays(results: Results) -> Iterator[str]:
    points = [
        (row, item)
        for row, item in results.points()
        if row.new_object_delay_s is not None and item["rival_delay_s"] is not None
    ]
    if not points:
        return
    yield "Megapixels a frame: seconds, FlexPatch / the best rivals."
    yield ""
    yield from _by_place(
        points,
        lambda row, item: (
            f"{_short(row.megapixels_per_frame)}: {row.new_object_delay_s:.2f} / {item['rival_delay_s']:.2f}"
        ),
    )


def _ablations(results: Results) -> Iterator[str]:
    names = [name for name in (*ABLATION_NAMES, KNOWN_FAILURES) if any(row.method == name for row in results.rows)]
    if not names:
        return
    yield "AP; FlexPatch whole first, at the same budget."
    yield ""
    yield "| sequence | fps | MPx | whole | " + " | ".join(names) + " |"
    yield "|" + "---|" * (4 + len(names))
    for place in results.places:
        found = {
            (row.config, name): _short(row.ap50) for name in (FLEXPATCH, *names) for row in results.of(name, place)
        }
        for config in dict.fromkeys(config for config, name in found if name in names):
            cells = " | ".join(found.get((config, name), "") for name in (FLEXPATCH, *names))
            yield f"| {place[0]} | {place[1]:g} | {config.removesuffix(' MPx')} | {cells} |"


def _figures(results: Results) -> Iterator[str]:
    """All figures of every method's best configurations: those that no cheaper one of the same method beats."""
    for place in results.places:
        yield from (f"### {place[0]}, {place[1]:g} frames a second", "")
        yield "| method | configuration | " + " | ".join(title for title, _, _ in COLUMNS[:-N_TIMES]) + " |"
        yield "|---|---|" + "---|" * (len(COLUMNS) - N_TIMES)
        for method in dict.fromkeys(row.method for row in results.rows):
            for row in best_so_far(results.of(method, place)):
                cells = " | ".join(_short(getattr(row, name), decimals) for _, name, decimals in COLUMNS[:-N_TIMES])
                yield f"| {row.method} | {row.config} | {cells} |"
        yield ""


# ----------------------------------------------------------------------------------------------------------- words


def _by_place(points: Sequence[tuple[Row, Beside]], cell: Callable[[Row, Beside], str]) -> Iterator[str]:
    """A table: a line for each sequence and frame rate, a cell for each budget."""
    places = dict.fromkeys(_place(row) for row, _ in points)
    lines = {place: [cell(row, item) for row, item in points if _place(row) == place] for place in places}
    n_cells = max(len(cells) for cells in lines.values())
    yield "| sequence | fps |" + " |" * n_cells
    yield "|---|---|" + "---|" * n_cells
    for (sequence, fps), cells in lines.items():
        yield f"| {sequence} | {fps:g} | " + " | ".join(cells + [""] * (n_cells - len(cells))) + " |"


def _place(row: Row) -> Place:
    return row.sequence, row.fps


def _ap(row: Row) -> float:
    """Of a row that has one, as all rows of `Results.of`."""
    return row.ap50 or 0.0


def _short(value: float | None, decimals: int = 3) -> str:
    """No zero before the point; nothing for None."""
    return "" if value is None else f"{value:.{decimals}f}".removeprefix("0" if decimals else "")
