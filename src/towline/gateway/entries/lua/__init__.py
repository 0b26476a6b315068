# SPDX-License-Identifier: Apache-2.0
"""Lua entries: connmix's ``mix.*`` API on LuaJIT (docs/guides/lua-entries.md). Loaded only when a listener names one."""

from __future__ import annotations

from towline.gateway.entries.lua.entry import LuaEntry
from towline.gateway.entries.lua.rawentry import LuaRawEntry
from towline.gateway.entries.lua.vm import ScriptError

__all__ = ["LuaEntry", "LuaRawEntry", "ScriptError"]
