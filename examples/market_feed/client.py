# SPDX-License-Identifier: Apache-2.0
"""Watch prices in the terminal: ``python examples/market_feed/client.py S000,S001 [fast|slow] [ws://127.0.0.1:6790/market]``."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict

import picows


class Ticker(picows.WSListener):
    """Subscribes, and prints prices as they come."""

    def __init__(self, symbols: list[str], rate: str) -> None:
        self.asked = {"do": "subscribe", "symbols": symbols, "rate": rate}
        self.last: dict[str, int] = defaultdict(lambda: -1)

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        transport.send(picows.WSMsgType.TEXT, json.dumps(self.asked))

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type is picows.WSMsgType.CLOSE:
            transport.disconnect()
        if frame.msg_type is not picows.WSMsgType.TEXT:
            return
        quote = json.loads(frame.get_payload_as_bytes())
        if quote["is"] == "error":
            print(f"! {quote['text']}", flush=True)
        elif quote["n"] > self.last[quote["symbol"]]:
            self.last[quote["symbol"]] = quote["n"]
            print(f"{quote['symbol']} {quote['price']:.2f}  ({quote['low']:.2f} to {quote['high']:.2f})", flush=True)


async def main(symbols: str, rate: str = "fast", url: str = "ws://127.0.0.1:6790/market") -> None:
    transport, _ = await picows.ws_connect(
        lambda: Ticker(symbols.split(","), rate), url, enable_auto_ping=True, auto_ping_idle_timeout=20
    )
    await transport.wait_disconnected()


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        raise SystemExit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
