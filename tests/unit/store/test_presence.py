# SPDX-License-Identifier: Apache-2.0
"""Presence: the newest connection counts, and only its own end ends it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.store.support import GROUP, NOW
from towline.errors import Refused
from towline.store.base import Store
from towline.store.rows import Presence, RosterEntry


async def now(store: Store, device: str = "d1") -> tuple[str, str, str]:
    presence = await store.presence.get(GROUP, device)
    assert presence is not None
    return presence.state, presence.cause, presence.conn


def entry(conn: str, counter: int, device: str = "d1", workgroup: str = GROUP) -> RosterEntry:
    return RosterEntry(workgroup=workgroup, device_id=device, conn=conn, counter=counter, since_us=NOW - 5)


async def test_a_connection_comes_and_goes(store: Store) -> None:
    came = await store.presence.connected(GROUP, "d1", "c1", "n1", NOW, "10.0.0.9")
    assert came.before.state == "never"
    assert came.replaced is None
    assert came.presence == Presence(
        workgroup=GROUP,
        device_id="d1",
        state="online",
        since_us=NOW,
        cause="connected",
        detail="10.0.0.9",
        conn="c1",
        node="n1",
        counter=1,
    )
    gone = await store.presence.disconnected(GROUP, "d1", "c1", "silent", NOW + 9)
    assert gone is not None
    assert (gone.state, gone.cause, gone.since_us, gone.conn, gone.counter) == ("offline", "silent", NOW + 9, "", 1)
    assert await store.presence.disconnected(GROUP, "d1", "c1", "silent", NOW + 10) is None


async def test_the_newer_connection_replaces_and_the_older_one_cannot_end_it(store: Store) -> None:
    await store.presence.connected(GROUP, "d1", "c1", "n1", NOW)
    second = await store.presence.connected(GROUP, "d1", "c2", "n2", NOW + 1)
    assert (second.replaced, second.replaced_node, second.presence.counter) == ("c1", "n1", 2)
    assert await store.presence.disconnected(GROUP, "d1", "c1", "replaced", NOW + 2) is None
    assert await now(store) == ("online", "replaced", "c2")


async def test_connections_at_once_get_counters_of_their_own(store: Store) -> None:
    answers = await asyncio.gather(*[store.presence.connected(GROUP, "d1", f"c{n}", "n", NOW) for n in range(10)])
    assert sorted(answer.presence.counter for answer in answers) == list(range(1, 11))
    newest = max(answers, key=lambda answer: answer.presence.counter)
    assert (await now(store))[2] == newest.presence.conn


async def test_a_revoked_device_is_refused(store: Store) -> None:
    await store.devices.revoke(GROUP, "d1", NOW)
    with pytest.raises(Refused) as error:
        await store.presence.connected(GROUP, "d1", "c1", "n1", NOW)
    assert error.value.code == "device.revoked"
    assert (await now(store))[0] == "never"


async def test_a_dead_node_takes_its_devices_of_all_workgroups(store: Store) -> None:
    await store.presence.connected(GROUP, "d1", "c1", "n1", NOW)
    await store.presence.connected("other", "d1", "c2", "n1", NOW)
    await store.presence.connected(GROUP, "d2", "c3", "n2", NOW)
    assert len(await store.presence.on_node("n1")) == 2
    gone = await store.presence.node_died("n1", "node_died", NOW + 5)
    assert {(one.workgroup, one.device_id, one.state, one.cause) for one in gone} == {
        (GROUP, "d1", "offline", "node_died"),
        ("other", "d1", "offline", "node_died"),
    }
    assert await store.presence.node_died("n1", "node_died", NOW + 6) == []
    assert await now(store, "d2") == ("online", "connected", "c3")


async def test_after_a_restart_rosters_decide(store: Store) -> None:
    await store.presence.connected(GROUP, "d1", "c1", "n1", NOW)
    await store.presence.connected(GROUP, "d2", "c2", "n1", NOW)
    assert await store.presence.verifying_all(NOW + 10) == 2
    assert await now(store) == ("verifying", "hub_restarted", "c1")
    assert (await store.devices.counts(GROUP)).online == 2
    answer = await store.presence.confirm("n1", [entry("c1", 1), entry("cx", 1, "nobody")], NOW + 11)
    assert [(one.device_id, one.state, one.since_us) for one in answer.online] == [("d1", "online", NOW - 5)]
    assert [one.conn for one in answer.stale] == ["cx"]
    assert [one.conn for one in answer.current] == ["c1"]
    gone = await store.presence.expire_verifying("not_seen", NOW + 20)
    assert [(one.device_id, one.state, one.cause) for one in gone] == [("d2", "offline", "not_seen")]
    # Its link's end, told late, is no news; its roster, told late, is.
    late = await store.presence.confirm("n1", [entry("c2", 1, "d2")], NOW + 30)
    assert [(one.device_id, one.cause) for one in late.online] == [("d2", "seen_again")]


async def test_who_comes_back_after_a_restart_replaced_nobody(store: Store) -> None:
    """The links of a server that was killed died with it; to call the new one a replacement would frighten operators."""
    await store.presence.connected(GROUP, "d1", "c1", "n1", NOW)
    await store.presence.verifying_all(NOW + 10)
    back = await store.presence.connected(GROUP, "d1", "c2", "n2", NOW + 12)
    assert (back.replaced, back.presence.cause) == ("c1", "connected")


async def test_the_end_of_what_was_given_up_is_no_news(store: Store) -> None:
    await store.presence.connected(GROUP, "d1", "c1", "n1", NOW)
    await store.presence.verifying_all(NOW)
    await store.presence.expire_verifying("not_seen", NOW + 8)
    assert await store.presence.disconnected(GROUP, "d1", "c1", "silent", NOW + 9) is None
    assert await now(store) == ("offline", "not_seen", "")
    again = await store.presence.connected(GROUP, "d1", "c2", "n1", NOW + 10)
    assert (again.replaced, again.presence.cause) == (None, "connected")


async def test_verifying_can_be_for_some_nodes(store: Store) -> None:
    await store.presence.connected(GROUP, "d1", "c1", "n1", NOW)
    await store.presence.connected(GROUP, "d2", "c2", "n2", NOW)
    assert await store.presence.verifying_all(NOW, ["n2"]) == 1
    assert (await now(store))[0] == "online"


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        (entry("c2", 2), "current"),
        (entry("c1", 1), "stale"),
        (entry("c9", 2), "stale"),
        (entry("c9", 3), "current"),
    ],
)
async def test_rosters_of_other_times(store: Store, told: RosterEntry, verdict: str) -> None:
    await store.presence.connected(GROUP, "d1", "c1", "n1", NOW)
    await store.presence.connected(GROUP, "d1", "c2", "n1", NOW)
    answer = await store.presence.confirm("n1", [told], NOW)
    assert getattr(answer, verdict) == [told]
    assert (await now(store))[2] == ("c9" if told.counter == 3 else "c2")
    assert len(answer.online) == (1 if told.counter == 3 else 0)


steps = st.lists(
    st.tuples(st.sampled_from(["connect", "end", "die", "verify", "expire"]), st.integers(0, 3)), max_size=15
)


@given(steps)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_online_means_that_the_newest_connection_has_not_ended(
    store: Store, history: list[tuple[str, int]]
) -> None:
    before = await store.presence.get(GROUP, "d1")
    assert before is not None
    await store.presence.disconnected(GROUP, "d1", before.conn, "reset", NOW)
    current: str | None = None
    verifying = False
    counter = before.counter
    for n, (what, which) in enumerate(history):
        conn = f"{counter}/{which}"
        match what:
            case "connect":
                current, verifying = f"{n} {conn}", False
                got = await store.presence.connected(GROUP, "d1", current, f"n{which}", NOW)
                counter += 1
                assert got.presence.counter == counter
            case "end":
                target = current if which else "somebody else"
                await store.presence.disconnected(GROUP, "d1", target or "nothing", "closed", NOW)
                current = None if which else current
            case "die":
                row = await store.presence.get(GROUP, "d1")
                assert row is not None
                hit = row.node == f"n{which}" and row.state != "offline"
                assert bool(await store.presence.node_died(f"n{which}", "node_died", NOW)) == hit
                current = None if hit else current
            case "verify":
                verifying = current is not None
                await store.presence.verifying_all(NOW)
            case _:
                await store.presence.expire_verifying("not_seen", NOW)
                current = None if verifying else current
                verifying = False
        state = (await now(store))[0]
        if current is None:
            assert state in ("offline", "never")
        else:
            assert state == ("verifying" if verifying else "online")
