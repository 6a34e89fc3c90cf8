"""Dashboards and rules against the real service and a real Prometheus: whatever is asked has an answer."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docker.expressions import KNOWN_EMPTY, NEEDS_GPU, Observation, observe, table
from tests.docker.queries import CONFIG, PROMETHEUS, ROOT, RULES, queries, rules
from tests.docker.stack import CHECKER, PROGRAM

needs_prometheus = pytest.mark.skipif(not (PROGRAM and CHECKER), reason="needs Debian's package prometheus")


def promtool(*arguments: str | Path) -> None:
    assert CHECKER
    done = subprocess.run([CHECKER, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_whatever_dashboards_and_rules_ask_of_the_running_service_has_an_answer(tmp_path: Path) -> None:
    """One test, since it takes the service and Prometheus a while to have something to tell."""
    observed = observe(tmp_path)
    print(table(observed.answers))  # noqa: T201
    assert table([answer for answer in observed.answers if not answer.is_as_expected]) == ""
    check_rules(observed)
    assert {target["labels"]["job"]: target["health"] for target in observed.targets} == {
        "flexpatch": "up",
        "prometheus": "up",
    }
    assert observed.sessions == {"demo", "pushed", "silent", "away"}, "the deleted one has no series"


def check_rules(observed: Observation) -> None:
    """Each is evaluated, and the words of each alert that has something to say are filled in."""
    assert {rule["name"]: rule.get("lastError") for rule in observed.rules if rule["health"] != "ok"} == {}
    alerts = [alert for rule in observed.rules for alert in rule.get("alerts", ())]
    assert {"FlexPatchSessionStale", "FlexPatchSessionUnreachable"} <= {
        alert["labels"]["alertname"] for alert in alerts
    }
    texts = [text for alert in alerts for text in alert["annotations"].values()]
    assert [text for text in texts if "<error" in text or "<no value>" in text] == []


@needs_prometheus
def test_promtool_has_nothing_to_say_against_the_files(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(CONFIG.parent, tmp_path / "prometheus"))
    (folder / "token").touch()  # which the container gets from elsewhere
    promtool("check", "config", folder / CONFIG.name)
    promtool("check", "rules", *sorted(RULES.glob("*.yml")))


@needs_prometheus
def test_alerts_fire_when_they_should_and_only_then() -> None:
    promtool("test", "rules", PROMETHEUS / "tests" / "alerts.yml")


def test_every_metric_that_is_asked_for_is_described() -> None:
    described = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = {name for query in queries() for name in query.metrics}
    assert {name for name in asked if not name.startswith("process_")} - described - recorded == set()
    assert "process_*" in (ROOT / "docs" / "metrics.md").read_text()
    assert recorded <= asked, "nobody asks for what is recorded"


def test_every_described_metric_is_shown_somewhere() -> None:
    described = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))
    assert described - {name for query in queries() for name in query.metrics} == set()


def test_what_is_known_to_be_empty_is_asked() -> None:
    texts = [query.text for query in queries()]
    assert [part for part in KNOWN_EMPTY | NEEDS_GPU if not any(part in text for text in texts)] == []


def test_every_alert_says_what_is_the_matter_and_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description", "action", "dashboard"}, rule["alert"]


def test_every_alert_has_a_unit_test() -> None:
    tested = (PROMETHEUS / "tests" / "alerts.yml").read_text()
    assert [rule["alert"] for rule in rules() if rule.get("alert", "up") not in tested and "alert" in rule] == []


def test_recorded_names_say_level_metric_and_operations() -> None:
    names = [rule["record"] for rule in rules() if "record" in rule]
    assert [name for name in names if not re.fullmatch(r"[a-z_]+:flexpatch_[a-z_]+:[a-z0-9_]+", name)] == []


def test_panels_take_rates_over_grafanas_interval_and_name_their_quantity() -> None:
    of_panels = [query for query in queries() if not query.where.startswith(("alert", "record"))]
    windows = {found for query in of_panels for found in re.findall(r"\brate\([^\[]*\[([^\]]+)\]", query.text)}
    assert windows == {"$__rate_interval"}
