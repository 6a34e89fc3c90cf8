"""What panels show of made-up series, as promtool evaluates their expressions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from tests.docker.queries import Query, dashboards, panels
from tests.docker.test_prometheus import needs_prometheus, promtool

INSTANCES, SESSIONS = ".+", ".+"

BEGIN_WITH_FIRST_EVENT = {
    ("detector", "Fallbacks"): 'flexpatch_backend_fallbacks_total{instance="a", model="m", reason="GpuFailed"}',
    ("detector", "Upgrades"): 'flexpatch_backend_upgrades_total{instance="a", model="m"}',
    ("fleet", "Requests that failed"): 'flexpatch_http_requests_total{instance="a", route="/x", status="500"}',
}
BEGIN_AT_ZERO = {("session", "Connections lost"): 'flexpatch_session_reconnects_total{instance="a", session="s"}'}
COUNTED = BEGIN_WITH_FIRST_EVENT | BEGIN_AT_ZERO
"""Panels that count events, each with a series of the counter."""

counting_panels = pytest.mark.parametrize(
    ("dashboard", "title", "series"),
    [(*panel, series) for panel, series in COUNTED.items()],
    ids=map("-".join, COUNTED),
)


def until_first_event(dashboard: str, title: str) -> str:
    """What the panel's series is for the first 100 s, in promtool's notation."""
    return "_x18 0x1" if (dashboard, title) in BEGIN_AT_ZERO else "_x20"


def expression(dashboard: str, title: str) -> str:
    """What a panel asks, with Grafana's variables filled in."""
    (panel,) = (panel for panel in panels(dashboards()[dashboard]) if panel["title"] == title)
    (target,) = panel["targets"]
    return Query(title, target["expr"]).filled(INSTANCES, SESSIONS)


def evaluate(folder: Path, series: Mapping[str, str], expected: Sequence[tuple[str, str, float | None]]) -> None:
    """Have promtool evaluate expressions over series, which have a value each five seconds.

    Args:
        series: values in promtool's notation, by series.
        expected: time, expression, and the one value that it has then; None: none.
    """
    tests = [
        {"expr": asked, "eval_time": at, "exp_samples": [] if value is None else [{"labels": "{}", "value": value}]}
        for at, asked, value in expected
    ]
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    path = folder / "panels.yml"
    path.write_text(yaml.safe_dump({"tests": [{"interval": "5s", "input_series": inputs, "promql_expr_test": tests}]}))
    promtool("test", "rules", path)


@needs_prometheus
@counting_panels
def test_the_first_event_counts_though_most_series_begin_with_it(
    tmp_path: Path, dashboard: str, title: str, series: str
) -> None:
    asked = f"sum({expression(dashboard, title)})"
    values = f"{until_first_event(dashboard, title)} 1x400"
    evaluate(tmp_path, {series: values}, [("1m", asked, None), ("3m", asked, 1)])


@needs_prometheus
@counting_panels
def test_events_that_follow_count_with_it_and_all_are_forgotten_in_time(
    tmp_path: Path, dashboard: str, title: str, series: str
) -> None:
    asked = f"round(sum({expression(dashboard, title)}))"
    later = f"sum({expression(dashboard, title)} != 0)"
    values = f"{until_first_event(dashboard, title)} 2x10 3x400"
    evaluate(tmp_path, {series: values}, [("4m", asked, 3), ("30m", later, None)])


@needs_prometheus
@counting_panels
def test_a_counter_that_begins_anew_with_its_service_counts_once(
    tmp_path: Path, dashboard: str, title: str, series: str
) -> None:
    asked = f"round(sum({expression(dashboard, title)}))"
    evaluate(tmp_path, {series: "7x300 0x4 1x60"}, [("28m", asked, 1)])


@needs_prometheus
@counting_panels
@pytest.mark.parametrize("unanswered", ["stale", "stale _x11"], ids=["one scrape", "a minute"])
def test_scrapes_that_failed_when_the_time_shown_began_make_old_events_no_new_ones(
    tmp_path: Path, dashboard: str, title: str, series: str, unanswered: str
) -> None:
    asked = f"sum({expression(dashboard, title)}) or vector(0)"
    # Windows of 5 and of 15 minutes that begin where the first scrape failed.
    moments = [f"{1000 + window_s}s" for window_s in (300, 900)]
    evaluate(tmp_path, {series: f"50x199 {unanswered} 50x400"}, [(at, asked, 0) for at in moments])


@needs_prometheus
def test_sessions_of_one_name_on_two_instances_are_shown_apart(tmp_path: Path) -> None:
    series = {
        'flexpatch_session_tracks{instance="cpu", session="street"}': "3x20",
        'flexpatch_session_tracks{instance="gpu", session="street"}': "5x20",
    }
    asked = expression("session", "Objects")
    evaluate(tmp_path, series, [("1m", f"count({asked})", 2), ("1m", f"min({asked})", 3)])
