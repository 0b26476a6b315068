# SPDX-License-Identifier: Apache-2.0
"""The process of ``towline gateway center``: the center API of the nodes on a bus, without clients of its own."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from towline.app import build, role
from towline.app.live import Live
from towline.app.settings import Settings
from towline.clock import SystemClock
from towline.gateway.addresses import join_address
from towline.gateway.center import Center


async def serve(settings: Settings, stop: asyncio.Event, ready: role.Ready, live: Live) -> None:
    """Run until ``stop``."""
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        bus = await build.make_bus(stack, settings, clock)
        center = Center(bus, settings.gateway)
        stack.push_async_callback(center.close)
        await center.start()
        live.on_change(lambda changed: center.reconfigure(changed.gateway))
        live.follow(center.certificate_files(), center.renew_certificates)
        assert center.api is not None
        ready([f"center ready: nodes and figures on {join_address(*center.api.port.address)}"])
        await stop.wait()


if __name__ == "__main__":
    sys.exit(role.run(serve, "log", "bus", "gateway"))
