# SPDX-License-Identifier: Apache-2.0
"""Waiting for a predecessor's lock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from towline.clock import Clock
from towline.errors import StartError

T = TypeVar("T")

LOCK_SECONDS = 5.0
"""How long a process waits for its predecessor, killed a moment ago, to let a database go."""


async def until_unlocked(clock: Clock, open_it: Callable[[], Awaitable[T]]) -> T:
    """What ``open_it`` gives, tried again while another process holds the lock."""
    deadline = clock.monotonic() + LOCK_SECONDS
    while True:
        try:
            return await open_it()
        except StartError as error:
            if error.code != "store.locked" or clock.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
