"""The command line: reads what the user wrote, and says in one sentence what is wrong with it."""

import math
import os
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version as installed_version
from json import dumps
from pathlib import Path
from types import FrameType
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from app.config import Settings, load_settings
from app.core.errors import FlexPatchError, InputError, SettingsError
from app.core.types import Detector, Size
from app.detect.families import FAMILIES
from app.detect.loader import find_model, load_detector
from app.flexpatch.config import PipelineConfig
from app.flexpatch.pipeline import Pipeline
from app.ingest.source import Source, open_source
from app.ingest.street_source import StreetSource
from app.main import Server, create_app, failure_model
from app.offline.bench import BenchOptions, bench
from app.offline.bench_http import Service
from app.offline.bench_report import as_json, tables
from app.offline.evaluation.catalogue import ABLATION_NAMES, ALL_ABLATIONS, FLEXPATCH, RIVALS, Sweep
from app.offline.evaluation.evaluate import Subject, evaluate
from app.offline.evaluation.looks import model_digest
from app.offline.evaluation.plots import write_plots
from app.offline.evaluation.published.priority import load_priority_tree
from app.offline.evaluation.report import as_json as rows_as_json
from app.offline.evaluation.report import tables as evaluation_tables
from app.offline.evaluation.sequences import open_sequence
from app.offline.output import Sink, output_file, text_file, write_line
from app.offline.run import RunOptions, RunSummary, Step, run
from app.offline.training.report import HAND_SET, TrainingReport
from app.offline.training.sequences import DEFAULT_SEQUENCES, ground_truth_choice
from app.offline.training.train import MODEL_FILE, TrainOptions, train
from app.sessions.manager import SessionRegistry
from app.telemetry.logs import setup_logging

STDOUT = "-"
PRIORITY_TREE = "published_priority.json"
"""In the models folder; only the evaluation needs it."""
_SIGNALLED = 128
"""Exit status of a command that a signal ended, less the signal's number, as shells have it."""
_ANY_HOSTS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - where to reach a service that listens everywhere

