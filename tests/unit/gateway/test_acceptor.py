# SPDX-License-Identifier: Apache-2.0
"""Accepting connections: many at once, without file descriptors, and what a closed one leaves."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import resource
import socket
from collections.abc import Iterator

import pytest

from tests.helpers import until
from tests.integration.gateway.running import running_node
from towline.gateway import acceptor
from towline.gateway.acceptor import ACCEPTS_A_TURN, Acceptor, bind

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Counting(asyncio.Protocol):
    open: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Counting.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        Counting.open -= 1


def connected(address: tuple[str, int], count: int) -> list[socket.socket]:
    return [socket.create_connection(address, 5) for _ in range(count)]


async def test_more_than_a_turn_takes_at_once() -> None:
    Counting.open = 0
    server = Acceptor(Counting, lambda: None, await bind("127.0.0.1", 0))
    address = server.sockets[0].getsockname()
    clients = connected(address, 2 * ACCEPTS_A_TURN + 3)
    await until(lambda: Counting.open == len(clients))
    server.close()
    assert server.sockets == ()
    server.close()
    with pytest.raises(OSError):
        socket.create_connection(address, 1)
    assert Counting.open == len(clients)  # they stay
    for client in clients:
        client.close()
    await until(lambda: Counting.open == 0)


@pytest.fixture
def few_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_without_file_descriptors_it_waits_and_goes_on(
    few_files: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(acceptor, "RETRY_S", 0.05)
    Counting.open = 0
    pauses: list[None] = []
    server = Acceptor(Counting, lambda: pauses.append(None), await bind("127.0.0.1", 0))
    clients = connected(server.sockets[0].getsockname(), 3)  # in the kernel's backlog until the loop has its turn
    free = clients[0].fileno()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with caplog.at_level(logging.ERROR):
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        await until(lambda: len(pauses) >= 3)
        assert Counting.open == 0
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        await until(lambda: Counting.open == 3)
    assert len(caplog.records) == len(pauses)
    server.close()
    for client in clients:
        client.close()
    await until(lambda: Counting.open == 0)


async def test_a_protocol_that_cannot_be_made_closes_its_socket() -> None:
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context["exception"]))

    def make() -> asyncio.BaseProtocol:
        raise ValueError("no")

    server = Acceptor(make, lambda: None, await bind("127.0.0.1", 0))
    (client,) = connected(server.sockets[0].getsockname(), 1)
    await until(lambda: problems)
    assert await asyncio.get_running_loop().run_in_executor(None, client.recv, 1) == b""
    client.close()
    server.close()


async def test_addresses_that_cannot_be_had() -> None:
    (taken,) = await bind("127.0.0.1", 0)
    taken.listen()
    with pytest.raises(OSError) as refused:
        await bind("127.0.0.1", taken.getsockname()[1])
    assert refused.value.errno == errno.EADDRINUSE
    taken.close()
    with pytest.raises(OSError):
        await bind("192.0.2.1", 0)


async def test_a_closed_connection_leaves_no_ring_of_objects() -> None:
    async with running_node(entry="builtin:echo") as node:
        loop = asyncio.get_running_loop()

        async def come_and_go(goodbye: bytes) -> None:
            client = socket.socket()
            client.setblocking(False)
            await loop.sock_connect(client, node.clients_address)
            await loop.sock_sendall(client, UPGRADE)
            assert (await loop.sock_recv(client, 4096)).startswith(b"HTTP/1.1 101")
            if goodbye:
                await loop.sock_sendall(client, goodbye)
            client.close()
            await until(lambda: not node.realm.connections)

        await come_and_go(b"")
        gc.collect()
        gc.disable()
        try:
            for goodbye in (b"", b"\x88\x82\0\0\0\0\x03\xe8"):  # cut, and closed as one should
                for _ in range(20):
                    await come_and_go(goodbye)
                await asyncio.sleep(0)
                assert gc.collect() < 20
        finally:
            gc.enable()
