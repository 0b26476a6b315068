# SPDX-License-Identifier: Apache-2.0
"""What holds for durable topics, whoever keeps them."""

from __future__ import annotations

import asyncio

import pytest

from tests.helpers import until
from tests.unit.store.topics.conftest import SPECS, World, spec
from towline.errors import Unavailable
from towline.store.base.topics import OVERHEAD, Delivery, TopicFull, TopicStore

MANY = 1 << 20


async def push(store: TopicStore, topic: str, *texts: str) -> None:
    await asyncio.gather(*[store.push(topic, 7, "15", text.encode()) for text in texts])


async def fetch(store: TopicStore, topic: str, count: int, max_bytes: int = MANY) -> list[Delivery]:
    """Exactly ``count``, in as many calls as it takes."""
    found: list[Delivery] = []
    async with asyncio.timeout(15):
        while len(found) < count:
            found += await store.fetch(topic, count - len(found), max_bytes)
    return found


async def nothing(store: TopicStore, topic: str, seconds: float = 0.1) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await store.fetch(topic, 1, MANY)


def texts(deliveries: list[Delivery]) -> list[str]:
    return [one.data.decode() for one in deliveries]


async def test_messages_come_in_order_with_what_was_pushed(store: TopicStore) -> None:
    await push(store, "a", *map(str, range(300)))
    await push(store, "b", "other")
    found = await fetch(store, "a", 300)
    assert texts(found) == list(map(str, range(300)))
    first = found[0]
    assert (first.topic, first.node, first.client_id, first.deliveries) == ("a", 7, "15", 1)
    await nothing(store, "a")
    assert texts(await fetch(store, "b", 1)) == ["other"]


async def test_a_push_says_how_many_there_are(store: TopicStore) -> None:
    assert [await store.push("a", 1, "", b"x") for _ in range(3)] == [1, 2, 3]
    assert store.depth("a") == (3, 3 * (1 + OVERHEAD))
    await store.ack(await fetch(store, "a", 2))
    assert store.depth("a") == (1, 1 + OVERHEAD)
    assert store.depth("b") == (0, 0)


async def test_a_fetch_waits_for_a_push(store: TopicStore) -> None:
    waiting = asyncio.ensure_future(store.fetch("a", 10, MANY))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await push(store, "a", "now")
    assert texts(await asyncio.wait_for(waiting, 5)) == ["now"]


async def test_a_fetch_is_bounded_by_bytes(store: TopicStore) -> None:
    await push(store, "a", *["x" * 1000 for _ in range(10)])
    async with asyncio.timeout(5):
        assert 1 <= len(await store.fetch("a", 10, 2500)) <= 3
        assert len(await store.fetch("a", 10, 1)) == 1


async def test_a_cancelled_fetch_owns_nothing(store: TopicStore) -> None:
    for number in range(5):
        waiting = asyncio.ensure_future(store.fetch("a", 10, MANY))
        await asyncio.sleep(0.01 * number)
        pushed = asyncio.ensure_future(store.push("a", 1, "", str(number).encode()))
        if number % 2:
            await pushed
        waiting.cancel()
        _, found = await asyncio.gather(pushed, waiting, return_exceptions=True)
        if isinstance(found, list):  # it was done before
            store.release(found)
    assert sorted(texts(await fetch(store, "a", 5))) == list("01234")


async def test_what_is_acked_is_gone_and_the_rest_comes_again(world: World) -> None:
    store = await world.open()
    await push(store, "a", *map(str, range(10)))
    found = await fetch(store, "a", 10)
    await store.ack(found[::2])
    store.release(found[1::2])
    await store.close()
    store = await world.open()
    assert store.depth("a").messages == 5
    again = await fetch(store, "a", 5)
    assert texts(again) == ["1", "3", "5", "7", "9"]
    assert {one.deliveries for one in again} == {2}
    await store.ack(again)
    await nothing(store, "a")
    assert store.depth("a") == (0, 0)


async def test_what_is_released_passes_newer_ones(store: TopicStore) -> None:
    await push(store, "a", *map(str, range(6)))
    found = await fetch(store, "a", 3)
    store.release([found[0], found[2]])
    again = await fetch(store, "a", 5)
    assert sorted(texts(again[:2])) == ["0", "2"]
    assert texts(again[2:]) == ["3", "4", "5"]
    assert [one.deliveries for one in again] == [2, 2, 1, 1, 1]


async def test_what_is_released_with_a_delay_comes_later(store: TopicStore) -> None:
    await push(store, "a", "0", "1")
    found = await fetch(store, "a", 1)
    began = asyncio.get_running_loop().time()
    store.release(found, 0.5)
    assert texts(await fetch(store, "a", 1)) == ["1"]
    assert texts(await fetch(store, "a", 1)) == ["0"]
    assert asyncio.get_running_loop().time() - began > 0.4


