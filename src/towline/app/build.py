# SPDX-License-Identifier: Apache-2.0
"""The real objects of a role, made from settings. Each is closed by the stack it was entered on, last made first."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

import msgspec

from towline.app.clitoken import CliToken
from towline.app.plan import enrol_file, secret_key, write_private
from towline.app.settings import Settings
from towline.app.topics import make_topics
from towline.app.waiting import until_unlocked
from towline.bus.base import Bus
from towline.clock import Clock
from towline.errors import Conflict, StartError
from towline.gateway.addresses import join_address, split_address
from towline.gateway.node import Node
from towline.hub.actor import Actor
from towline.hub.hub import Bootstrapped, Hub
from towline.hub.settings import HubSettings

FIRST_PASSWORD = "first-password"  # noqa: S105 - a file's name

logger = logging.getLogger("towline.app")


async def make_bus(stack: contextlib.AsyncExitStack, settings: Settings, clock: Clock) -> Bus:
    """The memory bus, or NATS when ``bus.url`` is set."""
    bus: Bus
    if settings.bus.url:
        from towline.bus.nats import NatsBus

        bus = NatsBus(settings.bus, clock)
    else:
        from towline.bus.memory import MemoryBus

        bus = MemoryBus(clock)
    await bus.start()
    stack.push_async_callback(bus.close)
    return bus


async def make_node(stack: contextlib.AsyncExitStack, settings: Settings, clock: Clock, bus: Bus) -> Node:
    """A gateway node, with the store of its durable topics."""
    topics = await make_topics(stack, settings, clock)
    node = Node(bus, clock, settings.gateway, topics)
    await node.start()
    stack.push_async_callback(node.close)
    return node


async def make_hub(stack: contextlib.AsyncExitStack, settings: Settings, clock: Clock, bus: Bus, data: Path) -> Hub:
    """A hub with its store."""
    from towline.store.sqlite import open_store

    store = await until_unlocked(clock, lambda: open_store(data / "towline.db", clock))
    stack.push_async_callback(store.close)
    hub = Hub(store, bus, clock, hub_settings(settings), secret=secret_key(data))
    await hub.start()
    stack.push_async_callback(hub.close)
    return hub


def hub_settings(settings: Settings) -> HubSettings:
    """The hub's own, with the link's address taken from the clients' port unless it was set.

    :raises StartError: ``hub.link_port`` when that port would be another one at every start
    """
    if settings.hub.link_url != HubSettings().link_url:
        return settings.hub
    key = "link_listen" if settings.gateway.link_listen else "clients_listen"
    host, port = split_address(settings.gateway.link_listen or settings.gateway.clients_listen)
    if port == 0:
        raise StartError(
            "hub.link_port",
            "port 0 takes a free port, another one at each start, but agents must find it again",
            where=f"gateway.{key}",
            hint="name a port, or set hub.link_url to the address that agents dial",
        )
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - what this machine's agent dials
    return msgspec.structs.replace(settings.hub, link_url=f"ws://{join_address(host, port)}/link/v1")


async def make_doors(stack: contextlib.AsyncExitStack, settings: Settings, clock: Clock, bus: Bus, hub: Hub) -> str:
    """REST, socket.io and the page on one port; returns the address to open."""
    from towline.api.app import create_app
    from towline.api.server import DoorServer
    from towline.portal.app import create_portal

    app = create_app(hub, bus, settings.portal, clock=clock, portal=create_portal(settings.portal.prefix()))
    server = DoorServer(app.asgi, settings.portal, app.counters)
    await app.start()
    stack.push_async_callback(app.close)
    await server.start()
    stack.push_async_callback(server.close)
    await _first_request(server.port, settings)
    return settings.portal.public_url or server.url


async def _first_request(port: int, settings: Settings) -> None:
    """Ask the doors once, so that what they load at their first request is there before the first person is."""
    if settings.portal.certificate:
        return
    host = "::1" if ":" in settings.portal.listen else "127.0.0.1"
    path = f"{settings.portal.prefix()}/api/towline/v1/health"
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            await reader.read()
            writer.close()
            await writer.wait_closed()
    except (OSError, TimeoutError):
        logger.debug("the doors listen elsewhere; their first request is somebody else's")


async def first_start(hub: Hub, data: Path, clock: Clock) -> Bootstrapped:
    """Make workgroup and admin once, and what this machine's own programs use: token, enrolment, example credential."""
    made = await _keep_password(hub, data, await hub.bootstrap())
    system = Actor.system(made.workgroup)
    await CliToken(hub, clock, made.workgroup, data).begin()
    await _leave_credential(hub, system, data / "credentials" / "hello.json")
    return made


async def _keep_password(hub: Hub, data: Path, made: Bootstrapped) -> Bootstrapped:
    """Keep the generated password until its first use or another one is set: a start that fails later must not swallow it."""
    path = data / FIRST_PASSWORD
    if made.password:
        write_private(path, made.password.encode())
    elif path.exists():
        users = await hub.users.list(Actor.system(made.workgroup))
        # Neither used nor replaced by another one meanwhile: then it still is the way in.
        if any(
            user.name == made.admin and not user.last_login_us and user.password_us <= user.created_us for user in users
        ):
            return msgspec.structs.replace(made, password=path.read_text())
        path.unlink()
    return made


async def leave_enrolment(made: Bootstrapped, data: Path) -> None:
    """A fresh line for the local agent, unless it is enrolled already."""
    if not (data / "agent" / "identity.json").exists():
        write_private(enrol_file(data), (await made.enrolment_line(None)).encode() + b"\n")


def keep_cli_token(stack: contextlib.AsyncExitStack, hub: Hub, clock: Clock, made: Bootstrapped, data: Path) -> None:
    """Look after the token that :func:`first_start` left, until the stack is closed."""
    task = asyncio.create_task(CliToken(hub, clock, made.workgroup, data).keep(), name="command line's token")

    async def end() -> None:
        task.cancel()
        await asyncio.wait([task])

    stack.push_async_callback(end)


def leave_cli_url(data: Path, url: str) -> None:
    """Beside the token: where this machine's command line finds the server."""
    write_private(data / "cli-url", url.encode() + b"\n")


def leave_push_url(data: Path, node: Node, settings: Settings) -> None:
    """And where it finds the push API of this machine's node."""
    host, port = node.api_address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - how this machine reaches it
    scheme = "https" if settings.gateway.api_certificate else "http"
    write_private(data / "cli-push-url", f"{scheme}://{join_address(host, port)}\n".encode())


async def _leave_credential(hub: Hub, system: Actor, path: Path) -> None:
    """The credential of the example plugin, in the form that plugins read (spec octo §7)."""
    if path.exists():  # noqa: ASYNC240 - at start, before anyone waits
        return
    try:
        made = await hub.plugins.create_credential(system, "hello")
    except Conflict as error:
        logger.warning("%s", error)
        return
    content = {
        "app_guid": made.app_guid,
        "access_key": made.access_key,
        "platform": made.platform,
        "architecture": made.architecture,
    }
    write_private(path, msgspec.json.format(msgspec.json.encode(content)) + b"\n")


def welcome(url: str, made: Bootstrapped, data: Path) -> list[str]:
    """What the person at the terminal should know; the password only the first time."""
    lines = ["", f"  Towline  {url}", ""]
    if made.password:
        lines += [
            f"  Sign in as {made.admin} with the password  {made.password}",
            "  It is shown until the first sign-in.",
            "",
        ]
    return [*lines, f"  data   {data}", ""]
