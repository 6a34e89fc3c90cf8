"""Pictures of an evaluation: accuracy against pixels, and where the time goes."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.core.errors import SettingsError
from app.offline.evaluation.catalogue import ABLATION_NAMES, FLEXPATCH
from app.offline.evaluation.judge import Row
from app.offline.evaluation.pipeline_methods import KNOWN_FAILURES
from app.offline.evaluation.report import best_so_far
from app.offline.output import unfinished_file

STAGES = ("prepare", "flow", "plan", "canvas", "detect", "merge")
_COLOURS = {
    FLEXPATCH: "#d62728",
    KNOWN_FAILURES: "#ff9896",
    "fixed": "#1f77b4",
    "flow": "#17becf",
    "kalman": "#2ca02c",
    "full": "#7f7f7f",
    "native": "#000000",
    "tiled": "#8c564b",
    "motion": "#bcbd22",
    "published": "#9467bd",
}
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")
_ABLATION = "#8b1a1a"
_DPI, _OVERVIEW_DPI = 110, 70
_PANELS_ACROSS, _LEGEND_ACROSS = 3, 10


def prepare_plots(folder: Path) -> None:
    """Say at once, not after hours of work, that nothing can be drawn there.

    Raises:
        SettingsError: matplotlib is not installed, or the folder cannot be made.
    """
    _figure_class()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"The folder {folder} cannot be made: {error.strerror}.") from error


def write_plots(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Draw `NAME-FPSfps-accuracy.png` and `-stages.png` for each sequence and frame rate.

    Returns:
        The files written.
    Raises:
        SettingsError: matplotlib is not installed, or nothing can be written there.
    """
    prepare_plots(folder)
    figure_class = _figure_class()
    written = []
    for (sequence, fps), own in _by_place(rows).items():
        for kind, draw in (("accuracy", _draw_accuracy), ("stages", _draw_stages)):
            figure = figure_class(figsize=(9, 6), layout="constrained")
            axes = figure.subplots()
            draw(axes, own)
            axes.set_title(f"{sequence}, {fps:g} frames/s")
            path = folder / f"{_NOT_IN_NAMES.sub('_', sequence)}-{fps:g}fps-{kind}.png"
            with unfinished_file(path) as temporary:
                figure.savefig(temporary, format="png", dpi=_DPI)
            written.append(path)
    return written


def write_overview(rows: Sequence[Row], path: Path) -> None:
    """Draw accuracy against pixels of every sequence and frame rate in one picture, a panel each.

    Raises:
        SettingsError: matplotlib is not installed, or nothing can be written there.
    """
    figure_class = _figure_class()
    panels = _by_place(rows)
    n_lines = -(-len(panels) // _PANELS_ACROSS)
    figure = figure_class(figsize=(5.5 * _PANELS_ACROSS, 4 * n_lines), layout="constrained")
    grid = figure.subplots(n_lines, _PANELS_ACROSS, squeeze=False).ravel()
    named: dict[str, Any] = {}
    for axes, ((sequence, fps), own) in zip(grid, panels.items(), strict=False):
        _draw_accuracy(axes, [row for row in own if row.method not in ABLATION_NAMES])
        axes.set_title(f"{sequence}, {fps:g} frames/s")
        axes.get_legend().remove()
        handles, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    for axes in grid[len(panels) :]:
        axes.remove()
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=_LEGEND_ACROSS)
    with unfinished_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_OVERVIEW_DPI)


def _by_place(rows: Sequence[Row]) -> dict[tuple[str, float], list[Row]]:
    """Rows of each sequence at each frame rate, in whatever order they come."""
    found: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        found.setdefault((row.sequence, row.fps), []).append(row)
    return found


def _draw_accuracy(axes: Any, rows: Sequence[Row]) -> None:
    for method in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if row.method == method and row.ap50 is not None]
        if not own:
            continue
        if method in ABLATION_NAMES:
            _draw_ablation(axes, own)
            continue
        colour = _COLOURS[method]
        is_ours = method == FLEXPATCH
        front = sorted(own, key=lambda row: row.megapixels_per_frame) if is_ours else best_so_far(own)
        x = [row.megapixels_per_frame for row in front]
        y = [row.ap50 or 0.0 for row in front]
        errors = [
            [0.0 if row.ap50_low is None else max(0.0, (row.ap50 or 0.0) - row.ap50_low) for row in front],
            [0.0 if row.ap50_high is None else max(0.0, row.ap50_high - (row.ap50 or 0.0)) for row in front],
        ]
        axes.errorbar(
            x,
            y,
            yerr=errors if is_ours else None,
            color=colour,
            marker="o",
            markersize=7 if is_ours else 4,
            linewidth=2.5 if is_ours else 1.2,
            capsize=3,
            label=method,
            zorder=3 if is_ours else 2,
        )
        axes.scatter([row.megapixels_per_frame for row in own], [row.ap50 for row in own], s=9, color=colour, alpha=0.4)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(_ticker().LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(_ticker().NullFormatter())
    axes.set_xlabel("detector megapixels per frame")
    axes.set_ylabel("AP at IoU 0.5")
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(loc="lower right")


def _draw_ablation(axes: Any, rows: Sequence[Row]) -> None:
    """A cross with the name of what is left out."""
    for row in rows:
        place = (row.megapixels_per_frame, row.ap50 or 0.0)
        axes.plot(*place, color=_ABLATION, marker="x", zorder=4)
        axes.annotate(row.method, place, xytext=(5, -3), textcoords="offset points", fontsize=7, color=_ABLATION)


def _draw_stages(axes: Any, rows: Sequence[Row]) -> None:
    """The cheapest and the dearest configuration of each method, a bar each."""
    shown = []
    for method in dict.fromkeys(row.method for row in rows):
        own = sorted((row for row in rows if row.method == method), key=lambda row: row.megapixels_per_frame)
        shown += [own[index] for index in sorted({0, len(own) - 1})]
    names = [f"{row.method} {row.config}" for row in shown]
    left = [0.0] * len(shown)
    for stage in STAGES:
        widths = [row.stage_ms.get(stage, 0.0) for row in shown]
        axes.barh(names, widths, left=left, label=stage)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds per frame, mean, decoding left out")
    axes.legend(loc="lower right")


def _ticker() -> Any:
    from matplotlib import ticker  # noqa: PLC0415 - an extra

    return ticker


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise SettingsError(
            "Plots need matplotlib: install the extra `train` (pip install 'flexpatch-service[train]')."
        ) from error
    return Figure
