# SPDX-License-Identifier: Apache-2.0
"""``towline up``: everything on this machine, supervised."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from towline.cli.config import ConfigFile

Listen = Annotated[str | None, typer.Option(help="Address to bind, for all ports but the plugins'; default 127.0.0.1.")]
BehindProxy = Annotated[
    bool, typer.Option("--behind-proxy", help="TLS ends at a proxy in front; allows --listen without TLS.")
]
CenterPort = Annotated[
    int | None, typer.Option(help="Nodes and figures of the mesh, for connmix's clients; default 6787 when it is free.")
]
Data = Annotated[Path | None, typer.Option(help="Data directory; default ./towline-data.")]


def up(
    data: Data = None,
    portal_port: Annotated[int | None, typer.Option(help="Portal, REST and socket.io; default 8080.")] = None,
    api_port: Annotated[int | None, typer.Option(help="Push API for back ends; default 6789.")] = None,
    clients_port: Annotated[int | None, typer.Option(help="Clients and agents; default 6790.")] = None,
    center_port: CenterPort = None,
    plugin_port: Annotated[int | None, typer.Option(help="Plugins, on this machine's loopback; default 55688.")] = None,
    listen: Listen = None,
    behind_proxy: BehindProxy = False,
    no_agent: Annotated[bool, typer.Option("--no-agent", help="Do not run an agent for this machine.")] = False,
    config: ConfigFile = None,
) -> None:
    """Run server and agent on this machine, and start them again when they end."""
    from towline.app.settings import Flags, load_settings

    need_server()
    flags = Flags(
        data=data,
        portal_port=portal_port,
        api_port=api_port,
        clients_port=clients_port,
        center_port=center_port,
        plugin_port=plugin_port,
        listen=listen,
        behind_proxy=behind_proxy or None,
    )
    loaded = load_settings(config, flags=flags.given())
    from towline.app.live import Origin
    from towline.app.plan import up_plan

    origin = Origin.of(config, flags.given())
    become_supervisor(up_plan(loaded.settings, agent=not no_agent, origin=origin))


def need_server() -> None:
    """StartError ``cli.server_parts`` on a base install, which has agent, SDK and command line only."""
    from importlib.util import find_spec

    from towline.errors import StartError

    missing = [
        name for name in ("fastapi", "httptools", "prometheus_client", "socketio", "uvicorn") if not find_spec(name)
    ]
    if missing:
        raise StartError(
            "cli.server_parts",
            f"this installation has no server parts ({', '.join(missing)})",
            hint="install it with the extra: towline[server]",
        )


def become_supervisor(plan: dict[str, Any]) -> None:
    """Replace this process by the small supervisor; the plan goes through memory, never through a file or arguments."""
    descriptor = memory_file(plan)
    os.execv(sys.executable, [sys.executable, "-m", "towline.app.supervisor", "--plan-fd", str(descriptor)])  # noqa: S606


def become_role(module: str, settings: Any, *arguments: str, origin: Any = None) -> None:
    """Replace this process by one role, unsupervised; its settings come on standard input as from a supervisor.

    :param origin: where they came from (:class:`towline.app.live.Origin`), for a role that follows changes
    """
    import msgspec

    descriptor = memory_file({**msgspec.to_builtins(settings), "origin": msgspec.to_builtins(origin)})
    os.dup2(descriptor, 0)
    os.execv(sys.executable, [sys.executable, "-m", module, "--unsupervised", *arguments])  # noqa: S606


def memory_file(value: Any) -> int:
    import json

    descriptor = os.memfd_create("towline")
    os.write(descriptor, json.dumps(value).encode() + b"\n")
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.set_inheritable(descriptor, True)
    return descriptor
