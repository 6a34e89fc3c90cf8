"""Memory of the processes that the service starts, read when Prometheus asks."""

import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_KIB = 1024
_OWN = re.compile(r"^RssAnon:\s+(\d+) kB$", re.MULTILINE)
"""Not RssFile: programs and libraries lie in memory once, however many processes run them.

Not RssShmem: a container's limit counts pictures once that are handed over in shared memory, and the service, which
looks at them, has them in its own resident memory.
"""


class ChildMemoryCollector(Collector):
    """Asks the kernel at every scrape. Where it does not tell of child processes, there is no sample.

    It takes a tenth of a millisecond for each process; proportional shares would be fairer, and twenty times slower.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def collect(self) -> Iterator[Metric]:
        """One sample for all of them together."""
        family = child_memory_family()
        pids = self._children()
        if pids is not None:
            family.add_metric((), sum(map(self._own_bytes, pids)))
        yield family

    def describe(self) -> Iterator[Metric]:
        """Without asking the kernel."""
        yield child_memory_family()

    def _children(self) -> list[str] | None:
        """Process numbers; None if the kernel does not tell, which hangs on how it was built."""
        # Each thread has the children that it started.
        told = [_read(path) for path in self._proc.glob("self/task/*/children")]
        known = [text for text in told if text is not None]
        return [pid for text in known for pid in text.split()] if known else None

    def _own_bytes(self, pid: str) -> int:
        """What a process takes for itself; 0 once it has ended."""
        status = _read(self._proc / pid / "status") or ""
        return _KIB * sum(map(int, _OWN.findall(status)))


def child_memory_family() -> GaugeMetricFamily:
    """The metric, without a sample."""
    return GaugeMetricFamily(
        "flexpatch_child_processes_memory_bytes",
        "Memory of the processes that the service started, together, which decode live streams or build engines: what "
        "is theirs alone, without program files, and without pictures in shared memory, which "
        "`process_resident_memory_bytes` has: the two add up to what a container's limit is compared with.",
    )


def _read(path: Path) -> str | None:
    """What a file of the kernel says; None if its thread or process has ended."""
    try:
        return path.read_text(errors="replace")  # a process may have any bytes for its name
    except OSError:
        return None
