# SPDX-License-Identifier: Apache-2.0
"""A market data feed: the client's side of it, an entry for a gateway listener. Prices come from publisher.py.

    towline gateway --config examples/market_feed/market_feed.yaml

A channel for each symbol and rate: ``fast:ACME`` has up to ten prices a second, ``slow:ACME`` one. The entry only says who
hears what; prices never pass through it, so it costs nothing while they flow.

Messages are JSON text. From the client: {"do": "subscribe", "symbols": [...], "rate": "fast" | "slow"},
{"do": "unsubscribe", "symbols": [...]}, {"do": "ping"}.
To the client: {"is": "price", "symbol", "n", "price", "high", "low"}, first as a snapshot of each symbol, then whenever it
changed; {"is": "error", "text"}. ``n`` grows with each price of a symbol: a lower one than was seen before is to be dropped.
"""

from __future__ import annotations

import json
import re
from typing import Any

from towline.gateway.entries import Connection, Message, QueueFull

RATES = ("fast", "slow")
MAX_SYMBOLS = 200
SYMBOL = re.compile(r"[A-Z0-9]{1,12}")


def on_message(conn: Connection, message: Message) -> None:
    try:
        asked = json.loads(message.data)
        DO[asked["do"]](conn, asked)
    except (ValueError, KeyError, TypeError):
        complain(conn, 'send {"do": "subscribe", "symbols": ["ACME"], "rate": "fast"} or {"do": "unsubscribe", …}')


def subscribe(conn: Connection, asked: dict[str, Any]) -> None:
    symbols, rate = symbols_of(asked), asked.get("rate", "fast")
    if rate not in RATES:
        raise ValueError(rate)
    here = {name.partition(":")[2] for name in conn.channels}
    if len(here | set(symbols)) > MAX_SYMBOLS:
        complain(conn, f"a client has at most {MAX_SYMBOLS} symbols")
        return
    unsubscribe(conn, asked)  # from the other rate
    conn.subscribe(*(f"{rate}:{symbol}" for symbol in symbols))
    # Subscribed first, then asked: a price in between comes twice and none is missed. The publisher answers this client.
    try:
        conn.queue.push("market.snapshots", {"symbols": symbols})
    except QueueFull:
        complain(conn, "no snapshot now; prices come as they change")


def unsubscribe(conn: Connection, asked: dict[str, Any]) -> None:
    conn.unsubscribe(*(f"{rate}:{symbol}" for rate in RATES for symbol in symbols_of(asked)))


def ping(conn: Connection, asked: dict[str, Any]) -> None:
    """A browser cannot send ping frames; any message keeps its connection from being closed as silent."""


def symbols_of(asked: dict[str, Any]) -> list[str]:
    symbols: list[str] = asked["symbols"]
    if not symbols or len(symbols) > MAX_SYMBOLS or not all(SYMBOL.fullmatch(symbol) for symbol in symbols):
        raise ValueError("symbols")
    return symbols


def complain(conn: Connection, text: str) -> None:
    conn.send(json.dumps({"is": "error", "text": text}))


DO = {"subscribe": subscribe, "unsubscribe": unsubscribe, "ping": ping}
