"""`flexpatch token`."""

from typing import Annotated

import typer
from rich.console import Console

from app.api.auth import Role, new_token
from app.cli.terminal import say


def token_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is; shown in the log.")],
    *,
    role: Annotated[
        Role, typer.Option(help="read: results and metrics; push: also frames; admin: also sessions themselves.")
    ] = "read",
) -> None:
    """Make a bearer token. It is printed once; the service keeps only its SHA-256, in the setting `tokens`."""
    secret, token = new_token(name, role)
    typer.echo(secret)
    console = Console(stderr=True)
    say(console, "Above      the token, for its holder: Authorization: Bearer …")
    say(console, f"tokens     {token}")
