# SPDX-License-Identifier: Apache-2.0
"""Durable topics under any sequence of pushes, consumers, acks, time and crashes, on a real store."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from towline.clock import SystemClock
from towline.errors import StartError
from towline.gateway.durable import DurableTopics, declared
from towline.gateway.queuesettings import QueueSettings, TopicSettings
from towline.store.sqlite.topics import SqliteTopics, open_topics

T = TypeVar("T")

SETTINGS = QueueSettings(topics=(TopicSettings(name="t", ack_s=10, max_unacked=3, max_deliveries=2),))
SPECS, RULES = declared(SETTINGS)


class Taker:
    """A consumer with room for some messages."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.has: dict[str, int] = {}
        """token → number of the message"""
        self.dead: list[dict[str, Any]] = []

    @property
    def ready(self) -> bool:
        return self.room > 0

    def deliver(self, event: bytes) -> None:
        assert self.room > 0
        self.room -= 1
        params = json.loads(event)["p"]
        if isinstance(params["d"], dict):
            self.dead.append(params["d"])
            self.has[params["a"]] = params["d"]["data"]
        else:
            self.has[params["a"]] = params["d"]


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 0.0
        self.pushed = 0
        self.accepted: set[int] = set()
        self.acked: set[int] = set()
        self.deliveries: Counter[int] = Counter()
        self.takers: list[Taker] = []

    def run(self, work: Awaitable[T]) -> T:
        async def within() -> T:
            return await work

        return self.runner.run(within())

    async def _open(self) -> None:
        self.store: SqliteTopics = await open_topics(Path(self.folder.name) / "t.db", SystemClock(), SPECS)
        self.durable = DurableTopics(self.store, RULES, lambda: self.now, lambda: 1)

    async def _settle(self) -> None:
        """Until nothing moves: no task of ours, and pumps that wait for room or for messages."""
        quiet = 0
        while quiet < 2:
            await asyncio.sleep(0.001)
            busy = self.durable.pending or self.durable._tasks or any(map(self._pumping, self.durable._pumps))
            quiet = 0 if busy else quiet + 1

    def _pumping(self, name: str) -> bool:
        if self.durable._wakes[name]._waiters:
            return False
        topic, now = self.store._topics[name], self.store._clock.monotonic()
        return topic.head > topic.cursor or any(at <= now for at, _, _ in topic.released)

    @initialize()
    def start(self) -> None:
        self.run(self._open())

    @rule(count=st.integers(1, 4))
    def push(self, count: int) -> None:
        numbers = range(self.pushed, self.pushed + count)
        self.pushed += count

        async def work() -> None:
            await asyncio.gather(*[self.durable.push("t", b"%d" % number, "15") for number in numbers])

        self.run(work())
        self.accepted.update(numbers)
        self.run(self._settle())

    @rule(room=st.integers(0, 5), limit=st.integers(0, 4))
    @precondition(lambda self: len(self.takers) < 3)
    def join(self, room: int, limit: int) -> None:
        async def work() -> None:
            taker = Taker(room)
            self.takers.append(taker)
            self.durable.pop(taker, ["t"], limit)
            self.durable.ready(taker)
            await self._settle()

        self.run(work())

    @rule(which=st.integers(0, 9), room=st.integers(1, 5))
    @precondition(lambda self: self.takers)
    def read(self, which: int, room: int) -> None:
        async def work() -> None:
            taker = self.takers[which % len(self.takers)]
            taker.room += room
            self.durable.ready(taker)
            await self._settle()

        self.run(work())

    @rule(which=st.integers(0, 9))
    @precondition(lambda self: self.takers)
    def leave(self, which: int) -> None:
        async def work() -> None:
            self.durable.unpop(self.takers.pop(which % len(self.takers)))
            await self._settle()

        self.run(work())

    @rule(which=st.integers(0, 9), count=st.integers(1, 3), late=st.booleans())
    @precondition(lambda self: self.takers)
    def ack(self, which: int, count: int, late: bool) -> None:
        taker = self.takers[which % len(self.takers)]
        mine = list(taker.has)[:count]
        tokens = [*mine, "0"] if late else mine
        answers: list[Any] = []

        async def work() -> None:
            self.durable.ack(taker, tokens, lambda *answer: answers.append(answer))
            acked = [taker.has.pop(token) for token in mine]
            await self._settle()
            self.acked.update(acked)

        self.run(work())
        assert answers == [(len(mine), int(late), None)]

    @rule(which=st.integers(0, 9))
    @precondition(lambda self: any(taker.has for taker in self.takers))
    def nack(self, which: int) -> None:
        async def work() -> None:
            taker = next(one for one in self.takers if one.has)
            token = next(iter(taker.has))
            del taker.has[token]
            assert self.durable.nack(taker, [token], 0.0) == (1, 0)
            await self._settle()

        self.run(work())

    @rule(seconds=st.sampled_from([4.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        async def work() -> None:
            self.now += seconds
            for taker in self.takers:
                held = self.durable._leases.members[taker].leases
                for token in [token for token in taker.has if held[token].deadline <= self.now]:
                    del taker.has[token]
            self.durable.tick()
            await self._settle()

        self.run(work())

    @rule(killed=st.booleans())
    def restart(self, killed: bool) -> None:
        async def work() -> None:
            if killed:
                for pump in self.durable._pumps.values():
                    pump.cancel()
                self.store._owned.clear()  # what was not written
            else:
                await self.durable.close()
            await self.store.close()
            await self._open()

        self.takers.clear()
        self.run(work())

    @invariant()
    def nobody_has_what_others_have(self) -> None:
        had = [number for taker in self.takers for number in taker.has.values()]
        assert len(had) == len(set(had))
        assert not self.acked.intersection(had)
        assert all(len(taker.has) <= 3 for taker in self.takers)

    def teardown(self) -> None:
        async def work() -> None:
            for taker in list(self.takers):
                self.durable.unpop(taker)
            self.takers.clear()
            await self._settle()
            last = [Taker(), Taker()]
            for taker, topic in zip(last, ("t", "t.dead"), strict=True):
                self.takers.append(taker)
                self.durable.pop(taker, [topic], 0)
                self.durable.ready(taker)
            found: list[int] = []
            await self._settle()
            while any(taker.has for taker in last):
                for taker in last:
                    found += taker.has.values()
                    self.durable.ack(taker, list(taker.has), lambda *_: None)
                    taker.has.clear()
                await self._settle()
            # Everything accepted was acked once: before, now, or as a dead letter.
            assert Counter(found) == Counter(self.accepted - self.acked)
            for letter in last[1].dead:
                assert letter["topic"] == "t"
                assert letter["reason"] in ("nack", "timeout", "lost")
                assert letter["deliveries"] <= 2
            assert [self.store.depth(name) for name in RULES] == [(0, 0), (0, 0)]
            await self.durable.close()
            await self.store.close()

        if hasattr(self, "store"):
            self.run(work())
        self.runner.close()
        self.folder.cleanup()


Machine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestMachine = Machine.TestCase


def test_a_topic_brings_its_dead_letter_topic() -> None:
    specs, rules = declared(
        QueueSettings(
            topics=(
                TopicSettings(name="a", max_messages=7),
                TopicSettings(name="b", dead_letter="a.dead", ack_s=3),
                TopicSettings(name="c", max_deliveries=0),
                TopicSettings(name="d", ack="auto"),
                TopicSettings(name="memory", durable=False),
            )
        )
    )
    assert {spec.name for spec in specs} == set(rules)
    assert rules["a"].dead_letter == rules["b"].dead_letter == "a.dead"
    assert rules["a.dead"].max_deliveries == rules["c"].max_deliveries == rules["d"].max_deliveries == 0
    assert rules["d"].auto
    assert "memory" not in rules
    assert next(spec for spec in specs if spec.name == "a.dead").max_messages == 7


@pytest.mark.parametrize(
    ("topics", "where"),
    [
        ((TopicSettings(name="a"), TopicSettings(name="a")), "gateway.queue.topics[1].name"),
        ((TopicSettings(name="b"), TopicSettings(name="a", dead_letter="a")), "gateway.queue.topics[1].dead_letter"),
    ],
)
def test_contradictions_are_refused(topics: tuple[TopicSettings, ...], where: str) -> None:
    with pytest.raises(StartError) as refused:
        declared(QueueSettings(topics=topics))
    assert (refused.value.code, refused.value.where) == ("gateway.topics", where)
