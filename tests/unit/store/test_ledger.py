# SPDX-License-Identifier: Apache-2.0
"""The ledger in the database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from tests.unit.store.support import GROUP, NOW, SECOND, command
from towline.errors import Conflict, NotFound
from towline.store.base import Store
from towline.store.rows import CommandRow


async def state(store: Store, n: int = 1) -> str:
    row = await store.ledger.get(GROUP, command(n).id)
    assert row is not None
    return row.state


async def step(store: Store, name: str, n: int = 1, *, result: str | None = None, at: int = NOW) -> tuple[bool, str]:
    outcome = await store.ledger.apply_step(GROUP, "d1", command(n).id, name, at, result, "note", at)
    return outcome.applied, outcome.reason


async def test_a_commands_life(store: Store) -> None:
    created = await store.ledger.create(GROUP, command())
    assert created.created
    assert created.command.state == "queued"
    sent = await store.ledger.mark_sent(GROUP, command().id, NOW + 1)
    assert sent is not None
    for name in ("received", "delivered", "accepted"):
        assert await step(store, name) == (True, "")
    outcome = await store.ledger.apply_step(
        GROUP, "d1", command().id, "acked", NOW + 5, '{"response":"Hello"}', "done", NOW + 6
    )
    assert outcome.applied
    row = await store.ledger.get(GROUP, command().id)
    assert row == outcome.command
    assert row is not None
    assert (row.state, row.result, row.sent_us, row.final_us) == ("acked", '{"response":"Hello"}', NOW + 1, NOW + 6)
    assert [one.step for one in row.steps] == ["queued", "sent", "received", "delivered", "accepted", "acked"]
    assert (row.steps[-1].time_us, row.steps[-1].stored_us, row.steps[-1].note) == (NOW + 5, NOW + 6, "done")


async def test_only_one_may_send(store: Store) -> None:
    await store.ledger.create(GROUP, command())
    answers = await asyncio.gather(*[store.ledger.mark_sent(GROUP, command().id, NOW) for _ in range(8)])
    assert sum(answer is not None for answer in answers) == 1


async def test_sending_and_cancelling_at_once_have_one_winner(store: Store) -> None:
    for n in range(1, 20):
        await store.ledger.create(GROUP, command(n))
        sent, cancelled = await asyncio.gather(
            store.ledger.mark_sent(GROUP, command(n).id, NOW),
            store.ledger.cancel(GROUP, command(n).id, "", NOW),
            return_exceptions=True,
        )
        assert (sent is None) != isinstance(cancelled, Conflict)


async def test_idempotency_keys(store: Store) -> None:
    first = await store.ledger.create(GROUP, command(1, key="k"))
    again = await store.ledger.create(GROUP, command(2, key="k"))
    assert (again.created, again.command.id) == (False, first.command.id)
    with pytest.raises(Conflict) as error:
        await store.ledger.create(GROUP, command(3, key="k", params='[{"name":"x"}]'))
    assert error.value.code == "command.idempotency_mismatch"
    assert (await store.ledger.create(GROUP, command(4, device="d2", key="k"))).created
    at_once = await asyncio.gather(*[store.ledger.create(GROUP, command(n, key="z")) for n in range(10, 15)])
    assert sum(answer.created for answer in at_once) == 1


async def test_what_cannot_be_created(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.ledger.create(GROUP, command(device="nobody"))
    await store.ledger.create(GROUP, command())
    with pytest.raises(Conflict) as error:
        await store.ledger.create(GROUP, command())
    assert error.value.code == "command.exists"


async def test_only_queued_commands_expire_or_are_cancelled(store: Store) -> None:
    await store.ledger.create(GROUP, command(1, life_s=10))
    await store.ledger.create(GROUP, command(2, life_s=10))
    await store.ledger.create(GROUP, command(3, life_s=99))
    await store.ledger.mark_sent(GROUP, command(2).id, NOW)
    assert await store.ledger.mark_sent(GROUP, command(1).id, NOW + 10 * SECOND) is None
    assert await store.ledger.expire_due(NOW + 10 * SECOND - 1) == []
    expired = await store.ledger.expire_due(NOW + 10 * SECOND)
    assert [(row.id, row.state, row.final_us) for row in expired] == [(command(1).id, "expired", NOW + 10 * SECOND)]
    assert expired[0].steps[-1].step == "expired"
    with pytest.raises(Conflict) as error:
        await store.ledger.cancel(GROUP, command(2).id, "", NOW)
    assert error.value.code == "command.not_queued"
    assert (await store.ledger.cancel(GROUP, command(3).id, "by ada", NOW)).state == "cancelled"
    with pytest.raises(NotFound):
        await store.ledger.cancel("other", command(3).id, "", NOW)


async def test_what_was_sent_becomes_unknown_until_the_agent_tells(store: Store) -> None:
    for n in (1, 2):
        await store.ledger.create(GROUP, command(n, life_s=10))
        await store.ledger.mark_sent(GROUP, command(n).id, NOW)
    assert await store.ledger.unknown_due(NOW + 14 * SECOND, 5 * SECOND) == []
    assert len(await store.ledger.unknown_due(NOW + 15 * SECOND, 5 * SECOND)) == 2
    lost = await store.ledger.to_query(GROUP, "d1", NOW)
    assert [row.state for row in lost] == ["unknown", "unknown"]
    assert await step(store, "not_executed", 1, at=NOW + 20 * SECOND) == (True, "")
    assert await step(store, "acked", 2, result="1") == (True, "")
    assert [await state(store, 1), await state(store, 2)] == ["expired", "acked"]
    assert await store.ledger.to_query(GROUP, "d1", NOW) == []


async def test_late_answers_are_kept_apart(store: Store) -> None:
    await store.ledger.create(GROUP, command())
    await store.ledger.mark_sent(GROUP, command().id, NOW)
    await step(store, "delivered")
    await step(store, "timed_out")
    assert await step(store, "acked", result='"late"') == (False, "late")
    assert await step(store, "acked", result='"later"') == (False, "late")
    row = await store.ledger.get(GROUP, command().id)
    assert row is not None
    assert (row.state, row.result, row.late_result) == ("timed_out", None, '"late"')
    assert [(one.step, one.applied) for one in row.steps][-2:] == [("acked", False), ("acked", False)]


async def test_lists_for_a_returning_agent(store: Store) -> None:
    for n in range(1, 6):
        await store.ledger.create(GROUP, command(n, life_s=10 * n))
    for n in (2, 3, 4):
        await store.ledger.mark_sent(GROUP, command(n).id, NOW)
    await step(store, "received", 4)
    await store.ledger.create(GROUP, command(9, device="d2"))

    async def ids(rows: Awaitable[list[CommandRow]]) -> list[int]:
        return [int(row.id, 16) for row in await rows]

    assert await ids(store.ledger.queued(GROUP, "d1", NOW)) == [1, 5]
    assert await ids(store.ledger.queued(GROUP, "d1", NOW + 10 * SECOND)) == [5]
    assert await ids(store.ledger.to_resend(GROUP, "d1", NOW)) == [2, 3]
    assert await ids(store.ledger.to_resend(GROUP, "d1", NOW + 20 * SECOND)) == [3]
    assert await ids(store.ledger.to_query(GROUP, "d1", NOW + 20 * SECOND)) == [2]
    assert await store.ledger.mark_unknown(GROUP, command(4).id, "link lost", NOW) is not None
    assert await store.ledger.mark_unknown(GROUP, command(1).id, "", NOW) is None
    assert await ids(store.ledger.to_query(GROUP, "d1", NOW)) == [4]


async def test_pages_newest_first(store: Store) -> None:
    for n in range(1, 8):
        await store.ledger.create(GROUP, command(n, device="d1" if n % 2 else "d2"))
    first = await store.ledger.list(GROUP, limit=3)
    second = await store.ledger.list(GROUP, limit=3, before=first.next)
    third = await store.ledger.list(GROUP, limit=3, before=second.next)
    assert [int(row.id, 16) for page in (first, second, third) for row in page.items] == [7, 6, 5, 4, 3, 2, 1]
    assert third.next is None
    assert len((await store.ledger.list(GROUP, "d1")).items) == 4
    assert (await store.ledger.list(GROUP, states=["sent"])).items == []
    assert (await store.ledger.list("other")).items == []


async def test_sweeping_takes_the_oldest(store: Store) -> None:
    for n in (1, 2):
        await store.ledger.create(GROUP, command(n))
    assert await store.ledger.sweep(NOW) == 0
    assert await store.ledger.sweep(NOW + 1, limit=1) == 1
    assert [int(row.id, 16) for row in (await store.ledger.list(GROUP)).items] == [2]


async def test_an_agent_that_repeats_itself_fills_no_history(store: Store) -> None:
    await store.ledger.create(GROUP, command())
    await step(store, "accepted")
    for _ in range(100):
        await step(store, "received")
    row = await store.ledger.get(GROUP, command().id)
    assert row is not None
    assert len(row.steps) == 64
