"""What the dashboards and rules ask of Prometheus."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = ROOT / "docker" / "grafana" / "dashboards"
PROMETHEUS = ROOT / "docker" / "prometheus"
CONFIG = PROMETHEUS / "prometheus.yml"
RULES = PROMETHEUS / "rules"

_NAME = re.compile(r"\b(?:flexpatch_\w+|process_\w+|\w+(?::\w+)+)\b")
_TEXT = re.compile(r'"[^"]*"')
_RANGE = re.compile(r"\[[^\]]*\]")
_SERIES = re.compile(r"_(?:bucket|sum|count)$")
_COMPARISON = re.compile(r"(==|>=|<=|(?<![=!<>])[<>](?!=))")
_LABEL_VALUES = re.compile(r"label_values\((?P<metric>.+), (?P<label>\w+)\)")


@dataclass(frozen=True, slots=True)
class Query:
    """An expression in PromQL, and where it stands."""

    where: str
    text: str

    @property
    def metrics(self) -> frozenset[str]:
        """The service's metrics, and recorded series, by the names under which they are described."""
        bare = _RANGE.sub("", _TEXT.sub("", self.text))
        return frozenset(_SERIES.sub("", name) for name in _NAME.findall(bare))

    def filled(self, instance: str, sessions: str) -> str:
        """With values for Grafana's variables."""
        values = {"__rate_interval": "10s", "__interval": "5s", "__range": "5m"}
        values |= {"instance": instance, "session": sessions}
        return re.sub(r"\$(\w+)", lambda found: values[found[1]], self.text)


def measured(expression: str) -> str:
    """A condition so that it has a value whether it holds or not: 0 or 1 for each comparison."""
    return _COMPARISON.sub(r"\1 bool", expression)


def dashboards() -> dict[str, dict[str, Any]]:
    """All dashboards by their file's name without suffix."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """All panels but rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def rules() -> Iterator[dict[str, Any]]:
    """All recording and alert rules."""
    for path in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def queries() -> list[Query]:
    """Everything that is asked, conditions of alerts and annotations as what they measure."""
    found = [query for name, document in dashboards().items() for query in _of_dashboard(name, document)]
    for rule in rules():
        if "record" in rule:
            found.append(Query(f"record {rule['record']}", rule["expr"]))
        else:
            found.append(Query(f"alert {rule['alert']}", measured(rule["expr"])))
    return found


def _of_dashboard(name: str, document: dict[str, Any]) -> Iterator[Query]:
    for variable in document["templating"]["list"]:
        if variable["type"] == "query":
            found = _LABEL_VALUES.fullmatch(variable["query"]["query"])
            assert found, variable
            yield Query(f"{name}, variable {variable['name']}", f"group by ({found['label']}) ({found['metric']})")
    for annotation in document["annotations"]["list"]:
        yield Query(f"{name}, annotation {annotation['name']}", measured(annotation["target"]["expr"]))
    for panel in panels(document):
        for target in panel["targets"]:
            yield Query(f"{name}, {panel['title']} ({target['refId']})", target["expr"])
