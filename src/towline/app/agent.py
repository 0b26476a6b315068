# SPDX-License-Identifier: Apache-2.0
"""The process ``agent``: the daemon on a device."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from towline.app import role
from towline.app.live import Live
from towline.app.settings import Settings
from towline.clock import SystemClock


async def enrol(settings: Settings, line: str) -> str:
    """Redeem an enrolment line; returns a sentence for the person who pasted it."""
    from towline.agent.daemon import enrol as redeem

    identity = await redeem(settings.agent, line, SystemClock())
    return f"enrolled as device {identity.device_id} of workgroup {identity.workgroup}"


async def serve(settings: Settings, stop: asyncio.Event, ready: role.Ready, live: Live) -> None:
    """Run until ``stop``; with ``--standalone`` without a hub, for the plugins whose credential files are named."""
    if "--standalone" in sys.argv:
        from towline.agent.standalone import run_standalone

        credentials = [Path(sys.argv[n + 1]) for n, word in enumerate(sys.argv) if word == "--credential"]
        await run_standalone(settings.agent, SystemClock(), stop, credentials, lambda: ready([]))
    else:
        from towline.agent.daemon import run_agent

        await run_agent(settings.agent, SystemClock(), stop, lambda: ready([]))


if __name__ == "__main__":
    sys.exit(role.run(serve, "log", "agent"))