app = typer.Typer(
    name="flexpatch",
    help="Real-time analytics of high-resolution video: every frame tracked, the detector shown only what matters.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


class _ReaderLeft(Exception):
    """Whoever read our standard output has gone, as `head` does."""


class _Terminated(KeyboardInterrupt):
    """The process was told to end, other than from the keyboard."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit status: 0 done, 1 failed, 2 wrong use, 128 and more: a signal.

    Args:
        arguments: what follows the program's name; None: the process's own.
    """
    _open_standard_streams()
    try:
        status = app(args=arguments, prog_name="flexpatch", standalone_mode=False)
    except typer.TyperException as error:
        return _fail(f"{error.format_message()} See --help.", error.exit_code)
    except FlexPatchError as error:
        return _fail(str(error), 2 if isinstance(error, InputError) else 1)
    except OSError as error:
        name = f" {error.filename}" if error.filename else ""
        return _fail(f"Reading or writing{name} failed: {error.strerror or error}; is there space left?", 1)
    except _ReaderLeft:
        # Python flushes standard output once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, typer.Abort):
        return _SIGNALLED + signal.SIGINT
    return status if isinstance(status, int) else 0


def _open_standard_streams() -> None:
    """Where the shell has closed one (`>&-`), Python has None, and the next file opened would take its place."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - until the end


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Have a request to end the process end the block as an interrupt does, so that nothing unfinished is left."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise _Terminated(number)

    # Signals come to the main thread only; one that is ignored, as under nohup, stays so.
    numbers = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in numbers}
    caught = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in caught:
        signal.signal(number, end)
    try:
        yield
    except _Terminated as error:
        raise typer.Exit(_SIGNALLED + error.number) from error
    finally:
        for number in caught:
            signal.signal(number, before[number] or signal.SIG_DFL)


def _version() -> str:
    return installed_version("flexpatch-service")


def _fail(message: str, status: int) -> int:
    typer.echo(f"Error: {message}", err=True)
    return status


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"flexpatch {_version()}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


DetectorOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE.onnx", help="Detector model. Default: FLEXPATCH_DETECTOR.", show_default=False),
]
FamilyOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"How the detector's outputs are laid out, if it is not recognised: {', '.join(FAMILIES)}.",
        show_default=False,
    ),
]


# ------------------------------------------------------------------------------------------------------- serve


@app.command()
def serve(
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Configuration file (YAML).", show_default=False)
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on; 0.0.0.0 for all. Default: 127.0.0.1.", show_default=False),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="TCP port; 0 for any free one. Default: 8000.", show_default=False)
    ] = None,
    detector: DetectorOption = None,
    detector_family: FamilyOption = None,
) -> None:
    """Run the service: sessions over HTTP and WebSocket, results as JSON, metrics for Prometheus.

    Settings come from --config, then FLEXPATCH_… variables, then these options; later ones win.
    """
    overrides = {"host": host, "port": port, "detector": detector, "detector_family": detector_family}
    settings = load_settings(config, overrides)
    with _listen(settings) as listener:
        setup_logging(settings.log_format, settings.log_level)
        service = _Service(settings)
        # Once all is shut down, the server raises the signal again; being told to end is no failure.
        with _ended_in_order(), suppress(KeyboardInterrupt):
            service.run(sockets=[listener])


class _Service(Server):
    """Says where it is once it is there."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(create_app(settings), settings)
        self._settings = settings

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            for line in _addresses(self._settings, sockets[0].getsockname()[1]):
                typer.echo(line)
            sys.stdout.flush()


def _addresses(settings: Settings, port: int) -> Iterator[str]:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{_ANY_HOSTS.get(settings.host, host)}:{port}"
    yield f"FlexPatch Service {_version()}: {url}"
    yield f"How to use it:           {url}/docs"
    if settings.detector is None:
        yield (
            "There is no detector yet, so /readyz says 503 and sessions must name one of the models folder. "
            "Give one: make run DETECTOR=FILE.onnx, or flexpatch serve --detector FILE.onnx"
        )


def _listen(settings: Settings) -> socket.socket:
    """A socket bound to the service's address."""
    where = f"{settings.host}:{settings.port}"
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise SettingsError(
            f"The service cannot listen on {where} ({error.strerror}): give another --port or --host."
        ) from error
    return listener


# --------------------------------------------------------------------------------------------------------- run


@app.command("run")
def run_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A video file, a folder of images (or a MOTChallenge sequence), or a rendered street: "
            "synthetic:1920x1080@30?objects=25&seed=1",
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
    with _ended_in_order(), ExitStack() as stack:
        stream = stack.enter_context(open_source(source, fps=fps))
        if destination and max_frames is None and isinstance(stream, StreetSource) and stream.n_frames is None:
            raise SettingsError("The synthetic street never ends: add --max-frames N.")
        model = _detector(settings)
        sinks: list[Sink] = []
        if destination:
            file = output_file(destination, _session_name(source), stream.size, fps=stream.fps, draws_patches=patches)
            sinks.append(stack.enter_context(file))
        if to_stdout:
            sinks.append(partial(_write_stdout, sys.stdout.buffer, _session_name(source)))
        console = Console(stderr=True)
        with _progress(console, stream, max_frames, is_quiet=json) as advance:
            try:
                summary = run(stream, model, failure_model(settings), options, [*sinks, advance])
            except KeyboardInterrupt:
                _say(console, f"Interrupted; {destination} is not written." if destination else "Interrupted.")
                raise
    _summarise(console, summary, destination)


def _tuned(settings: Settings, canvas: str | None, megapixels_per_frame: float | None) -> PipelineConfig:
    config = settings.flexpatch.pipeline_config()
    if canvas is not None:
        config = replace(config, max_canvas=_parse_size("--canvas", canvas, "640x352"))
    if megapixels_per_frame is not None:
        config = replace(config, megapixels_per_frame=megapixels_per_frame)
    return config


def _detector(settings: Settings) -> Detector:
    if settings.detector is None:
        raise SettingsError("No detector is given: add --detector FILE.onnx, or set FLEXPATCH_DETECTOR.")
    return load_detector(
        settings.detector,
        family=settings.detector_family,
        threads=settings.detector_threads,
        folders=(settings.models_dir,),
    )


def _parse_size(option: str, text: str, example: str) -> Size:
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise SettingsError(f"{option} {text!r} is not a size: write WIDTHxHEIGHT, for example {example}.")
    return Size(int(width), int(height))


def _session_name(source: str) -> str:
    """The name in the results: the file's or folder's own."""
    return "synthetic" if source.startswith("synthetic") else Path(source).resolve().stem


def _write_stdout(stream: BinaryIO, session: str, step: Step) -> None:
    try:
        write_line(stream, session, step)
        stream.flush()
    except BrokenPipeError as error:
        raise _ReaderLeft from error


@contextmanager
def _progress(
    console: Console, source: Source, max_frames: int | None, *, is_quiet: bool
) -> Iterator[Callable[[Step], None]]:
    """A progress bar for people who watch; gives what is to be called after every frame."""
    known = [count for count in (source.n_frames, max_frames) if count is not None]
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=is_quiet or not console.is_terminal,
    )
    with bar:
        task = bar.add_task(str(source.size), total=min(known) if known else None)
        yield lambda _step: bar.advance(task)


