# SPDX-License-Identifier: Apache-2.0
"""Pushes and acks of durable topics, gathered within one transaction of the writer's thread."""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

from towline.store.sqlite.statements import Rows

_INSERT: Final = Rows("INSERT INTO message (seq, topic, node, client_id, stored_us, data) VALUES", "(?, ?, ?, ?, ?, ?)")
_DELETE: Final = Rows("DELETE FROM message WHERE seq IN (", "?", ")")


class Push(NamedTuple):
    """A message; the answer is its ``seq``."""

    topic: int
    node: int
    client_id: str
    stored_us: int
    data: bytes


class Ack(NamedTuple):
    """Messages that are to go."""

    seqs: list[int]


class Bury(NamedTuple):
    """A message that gives its place to another one; the answer is the new ``seq``."""

    seq: int
    push: Push


class Count(NamedTuple):
    """How often messages were fetched: pairs of deliveries and seq."""

    deliveries: list[tuple[int, int]]


Change = Push | Ack | Bury | Count


class TopicBatches:
    """Fulfils :class:`towline.store.sqlite.writer.Batches`. Numbers are given here, so that many rows go in one statement."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'message'").fetchone()
        self._next = self._committed = (row[0] if row else 0) + 1
        self._rows: list[tuple[int, int, int, str, int, bytes]] = []
        self._gone: list[tuple[int]] = []
        self._counts: list[tuple[int, int]] = []

    def begin(self, connection: sqlite3.Connection) -> None:
        """Nothing to prepare."""

    def add(self, batch: Change) -> int:
        """Gather one change."""
        match batch:
            case Push():
                return self._insert(batch)
            case Ack():
                self._gone.extend((seq,) for seq in batch.seqs)
            case Bury():
                self._gone.append((batch.seq,))
                return self._insert(batch.push)
            case Count():
                self._counts.extend(batch.deliveries)
        return 0

    def _insert(self, push: Push) -> int:
        seq = self._next
        self._next += 1
        self._rows.append((seq, *push))
        return seq

    def flush(self) -> None:
        """Write what was gathered."""
        connection = self._connection
        if self._rows:
            rows, self._rows = self._rows, []
            _INSERT.execute(connection, rows)
        if self._gone:
            gone, self._gone = self._gone, []
            _DELETE.execute(connection, gone)
        if self._counts:
            counts, self._counts = self._counts, []
            connection.executemany("UPDATE message SET deliveries = ? WHERE seq = ?", counts)

    def committed(self) -> None:
        """The numbers are used."""
        self._committed = self._next

    def rolled_back(self) -> None:
        """Nothing was written."""
        self._next = self._committed
        self._rows, self._gone, self._counts = [], [], []
