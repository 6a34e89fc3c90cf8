"""Clients of the service: one that speaks to the application in this process, one over a real socket."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI

from app.api.services import Services
from app.config import Settings, load_settings
from app.main import Server, create_app
from tests.sessions.fakes import WAIT_S, Bench, ScriptedPipeline, jpeg

IMAGE = {"Content-Type": "image/jpeg"}


def settings(**values: Any) -> Settings:
    """The defaults with some values changed, whatever the environment says."""
    known = load_settings(overrides={"models_dir": "no-models", **values}, environment={})
    return known if "state_file" in values else known.model_copy(update={"state_file": None})


def make_app(bench: Bench, **values: Any) -> FastAPI:
    """The application with scripted pipelines and a clock that stands still."""
    return create_app(
        settings(**values),
        detector=bench.detector,
        clock=bench.clock,
        wall_s=bench.wall_s,
        make_pipeline=bench.make_pipeline,
    )


class Api:
    """A client of an application in this process. The application runs on a loop of its own thread."""

    def __init__(self, app: FastAPI, portal: BlockingPortal, bench: Bench) -> None:
        self.app = app
        self.bench = bench
        self._portal = portal
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            return await self._client.request(method, url, **options)

        return self._portal.call(send)

    def begin(self, method: str, url: str, **options: Any) -> "PendingResponse":
        """Send a request without waiting for the response."""

        async def send() -> httpx.Response:
            return await self._client.request(method, url, **options)

        return PendingResponse(self._portal.start_task_soon(send))

    def get(self, url: str, **options: Any) -> httpx.Response:
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> httpx.Response:
        return self.request("POST", url, **options)

    def open(self, session_id: str = "a", **body: Any) -> ScriptedPipeline:
        """Create a session; returns its pipeline."""
        response = self.post("/sessions", json={"id": session_id, **body})
        assert response.status_code == 201, response.text
        return self.bench.pipeline

    def push(self, session_id: str = "a", data: bytes | None = None, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.post(
            f"/sessions/{session_id}/frames", content=jpeg() if data is None else data, headers=IMAGE | named
        )

    @property
    def services(self) -> Services:
        services = self.app.state.services
        assert isinstance(services, Services)
        return services

    def sample(self, name: str, **labels: str) -> float | None:
        """A metric's value."""
        return self.services.metrics.registry.get_sample_value(name, labels)


class PendingResponse:
    """A response that may still be on its way."""

    def __init__(self, future: Any) -> None:
        self._future = future

    @property
    def is_done(self) -> bool:
        return bool(self._future.done())

    def result(self) -> httpx.Response:
        response = self._future.result(WAIT_S)
        assert isinstance(response, httpx.Response)
        return response


@contextmanager
def api_for(bench: Bench, **values: Any) -> Iterator[Api]:
    """The application, started and stopped."""
    app = make_app(bench, **values)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
    ):
        yield Api(app, portal, bench)
        for pipeline in bench.pipelines:
            pipeline.gate.set()


@contextmanager
def server_for(app: FastAPI, **values: Any) -> Iterator[str]:
    """The application behind uvicorn on a free loopback port; gives its address."""
    server = _ReadyServer(app, settings(port=0, **values))
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    assert server.is_ready.wait(WAIT_S)
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        server.should_exit = True
        thread.join(WAIT_S)
        assert not thread.is_alive()


class _ReadyServer(Server):
    def __init__(self, app: FastAPI, given: Settings) -> None:
        super().__init__(app, given)
        self.is_ready = threading.Event()
        self.port = 0

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.port = self.servers[0].sockets[0].getsockname()[1]
        self.is_ready.set()


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def api(bench: Bench) -> Iterator[Api]:
    with api_for(bench) as api:
        yield api
