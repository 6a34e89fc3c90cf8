"""How a command ends when somebody else ends it: a signal, or a reader of its output that has gone."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

SIGNALLED = 128
"""Exit status of a command that a signal ended, less the signal's number, as shells have it."""


class ReaderLeft(Exception):
    """Whoever read our standard output has gone, as `head` does."""


class Terminated(KeyboardInterrupt):
    """The process was told to end, other than from the keyboard."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Have a request to end the process end the block as an interrupt does, so that nothing unfinished is left."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise Terminated(number)

    # Signals come to the main thread only; one that is ignored, as under nohup, stays so.
    numbers = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in numbers}
    caught = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in caught:
        signal.signal(number, end)
    try:
        yield
    except Terminated as error:
        raise typer.Exit(SIGNALLED + error.number) from error
    finally:
        for number in caught:
            signal.signal(number, before[number] or signal.SIG_DFL)
