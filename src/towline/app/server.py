# SPDX-License-Identifier: Apache-2.0
"""The process ``server``: gateway node, hub and doors on one loop, joined by the memory bus (or NATS when it is set)."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from towline.app import build, garbage, role
from towline.app.live import Live
from towline.app.plan import prepare_data
from towline.app.settings import Settings
from towline.clock import SystemClock


async def serve(settings: Settings, stop: asyncio.Event, ready: role.Ready, live: Live) -> None:
    """Run until ``stop``; ``ready`` gets the lines for the terminal once everything answers."""
    clock = SystemClock()
    data = prepare_data(Path(settings.data))
    async with contextlib.AsyncExitStack() as stack:
        bus = await build.make_bus(stack, settings, clock)
        hub = await build.make_hub(stack, settings, clock, bus, data)
        made = await build.first_start(hub, data, clock)
        build.keep_cli_token(stack, hub, clock, made, data)
        node = await build.make_node(stack, settings, clock, bus)
        live.on_change(lambda settings: node.reconfigure(settings.gateway))
        live.follow(node.certificate_files(), node.renew_certificates)
        url = await build.make_doors(stack, settings, clock, bus, hub)
        build.leave_cli_url(data, url)
        build.leave_push_url(data, node, settings)
        await build.leave_enrolment(made, data)
        garbage.settle()
        ready(build.welcome(url, made, data))
        await stop.wait()


if __name__ == "__main__":
    sys.exit(role.run(serve, "data", "log", "bus", "gateway", "hub", "portal"))
