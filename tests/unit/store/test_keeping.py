# SPDX-License-Identifier: Apache-2.0
"""Plugins' credentials, settings, the audit log, leases."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.store.support import GROUP, NOW, SECOND, send
from towline.errors import Conflict, NotFound, Unavailable
from towline.protocols.link.items import Declared, PluginPresence
from towline.store.base import Store
from towline.store.rows import SYSTEM, AuditEntry, PluginCredential


def credential(guid: str = "guid", name: str = "hello", key: bytes = b"sealed") -> PluginCredential:
    return PluginCredential(
        workgroup=GROUP,
        app_guid=guid,
        name=name,
        platform="linux",
        architecture="x86_64",
        sealed_key=key,
        created_us=NOW,
        created_by="ada",
    )


async def test_credentials(store: Store) -> None:
    made = await store.plugins.create_credential(credential())
    assert made == credential()
    await store.plugins.create_credential(credential("g2", "abc"))
    assert [one.name for one in await store.plugins.credentials(GROUP)] == ["abc", "hello"]
    assert await store.plugins.credential("other", "guid") is None
    with pytest.raises(Conflict) as error:
        await store.plugins.create_credential(credential())
    assert error.value.code == "plugin.exists"
    assert await store.plugins.revoke_credential(GROUP, "guid", NOW + 1)
    assert not await store.plugins.revoke_credential(GROUP, "guid", NOW + 1)
    revoked = await store.plugins.credential(GROUP, "guid")
    assert revoked is not None
    assert revoked.revoked_us == NOW + 1
    assert [one.name for one in await store.plugins.credentials(GROUP)] == ["abc"]
    assert (await store.plugins.create_credential(credential(key=b"new"))).revoked_us is None
    with pytest.raises(NotFound):
        await store.plugins.revoke_credential(GROUP, "g9", NOW)


async def test_devices_of_a_plugin(store: Store) -> None:
    await store.plugins.create_credential(credential())
    for device in ("d1", "d2"):
        await send(store, 1, [Declared("guid", "hello", "1", "Hello", b"{}", NOW)], device=device)
    await send(store, 2, [PluginPresence("g2", "aaa", True, "registered", NOW)])
    assert await store.plugins.devices_with(GROUP, "guid") == ["d1", "d2"]
    found = await store.plugins.credential(GROUP, "guid")
    assert found is not None
    assert found.devices == 2
    assert [(one.app_guid, one.declaration is None) for one in await store.plugins.of_device(GROUP, "d1")] == [
        ("g2", True),
        ("guid", False),
    ]


async def test_settings_change_by_compare_and_set(store: Store) -> None:
    first = await store.settings.put(GROUP, "a.b", b"1", NOW, expected=0, by="ada")
    assert (first.version, first.updated_by) == (1, "ada")
    assert (await store.settings.put(GROUP, "a.b", b"2", NOW)).version == 2
    answers = await asyncio.gather(
        *[store.settings.put(GROUP, "a.b", b"%d" % n, NOW, expected=2) for n in range(4)], return_exceptions=True
    )
    assert sum(isinstance(answer, Conflict) for answer in answers) == 3
    with pytest.raises(Conflict):
        await store.settings.put(GROUP, "a.b", b"x", NOW, expected=0)
    await store.settings.put(GROUP, "a_c", b"", NOW)
    await store.settings.put(SYSTEM, "a.b", b"other", NOW)
    assert [one.key for one in await store.settings.list(GROUP, "a.")] == ["a.b"]
    assert [one.key for one in await store.settings.list(GROUP)] == ["a.b", "a_c"]
    with pytest.raises(Conflict):
        await store.settings.delete(GROUP, "a.b", expected=1)
    assert await store.settings.delete(GROUP, "a.b", expected=3)
    assert not await store.settings.delete(GROUP, "a.b")
    assert await store.settings.get(GROUP, "a.b") is None
    found = await store.settings.get(SYSTEM, "a.b")
    assert found is not None
    assert found.value == b"other"


async def test_the_audit_log_is_read_by_pages(store: Store) -> None:
    def entry(n: int, workgroup: str = GROUP) -> AuditEntry:
        return AuditEntry(
            workgroup=workgroup,
            time_us=NOW + n,
            user_id="u1",
            user_name="ada",
            action="rename",
            entity="device" if n % 2 else "user",
            entity_id=f"d{n}",
            detail='{"old":"x"}',
            address="::1",
        )

    ids = [(await store.audit.append(entry(n))).id for n in range(5)]
    await store.audit.append(entry(9, "other"))
    assert ids == sorted(set(ids))
    page = await store.audit.list(GROUP, limit=2)
    assert [one.entity_id for one in page] == ["d4", "d3"]
    rest = await store.audit.list(GROUP, before=page[-1].id)
    assert [one.entity_id for one in rest] == ["d2", "d1", "d0"]
    assert [one.entity_id for one in await store.audit.list(GROUP, entity="device")] == ["d3", "d1"]
    assert [one.time_us for one in await store.audit.list(GROUP, entity="device", entity_id="d1")] == [NOW + 1]


async def test_a_lease_has_one_holder(store: Store) -> None:
    answers = await asyncio.gather(*[store.leases.take("sweep", f"hub{n}", 100, NOW) for n in range(5)])
    assert sum(answers) == 1
    lease = await store.leases.get("sweep")
    assert lease is not None
    assert await store.leases.take("sweep", lease.owner, 100, NOW + 50)
    assert not await store.leases.take("sweep", "late", 100, NOW + 149)
    assert not await store.leases.release("sweep", "late")
    assert await store.leases.take("sweep", "late", 100, NOW + 150)
    assert await store.leases.release("sweep", "late")
    assert await store.leases.get("sweep") is None
    assert await store.leases.take("else", "a", 1, NOW)


async def test_a_closed_store_says_so(store: Store) -> None:
    await store.close()
    await store.close()
    for call in (store.devices.counts(GROUP), store.settings.put(GROUP, "k", b"", NOW), send(store, 1)):
        with pytest.raises(Unavailable) as error:
            await call
        assert error.value.code == "store.closed"


async def test_a_lease_from_before_the_clock_was_set_back_is_void(store: Store) -> None:
    assert await store.leases.take("sweep", "dead", 15 * SECOND, NOW + 3600 * SECOND)
    assert await store.leases.take("sweep", "living", 15 * SECOND, NOW)
    # Another hub's clock that is a little ahead changes nothing.
    assert await store.leases.take("other", "ahead", 15 * SECOND, NOW + 30 * SECOND)
    assert not await store.leases.take("other", "living", 15 * SECOND, NOW)
