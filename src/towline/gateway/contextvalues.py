# SPDX-License-Identifier: Apache-2.0
"""What a connection's context may hold when it comes from outside, and how JSON says what it holds.

The limits are those of what Lua can be given. They hold on every port, because whoever calls does not know the
language of a client's entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 64
"""Arrays, objects or tables inside each other."""


def problem_of(value: Any, depth: int = 0) -> str:
    """Why a value cannot be kept; empty when it can."""
    if isinstance(value, int):
        try:
            float(value)
        except OverflowError:
            return "an integer is beyond the range of a double, about 1.8e308"
    elif isinstance(value, (dict, list, tuple)):
        if depth >= MAX_DEPTH:
            return f"it is nested deeper than {MAX_DEPTH} arrays and objects"
        for item in value.values() if isinstance(value, dict) else value:
            if problem := problem_of(item, depth + 1):
                return problem
    return ""


def problem_of_call(function: str, arguments: list[Any]) -> str:
    """Why values among the arguments of a ``conn.call`` cannot be kept; empty when all can."""
    values: Mapping[str, Any]
    match function, arguments:
        case "set_context", [dict(named)]:
            values, depth = named, 1
        case "set_context_value", [str(key), value]:
            values, depth = {key: value}, 0
        case _:
            values, depth = {str(number): value for number, value in enumerate(arguments, 1)}, 0
    for name, value in values.items():
        if problem := problem_of(value, depth):
            return f"{function[:40]}: the value of {name[:40]!r} cannot be kept: {problem}"
    return ""


def key_text(key: Any) -> Any:
    """A table's key as JSON has it: numbers as Lua prints them. What is neither text nor number stays what it is."""
    if isinstance(key, bytes):
        return key.decode("utf-8", "replace")
    if isinstance(key, float):
        return f"{key:.14g}"
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    return key


def text_keys(value: Any) -> Any:
    """A value whose tables have the keys that JSON gives them. Of two that become one text, the later stays."""
    if isinstance(value, dict):
        return {key_text(key): text_keys(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [text_keys(item) for item in value]
    return value
