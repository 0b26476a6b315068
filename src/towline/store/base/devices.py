# SPDX-License-Identifier: Apache-2.0
"""Workgroups, devices, presence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from towline.store.rows import (
    DEFAULT_GROUP,
    Confirmation,
    Connected,
    Device,
    DeviceCounts,
    DeviceEntry,
    Facts,
    Page,
    Presence,
    PresenceState,
    RosterEntry,
    Workgroup,
)


class WorkgroupStore(Protocol):
    """Tenants."""

    async def create(self, workgroup: str, name: str, now_us: int) -> Workgroup:
        """Conflict ``workgroup.exists``; InvalidInput ``workgroup.bad_id``."""
        ...

    async def get(self, workgroup: str) -> Workgroup | None: ...

    async def list(self) -> list[Workgroup]:
        """All, oldest first."""
        ...


class DeviceStore(Protocol):
    """Machines. A device's data hangs on its id, never on its name.

    Devices come into being by :meth:`EnrolmentStore.redeem`, or by :meth:`create` (this machine's own, tests).
    """

    async def create(
        self,
        workgroup: str,
        device_id: str,
        name: str,
        public_key: bytes,
        facts: Facts,
        now_us: int,
        group: str = DEFAULT_GROUP,
    ) -> Device:
        """A new device, presence ``never``. Conflict ``device.exists`` (id) or ``device.key_exists`` (public key);
        NotFound ``workgroup.unknown``."""
        ...

    async def get(self, workgroup: str, device_id: str) -> DeviceEntry | None: ...

    async def list(
        self,
        workgroup: str,
        *,
        search: str = "",
        state: PresenceState | None = None,
        group: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> Page[DeviceEntry]:
        """By name (its case ignored), then id. ``search``: every word must occur in name, id, host name, address,
        platform or group, whatever its case. ``state`` ``online`` includes ``verifying``, ``offline`` includes
        ``never``; the other two mean themselves.
        ``limit`` 1–1000. ``after``: a former page's ``next``; InvalidInput ``page.bad_cursor``."""
        ...

    async def counts(self, workgroup: str) -> DeviceCounts: ...

    async def rename(self, workgroup: str, device_id: str, name: str) -> Device:
        """NotFound ``device.unknown``."""
        ...

    async def set_group(self, workgroup: str, device_id: str, group: str) -> Device:
        """NotFound ``device.unknown``."""
        ...

    async def set_facts(self, workgroup: str, device_id: str, facts: Facts) -> bool:
        """At login. True if something changed. NotFound ``device.unknown``."""
        ...

    async def set_flag(self, workgroup: str, device_id: str, flag: str, on: bool) -> bool:
        """Raise or lower a flag. True if that changed it. NotFound ``device.unknown``."""
        ...

    async def set_key(self, workgroup: str, device_id: str, old: bytes, new: bytes) -> bool:
        """Rotate the public key if it is still ``old``. Conflict ``device.key_exists``; NotFound ``device.unknown``."""
        ...

    async def revoke(self, workgroup: str, device_id: str, now_us: int) -> bool:
        """Its key opens nothing from now on. False if it was revoked already. NotFound ``device.unknown``."""
        ...

    async def delete(self, workgroup: str, device_id: str) -> Presence:
        """Remove it and all that hangs on it; answers its last presence (to close the link). Records go with the next
        sweeps, they are out of sight at once. NotFound ``device.unknown``."""
        ...


class PresenceStore(Protocol):
    """Which devices are connected. The counter is raised by each connection and decides which one is newest."""

    async def get(self, workgroup: str, device_id: str) -> Presence | None: ...

    async def connected(
        self, workgroup: str, device_id: str, conn: str, node: str, now_us: int, detail: str = ""
    ) -> Connected:
        """A link logged in: raise the counter, make ``conn`` the current connection, state ``online`` with cause
        ``connected`` (``replaced`` when another connection was current). NotFound ``device.unknown``, Refused
        ``device.revoked``."""
        ...

    async def disconnected(
        self, workgroup: str, device_id: str, conn: str, cause: str, now_us: int, detail: str = ""
    ) -> Presence | None:
        """A link ended. The new presence (offline), or None when ``conn`` is not the current connection: nothing
        changed then."""
        ...

    async def node_died(self, node: str, cause: str, now_us: int) -> list[Presence]:
        """All devices whose current connection is on ``node`` are offline now; those that changed, of all workgroups."""
        ...

    async def verifying_all(self, now_us: int, nodes: Sequence[str] | None = None) -> int:
        """The hub starts: whatever is ``online`` becomes ``verifying`` (cause ``hub_restarted``). How many.
        ``nodes``: only devices on these."""
        ...

    async def confirm(self, node: str, roster: Sequence[RosterEntry], now_us: int) -> Confirmation:
        """What a node holds. An entry that is its device's current connection makes it ``online`` (also when it was
        declared offline meanwhile); one with a greater counter than stored becomes current; others are stale.
        Nothing is concluded from a device's absence."""
        ...

    async def expire_verifying(self, cause: str, now_us: int) -> list[Presence]:
        """Whatever still is ``verifying`` is ``offline`` now; those that changed."""
        ...

    async def on_node(self, node: str) -> list[Presence]:
        """Devices whose current connection is on ``node``."""
        ...
