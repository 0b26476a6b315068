# SPDX-License-Identifier: Apache-2.0
"""Durable topics of one node, in a SQLite file of their own.

What is stored is on disk (WAL, synchronous=FULL) before a push is done; what arrives during a commit goes together into
the next one. Who owns a message is known in memory only: when the process dies, all of them can be fetched again.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import sqlite3
from collections.abc import Awaitable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from towline.clock import Clock
from towline.errors import Unavailable
from towline.store.base.topics import OVERHEAD, Delivery, Depth, TopicFull, TopicSpec
from towline.store.sqlite.access import Access
from towline.store.sqlite.opening import TOPICS_APPLICATION_ID, Lock, Migration, migrations, open_writer, prepare
from towline.store.sqlite.topic_batches import Ack, Bury, Change, Count, Push, TopicBatches
from towline.store.sqlite.writer import Writer

log = logging.getLogger("towline.store")

COUNT_S: Final = 1.0
"""What is owned for this long has its number of deliveries written down."""

_COLUMNS: Final = "SELECT seq, node, client_id, deliveries, data FROM message"


class _Topic:
    """What is known of one topic. Everything up to ``cursor`` was fetched at least once since the file was opened."""

    def __init__(self, no: int, spec: TopicSpec, messages: int, size: int, head: int) -> None:
        self.no = no
        self.spec = spec
        self.messages = messages
        self.bytes = size
        self.cursor = 0
        self.head = head
        self.released: list[tuple[float, int, int]] = []
        """When it may be fetched again, seq, deliveries: a heap."""
        self.wake = asyncio.Event()

    def check_room(self, size: int) -> None:
        spec = self.spec
        if self.messages >= spec.max_messages:
            raise TopicFull("queue.full", f"queue is full: the topic {spec.name!r} holds {spec.max_messages} messages")
        if self.bytes + size > spec.max_bytes:
            raise TopicFull("queue.bytes", f"queue is full: the topic {spec.name!r} holds {spec.max_bytes} bytes")

    def change(self, messages: int, size: int) -> None:
        self.messages += messages
        self.bytes += size


class SqliteTopics:
    """Fulfils :class:`towline.store.base.topics.TopicStore`; made by :func:`open_topics`."""

    def __init__(self, access: Access, writer: Writer, lock: Lock, clock: Clock, topics: Iterable[_Topic]) -> None:
        self._access = access
        self._writer = writer
        self._lock: Lock | None = lock
        self._clock = clock
        self._topics = {topic.spec.name: topic for topic in topics}
        self._owned: dict[int, tuple[int, float]] = {}
        """seq → deliveries that are not written down, and since when."""
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(COUNT_S, self._tick)
        self._closed = False

    # -- in

    def push(self, topic: str, node: int, client_id: str, data: bytes) -> Awaitable[int]:
        """See :meth:`towline.store.base.topics.TopicStore.push`."""
        found = self._topics[topic]
        size = len(data) + OVERHEAD
        self._check_open()
        found.check_room(size)
        change = Push(found.no, node, client_id, self._clock.now_us(), data)
        stored = self._write(change)
        found.change(1, size)
        done: asyncio.Future[int] = self._loop.create_future()
        stored.add_done_callback(partial(self._pushed, found, size, done))
        return done

    def _pushed(self, topic: _Topic, size: int, done: asyncio.Future[int], stored: asyncio.Future[int]) -> None:
        error = stored.exception()
        if error is not None:
            topic.change(-1, -size)
            if not done.done():
                done.set_exception(error)
            return
        topic.head = max(topic.head, stored.result())
        topic.wake.set()
        if not done.done():
            done.set_result(topic.messages)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("store.closed", "the durable topics are closed")

    def _write(self, change: Change) -> asyncio.Future[int]:
        self._check_open()
        return self._writer.store(change, hurry=True)

    # -- out

    async def fetch(self, topic: str, count: int, max_bytes: int) -> list[Delivery]:
        """See :meth:`towline.store.base.topics.TopicStore.fetch`."""
        found = self._topics[topic]
        while True:
            self._check_open()
            now = self._clock.monotonic()
            due = found.released[0][0] if found.released else None
            if due is not None and due <= now:
                if fetched := await self._fetch_released(found, count, max_bytes, now):
                    return fetched
            elif found.head > found.cursor:
                if fetched := await self._fetch_new(found, count, max_bytes):
                    return fetched
            else:
                found.wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if due is None else due - now):
                        await found.wake.wait()

    async def _fetch_new(self, topic: _Topic, count: int, max_bytes: int) -> list[Delivery]:
        def query(connection: sqlite3.Connection) -> list[Any]:
            statement = f"{_COLUMNS} WHERE topic = ? AND seq > ? ORDER BY seq LIMIT ?"
            return _up_to(max_bytes, connection.execute(statement, (topic.no, topic.cursor, count)))

        head = topic.head
        rows = await self._access.read(query)
        if not rows:
            topic.cursor = head
            return []
        topic.cursor = rows[-1][0]
        return [self._own(topic, row, row[3] + 1) for row in rows]

    async def _fetch_released(self, topic: _Topic, count: int, max_bytes: int, now: float) -> list[Delivery]:
        due = [one for one in topic.released if one[0] <= now]
        due.sort(key=lambda one: one[1])
        wanted = {seq: (at, deliveries) for at, seq, deliveries in due[:count]}

        def query(connection: sqlite3.Connection) -> list[Any]:
            marks = ", ".join("?" * len(wanted))
            return _up_to(max_bytes, connection.execute(f"{_COLUMNS} WHERE seq IN ({marks}) ORDER BY seq", [*wanted]))

        rows = await self._access.read(query)
        fetched = [self._own(topic, row, wanted[row[0]][1] + 1) for row in rows]
        gone = {row[0] for row in rows} if rows else set(wanted)
        topic.released = [one for one in topic.released if one[1] not in gone]
        heapq.heapify(topic.released)
        return fetched

    def _own(self, topic: _Topic, row: Any, deliveries: int) -> Delivery:
        seq, node, client_id, _, data = row
        self._owned[seq] = (deliveries, self._clock.monotonic())
        return Delivery(topic.spec.name, seq, node, client_id, deliveries, data)

    def ack(self, deliveries: Sequence[Delivery]) -> Awaitable[None]:
        """See :meth:`towline.store.base.topics.TopicStore.ack`."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._write(Ack([_seq(one) for one in deliveries])).add_done_callback(partial(self._acked, deliveries, done))
        return done

    def _acked(self, deliveries: Sequence[Delivery], done: asyncio.Future[None], stored: asyncio.Future[int]) -> None:
        error = stored.exception()
        if error is None:
            for one in deliveries:
                self._topics[one.topic].change(-1, -one.size)
                self._owned.pop(_seq(one), None)
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def release(self, deliveries: Sequence[Delivery], delay_s: float = 0.0) -> None:
        """See :meth:`towline.store.base.topics.TopicStore.release`."""
        at = self._clock.monotonic() + delay_s
        for one in deliveries:
            topic = self._topics[one.topic]
            heapq.heappush(topic.released, (at, _seq(one), one.deliveries))
            topic.wake.set()

    def extend(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing to do: no other process can have them."""

    async def bury(self, delivery: Delivery, target: str, data: bytes) -> None:
        """See :meth:`towline.store.base.topics.TopicStore.bury`. One transaction."""
        found = self._topics[target]
        size = len(data) + OVERHEAD
        self._check_open()
        found.check_room(size)
        push = Push(found.no, delivery.node, delivery.client_id, self._clock.now_us(), data)
        stored = self._write(Bury(_seq(delivery), push))
        found.change(1, size)
        done: asyncio.Future[int] = self._loop.create_future()
        stored.add_done_callback(partial(self._buried, delivery))
        stored.add_done_callback(partial(self._pushed, found, size, done))
        await done

    def _buried(self, delivery: Delivery, stored: asyncio.Future[int]) -> None:
        if stored.exception() is None:
            self._topics[delivery.topic].change(-1, -delivery.size)
            self._owned.pop(_seq(delivery), None)

    # -- care

    def _tick(self) -> None:
        self._timer = self._loop.call_later(COUNT_S, self._tick)
        self._note(self._clock.monotonic() - COUNT_S)

    def _note(self, before: float) -> asyncio.Future[int] | None:
        """Write down how often messages were fetched that have been owned since ``before``."""
        old = [(deliveries, seq) for seq, (deliveries, since) in self._owned.items() if since <= before]
        if not old:
            return None
        for _, seq in old:
            del self._owned[seq]
        noted = self._writer.store(Count(old), hurry=False)
        noted.add_done_callback(_not_noted)
        return noted

    def depth(self, topic: str) -> Depth:
        """See :meth:`towline.store.base.topics.TopicStore.depth`; exact."""
        found = self._topics[topic]
        return Depth(found.messages, found.bytes)

    def counters(self) -> dict[str, int]:
        """As the writer's: ``jobs``, ``commits``, ``failed_commits``, ``checkpoints``."""
        return dict(self._writer.counters)

    async def close(self) -> None:
        """Commit what is queued, copy the write-ahead log into the database, close, release the lock."""
        if not self._closed:
            self._closed = True
            self._timer.cancel()
            for topic in self._topics.values():
                topic.wake.set()
            self._note(float("inf"))
            await self._access.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None


async def open_topics(
    path: Path | str, clock: Clock, specs: Sequence[TopicSpec], steps: list[Migration] | None = None
) -> SqliteTopics:
    """Open the database file of a node's durable topics, making or migrating it as needed.

    Beside it lie the same files as beside the hub's database. A topic that holds messages and is not declared any more
    keeps them; a warning names it. ``steps`` replaces the built-in migrations (tests).

    StartError as :func:`towline.store.sqlite.open_store`.
    """
    path = Path(path)
    access, writer, lock, topics = await asyncio.to_thread(_open, path, clock, specs, steps, asyncio.get_running_loop())
    return SqliteTopics(access, writer, lock, clock, topics)


def _open(
    path: Path,
    clock: Clock,
    specs: Sequence[TopicSpec],
    steps: list[Migration] | None,
    loop: asyncio.AbstractEventLoop,
) -> tuple[Access, Writer, Lock, list[_Topic]]:
    prepare(path)
    with contextlib.ExitStack() as undo:
        lock = Lock(path.with_name(path.name + ".lock"))
        undo.callback(lock.release)
        steps = migrations("topic_migrations") if steps is None else steps
        connection = open_writer(path, clock.now_us(), steps, TOPICS_APPLICATION_ID)
        undo.callback(connection.close)
        topics = [_load(connection, spec, clock.now_us()) for spec in specs]
        _warn_of_others(connection, specs)
        writer = Writer(connection, TopicBatches(connection), clock, loop)
        undo.pop_all()
    return Access(path, writer), writer, lock, topics


def _load(connection: sqlite3.Connection, spec: TopicSpec, now_us: int) -> _Topic:
    connection.execute("INSERT OR IGNORE INTO topic (name, created_us) VALUES (?, ?)", (spec.name, now_us))
    no: int = connection.execute("SELECT no FROM topic WHERE name = ?", (spec.name,)).fetchone()[0]
    count, size, head = connection.execute(
        "SELECT count(*), coalesce(sum(length(data)), 0), coalesce(max(seq), 0) FROM message WHERE topic = ?", (no,)
    ).fetchone()
    return _Topic(no, spec, count, size + count * OVERHEAD, head)


def _warn_of_others(connection: sqlite3.Connection, specs: Sequence[TopicSpec]) -> None:
    rows = connection.execute("SELECT name, count(*) FROM message JOIN topic ON topic = no GROUP BY no").fetchall()
    declared = {spec.name for spec in specs}
    for name, count in rows:
        if name not in declared:
            log.warning("messages wait in a topic that is not durable any more", extra={"topic": name, "count": count})


def _up_to(max_bytes: int, rows: Iterable[Any]) -> list[Any]:
    """Rows until their data passes ``max_bytes``."""
    found, size = [], 0
    for row in rows:
        found.append(row)
        size += len(row[4])
        if size >= max_bytes:
            break
    return found


def _seq(delivery: Delivery) -> int:
    assert isinstance(delivery.ref, int)
    return delivery.ref


def _not_noted(noted: asyncio.Future[int]) -> None:
    if noted.exception() is not None:
        log.warning("numbers of deliveries were not written", extra={"reason": str(noted.exception())})
