# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import uuid

import pytest

from tests.helpers import until
from tests.unit.hub.conftest import MakeHub, only
from tests.unit.hub.fakes import FakeAgent
from towline.errors import Conflict, InvalidInput, NotFound, Refused
from towline.hub.actor import Actor
from towline.hub.hub import Hub
from towline.protocols.link import messages as m
from towline.store.base import Store


async def test_a_credential_is_made_read_and_revoked(hub: Hub, owner: Actor, store: Store) -> None:
    made = await hub.plugins.create_credential(owner, "hello")
    assert uuid.UUID(made.app_guid).version == 4
    assert len(made.access_key) == 40
    assert made.access_key.isalnum()
    row = await store.plugins.credential("main", made.app_guid)
    assert row is not None
    assert made.access_key.encode() not in row.sealed_key
    assert await hub.plugins.get_credential(owner, made.app_guid.upper()) == made
    [listed] = await hub.plugins.list_credentials(only(owner, "read"))
    assert (listed.name, listed.access_key) == ("hello", "")
    await hub.plugins.revoke_credential(owner, made.app_guid)
    with pytest.raises(NotFound):
        await hub.plugins.get_credential(owner, made.app_guid)
    assert await hub.plugins.list_credentials(owner) == []
    actions = [one.action for one in (await hub.audit.list(owner)).items]
    assert actions == ["plugin.revoke", "plugin.read_key", "plugin.create"]


async def test_an_own_guid(hub: Hub, owner: Actor) -> None:
    guid = "A8E873A1-E5DF-43A2-928A-745FF9C94DFB"
    assert (await hub.plugins.create_credential(owner, "hello", guid)).app_guid == guid.lower()
    with pytest.raises(Conflict) as taken:
        await hub.plugins.create_credential(owner, "hello", guid)
    assert taken.value.code == "plugin.exists"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"app_guid": "no"}, "plugin.bad_guid"),
        ({"app_guid": "a8e873a1-e5df-13a2-928a-745ff9c94dfb"}, "plugin.bad_guid"),
        ({"platform": "a b"}, "plugin.bad_word"),
        ({"architecture": ""}, "plugin.bad_word"),
    ],
)
async def test_rules(hub: Hub, owner: Actor, more: dict[str, str], code: str) -> None:
    with pytest.raises(InvalidInput) as bad:
        await hub.plugins.create_credential(owner, "hello", **more)
    assert bad.value.code == code


async def test_readers_get_no_key(hub: Hub, owner: Actor) -> None:
    made = await hub.plugins.create_credential(owner, "hello")
    for use in (hub.plugins.get_credential, hub.plugins.revoke_credential):
        with pytest.raises(Refused):
            await use(only(owner, "read", "control_devices"), made.app_guid)


async def test_an_agent_asks_for_a_key(hub: Hub, owner: Actor, online: FakeAgent) -> None:
    made = await hub.plugins.create_credential(owner, "hello")
    online.send(m.encode(m.PluginKeyAsk(app_guid=made.app_guid)))
    key = await online.wait(m.PluginKey)
    assert (key.app_guid, key.access_key, key.app_name) == (made.app_guid, made.access_key, "hello")
    online.send(m.encode(m.PluginKeyAsk(app_guid="00000000-0000-4000-8000-000000000000")))
    assert (await online.wait(m.PluginKey, 2)).access_key is None


async def test_revocation_reaches_live_agents_of_the_workgroup(
    hub: Hub, owner: Actor, online: FakeAgent, make_hub: MakeHub
) -> None:
    made = await hub.plugins.create_credential(owner, "hello")
    other = await make_hub()
    await other.plugins.revoke_credential(owner, made.app_guid)
    assert (await online.wait(m.PluginKeyRevoked)).app_guid == made.app_guid
    online.send(m.encode(m.PluginKeyAsk(app_guid=made.app_guid)))
    assert (await online.wait(m.PluginKey)).access_key is None


async def test_assignment_preloads(hub: Hub, owner: Actor, online: FakeAgent) -> None:
    made = await hub.plugins.create_credential(owner, "hello")
    await hub.plugins.assign(owner, online.device_id, made.app_guid)
    await hub.plugins.assign(owner, online.device_id, made.app_guid)
    assert (await online.wait(m.PluginKey)).access_key == made.access_key
    await online.login()
    assert (await online.wait(m.PluginKey)).access_key == made.access_key
    with pytest.raises(NotFound, match="no device"):
        await hub.plugins.assign(owner, "nobody", made.app_guid)
    with pytest.raises(NotFound, match="no plugin"):
        await hub.plugins.assign(owner, online.device_id, "nothing")


async def test_a_flood_of_asks_is_bounded(hub: Hub, online: FakeAgent) -> None:
    for _ in range(200):
        online.send(m.encode(m.PluginKeyAsk(app_guid="00000000-0000-4000-8000-000000000000")))
    await until(lambda: hub.counters().get("plugins.asks_dropped"))


async def test_plugins_of_an_unknown_device(hub: Hub, owner: Actor) -> None:
    with pytest.raises(NotFound, match="no device"):
        await hub.plugins.of_device(owner, "nobody")
