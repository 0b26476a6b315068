# SPDX-License-Identifier: Apache-2.0
"""``towline gateway``: one node in one process; the group's other commands stand in modules of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from towline.cli.config import ConfigFile
from towline.cli.gatewaytop import top
from towline.cli.roles import BusUrl
from towline.cli.up import BehindProxy, CenterPort, Data, Listen, become_role, need_server

app = typer.Typer(help="Run a gateway node, and look at those that run.", invoke_without_command=True)

ApiPort = Annotated[int | None, typer.Option(help="Push API for back ends; default 6789.")]
ClientsPort = Annotated[int | None, typer.Option(help="Clients and agents; default 6790.")]
ConnmixFile = Annotated[
    Path | None, typer.Option("--connmix", "-f", help="connmix's own configuration file, instead of --config.")
]


@app.callback()
def gateway(
    context: typer.Context,
    bus: BusUrl = None,
    data: Data = None,
    api_port: ApiPort = None,
    clients_port: ClientsPort = None,
    center_port: CenterPort = None,
    listen: Listen = None,
    behind_proxy: BehindProxy = False,
    config: ConfigFile = None,
    connmix: ConnmixFile = None,
) -> None:
    """Run one gateway node: client connections, the push API, agents' links."""
    from towline.app.settings import Flags

    flags = Flags(
        data=data,
        bus=bus,
        api_port=api_port,
        clients_port=clients_port,
        center_port=center_port,
        listen=listen,
        behind_proxy=behind_proxy or None,
    )
    if context.invoked_subcommand is not None:
        _no_options(context)
        return
    run("gateway", flags.given(), config, connmix)


def _no_options(context: typer.Context) -> None:
    """What stands before a command would be lost: say so."""
    from towline.errors import InvalidInput

    for name, value in context.params.items():
        if value not in (None, False):
            word = context.invoked_subcommand
            raise InvalidInput("cli.usage", f"options stand behind the command: towline gateway {word} …", where=name)


def run(module: str, given: dict[str, Any], config: Path | None, connmix: Path | None) -> None:
    """Become a role of the gateway, with settings from our file or from connmix's."""
    from towline.app.live import Origin
    from towline.app.settings import load_settings
    from towline.errors import InvalidInput

    need_server()
    registry = "bus.url"
    if connmix is None:
        settings, origin = load_settings(config, flags=given).settings, Origin.of(config, given)
    elif config is not None:
        raise InvalidInput("cli.usage", "give --config or -f, one of them", hint="see: towline gateway import")
    else:
        from towline.app.connmix import read_connmix
        from towline.config.connmix.guard import normal

        translated = read_connmix(connmix)
        _tell(connmix, translated.notes)
        registry = next(
            (note.where for note in translated.notes if normal(note.key) == "engine.centerregistry"), registry
        )
        settings = load_settings(translated.document, flags=given).settings
        origin = Origin.of(connmix, given, "connmix")
    if not settings.bus.url and ("engine" in given or "center" in given):
        raise InvalidInput(
            "bus.needed",
            "engine and center are joined by NATS; connmix's registry has no meaning here",
            where=registry,
            hint="give --bus nats://host:4222, or run dev for all in one process",
        )
    become_role(f"towline.app.{module}", settings, origin=origin)


def _tell(file: Path, notes: tuple[Any, ...]) -> None:
    """What somebody may miss, a line each; how much else has no meaning here."""
    for note in notes:
        if note.kind == "warning":
            typer.echo(f"towline: {note}", err=True)
    ignored = sum(note.kind == "ignored" for note in notes)
    if ignored:
        line = f"{file}: {ignored} keys have no meaning here; `towline gateway import {file}` lists them"
        typer.echo(f"towline: {line}", err=True)


app.command()(top)
