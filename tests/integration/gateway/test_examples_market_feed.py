# SPDX-License-Identifier: Apache-2.0
"""examples/market_feed: snapshots, changes at two rates, and an end of them."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict

from websockets.asyncio.client import ClientConnection, connect

from tests.integration.gateway.examples import ask, hear, program, settings_of
from tests.integration.gateway.running import api, clients, running_node
from towline.client import PushClient

CONFIG = settings_of("market_feed")


async def collect(client: ClientConnection, seconds: float) -> dict[str, list[int]]:
    """The numbers of each symbol's prices, as they came."""
    found: dict[str, list[int]] = defaultdict(list)
    try:
        async with asyncio.timeout(seconds):
            while True:
                quote = json.loads(await client.recv())
                assert quote["low"] <= quote["price"] <= quote["high"]
                found[quote["symbol"]].append(quote["n"])
    except TimeoutError:
        return found


async def test_snapshots_then_changes_at_the_asked_rate() -> None:
    async with (
        running_node(**CONFIG) as node,
        PushClient(api(node)) as push,
        connect(clients(node, CONFIG["path"])) as fast,
        connect(clients(node, CONFIG["path"])) as slow,
        program("market_feed/publisher.py", api(node), "40"),
    ):
        await ask(fast, do="subscribe", symbols=["S000", "S039", "NONE"])
        await ask(slow, do="subscribe", symbols=["S000", "S001"])
        await ask(slow, do="subscribe", symbols=["S000", "S001"], rate="slow")  # instead, not besides
        await hear(fast)  # the publisher is there
        here, there = await asyncio.gather(collect(fast, 2.5), collect(slow, 2.5))
        assert set(here) == {"S000", "S039"}
        assert set(there) == {"S000", "S001"}
        for found in (here, there):
            for numbers in found.values():
                assert sorted(numbers) == numbers
        # 10 and 1 a second at most, and snapshots; how many come is the machine's affair.
        assert 5 < len(here["S000"]) <= 27
        assert 1 < len(there["S000"]) <= 6
        assert (await push.publish("fast:S000", "{}")).sent == 1
        await ask(fast, do="unsubscribe", symbols=["S000", "S039"])
        await ask(fast, do="dance")
        while (await hear(fast)).get("is") != "error":
            pass
        assert (await push.publish("fast:S000", "{}")).sent == 0
        assert (await push.publish("slow:S000", "{}")).sent == 1


async def test_what_is_wrong_is_said_and_changes_nothing() -> None:
    async with running_node(**CONFIG) as node, connect(clients(node, CONFIG["path"])) as client:
        many = [f"A{number}" for number in range(201)]
        for wrong in (
            {"do": "subscribe"},
            {"do": "subscribe", "symbols": []},
            {"do": "subscribe", "symbols": ["a b"]},
            {"do": "subscribe", "symbols": ["A"], "rate": "warp"},
            {"do": "subscribe", "symbols": many},
            {"do": "unsubscribe", "symbols": 5},
        ):
            await ask(client, **wrong)
            assert (await hear(client))["is"] == "error"
        assert len(node.realm.channels) == 0
        await ask(client, do="subscribe", symbols=many[:150])
        await ask(client, do="subscribe", symbols=many[150:])
        assert (await hear(client))["text"] == "a client has at most 200 symbols"
        assert len(node.realm.channels) == 150
