# SPDX-License-Identifier: Apache-2.0
"""What every process of a role does: take its settings, set up logging, run until told to stop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

from towline import log
from towline.app import child
from towline.app.live import Given, Live
from towline.app.placed import placed
from towline.app.settings import Settings
from towline.errors import StartError

Ready = Callable[[list[str]], None]
Serve = Callable[[Settings, asyncio.Event, Ready, Live], Awaitable[None]]
"""``serve(settings, stop, ready, live)``: run until ``stop``; ``ready`` gets the lines for the terminal once everything
answers; ``live`` tells of settings that change meanwhile."""


def run(serve: Serve, *sections: str) -> int:
    """Run a role with the settings on standard input; the exit status.

    :param sections: what of the settings is this role's
    """
    given = child.read_settings(Given)
    log.setup(given.log.level, given.log.format)

    async def main(stop: asyncio.Event, ready: Ready) -> None:
        try:
            await start(stop, ready)
        except StartError as error:
            raise placed(error, given.origin) from error

    async def start(stop: asyncio.Event, ready: Ready) -> None:
        _open_log(given)
        live = Live(given, given.origin, sections)
        log.set_level(live.settings.log.level)
        live.on_change(lambda settings: log.set_level(settings.log.level))
        started: list[asyncio.Task[None]] = []

        def answering(lines: list[str]) -> None:
            ready(lines)
            started.append(asyncio.get_running_loop().create_task(live.watch()))

        try:
            await serve(live.settings, stop, answering, live)
        finally:
            for task in started:
                task.cancel()

    return child.run(main, supervised="--unsupervised" not in sys.argv)


def _open_log(settings: Settings) -> None:
    if not settings.log.file:
        return
    try:
        log.also_to(settings.log.file, settings.log.files)
    except OSError as error:
        reason = f"cannot write {settings.log.file}: {error.strerror}"
        raise StartError("log.file", reason, where="log.file") from None
