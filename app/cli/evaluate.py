"""`flexpatch evaluate`."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from json import dumps
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.chosen_models import SHIPPED_MODELS, failure_model, model_folders
from app.cli.endings import ended_in_order
from app.cli.options import DetectorOption, FamilyOption, open_detector, parse_names, parse_numbers, parse_size
from app.cli.terminal import say, stage_bars
from app.config import load_settings
from app.core.errors import SettingsError
from app.detect.loader import find_model
from app.offline.evaluation.catalogue import METHOD_NAMES, Sweep
from app.offline.evaluation.evaluate import Subject, evaluate
from app.offline.evaluation.looks import model_digest
from app.offline.evaluation.plots import prepare_plots, write_plots
from app.offline.evaluation.published.priority import load_priority_tree
from app.offline.evaluation.report import as_json as rows_as_json
from app.offline.evaluation.report import tables as evaluation_tables
from app.offline.evaluation.sequences import open_sequence
from app.offline.output import text_file

PRIORITY_TREE = "published_priority.json"
"""In the models folder; only the evaluation needs it."""

_WIDTH_OF_FILES = 200
"""Characters a line of tables that go to a file or a pipe, which would be cut to 80."""
_DEFAULTS = Sweep()


def _listed(numbers: Sequence[float]) -> str:
    """Numbers as a user writes them."""
    return ",".join(f"{number:g}" for number in numbers)


def evaluate_command(
    sequences: Annotated[
        list[str],
        typer.Argument(
            metavar="SEQUENCE...",
            help="MOTChallenge folders, videos beside their ground truth (X.mp4, X.txt), or synthetic streets with "
            "frames=N.",
        ),
    ],
    *,
    detector: DetectorOption = None,
    detector_family: FamilyOption = None,
    methods: Annotated[
        str,
        typer.Option(metavar="A,B", help=f"Of {', '.join(METHOD_NAMES)}."),
    ] = ",".join(_DEFAULTS.methods),
    canvas: Annotated[
        str, typer.Option(metavar="WxH,WxH", help="Canvases of whole-frame rivals. Default: by the frame's size.")
    ] = "",
    every: Annotated[str, typer.Option(metavar="K,K", help="Frames from look to look of rivals.")] = _listed(
        _DEFAULTS.every
    ),
    budget: Annotated[
        str, typer.Option(metavar="MPX,MPX", help="Megapixels a frame for FlexPatch to spend.")
    ] = _listed(_DEFAULTS.budgets),
    fps: Annotated[
        str, typer.Option(metavar="FPS,FPS", help="Frame rates to run besides the sequence's own, frames dropped.")
    ] = "10,5",
    label: Annotated[str, typer.Option(help="The class that is annotated.")] = "person",
    max_frames: Annotated[int | None, typer.Option(metavar="N", min=1, help="Use the first N frames only.")] = None,
    cache: Annotated[Path, typer.Option(metavar="DIR", help="Keeps what the detector saw on whole frames.")] = Path(
        ".cache/evaluate"
    ),
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all rows as JSON.", show_default=False)
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Draw accuracy against pixels there.", show_default=False)
    ] = None,
) -> None:
    """Measure accuracy against cost: FlexPatch beside every simpler way of spending the same detector pixels."""
    settings = load_settings(None, {"detector": detector, "detector_family": detector_family})
    sweep = Sweep(
        methods=parse_names(methods),
        canvases=tuple(parse_size("--canvas", part, "640x384") for part in parse_names(canvas)),
        every=_intervals(every),
        budgets=tuple(parse_numbers("--budget", budget)),
    )
    frame_rates = parse_numbers("--fps", fps)
    opened = [open_sequence(text, label, max_frames=max_frames) for text in sequences]
    model = open_detector(settings)
    path = find_model(settings.detector, model_folders(settings))
    digest = model_digest(path, settings.detector_family, model.backend)
    tree = load_priority_tree(SHIPPED_MODELS / PRIORITY_TREE) if "published" in sweep.methods else None
    subject = Subject(model, digest, label, failure_model(settings), tree)
    console = Console(stderr=True)
    if plots:
        prepare_plots(plots)
    with ended_in_order(), ExitStack() as stack:
        file = stack.enter_context(text_file(json)) if json else None
        advance = stack.enter_context(stage_bars(console))
        found = evaluate(opened, subject, sweep, frame_rates=frame_rates, cache=cache, advance=advance)
        rows = list(found)
        if file:
            file.write(dumps(rows_as_json(rows), indent=1) + "\n")
    Console(width=None if sys.stdout.isatty() else _WIDTH_OF_FILES).print(evaluation_tables(rows))
    for path in write_plots(rows, plots) if plots else ():
        say(console, f"Drawn      {path}")


def _intervals(text: str) -> tuple[int, ...]:
    numbers = parse_numbers("--every", text)
    if not all(number.is_integer() for number in numbers):
        raise SettingsError(f"--every {text!r} must be whole numbers of frames.")
    return tuple(int(number) for number in numbers)
