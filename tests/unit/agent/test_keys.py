# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.helpers import until
from tests.unit.agent.fakes import GUID, KEY, opened
from towline.agent import keys as module
from towline.agent.keys import Keys
from towline.clock import ManualClock
from towline.errors import Unavailable
from towline.protocols.link.frames import Priority, decode_frame
from towline.protocols.link.messages import PluginKey, PluginKeyAsk, PluginKeyRevoked, expect


class Wire:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.full = False

    def send(self, frame: bytes, priority: Priority) -> bool:
        if not self.full:
            self.asked.append(expect(decode_frame(frame), PluginKeyAsk).app_guid)
        return not self.full


@contextlib.asynccontextmanager
async def world(path: Path | None = None) -> AsyncIterator[tuple[Keys, Wire, ManualClock]]:
    clock, wire = ManualClock(), Wire()
    async with opened(path) as database:
        keys = Keys(database, clock)
        await keys.open()
        yield keys, wire, clock


async def test_the_hub_is_asked_once_for_all_who_wait() -> None:
    async with world() as (keys, wire, _):
        keys.link_up(wire.send)
        waiting = [asyncio.create_task(keys.get(GUID)) for _ in range(5)]
        await until(lambda: wire.asked, what="ask")
        await keys.on_key(PluginKey(app_guid=GUID.upper(), access_key=KEY))
        assert await asyncio.gather(*waiting) == [KEY] * 5
        assert wire.asked == [GUID]
        assert await keys.get(GUID) == KEY


async def test_a_miss_is_remembered_for_a_minute() -> None:
    async with world() as (keys, wire, clock):
        keys.link_up(wire.send)
        first = asyncio.create_task(keys.get(GUID))
        await until(lambda: wire.asked, what="ask")
        await keys.on_key(PluginKey(app_guid=GUID))
        assert await first is None
        assert await keys.get(GUID) is None
        assert len(wire.asked) == 1
        clock.advance(61)
        again = asyncio.create_task(keys.get(GUID))
        await until(lambda: len(wire.asked) == 2, what="second ask")
        await keys.on_key(PluginKey(app_guid=GUID, access_key=KEY))
        assert await again == KEY


async def test_without_a_link_an_unknown_key_is_a_matter_for_later(tmp_path: Path) -> None:
    async with world(tmp_path / "db") as (keys, wire, _):
        with pytest.raises(Unavailable) as caught:
            await keys.get(GUID)
        assert caught.value.code == "agent.key_unknown"
        keys.link_up(wire.send)
        asked = asyncio.create_task(keys.get(GUID))
        await until(lambda: wire.asked, what="ask")
        keys.link_down()
        with pytest.raises(Unavailable):
            await asked
        wire.full = True
        keys.link_up(wire.send)
        with pytest.raises(Unavailable):
            await keys.get(GUID)
        await keys.on_key(PluginKey(app_guid=GUID, access_key=KEY, app_name="hello"))
    async with world(tmp_path / "db") as (keys, _, _clock):
        assert await keys.get(GUID) == KEY


async def test_a_hub_that_does_not_answer_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.01)
    async with world() as (keys, wire, _):
        keys.link_up(wire.send)
        with pytest.raises(Unavailable, match="did not say"):
            await keys.get(GUID)


async def test_inventing_plugins_does_not_flood_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.0)
    async with world() as (keys, wire, clock):
        keys.link_up(wire.send)
        for number in range(200):
            with pytest.raises(Unavailable):
                await keys.get(f"guid-{number}")
        assert len(wire.asked) == module.ASKS_A_MINUTE
        assert keys.counters["held_back"] == 200 - module.ASKS_A_MINUTE
        clock.advance(61)
        with pytest.raises(Unavailable):
            await keys.get("guid-later")
        assert len(wire.asked) == module.ASKS_A_MINUTE + 1


async def test_a_revoked_key_is_gone_everywhere(tmp_path: Path) -> None:
    async with world(tmp_path / "db") as (keys, _, _clock):
        revoked: list[str] = []
        keys.on_revoked = revoked.append
        await keys.on_key(PluginKey(app_guid=GUID, access_key=KEY))
        await keys.on_revoked_message(PluginKeyRevoked(app_guid=GUID))
        assert revoked == [GUID]
        assert await keys.get(GUID) is None
    async with world(tmp_path / "db") as (keys, _, _clock):
        assert keys.known(GUID) is None


async def test_a_changed_key_ends_what_the_old_one_opened() -> None:
    async with world() as (keys, _, _clock):
        revoked: list[str] = []
        keys.on_revoked = revoked.append
        await keys.on_key(PluginKey(app_guid=GUID, access_key=KEY))
        await keys.on_key(PluginKey(app_guid=GUID, access_key=KEY))
        assert revoked == []
        await keys.on_key(PluginKey(app_guid=GUID, access_key="another"))
        assert revoked == [GUID]


async def test_the_agents_own_plugins_need_no_hub() -> None:
    async with world() as (keys, _, _clock):
        keys.add_local(GUID.upper(), KEY)
        assert await keys.get(GUID) == KEY