async def test_a_full_topic_takes_no_more(store: TopicStore) -> None:
    await push(store, "small", "1", "2", "3")
    with pytest.raises(TopicFull) as refused:
        await store.push("small", 1, "", b"4")
    assert refused.value.code == "queue.full"
    assert "'small' holds 3 messages" in refused.value.message
    found = await fetch(store, "small", 3)
    with pytest.raises(TopicFull):
        await store.push("small", 1, "", b"4")
    await store.ack(found[:1])
    await store.push("small", 1, "", b"4")
    assert texts(await fetch(store, "small", 1)) == ["4"]


async def test_bytes_are_bounded(store: TopicStore) -> None:
    pushed = 0
    with pytest.raises(TopicFull) as refused:
        for _ in range(70):
            await store.push("bytes", 1, "", b"x" * 1000)
            pushed += 1
    assert refused.value.code == "queue.bytes"
    assert 45 <= pushed <= 60
    with pytest.raises(TopicFull):
        await asyncio.gather(*[store.push("bytes", 1, "", b"x" * 1000) for _ in range(10)])


async def test_a_buried_message_is_in_the_other_topic(world: World) -> None:
    store = await world.open()
    await push(store, "a", "good", "bad")
    good, bad = await fetch(store, "a", 2)
    await store.bury(bad, "b", b"dead")
    await store.ack([good])
    await store.close()
    store = await world.open()
    assert (store.depth("a").messages, store.depth("b").messages) == (0, 1)
    (dead,) = await fetch(store, "b", 1)
    assert (dead.data, dead.node, dead.client_id, dead.deliveries) == (b"dead", 7, "15", 1)
    await nothing(store, "a")


async def test_a_full_dead_letter_topic_changes_nothing(store: TopicStore) -> None:
    await push(store, "small", "1", "2", "3")
    await push(store, "a", "bad")
    found = await fetch(store, "a", 1)
    with pytest.raises(TopicFull):
        await store.bury(found[0], "small", b"dead")
    store.release(found)
    again = await fetch(store, "a", 1)
    assert (again[0].data, again[0].deliveries) == (b"bad", 2)


async def test_what_was_owned_when_the_process_ended_comes_again(world: World) -> None:
    store = await world.open([spec("a", ack_s=0.5)])
    await push(store, "a", "0", "1")
    await fetch(store, "a", 1)
    await store.close()
    store = await world.open([spec("a", ack_s=0.5)])
    found = await fetch(store, "a", 2)
    assert sorted(texts(found)) == ["0", "1"]
    assert {one.data: one.deliveries for one in found} == {b"0": 2, b"1": 1}


async def test_after_close_everything_is_refused(world: World) -> None:
    store = await world.open()
    await push(store, "a", "0", "1")
    found = await fetch(store, "a", 1)
    waiting = asyncio.ensure_future(store.fetch("b", 1, MANY))
    await asyncio.sleep(0)
    await store.close()
    for call in (
        lambda: store.push("a", 1, "", b"x"),
        lambda: store.ack(found),
        lambda: store.fetch("a", 1, MANY),
        lambda: store.bury(found[0], "b", b"x"),
    ):
        with pytest.raises(Unavailable) as refused:
            await asyncio.wait_for(call(), 5)
        assert refused.value.code == "store.closed"
    with pytest.raises(Unavailable):
        await asyncio.wait_for(waiting, 5)
    store.release(found)
    store.extend(found)
    await store.close()


async def test_unknown_topics_are_the_callers_fault(store: TopicStore) -> None:
    with pytest.raises(KeyError):
        await store.push("other", 1, "", b"x")


async def test_many_pushes_and_fetches_at_once(store: TopicStore) -> None:
    heard: list[str] = []

    async def work() -> None:
        while True:
            found = await store.fetch("a", 50, MANY)
            heard.extend(texts(found))
            await store.ack(found)

    worker = asyncio.ensure_future(work())

    async def client(name: int) -> None:
        for number in range(50):
            await store.push("a", 1, str(name), f"{name} {number}".encode())

    await asyncio.gather(*[client(name) for name in range(10)])
    await until(lambda: len(heard) == 500)
    worker.cancel()
    for name in range(10):
        assert [one for one in heard if one.startswith(f"{name} ")] == [f"{name} {number}" for number in range(50)]
    await until(lambda: store.depth("a") == (0, 0))


async def test_limits_may_change_between_two_openings(world: World) -> None:
    store = await world.open([*SPECS, spec("more")])
    await push(store, "more", *map(str, range(5)))
    await store.close()
    store = await world.open([spec("more", max_messages=2)])
    with pytest.raises(TopicFull):
        await store.push("more", 1, "", b"x")
    assert texts(await fetch(store, "more", 5)) == list("01234")
