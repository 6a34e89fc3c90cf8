"""What people see while a command works."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version as installed_version

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


def version_text() -> str:
    """The installed version."""
    return installed_version("flexpatch-service")


def say(console: Console, line: str) -> None:
    """Just the words: no colours guessed, no lines broken."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def stage_bars(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each stage of long work; without a terminal, a line for each."""
    bar = progress_bar(console)
    tasks: dict[str, TaskID] = {}

    def advance(stage: str, n_done: int, n_all: int) -> None:
        if stage not in tasks:
            tasks[stage] = bar.add_task(stage, total=n_all)
            if not console.is_terminal:
                say(console, stage)
        bar.update(tasks[stage], completed=n_done)

    with bar:
        yield advance


def progress_bar(console: Console, *, is_quiet: bool = False) -> Progress:
    """A bar that is gone once its work is done, and never there where nobody watches."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=is_quiet or not console.is_terminal,
    )


@contextmanager
def download_bar(console: Console, name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar for bytes that come: how many, of how many, how fast."""
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task(name, total=None)

    def advance(n_have: int, n_all: int | None) -> None:
        bar.update(task, completed=n_have, total=n_all)

    with bar:
        yield advance
