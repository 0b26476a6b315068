# SPDX-License-Identifier: Apache-2.0
"""Values between Lua and Python. Lua's texts are bytes; in Python they are ``str`` where they are UTF-8, else ``bytes``.

Integers of more than 64 bits become floats; a table with keys 1..n is a list, an empty one an empty list. Any other is a
``dict`` with the keys it has, texts and numbers, so that what goes back to Lua is what came.
"""

from __future__ import annotations

from typing import Any

import lupa.luajit21 as lua

from towline.gateway.contextvalues import MAX_DEPTH


def text_of(raw: bytes) -> str | bytes:
    """Lua's text as ``str`` if it is one."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def from_lua(value: Any, depth: int = 0) -> Any:
    """A Lua value as Python values. ValueError for functions, circles and what is nested too deeply."""
    if isinstance(value, bytes):
        return text_of(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if lua.lua_type(value) != "table":
        raise ValueError(f"a {lua.lua_type(value) or 'foreign object'} cannot be kept")
    if depth >= MAX_DEPTH:
        raise ValueError(f"a table is nested deeper than {MAX_DEPTH}, or in a circle")
    items = {_key(key): from_lua(item, depth + 1) for key, item in value.items()}
    if all(number in items for number in range(1, len(items) + 1)):
        return [items[number] for number in range(1, len(items) + 1)]
    return items


def _key(key: Any) -> Any:
    if isinstance(key, bytes):
        return text_of(key)
    if isinstance(key, (int, float)) and not isinstance(key, bool):
        return key
    kind = "boolean" if isinstance(key, bool) else lua.lua_type(key) or "foreign object"
    raise ValueError(f"a {kind} cannot be a key of a table that is kept; texts and numbers can")


def size_of(value: Any) -> int:
    """About how many bytes a value takes in Lua."""
    if isinstance(value, (str, bytes)):
        return 40 + len(value) * (1 if isinstance(value, bytes) else 3)
    if isinstance(value, dict):
        return 64 + sum(80 + size_of(key) + size_of(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return 64 + sum(32 + size_of(item) for item in value)
    return 16


def to_lua(runtime: lua.LuaRuntime, value: Any) -> Any:
    """A Python value (as JSON has them, or bytes; keys may be numbers) for Lua; ValueError for what Lua has not. The
    caller has made sure that it fits (:func:`size_of`)."""
    plain = _plain(value)
    return runtime.table_from(plain, recursive=True) if isinstance(plain, (dict, list)) else plain


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, float, bytes)):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    if isinstance(value, int):
        if -(2**63) <= value < 2**63:
            return value
        try:
            return float(value)
        except OverflowError:
            raise ValueError("an integer is beyond the range of a double, about 1.8e308") from None
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    raise ValueError(f"a {type(value).__name__} has no form in Lua")
