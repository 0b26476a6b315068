# SPDX-License-Identifier: Apache-2.0
"""From the setting ``entry`` to an entry: a Python or Lua file that the configuration names, or a built-in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from towline.errors import StartError
from towline.gateway.entries.builtin import PREFIX, builtin_entry, builtin_raw_entry
from towline.gateway.entries.options import ScriptOptions
from towline.gateway.entries.python import PythonEntry, PythonRawEntry

if TYPE_CHECKING:
    from towline.gateway.entries.base import Entry, RawEntry


def load_entry(setting: str, where: str = "gateway.entry", options: ScriptOptions | None = None) -> Entry:
    """What a WebSocket port's setting names. StartError says what is wrong with it, and in which setting it stands."""
    if setting.startswith(PREFIX):
        return builtin_entry(setting, where)
    path, options = _file(setting, where), options or ScriptOptions(reload_s=0)
    if path.suffix == ".lua":
        try:
            from towline.gateway.entries.lua import LuaEntry
        except ImportError:
            raise _no_lua(where) from None
        return LuaEntry(path, options)
    return PythonEntry(path, where, options.reload_s)


def load_raw_entry(setting: str, where: str = "gateway.entry", options: ScriptOptions | None = None) -> RawEntry:
    """What a raw TCP port's setting names. StartError as :func:`load_entry`."""
    if setting.startswith(PREFIX):
        return builtin_raw_entry(setting, where)
    if not setting:
        raise StartError("gateway.entry", "a port with protocol: socket needs an entry", where=where)
    path, options = _file(setting, where), options or ScriptOptions(reload_s=0)
    if path.suffix == ".lua":
        try:
            from towline.gateway.entries.lua import LuaRawEntry
        except ImportError:
            raise _no_lua(where) from None
        return LuaRawEntry(path, options)
    return PythonRawEntry(path, where, options.reload_s)


def _file(setting: str, where: str) -> Path:
    path = Path(setting)
    if path.suffix not in (".py", ".lua"):
        raise StartError("gateway.entry", f"{setting!r} is neither a .py or .lua file nor a built-in", where=where)
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise StartError("gateway.entry", f"cannot read {setting}: {error.strerror}", where=where) from None
    return path


def _no_lua(where: str) -> StartError:
    return StartError("gateway.lua_missing", "Lua scripts need the package lupa", where=where)
