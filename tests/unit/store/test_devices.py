# SPDX-License-Identifier: Apache-2.0
"""Workgroups and devices."""

from __future__ import annotations

import asyncio
import base64

import pytest

from tests.unit.store.support import GROUP, NOW, command, device_key, send
from towline.errors import Conflict, InvalidInput, NotFound, TowlineError
from towline.protocols.link.items import Declared
from towline.store.base import Store
from towline.store.rows import DeviceCounts, Facts


async def test_workgroups(store: Store) -> None:
    assert [one.id for one in await store.workgroups.list()] == [GROUP, "other"]
    found = await store.workgroups.get(GROUP)
    assert found is not None
    assert found.name == "The plant"
    assert await store.workgroups.get("nobody") is None
    with pytest.raises(Conflict, match="already"):
        await store.workgroups.create(GROUP, "Again", NOW)
    for bad in ("", "A", "x" * 33, "a_b"):
        with pytest.raises(InvalidInput):
            await store.workgroups.create(bad, "x", NOW)


async def test_a_device_begins_in_the_default_group_and_was_never_seen(store: Store) -> None:
    entry = await store.devices.get(GROUP, "d1")
    assert entry is not None
    assert (entry.device.group, entry.device.public_key, entry.device.flags) == ("default", device_key(0), ())
    assert (entry.presence.state, entry.presence.counter) == ("never", 0)
    assert await store.devices.get("nobody", "d1") is None


@pytest.mark.parametrize(
    ("workgroup", "device", "key", "code"),
    [
        (GROUP, "d1", device_key(9), "device.exists"),
        (GROUP, "d9", device_key(0), "device.key_exists"),
        ("nobody", "d9", device_key(9), "workgroup.unknown"),
    ],
)
async def test_what_cannot_be_created(store: Store, workgroup: str, device: str, key: bytes, code: str) -> None:
    with pytest.raises(TowlineError) as error:
        await store.devices.create(workgroup, device, "x", key, Facts(), NOW)
    assert error.value.code == code


async def test_lists_go_by_name_page_by_page(store: Store) -> None:
    for n, name in enumerate(["beta", "Alpha", "alpha", "Ömega", "gamma"], 10):
        await store.devices.create(GROUP, f"id{n}", name, device_key(n), Facts(), NOW)
    names = []
    after = None
    while True:
        page = await store.devices.list(GROUP, limit=2, after=after)
        names += [entry.device.name for entry in page.items]
        after = page.next
        if after is None:
            break
    assert names == ["Alpha", "alpha", "beta", "Device d1", "Device d2", "gamma", "Ömega"]
    for bad in ("x", "", "W10="):
        with pytest.raises(InvalidInput, match="cursor"):
            await store.devices.list(GROUP, after=bad)
    with pytest.raises(InvalidInput):
        await store.devices.list(GROUP, limit=0)


async def test_search_by_words_state_and_group(store: Store) -> None:
    await store.devices.set_facts(GROUP, "d1", Facts(hostname="PRESS-7", address="10.0.0.8", os="Debian 12"))
    await store.presence.connected(GROUP, "d2", "c", "n", NOW)
    await store.devices.set_group(GROUP, "d2", "Straße")

    async def found(**filters: object) -> list[str]:
        page = await store.devices.list(GROUP, **filters)  # type: ignore[arg-type]
        return [entry.device.id for entry in page.items]

    assert await found(search="press debian") == ["d1"]
    assert await found(search="STRASSE") == ["d2"]
    assert await found(search="100%") == []
    assert await found(search="device") == ["d1", "d2"]
    assert await found(state="online") == ["d2"]
    assert await found(state="offline") == ["d1"]
    assert await found(state="never") == ["d1"]
    assert await found(group="default", search="d1") == ["d1"]
    assert await store.devices.counts(GROUP) == DeviceCounts(total=2, online=1)


async def test_changes(store: Store) -> None:
    assert (await store.devices.rename(GROUP, "d1", "Press")).name == "Press"
    assert await store.devices.set_facts(GROUP, "d1", Facts(hostname="h"))
    assert not await store.devices.set_facts(GROUP, "d1", Facts(hostname="h"))
    assert await store.devices.set_flag(GROUP, "d1", "duplicate_key", True)
    assert not await store.devices.set_flag(GROUP, "d1", "duplicate_key", True)
    entry = await store.devices.get(GROUP, "d1")
    assert entry is not None
    assert (entry.device.name, entry.device.facts.hostname, entry.device.flags) == ("Press", "h", ("duplicate_key",))
    assert await store.devices.set_flag(GROUP, "d1", "duplicate_key", False)
    other = await store.devices.get("other", "d1")
    assert other is not None
    assert other.device.name == "Device d1"


async def test_keys_rotate_by_compare_and_set(store: Store) -> None:
    old, new = device_key(0), device_key(50)
    answers = await asyncio.gather(*[store.devices.set_key(GROUP, "d1", old, new) for _ in range(3)])
    assert sorted(answers) == [False, False, True]
    with pytest.raises(Conflict):
        await store.devices.set_key(GROUP, "d1", new, device_key(1))
    assert await store.devices.revoke(GROUP, "d1", NOW)
    assert not await store.devices.revoke(GROUP, "d1", NOW)


async def test_unknown_devices_are_named(store: Store) -> None:
    calls = [
        store.devices.rename(GROUP, "x", "n"),
        store.devices.set_group(GROUP, "x", "n"),
        store.devices.set_facts(GROUP, "x", Facts()),
        store.devices.set_flag(GROUP, "x", "f", True),
        store.devices.set_key(GROUP, "x", b"", b""),
        store.devices.revoke(GROUP, "x", NOW),
        store.devices.delete(GROUP, "x"),
        store.presence.connected(GROUP, "x", "c", "n", NOW),
    ]
    for call in calls:
        with pytest.raises(NotFound) as error:
            await call
        assert error.value.code == "device.unknown"


async def test_deleting_takes_everything_and_the_id_can_come_again(store: Store) -> None:
    await store.ledger.create(GROUP, command())
    await send(store, 3, [Declared("guid", "host", "1", "Host", b"{}", 1)])
    await store.presence.connected(GROUP, "d1", "c7", "n1", NOW)
    assert (await store.devices.delete(GROUP, "d1")).conn == "c7"
    assert await store.devices.get(GROUP, "d1") is None
    assert await store.ledger.get(GROUP, command().id) is None
    await store.devices.create(GROUP, "d1", "Anew", device_key(0), Facts(), NOW)
    assert await store.plugins.of_device(GROUP, "d1") == []
    assert (await store.records.lane_sequences(GROUP, "d1", "spool")).live == 0
    assert not (await send(store, 1)).duplicate


@pytest.mark.parametrize("content", ["5", "null", '["\\ud800", "x"]', "[1, 2]", "[" * 300])
async def test_a_cursor_of_somebody_else_is_refused(store: Store, content: str) -> None:
    after = base64.urlsafe_b64encode(content.encode()).decode()
    with pytest.raises(InvalidInput) as wrong:
        await store.devices.list(GROUP, after=after)
    assert wrong.value.code == "page.bad_cursor"
