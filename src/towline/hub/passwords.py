# SPDX-License-Identifier: Apache-2.0
"""Passwords: argon2id in a pool of one thread, rules for new ones, and the throttle of failed sign-ins."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from towline.clock import Clock
from towline.errors import InvalidInput, Unavailable
from towline.ids import RandomBytes

A = TypeVarTuple("A")
T = TypeVar("T")

MAX_LENGTH = 256
_ALPHABET = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_MAX_WAITING = 64
_MAX_THROTTLED = 10_000


class Passwords:
    """Hashes one at a time: a burst of sign-ins takes one core at most and never the event loop."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=1)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="towline-passwords")
        self._waiting = 0
        self._dummy = ""

    async def hash(self, password: str) -> str:
        """The PHC string to store."""
        return await self._run(self._hasher.hash, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether ``password`` is the one hashed in ``stored``; None costs the same time and is never right."""
        return await self._run(self._verify, stored, password)

    def _verify(self, stored: str | None, password: str) -> bool:
        if stored is None:
            self._dummy = self._dummy or self._hasher.hash("nobody's password")
        try:
            return self._hasher.verify(stored or self._dummy, password) and stored is not None
        except (VerificationError, InvalidHashError):
            return False

    async def renewed(self, stored: str, password: str) -> str | None:
        """A new hash of a password that was right, when ``stored`` was made with weaker parameters; else None."""
        return await self.hash(password) if self._hasher.check_needs_rehash(stored) else None

    async def _run(self, function: Callable[[*A], T], *args: *A) -> T:
        if self._waiting >= _MAX_WAITING:
            raise Unavailable("login.busy", "too many sign-ins at once", hint="try again in a few seconds")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def check_new(password: str, min_length: int, name: str = "", where: str = "$.password") -> None:
    """Rules of a new password. InvalidInput ``password.too_short``, ``password.too_long``, ``password.weak``."""
    if len(password) < min_length:
        raise InvalidInput(
            "password.too_short", f"a password has at least {min_length} characters, not {len(password)}", where=where
        )
    if len(password) > MAX_LENGTH:
        raise InvalidInput("password.too_long", f"a password has at most {MAX_LENGTH} characters", where=where)
    if len(set(password)) < 4 or (name and name.lower() == password.lower()):
        raise InvalidInput(
            "password.weak", "a password has at least 4 different characters and is not the name", where=where
        )


def generate(random: RandomBytes) -> str:
    """A password of 20 characters (115 bits) without look-alikes, in groups of five."""
    letters: list[str] = []
    while len(letters) < 20:
        letters.extend(_ALPHABET[byte % len(_ALPHABET)] for byte in random(32) if byte < 4 * len(_ALPHABET))
    text = "".join(letters[:20])
    return "-".join(text[at : at + 5] for at in range(0, 20, 5))


class Throttle:
    """Counts failed sign-ins of a (name, address) and of an address over a sliding window."""

    def __init__(self, clock: Clock, attempts: int, window_s: float) -> None:
        self._clock = clock
        self._attempts = attempts
        self._window = window_s
        self._failed: dict[tuple[str, str], deque[float]] = {}

    def wait_s(self, name: str, ip: str) -> float:
        """Seconds until the next attempt is heard; 0 when it may be made now."""
        return max(
            self._wait((name.lower(), ip), self._attempts),
            self._wait(("", ip), self._attempts * 10),
        )

    def failed(self, name: str, ip: str) -> None:
        """Note a failure."""
        now = self._clock.monotonic()
        if len(self._failed) >= _MAX_THROTTLED:
            self._forget(now)
        for key in ((name.lower(), ip), ("", ip)):
            self._failed.setdefault(key, deque(maxlen=self._attempts * 10)).append(now)

    def succeeded(self, name: str, ip: str) -> None:
        """A right password clears the count of that name from that address."""
        self._failed.pop((name.lower(), ip), None)

    def lift(self, name: str) -> None:
        """The password is another one: earlier guesses at ``name`` say nothing, from wherever they came."""
        for key in [key for key in self._failed if key[0] == name.lower()]:
            del self._failed[key]

    def _wait(self, key: tuple[str, str], attempts: int) -> float:
        times = self._failed.get(key)
        if times is None:
            return 0.0
        now = self._clock.monotonic()
        while times and times[0] <= now - self._window:
            times.popleft()
        if not times:
            del self._failed[key]
        if len(times) < attempts:
            return 0.0
        return times[len(times) - attempts] + self._window - now

    def _forget(self, now: float) -> None:
        """Drop what has passed, and the oldest half if that was too little."""
        self._failed = {key: times for key, times in self._failed.items() if times[-1] > now - self._window}
        if len(self._failed) >= _MAX_THROTTLED:
            for key in list(self._failed)[: _MAX_THROTTLED // 2]:
                del self._failed[key]
