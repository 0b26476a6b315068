# SPDX-License-Identifier: Apache-2.0
"""kill -9: what was acknowledged is there, and nothing is there twice."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest

from tests.unit.store.support import GROUP, NOW, device_key, metric, send
from towline.clock import SystemClock
from towline.store.rows import Facts
from towline.store.sqlite import open_store

DEVICES = 4


async def write_for_ever(path: Path) -> None:
    """Runs in the child: every device sends batch after batch and prints each acknowledged one."""
    store = await open_store(path, SystemClock())

    async def device(n: int) -> None:
        sequences = await store.records.lane_sequences(GROUP, f"d{n}", "spool")
        seq = sequences.live
        print("found", n, seq, flush=True)
        while True:
            seq += 1
            stored = await send(store, seq, [metric(seq * 10 + i, a=seq * 10 + i) for i in range(3)], device=f"d{n}")
            assert not stored.duplicate
            print("acked", n, seq, flush=True)

    await asyncio.gather(*[device(n) for n in range(DEVICES)])


@pytest.mark.parametrize("seed", range(3))
async def test_a_killed_writer_keeps_its_word(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    path = tmp_path / "towline.db"
    store = await open_store(path, SystemClock())
    await store.workgroups.create(GROUP, "The plant", NOW)
    for n in range(DEVICES):
        await store.devices.create(GROUP, f"d{n}", f"d{n}", device_key(n), Facts(), NOW)
    await store.close()
    acked = [0] * DEVICES
    for _ in range(2):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, str(path), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[4]
        )
        assert child.stdout is not None
        lines = chance.randrange(20, 300)
        for _ in range(lines):
            word, device, last = (await child.stdout.readline()).split()
            if word == b"found":
                assert int(last) >= acked[int(device)]
            acked[int(device)] = int(last)
        child.kill()
        # The last line may have been cut by the kill.
        for line in (await child.stdout.read()).split(b"\n")[:-1]:
            word, device, last = line.split()
            if word == b"acked":
                acked[int(device)] = int(last)
        await child.wait()
    store = await open_store(path, SystemClock())
    try:
        for n in range(DEVICES):
            stored = (await store.records.lane_sequences(GROUP, f"d{n}", "spool")).live
            # One batch may have been committed without its acknowledgement getting out.
            assert acked[n] <= stored <= acked[n] + 1
            found = await store.records.series(GROUP, f"d{n}", from_us=0, to_us=2**60, max_points=10**6)
            expected = [seq * 10 + i for seq in range(1, stored + 1) for i in range(3)]
            assert [value for series in found.series for _, value in series.points] == expected
            assert await store.records.gaps(GROUP, f"d{n}") == []
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(write_for_ever(Path(sys.argv[1])))
