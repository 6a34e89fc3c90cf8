"""Health, metrics, the front page and the OpenAPI document."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.api.schemas import SESSION_ID
from tests.api.conftest import Api


def test_a_living_process_says_so(api: Api) -> None:
    assert api.get("/livez").json() == {"status": "alive"}


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics"])
def test_health_can_be_asked_by_head(api: Api, path: str) -> None:
    head, get = api.request("HEAD", path), api.get(path)
    assert (head.status_code, head.headers["content-type"]) == (200, get.headers["content-type"])


def test_with_a_detector_the_service_is_ready(api: Api) -> None:
    response = api.get("/readyz")
    assert response.status_code == 200
    assert response.json()["status"] == "ready"
    assert {check["name"]: check["ok"] for check in response.json()["checks"]} == {"detector": True, "admission": True}


def test_a_closing_service_is_not_ready(api: Api) -> None:
    api.services.registry.begin_close()
    response = api.get("/readyz")
    assert (response.status_code, response.json()["code"]) == (503, "not_ready")
    assert response.headers["content-type"] == "application/problem+json"
    assert {check["name"]: check["ok"] for check in response.json()["checks"]} == {"detector": True, "admission": False}


def test_metrics_are_what_prometheus_reads(api: Api) -> None:
    api.open()
    api.push()
    response = api.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(response.text)}
    assert all(name.startswith(("flexpatch_", "process_")) for name in families)
    assert families["flexpatch_build_info"].samples[0].value == 1
    edges = {
        sample.labels["le"]
        for sample in families["flexpatch_stage_duration_seconds"].samples
        if sample.name.endswith("_bucket")
    }
    assert {"0.001", "0.0167", "0.0333", "0.0667", "5.0"} <= edges


def test_the_front_page_is_the_dashboard_and_all_that_it_needs_is_served(api: Api) -> None:
    page = api.get("/")
    assert page.headers["content-type"].startswith("text/html")
    needed = re.findall(r'(?:src|href)="(/web/[^"]+)"', page.text)
    assert len(needed) >= 3
    for path in needed:
        answer = api.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["cache-control"] == "no-cache"


def test_openapi_documents_every_route_with_its_problems(api: Api) -> None:
    document = api.get("/openapi.json").json()
    paths = document["paths"]
    assert {
        "/sessions",
        "/sessions/{session_id}",
        "/sessions/{session_id}/frames",
        "/sessions/{session_id}/results",
        "/sessions/{session_id}/results/latest",
        "/sessions/{session_id}/results/stream",
        "/sessions/{session_id}/snapshot.jpg",
        "/sessions/{session_id}/preview.mjpeg",
        "/sessions/{session_id}/explain/{seq}",
        "/livez",
        "/readyz",
        "/metrics",
        "/whoami",
    } == set(paths)
    push = paths["/sessions/{session_id}/frames"]["post"]
    assert {"image/jpeg", "image/png", "image/webp", "multipart/form-data"} <= set(push["requestBody"]["content"])
    assert {parameter["name"] for parameter in push["parameters"]} == {"session_id", "X-Frame-Seq", "X-Capture-Time"}
    for path, operations in paths.items():
        for operation in operations.values():
            assert operation["summary"], path
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    schema = answer["content"]["application/problem+json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Problem"}
    assert "HTTPValidationError" not in str(document)
    assert document["components"]["schemas"]["SessionCreate"]["examples"]


def test_every_field_that_comes_in_is_described(api: Api) -> None:
    schemas = api.get("/openapi.json").json()["components"]["schemas"]
    for name in ("SessionCreate", "SessionPatch", "FiltersModel", "TuningModel", "ZoneModel", "QueueModel"):
        for field, schema in schemas[name]["properties"].items():
            assert schema.get("description"), f"{name}.{field}"


def test_made_up_ids_are_ids(api: Api) -> None:
    assert re.fullmatch(SESSION_ID, api.post("/sessions").json()["id"])
