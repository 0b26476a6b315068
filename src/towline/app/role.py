# SPDX-License-Identifier: Apache-2.0
"""What every process of a role does: take its settings, set up logging, run until told to stop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

from towline import log
from towline.app import child
from towline.app.settings import Settings

Ready = Callable[[list[str]], None]
Serve = Callable[[Settings, asyncio.Event, Ready], Awaitable[None]]
"""``serve(settings, stop, ready)``: run until ``stop``; ``ready`` gets the lines for the terminal once everything answers."""


def run(serve: Serve) -> int:
    """Run a role with the settings on standard input; the exit status."""
    settings = child.read_settings(Settings)
    log.setup(settings.log.level, settings.log.format)

    async def main(stop: asyncio.Event, ready: Ready) -> None:
        await serve(settings, stop, ready)

    return child.run(main, supervised="--unsupervised" not in sys.argv)
