# SPDX-License-Identifier: Apache-2.0
"""``towline gateway top`` over push APIs of real nodes, in a pipe and on a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.helpers import free_port, until
from tests.integration.gateway.running import api, clients
from towline.bus.memory import MemoryBus
from towline.cli.pushnodes import PushNodes, parse
from towline.clock import SystemClock
from towline.errors import Refused, Unavailable
from towline.gateway.node import Node
from towline.gateway.settings import GatewaySettings, UserSettings

USERS = (UserSettings(username="look", password="p@ss", roles=("read",)),)


@pytest.fixture
async def nodes() -> AsyncIterator[list[Node]]:
    clock = SystemClock()
    bus = MemoryBus(clock)
    made = []
    for _ in range(2):
        node = Node(
            bus,
            clock,
            GatewaySettings(
                api_listen="127.0.0.1:0", clients_listen="127.0.0.1:0", entry="builtin:forward:orders", users=USERS
            ),
        )
        await node.start()
        made.append(node)
    yield made
    for node in made:
        await node.close()
    await bus.close()


def named(node: Node) -> str:
    return api(node).replace("//", "//look:p%40ss@")


async def test_every_node_that_is_listed_is_read(nodes: list[Node]) -> None:
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(connect(clients(nodes[1]))) for _ in range(3)]
        await sockets[0].send("x")
        await until(lambda: nodes[1].queues.waiting == 1)
        with PushNodes(named(nodes[0])) as pushed:
            found = (await asyncio.to_thread(pushed.snapshot))["nodes"]
        assert [node["number"] for node in found] == [nodes[0].number, nodes[1].number]
        assert [node["clients"] for node in found] == [0, 3]
        assert [node["queued"] for node in found] == [0, 1]
        assert found[1]["counters"]["messages_in"] == 1
        (listener,) = found[1]["listeners"]
        assert (listener["clients"], listener["accepted"], listener["entry_errors"]) == (3, 3, 0)
        with PushNodes(api(nodes[0])) as refused, pytest.raises(Refused, match="401"):
            await asyncio.to_thread(refused.snapshot)
        with PushNodes(f"http://127.0.0.1:{free_port()}") as nowhere, pytest.raises(Unavailable):
            await asyncio.to_thread(nowhere.snapshot)
        # A node that says an address where it cannot be reached is shown without figures.
        nodes[1].api_address = ("127.0.0.1", free_port())
        with PushNodes(named(nodes[0])) as pushed:
            lost = await asyncio.to_thread(pushed._node, {"id": "1", "api_server": f"127.0.0.1:{free_port()}"})
        assert (lost["clients"], lost["counters"], lost["listeners"]) == (None, {}, [])


async def test_rates_in_a_pipe(nodes: list[Node]) -> None:
    async with connect(clients(nodes[0])) as socket:
        command = ("-m", "towline.cli.main", "gateway", "top", "--api", named(nodes[1]), "--interval", "0.2")
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, "--json", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        looks: list[dict[str, Any]] = []
        while not any(each.get("in_per_s") for look in looks for each in look["rates"].values()):
            await socket.send("x")
            looks.append(json.loads(await asyncio.wait_for(process.stdout.readline(), 15)))
            assert len(looks) < 50
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 10)
        assert (err, process.returncode) == (b"", 0)
        plain = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(plain.communicate(), 20)
        assert out.decode().startswith("Towline gateway  2 nodes, 1 clients")
        assert "\x1b" not in out.decode()


async def test_live_on_a_terminal(nodes: list[Node]) -> None:
    main, other = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "towline.cli.main", "gateway", "top", "--api", named(nodes[0]), "--interval", "0.2"),
        stdin=other,
        stdout=other,
        stderr=other,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "140", "LINES": "40"},
    )
    os.close(other)
    os.set_blocking(main, False)
    shown = bytearray()

    def read() -> bytes:
        try:
            shown.extend(os.read(main, 65536))
        except (BlockingIOError, OSError):
            pass
        return bytes(shown)

    await until(lambda: read().count(b"Towline gateway") >= 2)
    # The node goes away: the last figures stay, and it says so.
    await nodes[0].close()
    await until(lambda: b"not renewed" in read())
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert b"Traceback" not in read()
    os.close(main)


def test_lines_of_metrics() -> None:
    text = '# HELP a b\na 1.0\nb_total{listener="0",reason="x y"} 2.0\n\nodd\nc NaN\n'
    found = list(parse(text))
    assert [(one.name, one.labels, one.value) for one in found[:2]] == [
        ("a", {}, 1.0),
        ("b_total", {"listener": "0", "reason": "x y"}, 2.0),
    ]
