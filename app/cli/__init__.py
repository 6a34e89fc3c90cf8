"""The command line: reads what the user wrote, and says in one sentence what is wrong with it."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from app.cli.bench import bench_command
from app.cli.camera import camera_command
from app.cli.endings import SIGNALLED, ReaderLeft
from app.cli.engine import engine_commands
from app.cli.evaluate import evaluate_command
from app.cli.models import models_commands
from app.cli.run import run_command
from app.cli.serve import serve_command
from app.cli.summary import summary_command
from app.cli.terminal import version_text
from app.cli.token import token_command
from app.cli.train import train_command
from app.cli.train_detector import train_detector_command
from app.core.errors import FlexPatchError, InputError

app = typer.Typer(
    name="flexpatch",
    help="Real-time analytics of high-resolution video: every frame tracked, the detector shown only what matters.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve_command)
app.command("run")(run_command)
app.command("camera")(camera_command)
app.command("evaluate")(evaluate_command)
app.command("summary")(summary_command)
app.command("train")(train_command)
app.command("train-detector")(train_detector_command)
app.command("bench")(bench_command)
app.command("token")(token_command)
app.add_typer(models_commands, name="models")
app.add_typer(engine_commands, name="engine")


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
    except ReaderLeft:
        # Python flushes standard output once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, typer.Abort):
        return SIGNALLED + signal.SIGINT
    return status if isinstance(status, int) else 0


def _open_standard_streams() -> None:
    """Where the shell has closed one (`>&-`), Python has None, and the next file opened would take its place."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - until the end


def _fail(message: str, status: int) -> int:
    typer.echo(f"Error: {message}", err=True)
    return status


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"flexpatch {version_text()}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
