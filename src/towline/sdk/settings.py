# SPDX-License-Identifier: Apache-2.0
"""Alarm and config settings as the agent last sent them."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import UNSET

from towline.protocols.octo import messages as m
from towline.protocols.octo.declaration import Declaration, ModuleIndex
from towline.protocols.octo.validate import EPOCH


@dataclass(frozen=True, slots=True)
class AlarmSetting:
    """:ivar params: by name"""

    enabled: bool = False
    params: dict[str, str | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConfigSetting:
    """:ivar params: by name"""

    params: dict[str, str | bool] = field(default_factory=dict)


class Settings:
    """The newest settings of each module. What this version did not declare is ignored."""

    def __init__(self) -> None:
        self.alarms: dict[tuple[str, str], AlarmSetting] = {}
        self.configs: dict[tuple[str, str], ConfigSetting] = {}
        self._alarm_epochs: dict[str, int] = {}
        self._config_epochs: dict[str, int] = {}

    def apply_alarms(self, update: m.AlarmUpdate, declaration: Declaration) -> list[str]:
        """The modules whose settings were replaced; the older form switches all alarms off."""
        if update.modules is UNSET:
            self.alarms.clear()
            return list(declaration.modules)
        changed = []
        for module in update.modules:
            index = _newer(declaration, module.module_name, module.epoch, self._alarm_epochs)
            if index is None:
                continue
            changed.append(module.module_name)
            self.alarms = {key: value for key, value in self.alarms.items() if key[0] != module.module_name}
            for item in module.alarms:
                if item.name in index.alarms:
                    params = {param.name: param.value for param in item.params}
                    self.alarms[module.module_name, item.name] = AlarmSetting(item.enabled, params)
        return changed

    def apply_configs(self, update: m.ConfigUpdate, declaration: Declaration) -> list[str]:
        """As :meth:`apply_alarms`."""
        if update.modules is UNSET:
            self.configs.clear()
            return list(declaration.modules)
        changed = []
        for module in update.modules:
            index = _newer(declaration, module.module_name, module.epoch, self._config_epochs)
            if index is None:
                continue
            changed.append(module.module_name)
            self.configs = {key: value for key, value in self.configs.items() if key[0] != module.module_name}
            for item in module.configs:
                if item.name in index.configs:
                    params = {param.name: param.value for param in item.params}
                    self.configs[module.module_name, item.name] = ConfigSetting(params)
        return changed


def _newer(declaration: Declaration, name: str, epoch: str, known: dict[str, int]) -> ModuleIndex | None:
    index = declaration.modules.get(name)
    at = int(epoch) if EPOCH.fullmatch(epoch) else 0
    if index is None or at < known.get(name, 0):
        return None
    known[name] = at
    return index
