"""`flexpatch summary`."""

from pathlib import Path
from typing import Annotated

import typer

from app.offline.evaluation.summary import markdown, read_results


def summary_command(
    rows: Annotated[
        list[Path], typer.Argument(metavar="ROWS.json...", help="What `flexpatch evaluate --json` wrote, one detector.")
    ],
) -> None:
    """Tables in Markdown over all sequences of several evaluations."""
    for line in markdown(read_results(rows)):
        typer.echo(line)
