"""`flexpatch engine`: TensorRT engines of detectors."""

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.chosen_models import engine_folder, engine_options, model_folders
from app.cli.endings import ended_in_order
from app.cli.options import FamilyOption
from app.cli.terminal import say
from app.config import Settings, load_settings
from app.core.clock import SystemClock
from app.core.errors import FlexPatchError, GpuError, GpuMissing, ModelError, SettingsError
from app.detect.loader import find_model
from app.detect.tensorrt.cache import EngineCache
from app.detect.tensorrt.engine_file import EngineFile, read_engine
from app.detect.tensorrt.library import NAMES, Capability, Library, Search, find_library
from app.detect.tensorrt.options import EngineOptions, Precision
from app.gpu.device import Gpu
from app.offline.engines import BuildReport, build_engine

engine_commands = typer.Typer(help="TensorRT engines: build a detector's ahead of time, list what there is.")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@engine_commands.command("build")
def build_command(
    model: Annotated[Path, typer.Argument(metavar="FILE.onnx|NAME", help="A detector: a file or installed model.")],
    *,
    compute_capability: Annotated[
        str | None,
        typer.Option(
            metavar="N.N",
            help="Of the GPU that it is for, as 8.9; needs TensorRT-RTX, and no GPU. Default: the GPU in this machine.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="Of the arithmetic. Default: FLEXPATCH_ENGINE_PRECISION, or half.",
            show_default=False,
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Pictures like those that it will see, for int8: a folder, a recording, or synthetic. 64 are used.",
            show_default=False,
        ),
    ] = None,
    max_batch: Annotated[
        int | None, typer.Option(metavar="N", help="Canvases at once, at most. Default: as the settings need it.")
    ] = None,
    max_side: Annotated[
        int | None, typer.Option(metavar="PX", help="Longer side of a canvas, at most. Default: of the settings.")
    ] = None,
    detector_family: FamilyOption = None,
    folder: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the engine goes. Default: FLEXPATCH_ENGINE_DIR.", show_default=False),
    ] = None,
    gpu: Annotated[int | None, typer.Option(metavar="N", help="CUDA's number of the GPU.", show_default=False)] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Build it though there is one that fits.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Build the engine of a detector into the folder of engines (FLEXPATCH_ENGINE_DIR), where the service looks for it.

    In half precision and int8 the converted model is compared with the model itself, on the processor.
    """
    console = Console(stderr=True)
    settings = load_settings(None, {"detector_family": detector_family, "engine_dir": folder, "gpu": gpu})
    path = find_model(model, model_folders(settings))
    usual = engine_options(settings)
    options = EngineOptions(
        precision or usual.precision,
        usual.max_batch if max_batch is None else max_batch,
        usual.max_side_px if max_side is None else max_side,
    )
    present = _present(settings)
    capability = present if compute_capability is None else _capability(compute_capability)
    if capability is None:
        raise GpuMissing(f"{_why_no_gpu(settings)} Say which GPU the engine is for, as --compute-capability 8.9.")
    library = find_library(capability, ahead=capability != present).required()

    def on_wait() -> None:
        say(console, "Waiting    for another process that builds this engine")

    cache = EngineCache(engine_folder(settings), library, on_wait)
    say(console, f"Building   {path.name} for compute capability {_shown(capability)} with {library}")
    with ended_in_order(), console.status("Building"):
        report = build_engine(
            path,
            cache,
            library,
            options,
            capability,
            present=present,
            clock=SystemClock(),
            family=settings.detector_family,
            pictures=calibration or settings.engine_calibration,
            anew=anew,
        )
    _tell(console, report, as_json=as_json)


@engine_commands.command("list")
def list_command(*, as_json: JsonOption = False) -> None:
    """Which engines there are, and which TensorRT and GPU this machine has."""
    settings = load_settings(None)
    present = _present(settings)
    search = find_library(present)
    folder = engine_folder(settings)
    rows = [_row(path, search.library, present) for path in sorted(folder.glob("*.engine"))]
    if as_json:
        machine = {
            "library": str(search.library) if search.library else None,
            "refusals": list(search.refusals),
            "compute_capability": _shown(present) if present else None,
            "folder": str(folder),
        }
        typer.echo(json.dumps(machine | {"engines": rows}, indent=1))
        return
    _show(settings, search, present, rows)


def _show(settings: Settings, search: Search, present: Capability | None, rows: list[dict[str, Any]]) -> None:
    console = Console() if sys.stdout.isatty() else Console(width=200)
    for refusal in search.refusals:
        say(console, f"Not taken  {refusal}")
    say(console, f"Library    {search.library or 'none'}")
    say(console, f"GPU        {f'compute capability {_shown(present)}' if present else _why_no_gpu(settings)}")
    say(console, f"Folder     {engine_folder(settings)}")
    table = Table("Engine", "For", "By", "Precision", "Batch", "Side", "MB", "State")
    for row in rows:
        names = ("file", "compute_capability", "library", "precision", "max_batch", "max_side_px", "megabytes", "state")
        table.add_row(*(Text("" if row[name] is None else str(row[name])) for name in names))
    console.print(table)


def _row(path: Path, library: Library | None, present: Capability | None) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(("compute_capability", "library", "precision", "max_batch", "max_side_px"))
    row |= {"file": path.name, "megabytes": None}
    try:
        row["megabytes"] = round(path.stat().st_size / 1e6, 1)
        file = read_engine(path)
    except ModelError as error:
        return row | {"state": str(error)}
    except OSError as error:
        return row | {"state": f"it cannot be read: {error.strerror or error}"}
    if file.description:
        row |= _described(file)
    return row | {"state": _state(file, library, present)}


def _described(file: EngineFile) -> dict[str, Any]:
    if file.description is None:
        return {}
    key = file.description.key
    return {
        "compute_capability": _shown(key.capability),
        "library": f"{NAMES[key.flavour]} {key.library_version}",
        "precision": key.options.precision,
        "max_batch": key.options.max_batch,
        "max_side_px": key.options.max_side_px,
    }


def _state(file: EngineFile, library: Library | None, present: Capability | None) -> str:
    if file.description is None:
        return "does not say what it was built from"
    if library is None or present is None:
        return "whole"
    try:
        file.check_runs(library, present)
    except FlexPatchError as error:
        return str(error)
    return "runs here"


def _tell(console: Console, report: BuildReport, *, as_json: bool) -> None:
    agreement = report.agreement
    if as_json:
        document = {"path": str(report.file.path), "seconds": round(report.seconds, 2)} | _described(report.file)
        if agreement:
            document["agreement"] = {name: getattr(agreement, name) for name in agreement.__slots__}
        typer.echo(json.dumps(document, indent=1))
        return
    megabytes = len(report.file.plan) / 1e6
    say(console, f"Ready      {report.file.path} ({megabytes:.1f} MB, {report.seconds:.1f} s)")
    if agreement:
        say(
            console,
            f"Compared   {agreement.n_found} of {agreement.n_objects} objects are found again, {agreement.n_new} are "
            f"new; scores differ by {agreement.score_difference:.4f}, boxes by {agreement.box_difference_px:.2f} px",
        )


def _present(settings: Settings) -> Capability | None:
    """Compute capability of this machine's GPU, if there is one."""
    try:
        gpu = Gpu(settings.gpu)
    except GpuError:
        return None
    try:
        return gpu.capability
    finally:
        gpu.close()


def _why_no_gpu(settings: Settings) -> str:
    try:
        Gpu(settings.gpu).close()
    except GpuError as error:
        return str(error)
    return ""


def _capability(text: str) -> Capability:
    match = re.fullmatch(r"(\d{1,2})\.(\d)", text)
    if not match:
        raise SettingsError(f"--compute-capability {text!r} is none: write it as 8.9.")
    return int(match[1]), int(match[2])


def _shown(capability: Capability) -> str:
    return f"{capability[0]}.{capability[1]}"
