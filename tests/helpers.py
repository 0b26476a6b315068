# SPDX-License-Identifier: Apache-2.0
"""What tests of every kind share."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable


async def until(condition: Callable[[], object], timeout: float = 10.0, *, what: str = "condition") -> None:
    """Wait until ``condition()`` is true; fail with ``what`` after ``timeout`` seconds."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not become true in {timeout} s")
        await asyncio.sleep(0.005)


def wait_until(condition: Callable[[], object], timeout: float = 10.0, *, what: str = "condition") -> None:
    """As :func:`until`, for tests without an event loop."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not become true in {timeout} s")
        time.sleep(0.01)


def soak_seconds(share: float, default: float) -> float:
    """How long a soak test lasts: its share of ``TOWLINE_TEST_SOAK`` (``make soak``), or ``default`` among other tests."""
    whole = float(os.environ.get("TOWLINE_TEST_SOAK", "0"))
    return whole * share if whole else default


def free_port() -> int:
    """A TCP port that was free on loopback a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
