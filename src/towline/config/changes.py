# SPDX-License-Identifier: Apache-2.0
"""What of new settings may take effect while the process runs, and what has to wait for a restart."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import msgspec

from towline.config.schema import is_live

T = TypeVar("T", bound=msgspec.Struct)


class Merged(NamedTuple):
    """``settings``: the old ones with what may change; the keys that did change, and those that wait for a restart."""

    settings: Any
    applied: tuple[str, ...]
    waiting: tuple[str, ...]


def merge_live(old: T, new: T) -> Merged:
    """Take from ``new`` what is marked live. An item of a list is compared with the one in the same place, and takes its
    live values only when it is otherwise the same: with another address it is another listener."""
    applied: list[str] = []
    waiting: list[str] = []
    return Merged(_merge(old, new, "", applied, waiting), tuple(applied), tuple(waiting))


def _merge(old: Any, new: Any, prefix: str, applied: list[str], waiting: list[str]) -> Any:
    changed: dict[str, Any] = {}
    for field in msgspec.structs.fields(type(new)):
        key = f"{prefix}{field.encode_name}"
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before == after:
            continue
        if is_live(field.type):
            changed[field.name] = after
            applied.append(key)
        elif isinstance(after, msgspec.Struct):
            changed[field.name] = _merge(before, after, f"{key}.", applied, waiting)
        elif _same_shape(before, after):
            changed[field.name] = tuple(
                _merge_item(one, other, f"{key}[{index}].", applied, waiting)
                for index, (one, other) in enumerate(zip(before, after, strict=True))
            )
        else:
            waiting.append(key)
    return msgspec.structs.replace(old, **changed) if changed else old


def _merge_item(old: Any, new: Any, prefix: str, applied: list[str], waiting: list[str]) -> Any:
    own_applied: list[str] = []
    own_waiting: list[str] = []
    merged = _merge(old, new, prefix, own_applied, own_waiting)
    if own_waiting:
        waiting += own_waiting + own_applied
        return old
    applied += own_applied
    return merged


def _same_shape(before: Any, after: Any) -> bool:
    return (
        isinstance(before, tuple)
        and isinstance(after, tuple)
        and len(before) == len(after) > 0
        and all(isinstance(one, msgspec.Struct) for one in (*before, *after))
    )
