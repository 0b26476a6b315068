# SPDX-License-Identifier: Apache-2.0
"""A server that dies between a client's upgrade and its own answer: an error with a reason, and the next try."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.helpers import until
from towline.agent.wire import dial
from towline.client import Consumer, PushClient, PushError
from towline.errors import TowlineError, Unavailable


class Hanging:
    """Accepts connections, reads the request, hangs up."""

    def __init__(self) -> None:
        self.port = 0
        self.accepted = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.close()


@asynccontextmanager
async def hanging() -> AsyncIterator[Hanging]:
    one = Hanging()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    async with server:
        yield one


async def test_an_agent_hears_why() -> None:
    async with hanging() as server:
        with pytest.raises(Unavailable) as caught:
            await dial(f"ws://127.0.0.1:{server.port}/link/v1", None)
    assert caught.value.code == "link.unreachable"
    assert "closed the connection" in str(caught.value)


async def test_a_push_client_tries_again() -> None:
    async with hanging() as server, PushClient(f"ws://127.0.0.1:{server.port}", timeout=3.0) as client:
        with pytest.raises(TowlineError) as caught:
            await client.publish("news", "hello")
        assert not isinstance(caught.value, PushError)
        assert server.accepted >= 2


async def test_a_consumer_tries_again() -> None:
    async with hanging() as server, Consumer("topic", url=f"http://127.0.0.1:{server.port}") as consumer:
        await until(lambda: server.accepted >= 3)
        assert not consumer.consuming
