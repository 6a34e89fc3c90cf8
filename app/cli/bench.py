"""`flexpatch bench`."""

from collections.abc import Callable
from contextlib import ExitStack
from json import dumps
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.chosen_models import failure_model
from app.cli.endings import ended_in_order
from app.cli.options import DetectorOption, FamilyOption, open_detector, parse_size
from app.config import load_settings
from app.core.types import Detector
from app.flexpatch.config import PipelineConfig
from app.flexpatch.pipeline import Pipeline
from app.main import Server, create_app
from app.offline.bench import BenchOptions, bench
from app.offline.bench_http import Service
from app.offline.bench_report import as_json, tables
from app.offline.output import text_file
from app.sessions.manager import SessionRegistry


def bench_command(
    *,
    resolution: Annotated[str, typer.Option(metavar="WxH", help="Size of the frames.")] = "1920x1080",
    tracks: Annotated[int, typer.Option(metavar="N", help="Objects followed at a time.")] = 25,
    frames: Annotated[
        int, typer.Option(metavar="N", help="Frames measured in each of the repetitions, besides warm-up.")
    ] = 100,
    detector: DetectorOption = None,
    detector_family: FamilyOption = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all numbers as one JSON object.", show_default=False)
    ] = None,
) -> None:
    """Measure milliseconds per stage on the synthetic street, the cost of HTTP, and the streams sustained.

    Tracks come from an oracle that knows the street; a detector, if there is one, is measured by itself.
    """
    settings = load_settings(None, {"detector": detector, "detector_family": detector_family})
    # The service that is measured has no sessions but those of the measurement.
    settings = settings.model_copy(update={"state_file": None, "sessions": (), "demo": False})
    size = parse_size("--resolution", resolution, "1920x1080")
    options = BenchOptions(size, tracks, frames, settings.flexpatch.pipeline_config(), failure_model(settings))
    model = open_detector(settings)

    def make_service(make_pipeline: Callable[[PipelineConfig], Pipeline], known_as: Detector) -> Service:
        app = create_app(settings, detector=known_as, make_pipeline=lambda _, config: make_pipeline(config))
        registry: SessionRegistry = app.state.services.registry
        return Service(
            Server(app, settings),
            lambda session, data, capture: registry.get(session).submit(data, capture=capture).result(),
        )

    with ended_in_order(), ExitStack() as stack:
        file = stack.enter_context(text_file(json)) if json else None
        with Console(stderr=True).status("Measuring") as status:
            report = bench(options, model, make_service, say=status.update)
        if file:
            file.write(dumps(as_json(report), indent=2) + "\n")
    Console().print(tables(report))
