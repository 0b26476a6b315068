# SPDX-License-Identifier: Apache-2.0
"""Plugins' declarations as devices last sent them, parsed once for each."""

from __future__ import annotations

from collections import OrderedDict

from towline.errors import InvalidInput, NotFound
from towline.hub.core import Core
from towline.hub.identity import unknown_device
from towline.protocols.octo.declaration import Declaration
from towline.protocols.octo.errors import OctoError

_CACHED = 256


class Declarations:
    """Reads declarations from the store; the parsed form of the most recently used ones is kept."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._parsed: OrderedDict[bytes, Declaration] = OrderedDict()

    async def get(self, workgroup: str, device_id: str, app_guid: str) -> Declaration:
        """NotFound ``device.unknown``; ``plugin.unknown`` when the plugin never registered on the device."""
        for plugin in await self._core.store.plugins.of_device(workgroup, device_id):
            if plugin.app_guid == app_guid and plugin.declaration is not None:
                return self._parse(plugin.declaration.declaration)
        if await self._core.store.devices.get(workgroup, device_id) is None:
            raise unknown_device(device_id)
        raise NotFound("plugin.unknown", f"no plugin {app_guid} has registered on device {device_id}")

    def _parse(self, text: bytes) -> Declaration:
        found = self._parsed.get(text)
        if found is None:
            try:
                found = Declaration.parse(text)
            except OctoError as error:
                raise InvalidInput(
                    "plugin.bad_declaration", f"the plugin's declaration cannot be read: {error}"
                ) from None
            self._parsed[text] = found
            if len(self._parsed) > _CACHED:
                self._parsed.popitem(last=False)
        else:
            self._parsed.move_to_end(text)
        return found
