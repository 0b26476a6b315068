# SPDX-License-Identifier: Apache-2.0
"""A way back in for whoever sits at the machine: work on a data directory whose server does not run."""

from __future__ import annotations

import contextlib
from pathlib import Path

from towline.app.build import FIRST_PASSWORD, make_hub
from towline.app.settings import Settings
from towline.bus.memory import MemoryBus
from towline.clock import SystemClock
from towline.errors import NotFound
from towline.hub.actor import Actor


async def reset_password(data: Path, name: str) -> str:
    """A new generated password for ``name``. StartError ``store.locked`` while a server runs on ``data``."""
    if not (data / "towline.db").is_file():
        raise NotFound("data.unknown", "there is no Towline data here", where=str(data))
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        bus = MemoryBus(clock)
        await bus.start()
        stack.push_async_callback(bus.close)
        hub = await make_hub(stack, Settings(data=str(data)), clock, bus, data)
        workgroup = (await hub.bootstrap()).workgroup
        password = await hub.users.reset_password(Actor.system(workgroup, "command line"), name)
        (data / FIRST_PASSWORD).unlink(missing_ok=True)
        return password
