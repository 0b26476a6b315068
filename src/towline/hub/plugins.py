# SPDX-License-Identifier: Apache-2.0
"""Plugins: their credentials, who has them, and what has registered on a device."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from towline.errors import Conflict, InvalidInput, NotFound
from towline.hub.actor import Actor
from towline.hub.core import Core, log
from towline.hub.identity import check_name, unknown_device
from towline.hub.session import Session
from towline.hub.views import CredentialView, PluginView
from towline.ids import uuid4
from towline.protocols.link import messages as m
from towline.store.rows import DevicePlugin, PluginCredential

if TYPE_CHECKING:
    from towline.hub.links import Links

KEY_LENGTH = 40
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_ASSIGNED = "assigned."
_MAX_ASSIGNED = 256


class _Declared(msgspec.Struct):
    type: str = ""


class Plugins:
    """Use cases about plugins."""

    def __init__(self, core: Core, links: Links) -> None:
        self._core = core
        self._links = links

    async def create_credential(
        self,
        actor: Actor,
        name: str,
        app_guid: str | None = None,
        platform: str = "linux",
        architecture: str = "x86_64",
    ) -> CredentialView:
        """A plugin's appGUID and access key (40 characters). Conflict ``plugin.exists`` for a taken appGUID."""
        core = self._core
        core.check(actor, "plugins.create_credential")
        name = check_name(name)
        guid = uuid4(core.random) if app_guid is None else app_guid.lower()
        if not _GUID.fullmatch(guid):
            raise InvalidInput("plugin.bad_guid", f"{guid[:60]!r} is not a UUID of version 4", where="$.app_guid")
        for word, where in ((platform, "$.platform"), (architecture, "$.architecture")):
            if not re.fullmatch(r"[A-Za-z0-9_.-]{1,32}", word):
                raise InvalidInput("plugin.bad_word", "1 to 32 letters, digits, '_', '.', '-'", where=where)
        key = self._new_key()
        row = await core.store.plugins.create_credential(
            PluginCredential(
                workgroup=actor.workgroup,
                app_guid=guid,
                name=name,
                platform=platform,
                architecture=architecture,
                sealed_key=core.sealer.seal(_purpose(actor.workgroup, guid), key.encode()),
                created_us=core.clock.now_us(),
                created_by=actor.name,
            )
        )
        await core.audit(actor, "plugin.create", "plugin", guid, name=name)
        return _view(row, key)

    async def list_credentials(self, actor: Actor) -> list[CredentialView]:
        """All of the workgroup, without access keys."""
        self._core.check(actor, "plugins.list_credentials")
        return [_view(row) for row in await self._core.store.plugins.credentials(actor.workgroup)]

    async def get_credential(self, actor: Actor, app_guid: str) -> CredentialView:
        """One with its access key (audited). NotFound ``plugin.unknown``."""
        core = self._core
        core.check(actor, "plugins.get_credential")
        row = await self._credential(actor.workgroup, app_guid)
        if row is None:
            raise NotFound("plugin.unknown", f"there is no plugin {app_guid}")
        await core.audit(actor, "plugin.read_key", "plugin", row.app_guid)
        return _view(row, self._key(row))

    async def revoke_credential(self, actor: Actor, app_guid: str) -> None:
        """The key is void at once: connected agents are told."""
        core = self._core
        core.check(actor, "plugins.revoke_credential")
        guid = app_guid.lower()
        await core.store.plugins.revoke_credential(actor.workgroup, guid, core.clock.now_us())
        self._links.to_device(actor.workgroup, "", m.encode(m.PluginKeyRevoked(app_guid=guid)))
        await core.audit(actor, "plugin.revoke", "plugin", guid)

    async def assign(self, actor: Actor, device_id: str, app_guid: str) -> None:
        """Give the credential to a device before its plugin connects; it gets it at each sign-in."""
        core = self._core
        core.check(actor, "plugins.assign")
        row = await self._credential(actor.workgroup, app_guid)
        if row is None:
            raise NotFound("plugin.unknown", f"there is no plugin {app_guid}")
        if await core.store.devices.get(actor.workgroup, device_id) is None:
            raise unknown_device(device_id)
        while True:
            found = await core.store.settings.get(actor.workgroup, _ASSIGNED + device_id)
            guids: list[str] = [] if found is None else msgspec.json.decode(found.value, type=list[str])
            if row.app_guid in guids:
                break
            if len(guids) >= _MAX_ASSIGNED:
                raise Conflict("plugin.too_many", f"a device has at most {_MAX_ASSIGNED} assigned plugins")
            try:
                await core.store.settings.put(
                    actor.workgroup,
                    _ASSIGNED + device_id,
                    msgspec.json.encode([*guids, row.app_guid]),
                    core.clock.now_us(),
                    expected=0 if found is None else found.version,
                    by=actor.name,
                )
            except Conflict:
                continue
            break
        self._links.to_device(actor.workgroup, device_id, self._key_frame(row.app_guid, row))
        await core.audit(actor, "plugin.assign", "plugin", row.app_guid, device=device_id)

    async def of_device(self, actor: Actor, device_id: str) -> list[PluginView]:
        """The plugins that have registered on a device, by display name."""
        core = self._core
        core.check(actor, "plugins.of_device")
        plugins = await core.store.plugins.of_device(actor.workgroup, device_id)
        entry = await core.store.devices.get(actor.workgroup, device_id)
        if entry is None:
            raise unknown_device(device_id)
        connected = entry.presence.state in ("online", "verifying")
        views = [_plugin_view(plugin, connected, entry.presence.since_us) for plugin in plugins]
        return sorted(
            (one for one in views if one is not None), key=lambda one: (one.display_name.lower(), one.app_guid)
        )

    # -- agents ------------------------------------------------------------------------------------------------

    async def key_asked(self, session: Session, app_guid: str) -> None:
        """An agent lacks the key of a plugin that connected to it."""
        row = await self._credential(session.workgroup, app_guid[:36])
        self._core.counters["plugins.keys_given" if row else "plugins.keys_missing"] += 1
        if row is None:
            log.info("device %s asks for plugin %s, which is not known", session.device_id, app_guid[:36])
        self._links.send(session, self._key_frame(app_guid[:36], row))

    async def welcomed(self, session: Session) -> None:
        """Preload the assigned keys."""
        found = await self._core.store.settings.get(session.workgroup, _ASSIGNED + session.device_id)
        for guid in [] if found is None else msgspec.json.decode(found.value, type=list[str]):
            row = await self._credential(session.workgroup, guid)
            if row is not None:
                self._links.send(session, self._key_frame(guid, row))

    async def _credential(self, workgroup: str, app_guid: str) -> PluginCredential | None:
        row = await self._core.store.plugins.credential(workgroup, app_guid.lower())
        return row if row is not None and row.revoked_us is None else None

    def _key_frame(self, app_guid: str, row: PluginCredential | None) -> bytes:
        key = None if row is None else self._key(row)
        return m.encode(m.PluginKey(app_guid=app_guid, access_key=key, app_name="" if row is None else row.name))

    def _key(self, row: PluginCredential) -> str:
        return self._core.sealer.open(_purpose(row.workgroup, row.app_guid), row.sealed_key).decode()

    def _new_key(self) -> str:
        letters: list[str] = []
        while len(letters) < KEY_LENGTH:
            letters.extend(_LETTERS[byte % 62] for byte in self._core.random(64) if byte < 248)
        return "".join(letters[:KEY_LENGTH])


def _purpose(workgroup: str, app_guid: str) -> str:
    return f"plugin key {workgroup} {app_guid}"


def _view(row: PluginCredential, key: str = "") -> CredentialView:
    return CredentialView(
        app_guid=row.app_guid,
        name=row.name,
        platform=row.platform,
        architecture=row.architecture,
        created_us=row.created_us,
        devices=row.devices,
        access_key=key,
    )


def _plugin_view(plugin: DevicePlugin, connected: bool, since_us: int) -> PluginView | None:
    declared, presence = plugin.declaration, plugin.presence
    if declared is None:
        return None
    online = presence is not None and presence.online
    cause = "" if presence is None else presence.cause
    changed_us = 0 if presence is None else presence.since_us
    if online and not connected:
        online, cause, changed_us = False, "device_offline", since_us
    return PluginView(
        app_guid=plugin.app_guid,
        app_name=declared.app_name,
        display_name=declared.display_name or declared.app_name,
        version=declared.version,
        type=msgspec.json.decode(declared.declaration, type=_Declared).type,
        online=online,
        since_us=changed_us,
        cause=cause,
        declared_us=declared.declared_us,
        declaration=declared.declaration.decode(errors="replace"),
    )
