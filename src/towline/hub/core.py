# SPDX-License-Identifier: Apache-2.0
"""What all use-case families of one hub share: store, endpoint, clock, settings, secrets, counters, audit."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import msgspec

from towline.bus.base import Endpoint
from towline.clock import Clock
from towline.errors import InvalidInput, TowlineError
from towline.hub import events, privileges
from towline.hub.actor import Actor
from towline.hub.sealing import Sealer
from towline.hub.settings import HubSettings
from towline.ids import RandomBytes
from towline.store.base import Store
from towline.store.rows import AuditEntry

T = TypeVar("T")
log = logging.getLogger("towline.hub")


CLOSE_S = 2.0


class Core:
    """Built once by the hub; families keep a reference. ``endpoint`` is set by the hub's start."""

    endpoint: Endpoint

    def __init__(self, store: Store, clock: Clock, settings: HubSettings, sealer: Sealer, random: RandomBytes) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self.sealer = sealer
        self.random = random
        self.counters: Counter[str] = Counter()
        self.hub_id = ""
        self._tasks: set[asyncio.Future[Any]] = set()
        self._endless: set[asyncio.Task[Any]] = set()

    def check(self, actor: Actor, use_case: str) -> None:
        """Refused ``privilege.missing``."""
        privileges.check(actor, use_case)

    def announce(self, happening: events.Happening) -> None:
        """Tell the doors, after the commit that made it true."""
        self.announce_encoded(events.encode(happening))

    def announce_encoded(self, payload: bytes) -> None:
        """The same for what is encoded already."""
        try:
            self.endpoint.announce(payload)
        except InvalidInput:  # one record of a quarter of a megabyte; it is stored, only the live feed lacks it
            self.counters["events.too_large"] += 1
        else:
            self.counters["events.announced"] += 1

    async def audit(self, actor: Actor, action: str, entity: str = "", entity_id: str = "", **detail: object) -> None:
        """Write an entry: who did what to which thing."""
        await self.store.audit.append(
            AuditEntry(
                workgroup=actor.workgroup,
                time_us=self.clock.now_us(),
                user_id=actor.user_id,
                user_name=actor.name,
                action=action,
                entity=entity,
                entity_id=entity_id,
                detail=msgspec.json.encode(detail).decode(),
                address=actor.remote,
            )
        )

    def spawn(self, work: Coroutine[Any, Any, Any], name: str, *, endless: bool = False) -> asyncio.Task[Any]:
        """Run ``work`` beside; what it raises is logged and counted. :meth:`close` lets it finish for a moment, unless it is
        ``endless``."""
        task = asyncio.get_running_loop().create_task(self._guard(work, name), name=name)
        self._tasks.add(task)
        if endless:
            self._endless.add(task)

        def done(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            self._endless.discard(task)
            # A task that is cancelled before its first step never awaits its coroutine.
            work.close()

        task.add_done_callback(done)
        return task

    def watch(self, work: Awaitable[T], done: Callable[[asyncio.Future[T]], None]) -> None:
        """Call ``done`` when ``work`` has ended; :meth:`close` waits for it as for what was spawned. For what happens a
        thousand times a second: a future costs far less than a task."""
        future = asyncio.ensure_future(work)
        self._tasks.add(future)
        future.add_done_callback(self._tasks.discard)
        future.add_done_callback(done)

    async def _guard(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        try:
            await work
        except TowlineError as error:
            self.counters[f"failed.{error.code}"] += 1
            log.warning("%s failed: %s", name, error, extra={"code": error.code})
        except Exception:
            self.counters["failed.internal"] += 1
            log.exception("%s failed", name)

    async def close(self) -> None:
        """End what :meth:`spawn` started: what was heard a moment ago (links that closed) is still stored."""
        await asyncio.sleep(0)
        endless = list(self._endless)
        for task in endless:
            task.cancel()
        if tasks := self._tasks - set(endless):
            await asyncio.wait(tasks, timeout=CLOSE_S)
        rest = list(self._tasks)
        for one in rest:
            one.cancel()
        await asyncio.gather(*endless, *rest, return_exceptions=True)
