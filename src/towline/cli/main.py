# SPDX-License-Identifier: Apache-2.0
"""The ``towline`` command: every group joined, and errors as one line."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from towline import __version__
from towline.cli import command, config, connmix, device, gateway, login, plugin, push, roles, token, user
from towline.cli.up import up
from towline.errors import InvalidInput, Refused, StartError, TowlineError

_UsageError: Any = typer.BadParameter.__mro__[1]
"""click's, wherever this version of typer has it from."""

app = typer.Typer(
    help="Towline: a self-hosted platform for machines at the far end of a network.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"towline {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command(name="up")(up)
connmix.add_to(gateway.app)
app.add_typer(gateway.app, name="gateway")
app.command(name="hub")(roles.hub)
app.add_typer(roles.agent_app, name="agent")
app.add_typer(device.app, name="device")
app.add_typer(command.app, name="command")
app.add_typer(plugin.app, name="plugin")
app.add_typer(push.app, name="push")
app.add_typer(user.app, name="user")
app.add_typer(token.app, name="token")
app.add_typer(login.app, name="login")
app.add_typer(config.app, name="config")


def main() -> None:
    """The console script. Exit status 0: done; 1: refused or failed; 2: wrong usage, or it cannot start."""
    try:
        if not _wants_json():
            app()
            return
        try:
            status = app(standalone_mode=False)  # else usage errors are printed for people, and only then ended
        except _UsageError as error:
            raise InvalidInput("cli.usage", error.format_message(), hint="--help tells how it is used") from None
        except typer.Abort:
            raise Refused("cli.aborted", "stopped before it was done") from None
        sys.exit(status if isinstance(status, int) else 0)
    except TowlineError as error:
        complain(error)
        sys.exit(2 if isinstance(error, InvalidInput | StartError) else 1)


def _wants_json() -> bool:
    """What follows ``--`` is another command's."""
    words = sys.argv[1:]
    return "--json" in (words[: words.index("--")] if "--" in words else words)


def complain(error: TowlineError) -> None:
    """One line on standard error; with ``--json`` the object that REST answers."""
    if _wants_json():
        import json

        detail = {"code": error.code, "message": error.message, "where": error.where, "hint": error.hint}
        given = {name: value for name, value in detail.items() if value is not None}
        typer.echo(json.dumps({"error": given}), err=True)
    else:
        typer.echo(f"towline: {error}", err=True)


if __name__ == "__main__":
    main()
