"""What evaluations of many sequences say together, as Markdown."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from app.core.errors import SettingsError
from app.offline.evaluation.catalogue import ABLATION_NAMES, FLEXPATCH, METHOD_NAMES, RIVALS
from app.offline.evaluation.detection import Interval
from app.offline.evaluation.judge import Row
from app.offline.evaluation.pipeline_methods import KNOWN_FAILURES
from app.offline.evaluation.report import COLUMNS, N_TIMES, Comparison, best_so_far, compare

Place = tuple[str, float]
"""A sequence at a frame rate."""
Beside = TypeVar("Beside")
FIXED, NATIVE = "fixed", "native"
CLOSE = 0.02
"""Average precision that one run differs from the next by chance."""
EIGHTH = 1 / 8
WRITTEN_TO = 1e-4
"""Figures in files are rounded to less than this."""
SAME_RATE = 0.1
"""Frame rates that differ by less, as a share, are the same."""


@dataclass(frozen=True, slots=True)
class Results:
    """Rows of one or several evaluations with one detector, as `report.as_json` writes them."""

    rows: Sequence[Row]
    """Without draws of the bootstrap."""
    gain_intervals: Mapping[tuple[str, float, str], tuple[float, Interval]]
    """By sequence, frame rate and configuration of FlexPatch: the gain, and the interval of just that gain."""

    @property
    def places(self) -> list[Place]:
        return list(dict.fromkeys(_place(row) for row in self.rows))

    def of(self, method: str, place: Place) -> list[Row]:
        """Rows with an average precision, cheapest first."""
        own = [row for row in self.rows if (row.method, *_place(row)) == (method, *place) and row.ap50 is not None]
        return sorted(own, key=lambda row: row.megapixels_per_frame)

    def points(self) -> list[Comparison]:
        """FlexPatch's rows against the best rivals; without an interval where another file has better rivals."""
        return [
            replace(item, gain_interval=self._interval_of(item))
            for item in compare(self.rows)
            if item.row.ap50 is not None
        ]

    def _interval_of(self, item: Comparison) -> Interval | None:
        known = self.gain_intervals.get((*_place(item.row), item.row.config))
        if known is None or item.gain is None or abs(known[0] - item.gain) > WRITTEN_TO:
            return None
        return known[1]


def read_results(paths: Sequence[Path]) -> Results:
    """Join what several runs of `flexpatch evaluate --json` wrote.

    Raises:
        SettingsError: a file is none of those, two hold the same row, or they used different parts of a sequence.
    """
    rows: dict[tuple[str, float, str, str], Row] = {}
    intervals: dict[tuple[str, float, str], tuple[float, Interval]] = {}
    n_frames: dict[Place, int] = {}
    for path in paths:
        found = _read(path)
        for row in found.rows:
            key = (*_place(row), row.method, row.config)
            if key in rows:
                raise SettingsError(f"{path} repeats {row.method} {row.config} on {row.sequence}: leave one file out.")
            if n_frames.setdefault(_place(row), row.n_frames) != row.n_frames:
                raise SettingsError(
                    f"{path} has {row.n_frames} frames of {row.sequence}, another file {n_frames[_place(row)]}: "
                    "only runs over the same frames can be compared."
                )
            rows[key] = row
        intervals.update(found.gain_intervals)
    if not rows:
        raise SettingsError(f"{', '.join(map(str, paths))}: no rows to sum up.")
    return Results(list(rows.values()), intervals)


def _read(path: Path) -> Results:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = [Row(**row, ap50_draws=np.zeros(0)) for row in content["rows"]]
        intervals = {
            (item["sequence"], item["fps"], item["config"]): (
                item["gain"],
                Interval(item["gain_low"], item["gain_high"]),
            )
            for item in content["comparisons"]
            if item["gain_low"] is not None
        }
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} was not written by flexpatch evaluate --json.") from error
    if any(row.method not in METHOD_NAMES for row in rows):
        raise SettingsError(f"{path} has a method that this version does not know.")
    return Results(rows, intervals)


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
    points = [item for item in results.points() if item.gain is not None]
    if not points:
        return
    yield "Megapixels a frame: AP at IoU 0.5 of FlexPatch / of the best of all rivals. † below, * above by more than"
    yield "the 95 % interval of the difference."
    yield ""
    yield from _by_place([(item.row, item) for item in points], _accuracy_cell)
    sure = [item for item in points if item.gain_interval]
    yield ""
    yield "All points: " + _tally([item.gain or 0.0 for item in points])
    if sure:
        yield (
            f"Of the {len(sure)} with an interval it is surely ahead at {sum(item.is_ahead for item in sure)} "
            f"and surely behind at {sum(item.is_behind for item in sure)}."
        )
    apart = [item.gain for item in compare(results.rows, [name for name in RIVALS if name != FIXED])]
    gains = [gain for gain in apart if gain is not None]
    if gains:
        yield ""
        yield f"Without `{FIXED}`, which uses FlexPatch's own tracker, among the rivals: {_tally(gains)}"


