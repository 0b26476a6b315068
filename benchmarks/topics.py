# SPDX-License-Identifier: Apache-2.0
"""Messages a second through durable topics: SQLite, JetStream that syncs always, JetStream as it comes.

    python -m benchmarks.topics [--messages 10000] [--runs 3]

*alone* is one client that waits for each push, *together* 100 of them; *consume* takes and acks what they left. Without
sockets: what the store allows. Messages have 200 bytes; medians of the runs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop

from benchmarks.fetch import nats_server
from benchmarks.harness import NotAvailable, free_port, running
from towline.app.topics import join_jetstream
from towline.bus.settings import BusSettings
from towline.clock import SystemClock
from towline.store.base.topics import TopicSpec, TopicStore
from towline.store.sqlite.topics import open_topics

SPECS = [TopicSpec("t", 10_000_000, 10_000_000_000, 60.0)]
DATA = b'"%b"' % (b"x" * 198)
CLIENTS = 100
STORES = ("SQLite", "JetStream, sync_interval: always", "JetStream, as it comes")


@contextlib.asynccontextmanager
async def store_of(name: str) -> AsyncIterator[TopicStore]:
    """An empty store."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if name == "SQLite":
            topics = await open_topics(folder / "topics.db", SystemClock(), SPECS)
            stack.push_async_callback(topics.close)
            yield topics
            return
        port = free_port()
        sync = ", sync_interval: always" if "always" in name else ""
        config = folder / "nats.conf"
        config.write_text(f'jetstream {{ store_dir: "{folder / "js"}"{sync} }}')
        command = [nats_server(), "-a", "127.0.0.1", "-p", str(port), "-c", str(config)]
        stack.enter_context(running(command, ports={"nats": port}))
        bus = BusSettings(url=f"nats://127.0.0.1:{port}")
        yield await join_jetstream(stack, bus, SPECS, 1, SystemClock())


async def measure(store: TopicStore, messages: int) -> list[float]:
    """Pushes a second alone and together, messages consumed a second."""

    async def client(count: int) -> None:
        for _ in range(count):
            await store.push("t", 1, "15", DATA)

    alone, each = messages // 20, messages // CLIENTS
    start = time.perf_counter()
    await client(alone)
    first = time.perf_counter()
    await asyncio.gather(*[client(each) for _ in range(CLIENTS)])
    second = time.perf_counter()
    left, acks = alone + each * CLIENTS, []
    while left:
        found = await store.fetch("t", 256, 256 * 1024)
        left -= len(found)
        acks.append(asyncio.ensure_future(store.ack(found)))
    await asyncio.gather(*acks)
    third = time.perf_counter()
    return [
        alone / (first - start), each * CLIENTS / (second - first), (alone + each * CLIENTS) / (third - second),
    ]  # fmt: skip


async def main(messages: int, runs: int) -> None:
    print(f"| store | alone | {CLIENTS} together | consume |\n|---|---|---|---|")
    for name in STORES:
        found = []
        try:
            for _ in range(runs):
                async with store_of(name) as store:
                    found.append(await measure(store, messages))
        except NotAvailable as error:
            print(f"| {name} | {error} | | |")
            continue
        figures = [statistics.median(column) for column in zip(*found, strict=True)]
        print(f"| {name} | " + " | ".join(f"{figure:,.0f}/s" for figure in figures) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    uvloop.run(main(arguments.messages, arguments.runs))
