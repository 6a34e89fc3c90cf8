"""The page about metrics."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from app.telemetry.describe import markdown
from app.telemetry.metrics import Metrics

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


def test_the_page_is_what_the_code_says() -> None:
    assert _PAGE.read_text(encoding="utf-8") == markdown(), "run make metrics-docs"


def test_every_metric_is_on_the_page() -> None:
    on_page = set(re.findall(r"^\| `(\w+)` \|", markdown(), re.MULTILINE))
    for family in Metrics(CollectorRegistry(), "0").registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert name in on_page or name.startswith("process_")
