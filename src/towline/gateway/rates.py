# SPDX-License-Identifier: Apache-2.0
"""Token buckets: how much of something may come in a second, and how much at once. Times are the loop's, in seconds."""

from __future__ import annotations

from typing import Literal

RatePolicy = Literal["pause", "close"]


class Bucket:
    """Fills with ``rate`` a second up to ``burst``. What is charged beyond its level is a debt of at most ``debt``."""

    __slots__ = ("_at", "_burst", "_debt", "_level", "_rate")

    def __init__(self, rate: float, burst: float, now: float, debt: float = float("inf")) -> None:
        self._rate = rate
        self._burst = burst
        self._debt = debt
        self._level = burst
        self._at = now

    def wait(self, need: float, now: float) -> float:
        """Seconds until the level is ``need`` (at most ``burst``); 0 when it is."""
        if now > self._at:
            self._level = min(self._burst, self._level + (now - self._at) * self._rate)
            self._at = now
        # A remainder of a rounding is no reason to wait.
        missing = need - self._level
        return missing / self._rate if missing > 1e-9 else 0.0

    def charge(self, amount: float) -> None:
        """Take what came."""
        self._level = max(self._level - amount, -self._debt)


class Rate:
    """What one connection may send: messages and bytes a second. A limit that is 0 is none.

    :param burst: messages at once; 0: those of one second
    """

    __slots__ = ("_bytes", "_messages")

    def __init__(self, messages_per_s: float, burst: int, bytes_per_s: int, now: float) -> None:
        self._messages = self._bytes = None
        if messages_per_s:
            at_once = max(1.0, burst or messages_per_s)
            self._messages = Bucket(messages_per_s, at_once, now, debt=at_once)
        if bytes_per_s:
            self._bytes = Bucket(bytes_per_s, bytes_per_s, now)

    def came(self, size: int) -> None:
        """Charge bytes that were read."""
        if self._bytes is not None:
            self._bytes.charge(size)

    def handled(self) -> None:
        """Charge one message."""
        if self._messages is not None:
            self._messages.charge(1)

    def wait(self, now: float) -> float:
        """Seconds until one more message may be handled; 0: now."""
        messages, size = self._messages, self._bytes
        return max(
            0.0 if messages is None else messages.wait(1, now),
            0.0 if size is None else size.wait(0, now),
        )
