# SPDX-License-Identifier: Apache-2.0
"""The process of ``towline gateway``: one node. Without NATS it is a mesh of one, for back ends and their clients."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from towline.app import build, garbage, role
from towline.app.live import Live
from towline.app.settings import Settings
from towline.clock import SystemClock
from towline.gateway.addresses import join_address


async def serve(settings: Settings, stop: asyncio.Event, ready: role.Ready, live: Live) -> None:
    """Run until ``stop``; then clients are told to come back elsewhere."""
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        bus = await build.make_bus(stack, settings, clock)
        node = await build.make_node(stack, settings, clock, bus)
        live.on_change(lambda settings: node.reconfigure(settings.gateway))
        live.follow(node.certificate_files(), node.renew_certificates)
        garbage.settle()
        clients, back_ends = join_address(*node.clients_address), join_address(*node.api_address)
        ready([f"gateway node ready: clients on {clients}, back ends on {back_ends}"])
        await stop.wait()


if __name__ == "__main__":
    sys.exit(role.run(serve, "data", "log", "bus", "gateway"))
