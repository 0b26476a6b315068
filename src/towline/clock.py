# SPDX-License-Identifier: Apache-2.0
"""Time as an argument: code whose logic depends on time takes a :class:`Clock`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

US_PER_SECOND = 1_000_000


class Clock(Protocol):
    """Where time comes from."""

    def now_us(self) -> int:
        """Wall-clock time in microseconds since 1970-01-01 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to; for tests and simulations."""

    def __init__(self, now_us: int = 1_700_000_000_000_000) -> None:
        self._now_us = now_us
        self._monotonic = 0.0

    def now_us(self) -> int:
        return self._now_us

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._now_us += round(seconds * US_PER_SECOND)
        self._monotonic += seconds


def rfc3339(us: int) -> str:
    """Microseconds since the epoch as RFC 3339 in UTC with milliseconds: ``2026-11-21T03:04:05.678Z``."""
    seconds, rest = divmod(us, US_PER_SECOND)
    stamp = datetime.fromtimestamp(seconds, UTC)
    return f"{stamp:%Y-%m-%dT%H:%M:%S}.{rest // 1000:03d}Z"


def parse_rfc3339(text: str) -> int:
    """The inverse of :func:`rfc3339`, for any offset and precision; ValueError names what is wrong."""
    stamp = datetime.fromisoformat(text)
    if stamp.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; write 2026-11-21T03:04:05Z or an offset")
    delta = stamp - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * US_PER_SECOND + delta.microseconds
