# SPDX-License-Identifier: Apache-2.0
"""What a batch may carry into the store; pure. An agent checks its plugins, the hub checks its agents.

An item that would trip whoever reads it later (a decimal that is none, a time outside the calendar, JSON that is none) is
left out and counted, the rest of its batch stands. A command's step is never left out: it is mended.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from towline.protocols.link.items import CommandStep, Dec, Declared, Item, PluginPresence, Record, State
from towline.protocols.octo.declaration import Declaration
from towline.protocols.octo.errors import OctoError

END_OF_TIME_US = 253_402_300_800_000_000
"""Year 10000: no calendar at a door goes further."""
MAX_FIELDS = 1000
MAX_NAME = 256
MAX_DECIMAL = 64

_DECIMAL = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_decimal = re.compile(_DECIMAL, re.ASCII).fullmatch
_decimals = re.compile(rf"(?:{_DECIMAL},)+", re.ASCII).fullmatch


class Sound(NamedTuple):
    """``items`` can be stored; ``rejected`` were left out, the first of them for ``reason``."""

    items: Sequence[Item]
    rejected: int
    reason: str


def sound(items: Sequence[Item], now_us: int) -> Sound:
    """Check every item. The same list comes back when nothing is wrong, which is the rule."""
    reasons = [_wrong(item) for item in items]
    if not any(reasons):
        return Sound(items, 0, "")
    kept: list[Item] = []
    rejected = [reason for reason in reasons if reason]
    for item, reason in zip(items, reasons, strict=True):
        if not reason:
            kept.append(item)
        elif isinstance(item, CommandStep):
            kept.append(_mended(item, now_us))
            rejected.remove(reason)
    return Sound(kept, len(rejected), rejected[0] if rejected else "")


def _wrong(item: Item) -> str:
    """Why an item cannot be stored; empty when it can."""
    if isinstance(item, Record):
        return _wrong_record(item)
    if not 0 <= item.time_us < END_OF_TIME_US:
        return "a time is outside the calendar"
    if isinstance(item, State):
        return _wrong_name(item.table, item.source, item.name) or (
            "" if _is_json(item.value) else "a state is not JSON"
        )
    if isinstance(item, Declared):
        try:
            declaration = Declaration.parse(item.declaration)
        except OctoError as error:
            return f"a declaration is refused: {error}"[:200]
        return "" if declaration.app_guid == item.app_guid.lower() else "a declaration has another appGUID"
    if isinstance(item, CommandStep):
        return "" if item.result is None or _is_json(item.result) else "a result is not JSON"
    if isinstance(item, PluginPresence):
        return _wrong_name(item.app_guid, item.app_name)
    return _wrong_name(item.table, item.source, item.name)


def _wrong_record(record: Record) -> str:
    if not 0 <= record.event_time_us < END_OF_TIME_US:
        return "a time is outside the calendar"
    fields = record.fields
    if not 1 <= len(fields) <= MAX_FIELDS:
        return f"a record has {len(fields)} fields; 1 to {MAX_FIELDS} are allowed"
    if "" in fields or max(map(len, fields)) > MAX_NAME:
        return "a field's name has no or too many characters"
    texts = [value.text for value in fields.values() if type(value) is Dec]
    if texts and not _are_decimals(texts):
        wrong = next(text for text in texts if len(text) > MAX_DECIMAL or _decimal(text) is None)
        return f"{wrong[:40]!r} is no decimal"
    return _wrong_name(record.kind, record.table, record.source)


def _are_decimals(texts: list[str]) -> bool:
    """All at once: a call for each of them takes longer than the look itself."""
    joined = ",".join(texts) + ","
    return max(map(len, texts)) <= MAX_DECIMAL and joined.count(",") == len(texts) and _decimals(joined) is not None


def _wrong_name(*names: str) -> str:
    return "a name has no or too many characters" if "" in names or max(map(len, names)) > MAX_NAME else ""


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _mended(step: CommandStep, now_us: int) -> CommandStep:
    result = step.result
    if result is not None and not _is_json(result):
        result = msgspec.json.encode(result.decode(errors="replace"))
    time_us = step.time_us if 0 <= step.time_us < END_OF_TIME_US else now_us
    return msgspec.structs.replace(step, result=result, time_us=time_us)
