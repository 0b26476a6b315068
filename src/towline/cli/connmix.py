# SPDX-License-Identifier: Apache-2.0
"""``towline gateway dev|single|engine|center`` with connmix's words, and ``import`` of its configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from towline.cli.config import ConfigFile
from towline.cli.gateway import ApiPort, ClientsPort, ConnmixFile, run
from towline.cli.roles import BusUrl
from towline.cli.up import CenterPort, Data, Listen

Cpus = Annotated[
    int | None, typer.Option("-p", "--cpus", help="Accepted for connmix's sake: a node uses one processor.", min=1)
]


def add_to(app: typer.Typer) -> None:
    """Join these commands to ``towline gateway``."""
    app.command()(dev)
    app.command(name="single", help="As connmix's `single`: center and engine in one process; the same as `dev`.")(dev)
    app.command()(engine)
    app.command()(center)
    app.command(name="import")(import_file)


def dev(
    bus: BusUrl = None,
    data: Data = None,
    api_port: ApiPort = None,
    clients_port: ClientsPort = None,
    center_port: CenterPort = None,
    listen: Listen = None,
    config: ConfigFile = None,
    connmix: ConnmixFile = None,
    cpus: Cpus = None,
) -> None:
    """As connmix's `dev`: center and engine in one process, which is what a node is; the same as `single`."""
    _mind_processors(cpus)
    given = _given(bus, data, api_port, clients_port, center_port, listen)
    run("gateway", given, config, connmix)


def engine(
    bus: BusUrl = None,
    data: Data = None,
    api_port: ApiPort = None,
    clients_port: ClientsPort = None,
    center_port: CenterPort = None,
    listen: Listen = None,
    config: ConfigFile = None,
    connmix: ConnmixFile = None,
    cpus: Cpus = None,
) -> None:
    """As connmix's `engine`: a node joined to others by --bus, without the center API unless --center-port asks for it."""
    _mind_processors(cpus)
    given = _given(bus, data, api_port, clients_port, center_port, listen)
    run("gateway", given | {"engine": True}, config, connmix)


def center(
    bus: BusUrl = None,
    center_port: CenterPort = None,
    listen: Listen = None,
    config: ConfigFile = None,
    connmix: ConnmixFile = None,
    cpus: Cpus = None,
) -> None:
    """As connmix's `center`: only the center API of the nodes on --bus: their list and the figures of all of them."""
    _mind_processors(cpus)
    run("center", _given(bus, None, None, None, center_port, listen) | {"center": True}, config, connmix)


def import_file(
    file: Annotated[Path, typer.Argument(help="connmix's configuration file.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write; standard output without it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Convert connmix's configuration file into settings of ours, with notes on what was left out."""
    from towline.app.connmix import read_connmix
    from towline.app.settings import load_settings
    from towline.config.connmix.yamltext import render
    from towline.errors import InvalidInput

    translated = read_connmix(file)
    load_settings(translated.document, environ={})  # what we refuse is named at its place in their file
    text = render(translated)
    if output is None:
        typer.echo(text, nl=False)
    else:
        from towline.app.plan import write_private  # it may hold passwords

        if output.exists() and not force:
            raise InvalidInput(
                "cli.exists", "the file is there already", where=str(output), hint="--force writes over it"
            )
        write_private(output, text.encode())
    for note in translated.notes:
        if note.kind != "ignored" or output is not None:
            typer.echo(f"towline: {note}", err=True)


def _given(
    bus: str | None,
    data: Path | None,
    api_port: int | None,
    clients_port: int | None,
    center_port: int | None,
    listen: str | None,
) -> dict[str, Any]:
    from towline.app.settings import Flags

    return Flags(
        bus=bus, data=data, api_port=api_port, clients_port=clients_port, center_port=center_port, listen=listen
    ).given()


def _mind_processors(cpus: int | None) -> None:
    if cpus is not None and cpus > 1:
        typer.echo(f"towline: a node uses one processor; for {cpus} start {cpus} nodes joined by --bus", err=True)
