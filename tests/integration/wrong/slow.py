# SPDX-License-Identifier: Apache-2.0
"""Senders that stop in the middle, a byte at a time before; and readers that do not read."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tests.integration.wrong.wire import CLOSE, Gone, Wire, encode, tls_context


class Slow(NamedTuple):
    """``make`` opens a connection; ``data`` comes byte by byte; then nothing. ``seconds``: the documented time until
    the server ends it, counted from the first byte. ``answer``: what it says before: an HTTP status, a close code, 0."""

    name: str
    make: Callable[[], Wire]
    data: bytes
    seconds: float
    answer: int


class Ended(NamedTuple):
    """How it ended."""

    slow: Slow
    after: float
    answer: int


LATE_S = 3.0
"""Timers have a tick, and the machine has other things to do."""


def drip(slow: Slow) -> Ended:
    """Send, wait for the end."""
    with slow.make() as wire:
        began = time.monotonic()
        for byte in slow.data[:20]:
            wire.send(bytes([byte]))
            time.sleep(0.01)
        wire.send(slow.data[20:])
        wire.socket.settimeout(slow.seconds + 10)
        answer = 0
        try:
            if slow.answer >= 1000:
                while (frame := wire.frame()).opcode != CLOSE:
                    pass
                answer = frame.code
                wire.send(encode(CLOSE, frame.payload[:2]))
            elif slow.answer:
                answer = wire.reply().status
            else:
                wire.ends(slow.seconds + 10)
        except Gone:
            pass
        after = time.monotonic() - began
        # An answer to a close frame that stands inside an unfinished frame is none: the server then waits its own 5 s.
        assert wire.ends(5 + LATE_S), slow.name
        return Ended(slow, after, answer)


def all_of(slows: list[Slow]) -> list[Ended]:
    """All at the same time."""
    with ThreadPoolExecutor(len(slows)) as pool:
        return list(pool.map(drip, slows))


def plain(port: int) -> Callable[[], Wire]:
    return lambda: Wire(port)


def secure(port: int) -> Callable[[], Wire]:
    context = tls_context()
    return lambda: Wire(port, tls=context)


def websocket(port: int, path: str, *, tls: bool = False) -> Callable[[], Wire]:
    """A connection that is a WebSocket already."""
    context = tls_context() if tls else None

    def make() -> Wire:
        wire = Wire(port, tls=context)
        assert wire.upgrade(path, port).status == 101
        return wire

    return make


def flood(wire: Wire, piece: bytes, limit: int = 64 * 1024 * 1024) -> int:
    """Send and read nothing, until the server takes no more (or ends the connection): the bytes that it took."""
    wire.socket.settimeout(0.5)
    sent = 0
    try:
        while sent < limit:
            sent += wire.socket.send(piece)
    except (TimeoutError, ConnectionError, OSError):
        pass
    return sent
