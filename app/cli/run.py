"""`flexpatch run`."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console

from app.chosen_models import failure_model
from app.cli.endings import ReaderLeft, ended_in_order
from app.cli.options import DetectorOption, FamilyOption, open_with_vision, parse_size
from app.cli.terminal import progress_bar, say
from app.config import Settings, load_settings
from app.core.errors import SettingsError
from app.flexpatch.config import PipelineConfig
from app.ingest.file import VideoFile
from app.ingest.source import Source, open_source
from app.ingest.street_source import StreetSource
from app.offline.output import Sink, output_file, write_line
from app.offline.run import RunOptions, RunSummary, Step, run

STDOUT = "-"

_NEARLY_ALL = 0.9
"""Share of the frames that a recording announces without which it is said that some are missing."""


def run_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A video file, a folder of images (or a MOTChallenge sequence), an RTSP address, or a rendered "
            "street: synthetic:1920x1080@30?objects=25&seed=1",
        ),
    ],
    *,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="X.ndjson: a result a line. X.mp4: annotated video. -: results to standard output.",
            show_default=False,
        ),
    ] = None,
    detector: DetectorOption = None,
    detector_family: FamilyOption = None,
    canvas: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Largest detector canvas, for example 640x352. Default: by the frame's size."),
    ] = None,
    megapixels_per_frame: Annotated[
        float | None, typer.Option(help="Detector pixels to spend on an average frame, in millions. Default: 0.08.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only objects of these classes, for example person,car.")
    ] = None,
    min_score: Annotated[float, typer.Option(help="Only objects with at least this score, 0 to 1.")] = 0.0,
    fps: Annotated[
        float | None, typer.Option(help="Frames a second, for sources that do not say (image folders). Default: 25.")
    ] = None,
    max_frames: Annotated[int | None, typer.Option(metavar="N", help="Stop after so many frames.")] = None,
    patches: Annotated[
        bool, typer.Option("--patches", help="Draw in the video what the detector looked at, too.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Results to standard output, and no progress bar.")] = False,
) -> None:
    """Process a recording as the service would: objects tracked on every frame.

    Results are the very JSON that the service's clients get. A summary goes to standard error.
    """
    settings = load_settings(None, {"detector": detector, "detector_family": detector_family})
    config = _tuned(settings, canvas, megapixels_per_frame)
    wanted = tuple(filter(None, (part.strip() for part in classes.split(",")))) if classes is not None else None
    options = RunOptions(config, wanted, min_score, max_frames)
    to_stdout = json or output == STDOUT
    destination = Path(output) if output not in {None, STDOUT} else None
    with ended_in_order(), ExitStack() as stack:
        stream = stack.enter_context(open_source(source, fps=fps))
        if destination and max_frames is None and isinstance(stream, StreetSource) and stream.n_frames is None:
            raise SettingsError("The synthetic street never ends: add --max-frames N.")
        model, vision = open_with_vision(settings)
        sinks: list[Sink] = []
        if destination:
            file = output_file(destination, _session_name(source), stream.size, fps=stream.fps, draws_patches=patches)
            sinks.append(stack.enter_context(file))
        if to_stdout:
            sinks.append(partial(_write_stdout, sys.stdout.buffer, _session_name(source)))
        console = Console(stderr=True)
        with _progress(console, stream, max_frames, is_quiet=json) as advance:
            try:
                summary = run(stream, model, failure_model(settings), options, [*sinks, advance], vision=vision)
            except KeyboardInterrupt:
                say(console, f"Interrupted; {destination} is not written." if destination else "Interrupted.")
                raise
    n_announced = stream.n_announced if isinstance(stream, VideoFile) and max_frames is None else None
    _summarise(console, summary, destination, n_announced)


def _tuned(settings: Settings, canvas: str | None, megapixels_per_frame: float | None) -> PipelineConfig:
    config = settings.flexpatch.pipeline_config()
    if canvas is not None:
        config = replace(config, max_canvas=parse_size("--canvas", canvas, "640x352"))
    if megapixels_per_frame is not None:
        config = replace(config, megapixels_per_frame=megapixels_per_frame)
    return config


def _session_name(source: str) -> str:
    """The name in the results: the file's or folder's own."""
    return "synthetic" if source.startswith("synthetic") else Path(source).resolve().stem


def _write_stdout(stream: BinaryIO, session: str, step: Step) -> None:
    try:
        write_line(stream, session, step)
        stream.flush()
    except BrokenPipeError as error:
        raise ReaderLeft from error


@contextmanager
def _progress(
    console: Console, source: Source, max_frames: int | None, *, is_quiet: bool
) -> Iterator[Callable[[Step], None]]:
    """A progress bar for people who watch; gives what is to be called after every frame."""
    known = [count for count in (source.n_frames, max_frames) if count is not None]
    bar = progress_bar(console, is_quiet=is_quiet)
    with bar:
        task = bar.add_task(str(source.size), total=min(known) if known else None)
        yield lambda _step: bar.advance(task)


def _summarise(console: Console, summary: RunSummary, destination: Path | None, n_announced: int | None) -> None:
    """
    Args:
        n_announced: frames that the recording says it has, if all were to be processed.
    """
    by_label = Counter(summary.labels.values()).most_common(5)
    tracks = ", ".join(f"{count} {label}" for label, count in by_label) or "none"
    speed = f"{summary.n_frames} frames in {summary.elapsed_s:.1f} s, {summary.fps:.1f} a second"
    detector = f"{summary.detector_calls} calls, {summary.megapixels_per_frame:.3f} megapixels on an average frame"
    lines = [f"Processed  {speed}", f"Detector   {detector}", f"Tracks     {len(summary.labels)} ({tracks})"]
    if summary.n_corrupt:
        lines.append(f"Skipped    {summary.n_corrupt} damaged frames")
    if n_announced and summary.n_frames + summary.n_corrupt < _NEARLY_ALL * n_announced:
        lines.append(
            f"Missing    {n_announced - summary.n_frames} of the {n_announced} frames that the recording announces"
        )
    if destination:
        lines.append(f"Written    {destination}")
    for line in lines:
        say(console, line)
