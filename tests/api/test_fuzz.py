"""Requests made up from the OpenAPI document: whatever comes in, the service does not fail."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from app.flexpatch.config import PipelineConfig
from app.sessions.filters import FilterSpec
from app.sessions.manager import SessionRegistry
from app.sessions.model import SessionSpec
from tests.api.conftest import make_app, server_for
from tests.sessions.fakes import WAIT_S, Bench, jpeg

ROUTES = [
    ("POST", "/sessions"),
    ("GET", "/sessions"),
    ("GET", "/sessions/{session_id}"),
    ("PATCH", "/sessions/{session_id}"),
    ("DELETE", "/sessions/{session_id}"),
    ("POST", "/sessions/{session_id}/frames"),
    ("GET", "/sessions/{session_id}/results"),
    ("GET", "/sessions/{session_id}/results/latest"),
    ("GET", "/sessions/{session_id}/snapshot.jpg"),
    ("GET", "/sessions/{session_id}/explain/{seq}"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/whoami"),
]
ENDLESS = {
    ("GET", "/sessions/{session_id}/results/stream"),
    ("GET", "/sessions/{session_id}/preview.mjpeg"),
}
"""These answer for as long as the session lives."""
CHECKS = (not_a_server_error, content_type_conformance, status_code_conformance)


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return make_app(Bench(), max_sessions=30)


@pytest.fixture(scope="module")
def schema(app: FastAPI) -> Iterator[Any]:
    with server_for(app) as address:
        yield schemathesis.openapi.from_url(f"http://{address}/openapi.json", config=SchemathesisConfig())


def test_every_documented_route_is_tried(schema: Any) -> None:
    documented = {(found.ok().method.upper(), found.ok().path) for found in schema.get_all_operations()}
    assert documented == set(ROUTES) | ENDLESS


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_request_makes_the_service_fail(app: FastAPI, schema: Any, method: str, path: str) -> None:
    registry: SessionRegistry = app.state.services.registry

    @given(case=schema[path][method].as_strategy())
    @settings(
        max_examples=30,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    def try_out(case: Any) -> None:
        make_room(registry)
        if "session_id" in case.path_parameters:
            case.path_parameters["session_id"] = "fuzzed"
        if isinstance(wait_s := case.query.get("wait_s"), int | float):
            case.query["wait_s"] = min(wait_s, 0.001)
        case.call_and_validate(checks=CHECKS)

    try_out()


def make_room(registry: SessionRegistry) -> None:
    """Have a session called `fuzzed` with one result, and few others."""
    ids = [session.id for session in registry.all()]
    for session_id in ids if len(ids) > 20 else ():
        registry.remove(session_id)
    if "fuzzed" not in [session.id for session in registry.all()]:
        registry.create(lambda name: SessionSpec(name, PipelineConfig(), FilterSpec(), 4, 60.0), "fuzzed")
        registry.get("fuzzed").submit(jpeg()).result(WAIT_S)
