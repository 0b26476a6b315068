# SPDX-License-Identifier: Apache-2.0
"""Where prices come from: ``python examples/market_feed/publisher.py [http://127.0.0.1:6789] [SYMBOLS]``.

Prices change hundreds of times a second, faster than anybody can read them. What is published is the last one of each
interval and only when there is a new one: ten a second at most on ``fast:SYMBOL``, one on ``slow:SYMBOL``. Symbols are
``S000``, ``S001`` and so on; prices wander by chance.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys

from towline.client import Consumer, PushClient, PushError

INTERVAL_S = {"fast": 0.1, "slow": 1.0}
TICK_S = 0.02


class Market:
    """The latest price of each symbol."""

    def __init__(self, count: int, chance: random.Random) -> None:
        self._chance = chance
        self.quotes = {
            f"S{number:03}": {"n": 0, "price": price, "high": price, "low": price}
            for number, price in ((number, chance.randint(1000, 20000) / 100) for number in range(count))
        }

    def move(self, symbol: str) -> None:
        quote = self.quotes[symbol]
        price = round(max(quote["price"] * (1 + self._chance.gauss(0, 0.001)), 0.01), 2)
        quote.update(n=quote["n"] + 1, price=price, high=max(quote["high"], price), low=min(quote["low"], price))

    def message(self, symbol: str) -> str:
        return json.dumps({"is": "price", "symbol": symbol, **self.quotes[symbol]})


async def trade(market: Market, chance: random.Random) -> None:
    """A fifth of the symbols change with each tick."""
    symbols = list(market.quotes)
    while True:
        for symbol in chance.sample(symbols, max(len(symbols) // 5, 1)):
            market.move(symbol)
        await asyncio.sleep(TICK_S)


async def publish(market: Market, rate: str, push: PushClient) -> None:
    """What changed since the last round, all requests under way at once."""
    said = dict.fromkeys(market.quotes, 0.0)
    while True:
        changed = [symbol for symbol, quote in market.quotes.items() if quote["n"] > said[symbol]]
        messages = [(f"{rate}:{symbol}", market.message(symbol)) for symbol in changed]
        said.update((symbol, market.quotes[symbol]["n"]) for symbol in changed)
        await asyncio.gather(*(push.publish(*message) for message in messages))
        await asyncio.sleep(INTERVAL_S[rate])


async def snapshots(market: Market, url: str, push: PushClient) -> None:
    """The present price of what a client has just subscribed to, to that client alone."""
    async with Consumer("market.snapshots", url=url) as asked:
        async for event in asked:
            known = [symbol for symbol in event.data["symbols"] if symbol in market.quotes]
            try:
                await asyncio.gather(*(push.send(event.client_id, market.message(symbol)) for symbol in known))
            except PushError:
                pass  # the client has gone meanwhile


async def main(url: str = "http://127.0.0.1:6789", symbols: str = "100") -> None:
    chance = random.Random()
    market = Market(int(symbols), chance)
    async with PushClient(url) as push, asyncio.TaskGroup() as tasks:
        tasks.create_task(trade(market, chance))
        tasks.create_task(snapshots(market, url, push))
        for rate in INTERVAL_S:
            tasks.create_task(publish(market, rate, push))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
