# SPDX-License-Identifier: Apache-2.0
"""The process of ``towline hub``: a hub and its doors, joined to gateway nodes by NATS."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from towline.app import build, role
from towline.app.live import Live
from towline.app.plan import prepare_data
from towline.app.settings import Settings
from towline.clock import SystemClock
from towline.errors import StartError


async def serve(settings: Settings, stop: asyncio.Event, ready: role.Ready, live: Live) -> None:
    """Run until ``stop``. StartError ``bus.needed`` without a NATS address."""
    need_bus(settings)
    clock = SystemClock()
    data = prepare_data(Path(settings.data))
    async with contextlib.AsyncExitStack() as stack:
        bus = await build.make_bus(stack, settings, clock)
        hub = await build.make_hub(stack, settings, clock, bus, data)
        made = await build.first_start(hub, data, clock)
        build.keep_cli_token(stack, hub, clock, made, data)
        url = await build.make_doors(stack, settings, clock, bus, hub)
        build.leave_cli_url(data, url)
        ready(build.welcome(url, made, data))
        await stop.wait()


def need_bus(settings: Settings) -> None:
    """Roles that run apart find each other over NATS only."""
    if not settings.bus.url:
        raise StartError(
            "bus.needed", "roles that run apart are joined by NATS", where="bus.url", hint="give --bus nats://host:4222"
        )


if __name__ == "__main__":
    sys.exit(role.run(serve, "data", "log", "bus", "hub", "portal"))
