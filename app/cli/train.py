"""`flexpatch train`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.cli.endings import ended_in_order
from app.cli.options import DetectorOption, FamilyOption, open_detector, parse_names, parse_numbers
from app.cli.terminal import say, stage_bars
from app.config import load_settings
from app.offline.training.report import HAND_SET, TrainingReport
from app.offline.training.sequences import DEFAULT_SEQUENCES, ground_truth_choice
from app.offline.training.train import MODEL_FILE, TrainOptions, train


def train_command(
    sequences: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SEQUENCE]...",
            help="MOTChallenge folders (img1/ or a video, and gt/gt.txt), videos, or rendered streets: "
            "synthetic:1280x720@10?objects=25&seed=7. Default: a set of such streets.",
            show_default=False,
        ),
    ] = None,
    *,
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the model, its data and the report.")],
    detector: DetectorOption = None,
    detector_family: FamilyOption = None,
    ground_truth: Annotated[
        str,
        typer.Option(
            metavar="auto|mot|pseudo",
            help="mot: gt/gt.txt. pseudo: the detector itself at native size, smoothed over time. auto: what there is.",
        ),
    ] = "auto",
    classes: Annotated[
        str, typer.Option(metavar="A,B", help="Objects of these classes; MOTChallenge annotates people alone.")
    ] = "person,car",
    max_frames: Annotated[int, typer.Option(metavar="N", help="Frames of each sequence, at most.")] = 150,
    budgets: Annotated[
        str,
        typer.Option(metavar="M,N", help="Megapixels a frame at which samples are collected; few make tracks old."),
    ] = "0.003,0.01,0.04",
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 1,
) -> None:
    """Train the tracking-failure model: samples as CSV, the model in a safe form, and a report with plots.

    The model is judged on sequences that it has not seen, and chosen by what it is worth to the pipeline.
    """
    settings = load_settings(None, {"detector": detector, "detector_family": detector_family})
    options = TrainOptions(
        tuple(sequences or DEFAULT_SEQUENCES),
        output,
        ground_truth_choice(ground_truth),
        parse_names(classes),
        max_frames,
        tuple(parse_numbers("--budgets", budgets)),
        seed=seed,
    )
    console = Console(stderr=True)
    with ended_in_order(), stage_bars(console) as advance:
        try:
            report = train(options, open_detector(settings), advance)
        except KeyboardInterrupt:
            say(console, f"Interrupted; nothing is written to {output}.")
            raise
    _summarise_training(console, report, output)


def _summarise_training(console: Console, report: TrainingReport, output: Path) -> None:
    best, hand_set = report.named(report.chosen), report.named(HAND_SET)
    judged = f"{best.scores.recalls[0]:.1%} of high found, balanced accuracy {best.scores.balanced_accuracy:.3f}"
    worth = f"mean AP@0.5 {best.mean_ap50:.4f}, with the built-in model {hand_set.mean_ap50:.4f}"
    for line in (
        f"Samples    {sum(report.class_counts)} from {len(report.sequences)} sequences",
        f"Chosen     {report.chosen}: {judged}, on sequences not seen",
        f"Pipeline   {worth}",
        f"Written    {output} (report.md; use the model with FLEXPATCH_FAILURE_MODEL={output / MODEL_FILE})",
    ):
        say(console, line)
