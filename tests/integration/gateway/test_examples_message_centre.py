# SPDX-License-Identifier: Apache-2.0
"""examples/message_centre: the entry, the back end, the sender and the client as they are, on two nodes."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.helpers import until
from tests.integration.gateway.examples import EXAMPLES, Program, ask, hear, program, settings_of
from tests.integration.gateway.running import api, clients, running_node
from towline.bus.memory import MemoryBus
from towline.clock import SystemClock
from towline.gateway.node import Node
from towline.gateway.settings import GatewaySettings

CONFIG = settings_of("message_centre")


def centre() -> ModuleType:
    spec = importlib.util.spec_from_file_location("centre", EXAMPLES / "message_centre" / "centre.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["centre"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def send(file: str, *arguments: str) -> str:
    async with program("message_centre/send.py", *arguments, CENTRE_FILE=file) as sender:
        return await sender.ends()


async def test_messages_reach_users_here_and_away(tmp_path: Path) -> None:
    file = str(tmp_path / "centre.db")
    ann, bob = (centre().token_for(user) for user in ("ann", "bob"))
    clock = SystemClock()
    bus = MemoryBus(clock)
    nodes = [
        Node(bus, clock, GatewaySettings(**{**CONFIG, "api_listen": "127.0.0.1:0", "clients_listen": "127.0.0.1:0"}))
        for _ in range(2)
    ]
    for node in nodes:
        await node.start()
    await until(lambda: nodes[0].mesh._others)
    url = [clients(node, CONFIG["path"]) for node in nodes]
    try:
        assert await send(file, "ann", "while you were away", api(nodes[0])) == "message 1: kept for later"
        async with connect(url[1]) as early:  # signs in before there is a back end: it waits
            await ask(early, op="auth", token=ann)
            await ask(early, op="read", up_to="x")
            async with program("message_centre/backend.py", api(nodes[0]), CENTRE_FILE=file) as back_end:
                assert await hear(early) == {"is": "signed_in", "user": "ann", "unread": 1}
                kept = await hear(early)
                assert (kept["id"], kept["text"]) == (1, "while you were away")
                # What it sent behind its token came after it, and not before.
                assert await hear(early) == {"is": "error", "text": "up_to is the id of a message"}
                assert (await back_end.line()).endswith("1 unread")
                await two_devices(file, ann, bob, url, api(nodes[1]), back_end)
    finally:
        for node in nodes:
            await node.close()
        await bus.close()


async def two_devices(file: str, ann: str, bob: str, url: list[str], push: str, back_end: Program) -> None:
    async with (
        program("message_centre/client.py", ann, url[0], CENTRE_FILE=file) as phone,
        program("message_centre/client.py", bob, url[1], CENTRE_FILE=file) as other,
    ):
        assert await phone.line() == "* signed in as ann, 1 unread"
        assert await phone.line() == "send.py: while you were away"
        assert await other.line() == "* signed in as bob, 0 unread"
        assert await send(file, "ann", "and now", push) == "message 2: sent to 2 connections"
        assert await phone.line() == "send.py: and now"
    inbox = centre().Inbox(file)
    try:
        await until(lambda: not inbox.unread("ann"), what="the phone's messages read")
    finally:
        inbox.close()


async def test_wrong_tokens_are_refused(tmp_path: Path) -> None:
    async with (
        running_node(**CONFIG) as node,
        program("message_centre/backend.py", api(node), CENTRE_FILE=str(tmp_path / "centre.db")) as back_end,
    ):
        url = clients(node, CONFIG["path"])
        for token in ("ann.00", "", centre().token_for("ann")[1:]):
            async with connect(url) as client:
                await ask(client, op="auth", token=token)
                assert await hear(client) == {"is": "error", "text": "this token is not valid"}
                with pytest.raises(ConnectionClosed):
                    await asyncio.wait_for(client.recv(), 15)
                assert (await back_end.line()).startswith("refused ")
        async with connect(url) as client:
            await ask(client, op="read", up_to=1)
            assert await hear(client) == {"is": "error", "text": "sign in first"}
            for wrong in ("[]", "x", '{"op": "auth"}', '{"op": "auth", "token": 5}'):
                await client.send(wrong)
                assert (await hear(client))["is"] == "error"
