# SPDX-License-Identifier: Apache-2.0
"""Long polling: requests that wait for a command's next step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from towline.hub.views import CommandView


class CommandWaiters:
    """Wakes the requests that wait for a command when a happening tells of it."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._released = False

    def changed(self, command_id: str) -> None:
        """A command took a step."""
        for event in self._waiting.get(command_id, ()):
            event.set()

    def release(self) -> None:
        """The server is going to stop: whoever waits is answered with what is known."""
        self._released = True
        for events in self._waiting.values():
            for event in events:
                event.set()

    def __len__(self) -> int:
        return sum(len(events) for events in self._waiting.values())

    async def wait(
        self,
        fetch: Callable[[], Awaitable[CommandView]],
        command_id: str,
        wait_s: float,
        enough: Callable[[CommandView], bool],
    ) -> CommandView:
        """``fetch()``, again after each change until ``enough``, at most ``wait_s`` seconds."""
        if wait_s <= 0:
            return await fetch()
        event = asyncio.Event()
        # Registered before the first look, so that no step falls between the two.
        self._waiting.setdefault(command_id, set()).add(event)
        try:
            deadline = asyncio.get_running_loop().time() + wait_s
            while True:
                event.clear()
                view = await fetch()
                if enough(view) or self._released:
                    return view
                try:
                    async with asyncio.timeout_at(deadline):
                        await event.wait()
                except TimeoutError:
                    return view
        finally:
            events = self._waiting[command_id]
            events.discard(event)
            if not events:
                del self._waiting[command_id]
