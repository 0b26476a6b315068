# SPDX-License-Identifier: Apache-2.0
"""What all rows share.

Times are int64 microseconds UTC (``…_us``); ``None`` means "has not happened". JSON is text (str) unless a field
says bytes. Every row names its workgroup, directly or through the call that asked for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, Generic, Literal, TypeAlias, TypeVar

import msgspec

from towline.protocols.link.items import Dec

T = TypeVar("T")


class Date(msgspec.Struct, array_like=True, tag="t", frozen=True):
    """A moment as a value: microseconds UTC."""

    us: int


Value: TypeAlias = int | bool | str | Dec | Date | None
"""A field's value as stored: the link's values, and dates."""

Point: TypeAlias = tuple[int, Value]
"""``(event_time_us, value)``."""

PresenceState: TypeAlias = Literal["never", "online", "verifying", "offline"]

CommandState: TypeAlias = Literal[
    "queued",
    "sent",
    "received",
    "delivered",
    "accepted",
    "acked",
    "errored",
    "rejected",
    "expired",
    "cancelled",
    "timed_out",
    "unknown",
]

TokenKind: TypeAlias = Literal["session", "api", "device"]

SYSTEM: Final = "_system"
"""The workgroup of what belongs to the installation itself (hub identity, leases). No real workgroup has an underscore."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

DEFAULT_GROUP: Final = "default"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all rows."""


class Page(Row, Generic[T], frozen=True, kw_only=True):
    """Some of a longer list. ``next`` is passed back (``after`` or ``before``) for the following ones; None at the end."""

    items: list[T]
    next: str | None = None


def plain(value: Value) -> int | bool | str | Decimal | None:
    """A value in everyday types: a decimal as Decimal (its digits kept), a date as RFC 3339 text with µs."""
    if isinstance(value, Dec):
        return Decimal(value.text)
    if isinstance(value, Date):
        return (_EPOCH + timedelta(microseconds=value.us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value


Counters: TypeAlias = Mapping[str, int]
"""Name → how many since the store was opened."""
