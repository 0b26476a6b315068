# SPDX-License-Identifier: Apache-2.0
"""``towline hub``, ``towline agent``: one role in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from towline.cli.config import ConfigFile
from towline.cli.up import BehindProxy, Data, Listen, become_role, need_server

BusUrl = Annotated[str | None, typer.Option("--bus", help="NATS server that joins the processes: nats://host:4222.")]

agent_app = typer.Typer(help="Run the agent of this device, or enrol it.", invoke_without_command=True)


def hub(
    bus: BusUrl = None,
    data: Data = None,
    portal_port: Annotated[int | None, typer.Option(help="Portal, REST and socket.io; default 8080.")] = None,
    listen: Listen = None,
    behind_proxy: BehindProxy = False,
    config: ConfigFile = None,
) -> None:
    """Run one hub with its doors: devices, commands, users, REST, socket.io, the portal."""
    from towline.app.live import Origin
    from towline.app.settings import Flags, load_settings

    need_server()
    flags = Flags(data=data, bus=bus, portal_port=portal_port, listen=listen, behind_proxy=behind_proxy or None)
    origin = Origin.of(config, flags.given())
    become_role("towline.app.hub", load_settings(config, flags=flags.given()).settings, origin=origin)


@agent_app.callback()
def agent(
    context: typer.Context,
    data: Annotated[Path | None, typer.Option(help="The agent's data directory; default ./towline-data/agent.")] = None,
    plugin_port: Annotated[int | None, typer.Option(help="Plugins, on this machine's loopback; default 55688.")] = None,
    standalone: Annotated[
        bool, typer.Option("--standalone", help="Serve plugins with no hub; print what comes.")
    ] = False,
    credential: Annotated[
        list[Path] | None, typer.Option(help="plugin_credential.json of a plugin (several times); with --standalone.")
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Run the agent: dial out to the gateway, serve plugins on this machine."""
    if context.invoked_subcommand is not None:
        context.obj = (data, config)
        return
    from towline.app.live import Origin
    from towline.app.settings import Flags, load_settings
    from towline.errors import InvalidInput

    if credential and not standalone:
        raise InvalidInput("cli.usage", "--credential needs --standalone; with a hub, credentials come from it")
    flags = Flags(agent_data=data, plugin_port=plugin_port)
    settings = load_settings(config, flags=flags.given()).settings
    origin = Origin.of(config, flags.given())
    arguments = [word for path in credential or [] for word in ("--credential", str(path))]
    become_role("towline.app.agent", settings, *(["--standalone"] if standalone else []), *arguments, origin=origin)


@agent_app.command()
def enrol(
    context: typer.Context,
    line: Annotated[str, typer.Argument(help="The line that the portal shows; - reads it from standard input.")] = "-",
    data: Annotated[Path | None, typer.Option(help="The agent's data directory; default ./towline-data/agent.")] = None,
    config: ConfigFile = None,
) -> None:
    """Enrol this device with a one-time line (also accepted as TOWLINE_ENROLMENT, or on standard input)."""
    import asyncio
    import os
    import shlex
    import sys

    from towline.app.agent import enrol as redeem
    from towline.app.settings import Flags, load_settings

    before = context.obj
    data, config = data or before[0], config or before[1]
    text = line if line != "-" else os.environ.get("TOWLINE_ENROLMENT") or sys.stdin.readline()
    settings = load_settings(config, flags=Flags(agent_data=data).given()).settings
    done = asyncio.run(redeem(settings, text.strip()))
    start = [
        "towline",
        "agent",
        *(["--data", str(data)] if data else []),
        *(["--config", str(config)] if config else []),
    ]
    typer.echo(f"{done}; start the agent with: {shlex.join(start)}")
