# SPDX-License-Identifier: Apache-2.0
"""``towline gateway``: one node in one process; the group's other commands stand in modules of their own."""

from __future__ import annotations

from typing import Annotated

import typer

from towline.cli.config import ConfigFile
from towline.cli.gatewaytop import top
from towline.cli.roles import BusUrl
from towline.cli.up import BehindProxy, Data, Listen, become_role, need_server

app = typer.Typer(help="Run a gateway node, and look at those that run.", invoke_without_command=True)


@app.callback()
def gateway(
    context: typer.Context,
    bus: BusUrl = None,
    data: Data = None,
    api_port: Annotated[int | None, typer.Option(help="Push API for back ends; default 6789.")] = None,
    clients_port: Annotated[int | None, typer.Option(help="Clients and agents; default 6790.")] = None,
    listen: Listen = None,
    behind_proxy: BehindProxy = False,
    config: ConfigFile = None,
) -> None:
    """Run one gateway node: client connections, the push API, agents' links."""
    from towline.app.settings import Flags, load_settings

    if context.invoked_subcommand is not None:
        return
    need_server()
    flags = Flags(
        data=data,
        bus=bus,
        api_port=api_port,
        clients_port=clients_port,
        listen=listen,
        behind_proxy=behind_proxy or None,
    )
    become_role("towline.app.gateway", load_settings(config, flags=flags.given()).settings)


app.command()(top)
