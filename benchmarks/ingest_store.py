# SPDX-License-Identifier: Apache-2.0
"""Readings a second through ``store_batch`` on SQLite, CPU for each, and bytes a reading on disk.

    python benchmarks/ingest_store.py [--devices 200] [--batch 10] [--seconds 3] [--runs 5]

Saturated: every device sends its next batch as soon as the last one is committed (one record of ``--batch`` fields each).
Paced: 10,000 readings a second, evenly spread over the devices. Both print the median of the runs.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path

import uvloop

from towline.clock import SystemClock
from towline.protocols.link.items import Batch, Dec, Record, Value, decode_batch, encode_batch, encode_item
from towline.store.base import Store
from towline.store.rows import Facts
from towline.store.sqlite import open_store

WORKGROUP = "default"
FIELDS = ("cpu", "memory", "swap", "disk", "load", "net_in", "net_out", "temperature", "uptime", "processes")


def bodies(seed: int, batch: int, count: int) -> list[bytes]:
    """BATCH bodies as agents send them: values that wander, as a machine's do."""
    chance = random.Random(seed)
    names = [FIELDS[n % len(FIELDS)] + (str(n // len(FIELDS)) if n >= len(FIELDS) else "") for n in range(batch)]
    values = [chance.randrange(100_00) for _ in names]
    start = 1_790_000_000_000_000 + chance.randrange(1_000_000)
    made = []
    for n in range(count):
        values = [max(value + chance.randrange(-150, 151), 0) for value in values]
        fields: dict[str, Value] = {name: Dec(f"{value / 100:.2f}") for name, value in zip(names, values, strict=True)}
        record = Record("metric", "host", "system", start + n * 2_000_000 + chance.randrange(3_000), fields)
        made.append(encode_batch("spool", "live", n + 1, [encode_item(record)], {}))
    return made


class Load:
    """Devices that send in turn; decoding a batch is part of the measured work, as it is in the hub."""

    def __init__(self, store: Store, devices: int, batch: int) -> None:
        self.store = store
        self.batch = batch
        self.ids = [f"device-{n:05}" for n in range(devices)]
        self.prepared = [bodies(n, batch, 200) for n in range(min(devices, 50))]
        self.seqs = [0] * devices
        self.stored = 0

    async def create(self) -> None:
        await self.store.workgroups.create(WORKGROUP, "Default", 0)
        await asyncio.gather(
            *[
                self.store.devices.create(WORKGROUP, one, one, f"{n:032}".encode(), Facts(), 0)
                for n, one in enumerate(self.ids)
            ]
        )

    async def send(self, n: int) -> None:
        prepared = self.prepared[n % len(self.prepared)]
        batch: Batch = decode_batch(prepared[self.seqs[n] % len(prepared)])
        self.seqs[n] += 1
        await self.store.records.store_batch(
            WORKGROUP,
            self.ids[n],
            batch.spool_id,
            batch.lane,
            self.seqs[n],
            batch.items,
            batch.dropped,
            time.time_ns() // 1000,
        )
        self.stored += self.batch

    async def saturated(self, seconds: float) -> None:
        end = time.monotonic() + seconds

        async def device(n: int) -> None:
            while time.monotonic() < end:
                await self.send(n)

        await asyncio.gather(*[device(n) for n in range(len(self.ids))])

    async def paced(self, seconds: float, readings: int) -> None:
        # One clock for all: a timer for each device would cost more than the store.
        tick = 0.01
        end = time.monotonic() + seconds
        at, due, sent = time.monotonic(), 0.0, 0
        running: set[asyncio.Task[None]] = set()
        while at < end:
            due += readings / self.batch * tick
            while sent < due:
                task = asyncio.ensure_future(self.send(sent % len(self.ids)))
                running.add(task)
                task.add_done_callback(running.discard)
                sent += 1
            at += tick
            await asyncio.sleep(max(at - time.monotonic(), 0))
        await asyncio.gather(*running)


async def measure(options: argparse.Namespace, *, paced: bool) -> tuple[float, float, float]:
    """(readings/s, CPU µs a reading, share of a core)"""
    with tempfile.TemporaryDirectory() as folder:
        store = await open_store(Path(folder) / "towline.db", SystemClock())
        load = Load(store, options.devices, options.batch)
        await load.create()
        wall, cpu = time.monotonic(), time.process_time()
        await (load.paced(options.seconds, 10_000) if paced else load.saturated(options.seconds))
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        await store.close()
    return load.stored / wall, cpu / load.stored * 1e6, cpu / wall


async def size(options: argparse.Namespace) -> tuple[float, float]:
    """Bytes of the file for each reading: as ingested, and compacted (free pages left out)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "towline.db"
        store = await open_store(path, SystemClock())
        load = Load(store, 20, options.batch)
        await load.create()
        await store.close()
        empty = path.stat().st_size
        store = await open_store(path, SystemClock())
        load.store = store
        for prepared in load.prepared:
            prepared[:] = bodies(random.randrange(10**9), options.batch, 1800)
        for _ in range(1800):
            await asyncio.gather(*[load.send(n) for n in range(20)])
        await store.close()
        plain = (path.stat().st_size - empty) / load.stored
        store = await open_store(path, SystemClock())
        while await store.records.compact(2**62):
            pass
        await store.close()
        compacted = (used(path) - empty) / load.stored
    return plain, compacted


def used(path: Path) -> int:
    """Bytes of pages in use; freed ones will be used again."""
    import sqlite3

    database = sqlite3.connect(path)
    pages, free, page = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    database.close()
    return int((pages - free) * page)


def main() -> None:
    parser = argparse.ArgumentParser(description="Readings a second through store_batch on SQLite.")
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--batch", type=int, default=10, help="readings of a batch")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    for name, paced in (("saturated", False), ("10,000/s", True)):
        runs = [uvloop.run(measure(options, paced=paced)) for _ in range(options.runs)]
        rate, each, share = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{name:>10}: {rate:>10,.0f} readings/s   {each:.2f} µs CPU a reading   {share:.1%} of a core")
    plain, compacted = asyncio.run(size(options))
    print(f"on disk   : {plain:.1f} bytes a reading as ingested, {compacted:.2f} compacted")


if __name__ == "__main__":
    main()
