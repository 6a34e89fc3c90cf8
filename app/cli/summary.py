"""`flexpatch summary`."""

from pathlib import Path
from typing import Annotated

import typer

from app.offline.evaluation.plots import write_overview
from app.offline.evaluation.summary import markdown, read_results


def summary_command(
    rows: Annotated[
        list[Path], typer.Argument(metavar="ROWS.json...", help="What `flexpatch evaluate --json` wrote, one detector.")
    ],
    *,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw accuracy against pixels, a panel for each sequence.")
    ] = None,
) -> None:
    """Tables in Markdown over all sequences of several evaluations."""
    results = read_results(rows)
    if plot:
        write_overview(results.rows, plot)
    for line in markdown(results):
        typer.echo(line)
