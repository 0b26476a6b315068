# SPDX-License-Identifier: Apache-2.0
"""Who waits for whom."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.helpers import until
from tests.unit.store.support import GROUP, NOW, device_key, metric, send
from towline.clock import ManualClock
from towline.store import codec
from towline.store.rows import Facts
from towline.store.sqlite import open_store, records


async def test_long_charts_keep_nobody_from_signing_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await open_store(tmp_path / "towline.db", ManualClock())
    await store.workgroups.create(GROUP, "The plant", NOW)
    await store.devices.create(GROUP, "d1", "pump", device_key(1), Facts(), NOW)
    await send(store, 1, [metric(NOW, a=1)])
    going_on = threading.Event()
    begun: list[int] = []

    def slow(data: bytes, block_id: int, wanted: Mapping[int, object]) -> Iterator[codec.Column]:
        begun.append(block_id)
        going_on.wait(20)
        yield from codec.columns(data, wanted)

    monkeypatch.setattr(records, "_columns", slow)
    charts = [
        asyncio.create_task(store.records.series(GROUP, "d1", from_us=0, to_us=2 * NOW, max_points=n))
        for n in range(10, 15)
    ]
    try:
        await until(lambda: begun)
        async with asyncio.timeout(5):
            assert await store.tokens.get("nobody") is None
            assert await store.devices.get(GROUP, "d1") is not None
    finally:
        going_on.set()
        found = await asyncio.gather(*charts)
        await store.close()
    assert all([one.points for one in result.series] == [[(NOW, 1)]] for result in found)
