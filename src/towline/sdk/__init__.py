# SPDX-License-Identifier: Apache-2.0
"""For authors of plugins (docs/guides/plugin-authors.md)::

    from towline.sdk import Plugin

    plugin = Plugin.from_credential("plugin_credential.json", name="plugin-hello", version="1.0.0")

    @plugin.module().command("say_hello")
    async def say_hello() -> dict[str, str]:
        return {"response": "Hello"}

    plugin.run()

:class:`JsonValidator` stands alone, for those who bring their own sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from towline.sdk.validator import JsonValidator

if TYPE_CHECKING:
    from towline.sdk.commands import Call
    from towline.sdk.credential import Credential
    from towline.sdk.declare import Alarm, Command, Config, Event, Metric, Module, Param, Property, State
    from towline.sdk.plugin import Plugin
    from towline.sdk.settings import AlarmSetting, ConfigSetting

__all__ = [
    "Alarm",
    "AlarmSetting",
    "Call",
    "Command",
    "Config",
    "ConfigSetting",
    "Credential",
    "Event",
    "JsonValidator",
    "Metric",
    "Module",
    "Param",
    "Plugin",
    "Property",
    "State",
]

_HOMES = {
    "commands": ("Call",),
    "credential": ("Credential",),
    "declare": ("Alarm", "Command", "Config", "Event", "Metric", "Module", "Param", "Property", "State"),
    "plugin": ("Plugin",),
    "settings": ("AlarmSetting", "ConfigSetting"),
}


def __getattr__(name: str) -> Any:
    # The validator alone must not cost a program asyncio and TLS.
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"towline.sdk.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
