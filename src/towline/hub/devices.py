# SPDX-License-Identifier: Apache-2.0
"""Devices: list, find, rename, delete."""

from __future__ import annotations

from towline.hub.actor import Actor
from towline.hub.views import DevicePage, DeviceView


class Devices:
    """Use cases about devices."""

    async def list(
        self,
        actor: Actor,
        search: str = "",
        state: str | None = None,
        group: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> DevicePage:
        """Devices of the actor's workgroup by name. ``search`` matches in name, id, hostname and address, without case.

        ``state`` is ``online`` or ``offline``; ``limit`` 1–1000; ``after`` is a former page's ``next``.
        """
        raise NotImplementedError

    async def get(self, actor: Actor, device_id: str) -> DeviceView:
        """NotFound ``device.unknown`` when there is none in the actor's workgroup."""
        raise NotImplementedError

    async def rename(self, actor: Actor, device_id: str, name: str) -> DeviceView:
        """1–64 visible characters; names need not be unique."""
        raise NotImplementedError

    async def delete(self, actor: Actor, device_id: str) -> None:
        """Revoke its key, close its link at once, remove what is stored about it."""
        raise NotImplementedError
