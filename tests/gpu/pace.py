"""Many askers who want 30 answers a second each."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from app.core.errors import FlexPatchError

FPS = 30
_PATIENCE_S = 60.0


def rates(askers: Sequence[Callable[[int], None]], seconds: float) -> list[float]:
    """Looks a second of askers who want 30 each, from threads of their own.

    Raises:
        FlexPatchError: one of them got no answer.
    """
    counts = [0] * len(askers)
    failures: list[FlexPatchError] = []
    begin = threading.Barrier(len(askers) + 1)

    def work(index: int) -> None:
        try:
            for number in range(5):
                askers[index](number)
            begin.wait(_PATIENCE_S)
            counts[index] = asked(askers[index], seconds)
        except threading.BrokenBarrierError:
            pass  # another one failed before
        except FlexPatchError as error:
            failures.append(error)
            begin.abort()

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(askers))]
    for thread in threads:
        thread.start()
    with suppress(threading.BrokenBarrierError):
        begin.wait(_PATIENCE_S)
    for thread in threads:
        thread.join(_PATIENCE_S)
    if failures:
        raise failures[0]
    return [count / seconds for count in counts]


def asked(ask: Callable[[int], None], seconds: float) -> int:
    """Ask 30 times a second, or as often as answers come; how often that was."""
    count = 0
    began_s = time.perf_counter()
    while (now_s := time.perf_counter() - began_s) < seconds:
        if count / FPS > now_s:
            time.sleep(min(count / FPS, seconds) - now_s)
            continue
        ask(count)
        count += 1
    return count


def quartiles(values: Sequence[float]) -> NDArray[np.float64]:
    """Least, median and most."""
    return np.quantile(values, [0, 0.5, 1])
