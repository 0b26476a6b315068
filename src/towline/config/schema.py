# SPDX-License-Identifier: Apache-2.0
"""What a tree of settings Structs looks like: its keys, types, defaults, limits and descriptions.

A setting is a field of a frozen msgspec Struct, typed ``Annotated[type, msgspec.Meta(description=…, ge=…, …)]``. A
field whose Meta has ``extra={"live": True}`` may change while the process runs, with ``"new"`` for connections that begin
after the change; any other needs a restart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect


class Setting(NamedTuple):
    """One leaf of the tree. ``key`` is dotted; a list of Structs appears as ``servers[]`` and its fields below it."""

    key: str
    type: str
    default: Any
    description: str
    limits: str
    live: bool | str
    secret: bool


def settings(struct: type[msgspec.Struct], prefix: str = "", live: bool | str = False) -> Iterator[Setting]:
    """Every setting below ``struct``, in the order of definition. What lies in a list that is ``live`` is so too."""
    for field in msgspec.structs.fields(struct):
        key = f"{prefix}{field.encode_name}"
        info = inspect.type_info(field.type)
        meta = _metadata(info)
        core = _unwrap(info)
        if isinstance(core, inspect.StructType):
            yield from settings(core.cls, f"{key}.")
            continue
        default = field.default
        if default is msgspec.NODEFAULT:
            default = None if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        extra = meta.get("extra") or {}
        yield Setting(
            key=key,
            type=_type_name(core) + (" or null" if _optional(info) else ""),
            default=default,
            description=str(meta.get("description", "")),
            limits=_limits(core),
            live=extra.get("live", live),
            secret=bool(extra.get("secret")),
        )
        item = _unwrap(core.item_type) if isinstance(core, inspect.ListType | inspect.VarTupleType) else None
        if isinstance(item, inspect.StructType):
            yield from settings(item.cls, f"{key}[].", extra.get("live", live))


def is_live(kind: Any) -> bool:
    """Whether a field of this type may change while the process runs."""
    return bool((_metadata(inspect.type_info(kind)).get("extra") or {}).get("live"))


def leaf_type(struct: type[msgspec.Struct], path: tuple[str, ...]) -> inspect.Type | None:
    """The type at a key path, None when the tree has no such key."""
    info: inspect.Type = inspect.type_info(struct)
    for word in path:
        core = _unwrap(info)
        if not isinstance(core, inspect.StructType):
            return None
        found = next((field for field in core.fields if field.encode_name == word), None)
        if found is None:
            return None
        info = found.type
    return info


def is_text(info: inspect.Type) -> bool:
    """Whether a text given from outside is taken as it stands."""
    return isinstance(_unwrap(info), inspect.StrType)


def _metadata(info: inspect.Type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while isinstance(info, inspect.Metadata):
        found = {**(info.extra_json_schema or {}), **({"extra": info.extra} if info.extra else {}), **found}
        info = info.type
    return found


def _unwrap(info: inspect.Type) -> inspect.Type:
    while isinstance(info, inspect.Metadata):
        info = info.type
    if isinstance(info, inspect.UnionType):
        rest = [kind for kind in info.types if not isinstance(kind, inspect.NoneType)]
        if len(rest) == 1:
            return _unwrap(rest[0])
    return info


def _optional(info: inspect.Type) -> bool:
    while isinstance(info, inspect.Metadata):
        info = info.type
    return isinstance(info, inspect.UnionType) and info.includes_none


def _type_name(info: inspect.Type) -> str:
    match info:
        case inspect.StrType():
            return "text"
        case inspect.IntType():
            return "integer"
        case inspect.FloatType():
            return "number"
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType(values=values):
            return " or ".join(f"`{value}`" for value in values)
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            return f"list of {_type_name(_unwrap(item))}"
        case inspect.DictType(value_type=value):
            return f"map of {_type_name(_unwrap(value))}"
        case inspect.StructType():
            return "section"
        case inspect.UnionType(types=types):
            return " or ".join(_type_name(_unwrap(kind)) for kind in types)
        case _:
            return type(info).__name__.removesuffix("Type").lower()


def _limits(info: inspect.Type) -> str:
    words = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥", "max_length": "length ≤"}
    return ", ".join(
        f"{sign} {getattr(info, name)}" for name, sign in words.items() if getattr(info, name, None) is not None
    )
