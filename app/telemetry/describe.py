"""All metrics in Markdown: `python -m app.telemetry.describe > docs/metrics.md`."""

import sys
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from app.telemetry.children import child_memory_family
from app.telemetry.gpu import gpu_families
from app.telemetry.metrics import MAX_LABELLED_SESSIONS, Metrics

_HEAD = f"""# Metrics

`GET /metrics` in Prometheus's text format. This page is made from the code by `make metrics-docs`.

Series with a label `session` are removed with the session. Only {MAX_LABELLED_SESSIONS} sessions at a time have such;
who waits longest is next, and how many wait is in `flexpatch_sessions_without_series`. Those of GPUs are there where
NVML finds one. `process_*` are memory, time and descriptors of the service's own process, as Prometheus's client
library tells them.

| name | type | labels | meaning |
|---|---|---|---|
"""


def markdown() -> str:
    """The page."""
    return _HEAD + "".join(f"{row}\n" for row in sorted(_rows()))


def _rows() -> Iterator[str]:
    registry = CollectorRegistry()
    metrics = Metrics(registry, "0")
    for wrapper in _wrappers(metrics):
        kind = wrapper._type  # noqa: SLF001 - the library tells it nowhere else without samples
        name = f"{wrapper._name}_total" if kind == "counter" else str(wrapper._name)  # noqa: SLF001
        yield _row(name, str(kind), wrapper._labelnames, wrapper._documentation)  # noqa: SLF001
    memory = child_memory_family()
    yield _row(memory.name, memory.type, (), memory.documentation)
    for family in gpu_families():
        yield _row(family.name, family.type, ("gpu", "name"), family.documentation)


def _wrappers(metrics: Metrics) -> Iterator[MetricWrapperBase]:
    for owner in (metrics, metrics.own):
        yield from (value for value in vars(owner).values() if isinstance(value, MetricWrapperBase))


def _row(name: str, kind: str, labels: tuple[str, ...], text: str) -> str:
    return f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {text} |"


if __name__ == "__main__":
    sys.stdout.write(markdown())
