"""`flexpatch serve`."""

import logging
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from app.cli.endings import ended_in_order
from app.cli.options import DetectorOption, FamilyOption
from app.cli.terminal import version_text
from app.config import Settings, load_settings
from app.core.errors import SettingsError
from app.main import DEMO_SESSION, Server, create_app
from app.telemetry.logs import setup_logging

logger = logging.getLogger(__name__)

_ANY_HOSTS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - where to reach a service that listens everywhere


def serve_command(
    *,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Configuration file (YAML). Default: FLEXPATCH_CONFIG.", show_default=False),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on; 0.0.0.0 for all. Default: 127.0.0.1.", show_default=False),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="TCP port; 0 for any free one. Default: 8000.", show_default=False)
    ] = None,
    detector: DetectorOption = None,
    detector_family: FamilyOption = None,
    demo: Annotated[
        bool | None, typer.Option("--demo", help="Start with a session `demo` that watches a synthetic street.")
    ] = None,
) -> None:
    """Run the service: sessions over HTTP and WebSocket, results as JSON, metrics for Prometheus.

    Settings come from the file, then FLEXPATCH_… variables, then these options; later ones win.
    """
    overrides = {"host": host, "port": port, "detector": detector, "detector_family": detector_family, "demo": demo}
    settings = load_settings(config, overrides)
    with _listen(settings) as listener:
        setup_logging(settings.log_format, settings.log_level)
        service = _Service(settings)
        # Once all is shut down, the server raises the signal again; being told to end is no failure.
        with ended_in_order(), suppress(KeyboardInterrupt):
            service.run(sockets=[listener])


class _Service(Server):
    """Says where it is once it is there."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(create_app(settings), settings)
        self._settings = settings

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            _announce(self._settings, sockets[0].getsockname()[1])


def _announce(settings: Settings, port: int) -> None:
    """Say where the service is: to people on standard output, to what reads JSON in the log."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{_ANY_HOSTS.get(settings.host, host)}:{port}"
    if settings.log_format == "json":
        logger.info("the service is ready", extra={"url": url, "version": version_text()})
        return
    typer.echo(f"FlexPatch Service {version_text()}: {url}")
    typer.echo(f"How to use it:           {url}/docs")
    if settings.demo:
        typer.echo(f"Watch the demo session:  {url}/#/sessions/{DEMO_SESSION}")
    sys.stdout.flush()


def _listen(settings: Settings) -> socket.socket:
    """A socket bound to the service's address."""
    where = f"{settings.host}:{settings.port}"
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise SettingsError(
            f"The service cannot listen on {where} ({error.strerror}): give another --port or --host."
        ) from error
    return listener
