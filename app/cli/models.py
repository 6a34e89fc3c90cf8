"""`flexpatch models`: the models folder."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.chosen_models import SHIPPED_MODELS
from app.cli.endings import ended_in_order
from app.cli.terminal import download_bar, say
from app.config import load_settings
from app.offline.models.store import TASK, UNKNOWN_LICENCE, ModelStore, StoredModel

models_commands = typer.Typer(help="Detectors by name: list, install, add and check those of the models folder.")

MirrorOption = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|URL",
        help="Where to take models from instead of where they are published. Default: FLEXPATCH_MODELS_MIRROR.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Give up another model that has the name.")]

_SHOWN = {
    "installed": "installed",
    "ok": "ok",
    "altered": "ALTERED",
    "missing": "MISSING",
    "unrecorded": "not recorded",
    "known": "-",
}


@models_commands.command("list")
def list_command(*, as_json: JsonOption = False) -> None:
    """What is shipped, what the models folder has, and what `pull` could fetch."""
    _show(_store().models(), as_json=as_json)


@models_commands.command("pull")
def pull_command(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Models of `flexpatch models list`.")],
    *,
    mirror: MirrorOption = None,
    replace: ReplaceOption = False,
) -> None:
    """Install models by name: fetched, compared with their SHA-256, loaded, and only then put in place.

    A download that breaks off is continued, by the same command too. With a mirror, whatever it has can be named.
    """
    console = Console(stderr=True)
    store = _store(console, mirror)
    with ended_in_order():
        for name in names:
            with download_bar(console, name) as advance:
                model = store.pull(name, advance, replace=replace)
            say(console, f"Installed  {name}: licence {model.licence}, SHA-256 {model.sha256}")
            say(console, f"           flexpatch serve --detector {name}")


@models_commands.command("add")
def add_command(
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="A detector of your own.")],
    *,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Default: the file's.", show_default=False)] = None,
    licence: Annotated[str, typer.Option(metavar="SPDX", help="Under which it may be used.")] = UNKNOWN_LICENCE,
    replace: ReplaceOption = False,
) -> None:
    """Copy a detector into the models folder, once it is recognised, and record its SHA-256."""
    console = Console(stderr=True)
    with ended_in_order():
        model = _store(console).add(file, name, licence, replace=replace)
    say(console, f"Added      {model.name}: input {model.input}, SHA-256 {model.sha256}")


@models_commands.command("verify")
def verify_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Default: all that are recorded.", show_default=False),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Compare what is shipped, and the files of the models folder, with their recorded SHA-256.

    The exit status is 1 if one differs or is missing.
    """
    checked = _store().verify(names or ())
    _show(checked, as_json=as_json)
    if bad := [f"{model.name} is {model.state}" for model in checked if model.state != "ok"]:
        typer.echo(f"Error: {'; '.join(bad)}. Install again what came by pull or add.", err=True)
        raise typer.Exit(1)


def _store(console: Console | None = None, mirror: str | None = None) -> ModelStore:
    settings = load_settings(None, {"models_mirror": mirror})

    def on_wait() -> None:
        if console:
            say(console, f"Waiting    for another command that changes {settings.models_dir}")

    return ModelStore(settings.models_dir, settings.models_mirror, shipped=SHIPPED_MODELS, on_wait=on_wait)


def _show(models: list[StoredModel], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"models": [asdict(model) for model in models]}, indent=1))
        return
    table = Table("Name", "State", "For", "MB", "Input", "Licence")
    for model in models:
        size = "" if model.n_bytes is None else f"{model.n_bytes / 1e6:.1f}"
        shown_input = model.input if model.task == TASK else ""
        cells = (model.name, _SHOWN[model.state], model.task, size, shown_input, model.licence)
        table.add_row(*(Text(cell) for cell in cells))
    # What reads a pipe or a file gets the table whole.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table)
