# SPDX-License-Identifier: Apache-2.0
"""The process ``server``: gateway node, hub and doors on one loop, joined by the memory bus (or NATS when it is set)."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

from towline import log
from towline.app import build, child
from towline.app.plan import prepare_data
from towline.app.settings import Settings
from towline.clock import SystemClock


async def serve(settings: Settings, stop: asyncio.Event, ready: Callable[[list[str]], None]) -> None:
    """Run until ``stop``; ``ready`` gets the lines for the terminal once everything answers."""
    clock = SystemClock()
    data = prepare_data(Path(settings.data))
    async with contextlib.AsyncExitStack() as stack:
        bus = await build.make_bus(stack, settings, clock)
        hub = await build.make_hub(stack, settings, clock, bus, data)
        made = await build.first_start(hub, data)
        await build.make_node(stack, settings, clock, bus)
        url = await build.make_doors(stack, settings, clock, bus, hub)
        build.leave_cli_url(data, url)
        await build.leave_enrolment(made, data)
        ready(build.welcome(url, made, data))
        await stop.wait()


def main() -> int:
    settings = child.read_settings(Settings)
    log.setup(settings.log.level, settings.log.format)
    supervised = "--unsupervised" not in sys.argv

    async def run(stop: asyncio.Event, ready: Callable[[list[str]], None]) -> None:
        await serve(settings, stop, ready)

    return child.run(run, supervised=supervised)


if __name__ == "__main__":
    sys.exit(main())
