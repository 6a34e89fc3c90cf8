"""The real service with something to do, and a real Prometheus that watches it with this project's rules."""

import math
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import yaml

from app.api.auth import new_token
from tests.docker.queries import CONFIG, RULES
from tests.sessions.fakes import jpeg
from tests.soak import rig

PROGRAM = shutil.which("prometheus")
CHECKER = shutil.which("promtool")

_WAIT_S = 20.0
_POLL_S = 0.5
_BURST = 6


class Traffic:
    """Clients that do right and wrong: what a service sees in a day, again and again."""

    def __init__(self, api: httpx.Client, state: Path) -> None:
        """
        Args:
            state: folder of the service's record of sessions; it is lost on the way.
        """
        self._api = api
        self._image = jpeg(640, 360)
        self._damaged = self._image[: len(self._image) // 2]
        for name in ("pushed", "silent", "deleted"):
            self._made({"id": name})
            self._push(name, self._image)
        # Nobody listens on that port.
        self._made({"id": "away", "source": {"kind": "rtsp", "url": "rtsp://127.0.0.1:9/stream"}})
        api.delete("/sessions/deleted").raise_for_status()
        shutil.rmtree(state)

    def once(self) -> None:
        """A burst too large for the queue, a damaged frame, a session that is unknown, one that cannot be recorded."""
        with ThreadPoolExecutor(_BURST) as pool:
            list(pool.map(lambda _: self._push("pushed", self._image), range(_BURST)))
        self._push("pushed", self._damaged)
        self._api.get("/sessions/unknown")
        self._api.post("/sessions", json={"source": {"kind": "rtsp", "url": "rtsp://127.0.0.1:9/stream"}})

    def _made(self, body: dict[str, Any]) -> None:
        self._api.post("/sessions", json=body).raise_for_status()

    def _push(self, session: str, image: bytes) -> None:
        headers = {"Content-Type": "image/jpeg", "X-Capture-Time": str(time.time())}
        self._api.post(f"/sessions/{session}/frames", content=image, headers=headers)


class Prometheus:
    """A client of its API."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, path: str, **parameters: str) -> Any:
        """What a route of the API answers.

        Raises:
            httpx.HTTPStatusError: it answers with an error.
        """
        response = self._client.get(f"/api/v1/{path}", params=parameters)
        response.raise_for_status()
        return response.json()["data"]

    def values(self, query: str) -> list[float]:
        """The values of a query; what is not a number, as 0 / 0, is none."""
        result = self.get("query", query=query)
        samples = (
            [result["result"]] if result["resultType"] == "scalar" else [item["value"] for item in result["result"]]
        )
        return [value for _, text in samples if not math.isnan(value := float(text))]

    def is_ready(self) -> bool:
        """Whether it answers."""
        with suppress(httpx.TransportError):
            return self._client.get("/-/ready").is_success
        return False


def until(ask: Callable[[], bool], what: str, limit_s: float = _WAIT_S) -> None:
    """Ask again and again until it is so."""
    limit = time.monotonic() + limit_s
    while not ask():
        assert time.monotonic() < limit, f"{what} after {limit_s:g} s"
        time.sleep(_POLL_S)


@contextmanager
def prometheus(folder: Path, target: str, token: str) -> Iterator[Prometheus]:
    """Prometheus with this project's configuration, which scrapes one address each second in place of containers.

    Args:
        token: that the service takes.
    """
    assert PROGRAM, "Prometheus is not installed"
    port = _free_port()
    config = yaml.safe_load(CONFIG.read_text())
    config["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(RULES / "*.yml")]
    service, itself = config["scrape_configs"]
    del service["dns_sd_configs"]
    service["static_configs"] = [{"targets": [target]}]
    (folder / "token").write_text(f"{token}\n")
    itself["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    command = [
        *(PROGRAM, f"--config.file={path}", f"--storage.tsdb.path={folder / 'series'}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"),
    ]
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client,
        subprocess.Popen(command, stderr=subprocess.DEVNULL) as process,  # noqa: S603
    ):
        try:
            found = Prometheus(client)
            until(found.is_ready, "Prometheus is not ready")
            yield found
        finally:
            process.terminate()
            process.wait(_WAIT_S)


@contextmanager
def stack(folder: Path) -> Iterator[tuple[Prometheus, Traffic, str]]:
    """Both, with the demo session, and the instance's name."""
    state = folder / "state"
    secret, admin = new_token("clients", "admin")
    reading, reader = new_token("prometheus", "read")
    settings = {
        "authentication": "required",
        "tokens": [str(admin), str(reader)],
        "demo": True,
        "state_file": str(state / "sessions.db"),
        "stale_after_s": 1.0,
        "queue_depth": 1,
    }
    with rig.service(folder, **settings) as (_, api):
        api.headers["Authorization"] = f"Bearer {secret}"
        target = f"{api.base_url.host}:{api.base_url.port}"
        traffic = Traffic(api, state)
        with prometheus(folder, target, reading) as found:
            yield found, traffic, target


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
