# SPDX-License-Identifier: Apache-2.0
"""A receiver that writes down what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Literal

from towline.bus.base import Member
from towline.errors import Conflict


class Recorder:
    """``log`` has everything in the order of delivery."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str, bytes]] = []
        self.joined: list[Member] = []
        self.left: list[tuple[str, str]] = []

    def on_message(self, sender: str, payload: bytes) -> None:
        self.log.append(("message", sender, payload))
        if payload == b"raise":
            raise RuntimeError("asked to")

    def on_call(self, sender: str, payload: bytes) -> bytes | Awaitable[bytes]:
        self.log.append(("call", sender, payload))
        if payload == b"conflict":
            raise Conflict("test.conflict", "the thing is taken")
        if payload == b"bug":
            raise ZeroDivisionError
        if payload == b"huge":
            return bytes(300 * 1024)
        if payload.startswith(b"later"):
            return self._later(payload)
        return payload.upper()

    async def _later(self, payload: bytes) -> bytes:
        if payload == b"later never":
            await asyncio.Event().wait()
        await asyncio.sleep(0.01)
        if payload == b"later conflict":
            raise Conflict("test.conflict", "the thing was taken later")
        return payload.upper()

    def on_event(self, sender: str, payload: bytes) -> None:
        self.log.append(("event", sender, payload))

    def on_joined(self, member: Member) -> None:
        self.joined.append(member)
        self.log.append(("joined", member.address, b""))

    def on_left(self, member: Member, cause: Literal["closed", "silent"]) -> None:
        self.left.append((member.address, cause))
        self.log.append(("left", member.address, cause.encode()))

    def payloads(self, what: str) -> list[bytes]:
        return [payload for kind, _, payload in self.log if kind == what]
