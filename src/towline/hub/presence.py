# SPDX-License-Identifier: Apache-2.0
"""Presence: who is connected, since when and why (design: counter, current connection, verifying after a start).

Every change goes through the store's compare-and-set and is announced after it. A change that cannot be stored now is
tried again until it can: a link's end must not be forgotten because a disk was full for a moment.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from towline.errors import TowlineError, Unavailable
from towline.hub import causes, events
from towline.hub.actor import Actor
from towline.hub.core import Core, log
from towline.hub.views import PresenceView
from towline.protocols.link import relay
from towline.store.rows import Confirmation, Connected, Device, RosterEntry
from towline.store.rows import Presence as PresenceRow

T = TypeVar("T")

DUPLICATE_FLAG = "duplicate_key"
_ALTERNATIONS = 3
_WINDOW_S = 60.0
_REFUSING_S = 120.0
_QUIET_S = 600.0
DUPLICATE_RETRY_S = 30.0


def view(row: PresenceRow) -> PresenceView:
    """A stored presence as doors show it."""
    return PresenceView(state=row.state, since_us=row.since_us, cause=row.cause, cause_text=causes.text(row.cause))


class Presence:
    """Changes of presence, from what nodes tell."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._replaced: dict[str, deque[float]] = {}
        self._refusing: dict[str, float] = {}
        self._conflicts: dict[tuple[str, str], float] = {}

    async def connected(self, device: Device, conn: str, node: str, detail: str) -> Connected:
        """A link has proved to be ``device``. Unavailable ``link.duplicate_key`` when another live link of the same key
        keeps replacing it and is being replaced: the one that is connected stays."""
        core = self._core
        key = (device.workgroup, device.id)
        now = core.clock.monotonic()
        if DUPLICATE_FLAG in device.flags and key not in self._conflicts:
            self._conflicts[key] = now
        if self._alternating(device.id, now):
            current = await core.store.presence.get(*key)
            if current is not None and current.state == "online":
                await self._flag(device, current, detail)
                raise Unavailable(
                    "link.duplicate_key",
                    "another machine is connected with this device's key",
                    hint="a copied disk image must be enrolled anew",
                )
        done = await core.store.presence.connected(*key, conn, node, core.clock.now_us(), detail)
        if done.replaced is not None and done.before.state == "online":
            self._replaced.setdefault(device.id, deque(maxlen=_ALTERNATIONS)).append(now)
        self._announce(done.presence)
        return done

    async def disconnected(self, workgroup: str, device_id: str, conn: str, cause: str, detail: str = "") -> None:
        """A link ended; counts only if it is the device's current one."""
        store, clock = self._core.store.presence, self._core.clock
        changed = await self._persist(
            lambda: store.disconnected(workgroup, device_id, conn, cause, clock.now_us(), detail)
        )
        if changed is not None:
            self._announce(changed)

    async def node_died(self, node: str, cause: str) -> None:
        """All links of ``node`` are gone."""
        store, clock = self._core.store.presence, self._core.clock
        for row in await self._persist(lambda: store.node_died(node, cause, clock.now_us())):
            self._announce(row)

    async def confirm(self, node: str, entries: Sequence[relay.RosterEntry]) -> Confirmation:
        """What a node says it holds: announces what changed, tells which links are stale."""
        store, clock = self._core.store.presence, self._core.clock
        roster = [
            RosterEntry(
                workgroup=entry.workgroup,
                device_id=entry.device_id,
                conn=entry.conn,
                counter=entry.counter,
                since_us=entry.since_us,
            )
            for entry in entries
        ]
        answer = await self._persist(lambda: store.confirm(node, roster, clock.now_us()))
        for row in answer.online:
            self._announce(row)
        return answer

    async def begin_verifying(self) -> int:
        """The only hub starts: nobody is known to be connected until seen. How many are to be verified."""
        return await self._core.store.presence.verifying_all(self._core.clock.now_us())

    async def end_verifying(self) -> None:
        """Whoever was not seen is offline."""
        store, clock = self._core.store.presence, self._core.clock
        for row in await self._persist(lambda: store.expire_verifying(causes.NOT_SEEN, clock.now_us())):
            self._announce(row)

    async def sweep_flags(self) -> None:
        """Lower the flag of devices that have been quiet for a while."""
        core = self._core
        now = core.clock.monotonic()
        for device_id, times in list(self._replaced.items()):
            if times[-1] < now - _WINDOW_S:
                del self._replaced[device_id]
        for key, since in list(self._conflicts.items()):
            if since < now - _QUIET_S:
                del self._conflicts[key]
                self._refusing.pop(key[1], None)
                try:
                    if await core.store.devices.set_flag(*key, DUPLICATE_FLAG, False):
                        core.announce(events.DeviceChanged(workgroup=key[0], device_id=key[1]))
                except TowlineError:  # deleted meanwhile
                    continue

    def _alternating(self, device_id: str, now: float) -> bool:
        last = self._refusing.get(device_id)
        if last is not None and last > now - _REFUSING_S:
            return True
        times = self._replaced.get(device_id)
        return times is not None and len(times) == _ALTERNATIONS and times[0] > now - _WINDOW_S

    async def _flag(self, device: Device, current: PresenceRow, detail: str) -> None:
        core = self._core
        key = (device.workgroup, device.id)
        self._conflicts[key] = core.clock.monotonic()
        # Each refusal is fresh evidence: the copy stays refused for as long as it tries.
        self._refusing[device.id] = core.clock.monotonic()
        core.counters["presence.duplicate_key"] += 1
        if await core.store.devices.set_flag(*key, DUPLICATE_FLAG, True):
            core.announce(events.DeviceChanged(workgroup=device.workgroup, device_id=device.id))
            await core.audit(
                Actor.system(device.workgroup),
                "device.duplicate_key",
                "device",
                device.id,
                current=current.detail,
                other=detail,
            )

    def _announce(self, row: PresenceRow) -> None:
        core = self._core
        core.counters[f"presence.{row.cause}"] += 1
        core.announce(
            events.DevicePresence(
                workgroup=row.workgroup,
                device_id=row.device_id,
                online=row.state in ("online", "verifying"),
                state=row.state,
                cause=row.cause,
                cause_text=causes.text(row.cause),
                since_us=row.since_us,
            )
        )

    async def _persist(self, change: Callable[[], Awaitable[T]]) -> T:
        """Do it, again after a pause while the store cannot write."""
        pause = 0.2
        while True:
            try:
                return await change()
            except Unavailable as error:
                if error.code == "store.closed":
                    raise
                self._core.counters["presence.retries"] += 1
                log.warning("presence cannot be stored now: %s", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
