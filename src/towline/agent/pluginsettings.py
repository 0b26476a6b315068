# SPDX-License-Identifier: Apache-2.0
"""Alarm and config settings of plugins: kept here, so that a plugin gets them while the hub is away (spec octo §6)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from towline.agent.database import Database
from towline.protocols.link.messages import Settings
from towline.protocols.octo import messages as m
from towline.protocols.octo import outgoing as out
from towline.protocols.octo.declaration import Declaration
from towline.protocols.octo.errors import OctoError
from towline.protocols.octo.limits import Limits

log = logging.getLogger("towline.agent.plugins")

_alarms = msgspec.json.Decoder(list[m.AlarmModule])
_configs = msgspec.json.Decoder(list[m.ConfigModule])
M = TypeVar("M", m.AlarmModule, m.ConfigModule)


class PluginSettings:
    """The newest settings by appGUID."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits
        self._settings: dict[str, Settings] = {}

    async def open(self) -> None:
        rows = await self._database.run(
            lambda connection: connection.execute("SELECT app_guid, version, alarms, configs FROM setting").fetchall()
        )
        self._settings = {
            guid: Settings(app_guid=guid, version=version, alarms=alarms, configs=configs)
            for guid, version, alarms, configs in rows
        }

    async def update(self, message: Settings) -> None:
        """Keep what the hub sent; a part that is null stays as it was."""
        guid = message.app_guid.lower()
        before = self._settings.get(guid, Settings(app_guid=guid))
        merged = Settings(
            app_guid=guid,
            version=message.version,
            alarms=before.alarms if message.alarms is None else message.alarms,
            configs=before.configs if message.configs is None else message.configs,
        )
        self._settings[guid] = merged
        row = (guid, merged.version, merged.alarms, merged.configs)
        await self._database.run(
            lambda connection: connection.execute("INSERT OR REPLACE INTO setting VALUES (?, ?, ?, ?)", row)
        )

    def send(self, send: Callable[[str], bool], key: str, declaration: Declaration, now_us: int) -> None:
        """Write AlarmUpdate and ConfigUpdate for every module that declares some; without settings, empty lists."""
        kept = self._settings.get(declaration.app_guid, Settings(app_guid=declaration.app_guid))
        version = kept.version or declaration.version
        common = {"app_guid": declaration.update.app_guid, "version": version, "now_us": now_us}
        epoch = out.epoch_text(now_us)
        alarms = _by_module(_read(_alarms, kept.alarms))
        configs = _by_module(_read(_configs, kept.configs))
        for name, index in declaration.modules.items():
            try:
                if index.alarms:
                    alarm = alarms.get(name) or m.AlarmModule(module_name=name, epoch=epoch, alarms=[])
                    known = [item for item in alarm.alarms if item.name in index.alarms]
                    alarm = msgspec.structs.replace(alarm, alarms=known)
                    for text in out.alarm_updates(key, modules=[alarm], limits=self._limits, **common):  # type: ignore[arg-type]
                        send(text)
                if index.configs:
                    config = configs.get(name) or m.ConfigModule(module_name=name, epoch=epoch, configs=[])
                    chosen = [item for item in config.configs if item.name in index.configs]
                    config = msgspec.structs.replace(config, configs=chosen)
                    for text in out.config_updates(key, modules=[config], limits=self._limits, **common):  # type: ignore[arg-type]
                        send(text)
            except OctoError as error:  # the hub checks sizes before it saves
                log.error("settings of plugin %s cannot be sent: %s", declaration.app_name, error)


def _read(decoder: msgspec.json.Decoder[list[M]], text: bytes | None) -> list[M]:
    if not text:
        return []
    try:
        return decoder.decode(text)
    except msgspec.MsgspecError as error:
        log.error("settings from the hub cannot be read: %s", error)
        return []


def _by_module(modules: Iterable[M]) -> dict[str, M]:
    return {module.module_name: module for module in modules}
