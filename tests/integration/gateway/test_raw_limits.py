# SPDX-License-Identifier: Apache-2.0
"""What bounds clients of a raw TCP port, as those of a WebSocket port are bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.helpers import until
from tests.integration.gateway.rawscripts import SCRIPTS, Dial
from tests.integration.gateway.running import running_node


@pytest.fixture
def lines(tmp_path: Path) -> str:
    name, source = SCRIPTS["python"]
    (tmp_path / name).write_text(source)
    return str(tmp_path / name)


@pytest.fixture
async def dial() -> AsyncIterator[Dial]:
    dial = Dial()
    yield dial
    await dial.close()


async def test_a_port_and_an_address_have_so_many_clients(lines: str, dial: Dial) -> None:
    async with running_node(protocol="socket", entry=lines, max_connections=3, max_per_address=2) as node:
        port = node.ports[0]
        one, two = await dial(node.clients_address), await dial(node.clients_address)
        assert [await one.ask("a"), await two.ask("b")] == ["> a", "> b"]
        with suppress(ConnectionError):  # a refused raw client is cut: there is nothing that could be said to it
            assert await (await dial.plain(node.clients_address)).rest() == b""
        assert port.counters.refused["too_many_from_address"] == 1
        one.writer.close()
        await until(lambda: port.admission.count == 1)
        assert await (await dial(node.clients_address)).ask("again") == "> again"


async def test_packets_over_the_rate_wait_and_are_not_lost(lines: str, dial: Dial) -> None:
    async with running_node(protocol="socket", entry=lines, messages_per_s=100, burst=10) as node:
        ann, ben = await dial(node.clients_address), await dial(node.clients_address)
        loop = asyncio.get_running_loop()
        began = loop.time()
        ann.writer.write(b"".join(b"%d\n" % number for number in range(60)))
        assert await ben.ask("meanwhile") == "> meanwhile"
        assert [await ann.line() for _ in range(60)] == [f"> {number}" for number in range(60)]
        assert loop.time() - began >= 0.49
        assert node.ports[0].counters.held >= 40


async def test_a_port_may_close_who_is_over_its_rate(lines: str, dial: Dial) -> None:
    async with running_node(protocol="socket", entry=lines, messages_per_s=1, burst=5, rate_policy="close") as node:
        ann = await dial(node.clients_address)
        ann.writer.write(b"x\n" * 6)
        assert [await ann.line() for _ in range(5)] == ["> x"] * 5
        assert await ann.rest() == b""
        await until(lambda: node.ports[0].counters.closed["rate"] == 1)


async def test_a_silent_client_is_closed(lines: str, dial: Dial) -> None:
    async with running_node(protocol="socket", entry=lines, read_timeout_s=0.3) as node:
        ann = await dial(node.clients_address)
        assert await ann.ask("hello") == "> hello"
        assert await ann.rest() == b""
        await until(lambda: node.ports[0].counters.closed["silent"] == 1)
