# SPDX-License-Identifier: Apache-2.0
"""A worker that takes orders of clients and answers each: ``python examples/queue_worker/worker.py [http://127.0.0.1:6789]``.

Start as many as you like, on any machine: each order goes to one of them. Clients connect to ``ws://127.0.0.1:6790/orders``
and send text; the gateway needs no script for that, only ``queue_worker.yaml``.
"""

from __future__ import annotations

import asyncio
import sys

from towline.client import Consumer, Event, PushClient, PushError


async def handle(event: Event, push: PushClient) -> None:
    """One order. The data is the client's frame, as ``builtin:forward`` queues it."""
    frame = event.data["frame"]
    print(f"order of {event.client_id}: {frame['data']}", flush=True)
    try:
        await push.send(event.client_id, f"done: {frame['data']}")
    except PushError as error:  # the client has gone meanwhile
        print(f"! {error}", flush=True)


async def main(url: str = "http://127.0.0.1:6789") -> None:
    async with Consumer("orders", url=url) as orders, PushClient(url) as push:
        async for event in orders:
            await handle(event, push)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