def _say(console: Console, line: str) -> None:
    """Just the words: no colours guessed, no lines broken."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _summarise(console: Console, summary: RunSummary, destination: Path | None) -> None:
    by_label = Counter(summary.labels.values()).most_common(5)
    tracks = ", ".join(f"{count} {label}" for label, count in by_label) or "none"
    speed = f"{summary.n_frames} frames in {summary.elapsed_s:.1f} s, {summary.fps:.1f} a second"
    detector = f"{summary.detector_calls} calls, {summary.megapixels_per_frame:.3f} megapixels on an average frame"
    lines = [f"Processed  {speed}", f"Detector   {detector}", f"Tracks     {len(summary.labels)} ({tracks})"]
    if summary.n_corrupt:
        lines.append(f"Skipped    {summary.n_corrupt} damaged frames")
    if destination:
        lines.append(f"Written    {destination}")
    for line in lines:
        _say(console, line)


# ---------------------------------------------------------------------------------------------------- evaluate


@app.command("evaluate")
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
        typer.Option(metavar="A,B", help=f"Of {', '.join((*RIVALS, FLEXPATCH, ALL_ABLATIONS, *ABLATION_NAMES))}."),
    ] = ",".join((*RIVALS, FLEXPATCH)),
    canvas: Annotated[
        str, typer.Option(metavar="WxH,WxH", help="Canvases of whole-frame rivals. Default: by the frame's size.")
    ] = "",
    every: Annotated[str, typer.Option(metavar="K,K", help="Frames from look to look of rivals.")] = "1,2,4,8,16,32",
    budget: Annotated[
        str, typer.Option(metavar="MPX,MPX", help="Megapixels a frame for FlexPatch to spend.")
    ] = "0.02,0.04,0.08,0.16,0.25",
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
        methods=_parts(methods),
        canvases=tuple(_parse_size("--canvas", part, "640x384") for part in _parts(canvas)),
        every=tuple(int(number) for number in _numbers("--every", every)),
        budgets=tuple(_numbers("--budget", budget)),
    )
    frame_rates = _numbers("--fps", fps)
    opened = [open_sequence(text, label, max_frames=max_frames) for text in sequences]
    model = _detector(settings)
    digest = model_digest(find_model(settings.detector or "", (settings.models_dir,)), settings.detector_family)
    tree = load_priority_tree(settings.models_dir / PRIORITY_TREE) if "published" in sweep.methods else None
    subject = Subject(model, digest, label, failure_model(settings), tree)
    console = Console(stderr=True)
    with _ended_in_order(), ExitStack() as stack:
        file = stack.enter_context(text_file(json)) if json else None
        advance = stack.enter_context(_evaluation_progress(console))
        found = evaluate(opened, subject, sweep, frame_rates=frame_rates, cache=cache, advance=advance)
        rows = list(found)
        if file:
            file.write(dumps(rows_as_json(rows), indent=1) + "\n")
    Console().print(evaluation_tables(rows))
    for path in write_plots(rows, plots) if plots else ():
        _say(console, f"Drawn      {path}")


def _parts(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def _numbers(option: str, text: str) -> list[float]:
    try:
        numbers = [float(part) for part in _parts(text)]
    except ValueError:
        numbers = [math.nan]
    if not all(0 < number < math.inf for number in numbers):
        raise SettingsError(f"{option} {text!r} must be numbers above 0 with commas between.")
    return numbers


@contextmanager
def _evaluation_progress(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=None)
        yield lambda name, done, total: bar.update(task, description=name, completed=done, total=total)


# ------------------------------------------------------------------------------------------------------- bench


@app.command("bench")
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
    size = _parse_size("--resolution", resolution, "1920x1080")
    options = BenchOptions(size, tracks, frames, settings.flexpatch.pipeline_config(), failure_model(settings))
    model = _detector(settings) if settings.detector else None

    def make_service(make_pipeline: Callable[[PipelineConfig], Pipeline], known_as: Detector) -> Service:
        app = create_app(settings, detector=known_as, make_pipeline=lambda _, config: make_pipeline(config))
        registry: SessionRegistry = app.state.services.registry
        return Service(
            Server(app, settings),
            lambda session, data, capture: registry.get(session).submit(data, capture=capture).result(),
        )

    with ExitStack() as stack:
        file = stack.enter_context(text_file(json)) if json else None
        with Console(stderr=True).status("Measuring") as status:
            report = bench(options, model, make_service, say=status.update)
        if file:
            file.write(dumps(as_json(report), indent=2) + "\n")
    Console().print(tables(report))


# ------------------------------------------------------------------------------------------------------- train


@app.command("train")
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
        tuple(filter(None, (part.strip() for part in classes.split(",")))),
        max_frames,
        _parse_budgets(budgets),
        seed=seed,
    )
    console = Console(stderr=True)
    with _ended_in_order(), _stages(console) as advance:
        try:
            report = train(options, _detector(settings), advance)
        except KeyboardInterrupt:
            _say(console, f"Interrupted; nothing is written to {output}.")
            raise
    _summarise_training(console, report, output)


def _parse_budgets(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise SettingsError(f"--budgets {text!r} are not numbers: write megapixels, for example 0.01,0.04.") from None


@contextmanager
def _stages(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each stage of long work; without a terminal, a line for each."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    tasks: dict[str, TaskID] = {}

    def advance(stage: str, n_done: int, n_all: int) -> None:
        if stage not in tasks:
            tasks[stage] = bar.add_task(stage, total=n_all)
            if not console.is_terminal:
                _say(console, stage)
        bar.update(tasks[stage], completed=n_done)

    with bar:
        yield advance


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
        _say(console, line)


if __name__ == "__main__":
    sys.exit(main())
