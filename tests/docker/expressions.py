"""Every expression of dashboards and rules, asked of a real Prometheus: `python -m tests.docker.expressions`."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.docker.queries import Query, queries
from tests.docker.stack import PROGRAM, stack

SESSIONS = "demo|pushed|silent|away"

KNOWN_EMPTY = {
    "flexpatch_backend_fallbacks_total": "no backend fails here",
    "flexpatch_backend_upgrades_total": "without a GPU there is no better backend to wait for",
    "absent(": "the service is there",
    'flexpatch_session_state{state="failed"} == bool': "cameras are tried for ever, so that no session gives up",
}
"""Parts of expressions that have no data here, and why."""
NEEDS_GPU = {"flexpatch_gpu_": "no GPU here"}

_LIMIT_S = 40.0
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Answer:
    """What Prometheus said to a query."""

    query: Query
    values: Sequence[float]
    reason: str | None
    """Why it should be empty; None: it should not."""

    @property
    def is_as_expected(self) -> bool:
        return bool(self.values) == (self.reason is None)


@dataclass(frozen=True, slots=True)
class Observation:
    """What Prometheus knows after a while of the service with its clients."""

    answers: Sequence[Answer]
    rules: Sequence[dict[str, Any]]
    """As its API tells of them."""
    targets: Sequence[dict[str, Any]]
    sessions: frozenset[str]
    """Those that have series."""


def reason_to_be_empty(query: Query) -> str | None:
    """Why a query has no data here, if so."""
    has_gpu = Path("/dev/nvidia0").exists()
    known = KNOWN_EMPTY if has_gpu else KNOWN_EMPTY | NEEDS_GPU
    return next((reason for part, reason in known.items() if part in query.text), None)


def observe(folder: Path) -> Observation:
    """Ask everything until all have answered that should, or time is up."""
    asked = queries()
    with stack(folder) as (prometheus, traffic, instance):

        def ask(query: Query) -> Answer:
            return Answer(query, prometheus.values(query.filled(instance, SESSIONS)), reason_to_be_empty(query))

        limit = time.monotonic() + _LIMIT_S
        silent = [query for query in asked if reason_to_be_empty(query) is None]
        while silent and time.monotonic() < limit:
            traffic.once()
            time.sleep(_POLL_S)
            silent = [query for query in silent if not ask(query).values]
        answers = [ask(query) for query in asked]
        states = prometheus.get("query", query='{__name__=~"flexpatch_session_.*", session!=""}')["result"]
        return Observation(
            answers,
            [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]],
            prometheus.get("targets", state="active")["activeTargets"],
            frozenset(series["metric"]["session"] for series in states),
        )


def table(found: Sequence[Answer]) -> str:
    """A line for each query: whether it is as expected, series, first value, where, and the expression."""
    lines = []
    for answer in found:
        shown = f"{answer.values[0]:.6g}" if answer.values else f"- ({answer.reason or 'EMPTY'})"
        mark = "ok" if answer.is_as_expected else "NO"
        lines.append(f"{mark}  {len(answer.values):3}  {shown:14}  {answer.query.where}: {answer.query.text}")
    return "\n".join(lines)


def main() -> int:
    """Print all; 1 if something is not as expected."""
    if not PROGRAM:
        print("Prometheus is not installed: apt-get install prometheus")  # noqa: T201
        return 1
    with tempfile.TemporaryDirectory() as folder:
        found = observe(Path(folder)).answers
    print(table(found))  # noqa: T201
    n_wrong = sum(not answer.is_as_expected for answer in found)
    print(f"{len(found)} expressions, {n_wrong} not as expected")  # noqa: T201
    return int(n_wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
