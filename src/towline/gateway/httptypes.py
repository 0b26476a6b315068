# SPDX-License-Identifier: Apache-2.0
"""What the HTTP protocol and the routes of the push API hand each other."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import NamedTuple, Protocol

from towline.gateway.access import Grant
from towline.gateway.httpwire import Answer


class Request(NamedTuple):
    """A whole request. ``headers`` has lower-case names, and only those the API looks at."""

    method: bytes
    path: bytes
    query: str
    headers: dict[bytes, bytes]
    body: bytes
    grant: Grant
    origin: str
    upgrade: bool
    remote_ip: str
    local_ip: str


class Reply(Protocol):
    """Takes the answer to one request, once, now or later."""

    def __call__(self, answer: Answer, /) -> None: ...


class Service(Protocol):
    """What answers requests."""

    def handle(self, request: Request, reply: Reply) -> None: ...

    def upgrade(self, request: Request, transport: asyncio.Transport, early: bytes) -> asyncio.Protocol | Answer:
        """Take the connection over after an upgrade to ``/ws/v1``, or refuse."""
        ...


class HttpCounters:
    """What the HTTP side did since it started."""

    __slots__ = ("answers", "connections", "refused", "requests")

    def __init__(self) -> None:
        self.connections = 0
        self.requests = 0
        self.answers: Counter[int] = Counter()
        """by status, of 400 and more"""
        self.refused: Counter[str] = Counter()
        """by reason: too_many, head_too_long, body_too_long, bad_request, slow, host, origin, unauthorized …"""
