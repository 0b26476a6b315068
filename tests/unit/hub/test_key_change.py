# SPDX-License-Identifier: Apache-2.0
"""A device changes its key on its link."""

from __future__ import annotations

import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.helpers import until
from tests.unit.hub.conftest import MakeHub
from tests.unit.hub.fakes import FakeAgent, FakeNode
from towline.hub.actor import Actor
from towline.hub.hub import Hub
from towline.hub.identity import verify
from towline.protocols.link import keychange
from towline.protocols.link import messages as m
from towline.store.base import Store


def link_of(agent: FakeAgent) -> keychange.LinkName:
    return keychange.LinkName(agent.hub_id, agent.device_id, agent.conn)


async def change(agent: FakeAgent, new: Ed25519PrivateKey) -> m.KeyChanged:
    """Ask for a key; the answer."""
    before = len(agent.got(m.KeyChanged))
    agent.send(m.encode(keychange.ask(link_of(agent), new.public_key().public_bytes_raw(), new.sign)))
    await until(lambda: len(agent.got(m.KeyChanged)) > before, what="answer")
    return agent.got(m.KeyChanged)[-1]


async def stored(store: Store, agent: FakeAgent) -> bytes:
    entry = await store.devices.get(agent.workgroup, agent.device_id)
    assert entry is not None
    return entry.device.public_key


async def test_a_device_changes_its_key(hub: Hub, online: FakeAgent, store: Store, owner: Actor) -> None:
    assert online.welcome is not None
    assert keychange.FEATURE in online.welcome.features
    old, new = online.key, Ed25519PrivateKey.generate()
    for _ in range(2):  # the answer may be lost: the same again is answered the same
        answer = await change(online, new)
        assert answer.code == ""
        keychange.check_answer(link_of(online), answer, online.hub_key, verify)
    assert await stored(store, online) == new.public_key().public_bytes_raw()
    entries = [row for row in (await hub.audit.list(owner)).items if row.action == "device.key_change"]
    assert [row.entity_id for row in entries] == [online.device_id]
    assert json.loads(entries[0].detail).keys() == {"old", "new"}

    online.cut()
    await online.login()
    assert online.refused is not None
    assert online.refused.code == "link.identity"
    online.key = new
    await online.login()
    assert online.welcome is not None
    assert (await change(online, old)).code == ""  # nothing is wrong with going back


async def test_one_change_a_link(online: FakeAgent, store: Store) -> None:
    first = Ed25519PrivateKey.generate()
    assert (await change(online, first)).code == ""
    assert (await change(online, Ed25519PrivateKey.generate())).code == "link.key_change"
    assert await stored(store, online) == first.public_key().public_bytes_raw()


async def test_a_key_that_was_replaced_meanwhile_changes_nothing(online: FakeAgent, store: Store) -> None:
    others, new = bytes(range(32)), Ed25519PrivateKey.generate()
    assert await store.devices.set_key(online.workgroup, online.device_id, online.public_key, others)
    assert (await change(online, new)).code == "link.key_change"
    assert await stored(store, online) == others
    # The ask of a former link was committed after all: asking again is a success.
    raw = new.public_key().public_bytes_raw()
    assert await store.devices.set_key(online.workgroup, online.device_id, others, raw)
    assert (await change(online, new)).code == ""


async def test_another_devices_key_is_refused(hub: Hub, node: FakeNode, online: FakeAgent, owner: Actor) -> None:
    other = FakeAgent(node)
    await other.enrol((await hub.enrolments.create(owner)).line)
    assert (await change(online, other.key)).code == "device.key_exists"


async def test_a_key_that_is_not_held_ends_the_link(online: FakeAgent, store: Store) -> None:
    new = Ed25519PrivateKey.generate()
    online.send(m.encode(keychange.ask(link_of(online), new.public_key().public_bytes_raw(), online.key.sign)))
    await until(lambda: online.closed is not None, what="close")
    assert await stored(store, online) == online.public_key


async def test_a_hub_that_took_the_link_over_asks_for_a_new_sign_in(
    hub: Hub, make_hub: MakeHub, online: FakeAgent, store: Store
) -> None:
    second = await make_hub()
    await hub.close()
    await until(lambda: online.device_id in second.links.devices, what="handed over")
    assert (await change(online, Ed25519PrivateKey.generate())).code == "link.key_change"
    assert await stored(store, online) == online.public_key