def _accuracy_cell(row: Row, item: Comparison) -> str:
    mark = "†" if item.is_behind else "*" if item.is_ahead else ""
    return f"{_short(row.megapixels_per_frame)}: {_short(row.ap50)} / {_short(item.rival_ap50)}{mark}"


def _tally(gains: Sequence[float]) -> str:
    known = np.array(gains)
    return (
        f"mean difference {known.mean():+.3f}, median {np.median(known):+.3f}; of {len(known)} points FlexPatch is "
        f"ahead at {(known > 0).sum()}, ahead or within {CLOSE:g} at {(known > -CLOSE).sum()}."
    )


def _transferred(results: Results) -> Iterator[str]:
    """The best rivals are picked with the ground truth of the very sequence; a user has none.

    Here the interval between looks of `fixed` is the one that is best on the other sequences at the same frame rate
    and as many pixels, with the canvas that the pixels pay for.
    """
    cells, gains = [], []
    for item in results.points():
        row = item.row
        own = _by_interval(results.of(FIXED, _place(row)), row.megapixels_per_frame)
        others = [
            _by_interval(results.of(FIXED, place), row.megapixels_per_frame)
            for place in results.places
            if place[0] != row.sequence and abs(place[1] - row.fps) < SAME_RATE * row.fps
        ]
        worth = _worth_of_intervals([{every: ap for every, ap in other.items() if every in own} for other in others])
        if worth:
            chosen = max(worth, key=lambda every: worth[every])
            gains.append(_ap(row) - own[chosen])
            text = f"{_short(row.megapixels_per_frame)}: {_short(row.ap50)} / {_short(own[chosen])} (every {chosen})"
            cells.append((row, text))
    if not gains:
        return
    yield "Megapixels a frame: AP of FlexPatch / of its own tracker with a whole frame in every interval of frames that"
    yield "is best on the other sequences, on the canvas that the pixels pay for."
    yield ""
    yield from _by_place(cells, lambda _, text: text)
    yield ""
    yield "All points: " + _tally(gains)


def _worth_of_intervals(found: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """What each interval is worth on several sequences, of which not all can afford all intervals.

    AP is taken as a sum of what the sequence and what the interval contribute, fitted by least squares: so an
    interval does not win because the hard sequences lack it.
    """
    pairs = [(index, every, ap) for index, own in enumerate(found) for every, ap in own.items()]
    intervals = sorted({every for _, every, _ in pairs})
    if not intervals:
        return {}
    design = np.zeros((len(pairs), len(intervals) + len(found)))
    for line, (index, every, _) in enumerate(pairs):
        design[line, [intervals.index(every), len(intervals) + index]] = 1
    effects = np.linalg.lstsq(design, np.array([ap for *_, ap in pairs]), rcond=None)[0]
    return dict(zip(intervals, effects.tolist(), strict=False))


def _by_interval(fixed: Sequence[Row], megapixels: float) -> dict[int, float]:
    """AP at so many pixels for each interval between looks, on the canvases between which the pixels lie."""
    grouped: dict[int, list[Row]] = {}
    for row in fixed:
        grouped.setdefault(int(row.config.rsplit(" ", 1)[1]), []).append(row)
    return {
        every: _between(rows, megapixels)
        for every, rows in grouped.items()
        if rows[0].megapixels_per_frame <= megapixels
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
            most = native.megapixels_per_frame * EIGHTH
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
    points = [item for item in results.points() if None not in (item.row.new_object_delay_s, item.rival_delay_s)]
    if not points:
        return
    yield "Megapixels a frame: seconds, FlexPatch / the best rivals."
    yield ""
    yield from _by_place([(item.row, item) for item in points], _delay_cell)


def _delay_cell(row: Row, item: Comparison) -> str:
    own_s, rival_s = row.new_object_delay_s or 0.0, item.rival_delay_s or 0.0
    return f"{_short(row.megapixels_per_frame)}: {own_s:.2f} / {rival_s:.2f}"


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
    yield "Of the rivals, those configurations that no cheaper one of the same method beats."
    yield ""
    for place in results.places:
        yield from (f"### {place[0]}, {place[1]:g} frames a second", "")
        yield "| method | configuration | " + " | ".join(title for title, _, _ in COLUMNS[:-N_TIMES]) + " |"
        yield "|---|---|" + "---|" * (len(COLUMNS) - N_TIMES)
        for method in dict.fromkeys(row.method for row in results.rows):
            own = results.of(method, place)
            for row in best_so_far(own) if method in RIVALS else own:
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
