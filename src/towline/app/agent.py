# SPDX-License-Identifier: Apache-2.0
"""The process ``agent``: the daemon on a device."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from towline import log
from towline.app import child
from towline.app.settings import Settings
from towline.clock import SystemClock


async def enrol(settings: Settings, line: str) -> str:
    """Redeem an enrolment line; returns a sentence for the person who pasted it."""
    from towline.agent.daemon import enrol as redeem

    identity = await redeem(settings.agent, line, SystemClock())
    return f"enrolled as device {identity.device_id} of workgroup {identity.workgroup}"


def main() -> int:
    settings = child.read_settings(Settings)
    log.setup(settings.log.level, settings.log.format)
    words = sys.argv
    standalone = "--standalone" in words
    credentials = [Path(words[index + 1]) for index, word in enumerate(words) if word == "--credential"]

    async def run(stop: asyncio.Event, ready: Callable[[list[str]], None]) -> None:
        if standalone:
            from towline.agent.standalone import run_standalone

            await run_standalone(settings.agent, SystemClock(), stop, credentials, lambda: ready([]))
        else:
            from towline.agent.daemon import run_agent

            await run_agent(settings.agent, SystemClock(), stop, lambda: ready([]))

    return child.run(run, supervised="--unsupervised" not in words)


if __name__ == "__main__":
    sys.exit(main())
