"""Dashboards and their provisioning: what can be said of the files themselves."""

import itertools
import json
import re
from typing import Any

import pytest
import yaml

from tests.docker.queries import DASHBOARDS, ROOT, dashboards, panels, rules

PROVISIONING = ROOT / "docker" / "grafana" / "provisioning"
SCHEMA_VERSION = 42
"""The last of Grafana's classic schema, that of version 12."""
KINDS = {"timeseries", "stat", "table", "bargauge", "heatmap", "state-timeline"}
BY_VARIABLE = {"type": "prometheus", "uid": "${datasource}"}

all_dashboards = pytest.mark.parametrize("document", dashboards().values(), ids=dashboards())


def test_there_are_four_with_addresses_of_their_own() -> None:
    assert {name: document["uid"] for name, document in dashboards().items()} == {
        name: f"flexpatch-{name}" for name in ("detector", "fleet", "quality", "session")
    }
    assert len({document["title"] for document in dashboards().values()}) == 4


@all_dashboards
def test_it_is_of_the_newest_classic_schema_and_tidy(document: dict[str, Any]) -> None:
    assert document["schemaVersion"] == SCHEMA_VERSION
    assert "id" not in document, "Grafana gives it one"
    name = document["uid"].removeprefix("flexpatch-")
    written = DASHBOARDS.joinpath(f"{name}.json").read_text()
    assert written == json.dumps(document, indent=2, ensure_ascii=False) + "\n"


@all_dashboards
def test_every_panel_says_what_it_means_in_which_unit_and_where_from(document: dict[str, Any]) -> None:
    for panel in panels(document):
        title = panel["title"]
        assert panel["type"] in KINDS, title
        assert len(panel["description"]) > 40, title
        assert panel["description"].endswith("."), title
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"], title
        assert defaults["thresholds"]["steps"][0]["value"] is None, title
        assert panel["datasource"] == BY_VARIABLE, title
        assert [target["datasource"] for target in panel["targets"]] == [BY_VARIABLE] * len(panel["targets"]), title


@all_dashboards
def test_legends_name_their_series(document: dict[str, Any]) -> None:
    for panel in panels(document):
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert len(set(legends)) == len(legends) or panel["type"] == "table", panel["title"]
        if panel["type"] not in {"table", "stat"}:
            assert all(legends), panel["title"]


@all_dashboards
def test_panels_have_numbers_of_their_own_and_lie_side_by_side(document: dict[str, Any]) -> None:
    numbers = [panel["id"] for panel in document["panels"]]
    assert len(set(numbers)) == len(numbers)
    cells: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
        own = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert not own & cells, panel["title"]
        cells |= own
    assert len(cells) == 24 * (1 + max(y for _, y in cells)), "no gaps, either"


@all_dashboards
def test_expressions_name_only_variables_that_there_are(document: dict[str, Any]) -> None:
    own = {variable["name"] for variable in document["templating"]["list"]}
    text = json.dumps(document)
    named = {name for name in re.findall(r"\$\{?(\w+)", text) if not name.startswith("__")}
    assert named == own, "none is unknown, and none of no use"


def test_links_lead_to_dashboards_that_there_are() -> None:
    uids = {document["uid"] for document in dashboards().values()}
    texts = [json.dumps(document) for document in dashboards().values()]
    texts += [rule["annotations"]["dashboard"] for rule in rules() if "alert" in rule]
    assert {found for text in texts for found in re.findall(r"/d/([\w-]+)", text)} <= uids
    for document in dashboards().values():
        (link,) = document["links"]
        assert link["type"] == "dashboards"
        assert set(link["tags"]) <= set(document["tags"])


def test_links_to_a_session_say_on_which_instance_since_others_may_have_its_name() -> None:
    texts = [json.dumps(document) for document in dashboards().values()]
    texts += [rule["annotations"]["dashboard"] for rule in rules() if "alert" in rule]
    links = [link for text in texts for link in re.findall(r"/d/flexpatch-session[^\"]*", text)]
    assert len(links) > 1
    assert [link for link in links if "var-session=" not in link or "&var-instance=" not in link] == []


@all_dashboards
def test_sessions_of_one_name_on_two_instances_stay_apart(document: dict[str, Any]) -> None:
    for panel in panels(document):
        for target in panel["targets"]:
            levels = [set(re.split(r",\s*", names)) for names in re.findall(r"by \(([^)]*)\)", target["expr"])]
            assert [names for names in levels if "session" in names and "instance" not in names] == [], panel["title"]
            assert ("{{session}}" in target["legendFormat"]) <= ("{{instance}}" in target["legendFormat"])


def test_files_are_provisioned_where_compose_mounts_them() -> None:
    grafana = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    mounts = dict(text.split(":")[:2] for text in grafana["volumes"])
    assert mounts["./docker/grafana/provisioning"] == "/etc/grafana/provisioning"
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "flexpatch.yml").read_text())["providers"]
    assert mounts["./docker/grafana/dashboards"] == provider["options"]["path"]
    assert (
        grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
        == f"{provider['options']['path']}/fleet.json"
    )


def test_the_data_source_is_composes_prometheus_at_its_pace() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    config = yaml.safe_load((ROOT / "docker" / "prometheus" / "prometheus.yml").read_text())
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]
    chosen = {
        variable["current"]["value"]
        for document in dashboards().values()
        for variable in document["templating"]["list"]
        if variable["type"] == "datasource"
    }
    assert chosen == {source["uid"]}
