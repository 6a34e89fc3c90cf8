"""`flexpatch camera`."""

import asyncio
import socket
import sys
import tempfile
from pathlib import Path
from typing import Annotated, get_args

import typer
import uvicorn

from app.api.camera_control import create_camera_control
from app.cli.endings import ended_in_order
from app.core.clock import SystemClock
from app.core.errors import SettingsError
from app.ingest.camera.credentials import Credentials, Scheme
from app.ingest.camera.faults import Kind, parse_fault
from app.ingest.camera.feed import Feed, StreetFeed, open_file
from app.ingest.camera.server import Camera, CameraOptions
from app.ingest.source import is_street
from app.ingest.street import Street
from app.ingest.street_config import parse_street
from app.telemetry.logs import setup_logging


def camera_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A video file or a folder of images, repeated for ever, or a street: synthetic:1280x720@15?seed=1, "
            "rendered as it is watched; with &frames=300, encoded beforehand and repeated.",
        ),
    ],
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="RTSP port; 0 for any free one.", min=0, max=65535)] = 8554,
    path: Annotated[str, typer.Option(help="Of the stream: rtsp://HOST:PORT/PATH.")] = "stream",
    user: Annotated[str | None, typer.Option(help="Who alone may watch.", show_default=False)] = None,
    password: Annotated[str | None, typer.Option(help="Of that user.", show_default=False)] = None,
    auth: Annotated[str, typer.Option(metavar="digest|basic", help="How the user is asked for.")] = "digest",
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND[:name=value,…]",
            help=f"What goes wrong: {', '.join(Kind)}. after=S, seconds=S and every=S say when, for how long and how "
            "often; loss and garbage take share=, slow-start and pts-jump by=S, resolution size=WxH. "
            "May be given several times.",
        ),
    ] = None,
    control: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="HTTP port for faults on demand (POST /faults).", min=0, max=65535),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of which packets a fault strikes.")] = 1,
) -> None:
    """A simulated RTSP camera (H.264 over TCP and UDP), from a recording or the synthetic street, with faults."""
    setup_logging("pretty", "warning")
    if (user is None) != (password is None):
        raise SettingsError("Give both --user and --password, or neither.")
    if auth not in get_args(Scheme):
        raise SettingsError(f"--auth {auth} is unknown; there are digest and basic.")
    scheme: Scheme = "basic" if auth == "basic" else "digest"
    credentials = Credentials(user, password, scheme) if user is not None and password is not None else None
    faults = tuple(parse_fault(text) for text in fault or ())
    options = CameraOptions(host, port, path.strip("/"), credentials, faults, seed)
    with ended_in_order(), tempfile.TemporaryDirectory(prefix="flexpatch-camera-") as folder:
        clock = SystemClock()
        start_s = clock.now_s()
        feed = _feed(source, Path(folder), clock, start_s)
        asyncio.run(_serve(Camera(feed, clock, start_s, options, Path(folder)), control))


def _feed(source: str, folder: Path, clock: SystemClock, start_s: float) -> Feed:
    if is_street(source):
        street = parse_street(source)
        if street.n_frames is None:
            return StreetFeed(Street(street), clock, start_s)
    return open_file(source, folder, clock, start_s)


async def _serve(camera: Camera, control_port: int | None) -> None:
    """Until cancelled."""
    await camera.start()
    try:
        _tell(f"Camera   {camera.url}  {camera.feed.size} at {camera.feed.fps:g} frames a second")
        if control_port is None:
            await asyncio.Event().wait()
        else:
            await _serve_control(camera, control_port)
    finally:
        await camera.stop()


async def _serve_control(camera: Camera, port: int) -> None:
    try:
        listener = socket.create_server((camera.options.host, port))
    except OSError as error:
        raise SettingsError(f"The control endpoint cannot listen on port {port} ({error.strerror}).") from error
    config = uvicorn.Config(create_camera_control(camera), log_config=None, access_log=False, lifespan="off")
    with listener:
        _tell(f"Control  http://{camera.options.host}:{listener.getsockname()[1]}/docs")
        # Told to end, it ends, and raises the signal again.
        await uvicorn.Server(config).serve(sockets=[listener])


def _tell(line: str) -> None:
    typer.echo(line)
    sys.stdout.flush()
