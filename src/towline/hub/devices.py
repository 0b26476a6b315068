# SPDX-License-Identifier: Apache-2.0
"""Devices: list, find, rename, delete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, get_args

from towline.clock import US_PER_SECOND
from towline.errors import InvalidInput
from towline.hub import events, presence
from towline.hub.actor import Actor
from towline.hub.core import Core
from towline.hub.identity import check_name, unknown_device
from towline.hub.views import AgentView, DeviceCounts, DevicePage, DeviceView, PresenceState, SummaryView
from towline.ids import cn
from towline.store.rows import DeviceEntry, Latest, plain

if TYPE_CHECKING:
    from towline.hub.links import Links

HOST_TABLE: Final = "towline-host"
"""appName of the host plugin."""
_SUMMARY = ("cpu", "memory")
_FRESH_S = 120
_STATES = get_args(PresenceState)

Views: TypeAlias = list[DeviceView]
Values: TypeAlias = list[Latest]


class Devices:
    """Use cases about devices."""

    def __init__(self, core: Core, links: Links) -> None:
        self._core = core
        self._links = links

    async def list(
        self,
        actor: Actor,
        search: str = "",
        state: str | None = None,
        group: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> DevicePage:
        """Devices of the actor's workgroup by name. ``search``: every word must occur in name, id, host name, address,
        platform or group, whatever its case.

        ``state``: ``online`` (with those being verified), ``offline`` (with those never seen), ``verifying``, ``never``;
        ``limit`` 1–1000; ``after`` is a former page's ``next``.
        """
        core = self._core
        core.check(actor, "devices.list")
        if state is not None and state not in _STATES:
            raise InvalidInput("device.state", f"{state[:40]!r} is none of {', '.join(_STATES)}", where="state")
        check_limit(limit)
        page = await core.store.devices.list(
            actor.workgroup,
            search=search,
            state=state,  # type: ignore[arg-type]
            group=group,
            limit=limit,
            after=after,
        )
        counts = await core.store.devices.counts(actor.workgroup)
        return DevicePage(
            items=await self._views(actor.workgroup, page.items),
            next=page.next,
            counts=DeviceCounts(total=counts.total, online=counts.online),
        )

    async def get(self, actor: Actor, device_id: str) -> DeviceView:
        """NotFound ``device.unknown`` when there is none in the actor's workgroup."""
        self._core.check(actor, "devices.get")
        return await self._get(actor.workgroup, device_id)

    async def rename(self, actor: Actor, device_id: str, name: str) -> DeviceView:
        """1–64 visible characters; names need not be unique."""
        core = self._core
        core.check(actor, "devices.rename")
        device = await core.store.devices.rename(actor.workgroup, device_id, check_name(name))
        core.announce(events.DeviceChanged(workgroup=actor.workgroup, device_id=device_id))
        await core.audit(actor, "device.rename", "device", device_id, name=device.name)
        return await self._get(actor.workgroup, device_id)

    async def delete(self, actor: Actor, device_id: str) -> None:
        """Its key opens nothing any more, its link closes at once, what is stored about it goes."""
        core = self._core
        core.check(actor, "devices.delete")
        await core.store.devices.delete(actor.workgroup, device_id)
        self._links.kick(device_id, "device.revoked", "this device was deleted")
        core.announce(events.DeviceDeleted(workgroup=actor.workgroup, device_id=device_id))
        await core.audit(actor, "device.delete", "device", device_id)

    async def _get(self, workgroup: str, device_id: str) -> DeviceView:
        entry = await self._core.store.devices.get(workgroup, device_id)
        if entry is None:
            raise unknown_device(device_id)
        return (await self._views(workgroup, [entry]))[0]

    async def _views(self, workgroup: str, entries: Sequence[DeviceEntry]) -> Views:
        online = [entry.device.id for entry in entries if entry.presence.state in ("online", "verifying")]
        latest: dict[str, Values] = {}
        if online:
            latest = await self._core.store.records.latest(
                workgroup,
                online,
                tables=[HOST_TABLE],
                fields=list(_SUMMARY),
                since_us=self._core.clock.now_us() - _FRESH_S * US_PER_SECOND,
            )
        return [view(entry, latest.get(entry.device.id)) for entry in entries]


def check_limit(limit: int, most: int = 1000) -> None:
    """InvalidInput ``page.limit``."""
    if not 1 <= limit <= most:
        raise InvalidInput("page.limit", f"a page has 1 to {most} entries, not {limit}", where="limit")


def view(entry: DeviceEntry, latest: list[Latest] | None = None) -> DeviceView:
    """A stored device as doors show it."""
    device, facts = entry.device, entry.device.facts
    return DeviceView(
        id=device.id,
        name=device.name,
        cn=cn(device.id, device.workgroup),
        workgroup=device.workgroup,
        group=device.group,
        created_us=device.created_us,
        presence=presence.view(entry.presence),
        agent=AgentView(
            version=facts.agent_version,
            platform=facts.platform,
            arch=facts.arch,
            hostname=facts.hostname,
            os=facts.os,
            address=facts.address,
        ),
        summary=_summary(latest),
        flags=list(device.flags),
    )


def _summary(latest: list[Latest] | None) -> SummaryView | None:
    if not latest:
        return None
    values = {one.field: plain(one.value) for one in sorted(latest, key=lambda one: one.time_us)}
    cpu, memory = (values.get(name) for name in _SUMMARY)
    return SummaryView(
        cpu=None if cpu is None or isinstance(cpu, str) else float(cpu),
        memory=None if memory is None or isinstance(memory, str) else float(memory),
    )
