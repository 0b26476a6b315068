# SPDX-License-Identifier: Apache-2.0
"""Storing batches: all that several devices sent goes to the database in a few statements.

Runs in the writer's thread, within its transaction. No statement is executed for a reading or a record: records are
encoded into one block for each batch and kind.
"""

from __future__ import annotations

import sqlite3
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from towline.errors import InvalidInput, NotFound
from towline.protocols.link.items import Item, Record
from towline.store import codec
from towline.store.rows import Stored
from towline.store.sqlite.batch import Batch
from towline.store.sqlite.said import Said
from towline.store.sqlite.statements import Rows

HOUR_US: Final = 3_600_000_000
"""A block of metrics never spans more: queries by time rely on it."""
_MARK_US: Final = 600_000_000
_LARGEST: Final = 2**62 - 1
_CACHED_DEVICES: Final = 20_000
_MOST_DROPS: Final = 2**53

_INSERT_BLOCK: Final = Rows(
    "INSERT INTO block (id, workgroup, device, kind, form, min_us, max_us, last_id, stored_us, readings, data) VALUES",
    "(?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?)",
)
# The comparison that keeps a batch from being stored twice; see flush().
_UPSERT_LANE: Final = Rows(
    "INSERT INTO lane (workgroup, device, spool_id, lane, seq, updated_us) VALUES",
    "(?, ?, ?, ?, ?, ?)",
    " ON CONFLICT (workgroup, device, spool_id, lane) DO UPDATE SET seq = excluded.seq,"
    " updated_us = excluded.updated_us WHERE excluded.seq > lane.seq",
)
_SELECT_LANE: Final = "SELECT seq FROM lane WHERE workgroup = ? AND device = ? AND spool_id = ? AND lane = ?"
_ADD_DROP: Final = (
    "INSERT INTO lane_drop (workgroup, device, kind, count, time_us) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (workgroup, device, kind) DO UPDATE SET count = count + excluded.count, time_us = excluded.time_us"
)


class _Device:
    """What is remembered of a device: its number, the last sequence of each (spool, lane), and the series of each
    shape (kind, table, source, field, …)."""

    __slots__ = ("lanes", "no", "shapes")

    def __init__(self, no: int) -> None:
        self.no = no
        self.lanes: dict[tuple[str, str], int] = {}
        self.shapes: dict[tuple[str, ...], tuple[int, ...]] = {}


class _Block:
    """Records of one kind, on their way."""

    __slots__ = ("max_us", "min_us", "places", "readings", "records")

    def __init__(self, time_us: int) -> None:
        self.places: dict[tuple[int, ...], int] = {}
        self.records: list[codec.PlainRecord] = []
        self.readings = 0
        self.min_us = self.max_us = time_us


class Ingest:
    """The batches of one commit after another; fulfils :class:`towline.store.sqlite.writer.Batches`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        books = dict(connection.execute("SELECT name, value FROM counter").fetchall())
        self._connection = connection
        self._committed: tuple[int, int] = (books["message_id"], books["stored_us"])
        self._message_id, self._stored_us = self._committed
        self._written = self._committed
        self._mark_us = connection.execute("SELECT coalesce(max(stored_us), 0) FROM mark").fetchone()[0]
        self._devices: OrderedDict[tuple[str, str], _Device] = OrderedDict()
        self._blocks: list[tuple[Any, ...]] = []
        self._lanes: dict[tuple[str, int, str, str], tuple[int, int]] = {}
        self.counters = dict.fromkeys(
            ("batches", "duplicates", "records", "readings", "gaps", "missing_batches", "refused_items"), 0
        )
        self._counted = dict(self.counters)

    def begin(self, connection: sqlite3.Connection) -> None:
        """A transaction begins."""

    def committed(self) -> None:
        """It is on disk."""
        self._committed = (self._message_id, self._stored_us)
        self._counted.update(self.counters)
        while len(self._devices) > _CACHED_DEVICES:
            self._devices.popitem(last=False)

    def rolled_back(self) -> None:
        """It never was: forget what depends on it."""
        self._message_id, self._stored_us = self._written = self._committed
        self._blocks.clear()
        self._lanes.clear()
        self._devices.clear()
        self._mark_us = 0
        self.counters.update(self._counted)

    def forget(self, workgroup: str, device_id: str) -> None:
        """A device is being deleted."""
        self._devices.pop((workgroup, device_id), None)

    def flush(self) -> None:
        """Write what is pending."""
        if self._blocks:
            _INSERT_BLOCK.execute(self._connection, self._blocks)
            self._blocks.clear()
        if self._lanes:
            rows = [(*lane, seq, time_us) for lane, (seq, time_us) in self._lanes.items()]
            if _UPSERT_LANE.execute(self._connection, rows) != len(rows):
                # What is remembered differs from the database: nothing of this may be committed.
                raise sqlite3.DatabaseError("a lane's sequence was not below its batch's")
            self._lanes.clear()
        if self._written != (self._message_id, self._stored_us):
            self._keep_books()

    def _keep_books(self) -> None:
        self._connection.execute("UPDATE counter SET value = ? WHERE name = 'message_id'", (self._message_id,))
        self._connection.execute("UPDATE counter SET value = ? WHERE name = 'stored_us'", (self._stored_us,))
        self._written = (self._message_id, self._stored_us)
        if self._stored_us - self._mark_us >= _MARK_US:
            message_id, stored_us = self._committed
            if message_id:
                self._connection.execute("INSERT OR IGNORE INTO mark VALUES (?, ?)", (stored_us, message_id))
            self._mark_us = self._stored_us

    # -- one batch -----------------------------------------------------------------------------------------------

    def add(self, batch: Batch) -> Stored:
        """Store a batch, up to the statements that :meth:`flush` joins. NotFound ``device.unknown``, InvalidInput
        ``lane.bad_sequence``."""
        workgroup, device_id, spool_id, lane, seq, items, dropped, now_us = batch
        if not 1 <= seq <= _LARGEST:
            raise InvalidInput("lane.bad_sequence", f"a sequence is 1 to {_LARGEST}, not {seq}", where="seq")
        device = self._devices.get((workgroup, device_id)) or self._find(workgroup, device_id)
        self._devices.move_to_end((workgroup, device_id))
        key = (workgroup, device.no, spool_id, lane)
        last = device.lanes.get((spool_id, lane))
        if last is None:
            last = device.lanes[spool_id, lane] = self._last(key)
        if seq <= last:
            self.counters["duplicates"] += 1
            return Stored(device_id=device_id, duplicate=True, acked=last)
        stored_us = self._stored_us = max(self._stored_us, now_us)
        first_id = self._message_id + 1
        records, others, refused = self._records(workgroup, device, items, stored_us)
        said = None
        if others:
            said = Said(self._connection, workgroup, device_id, lane, stored_us, self._message_id)
            for index in others:
                why = said.take(items[index])
                if why is not None:
                    refused.append((index, why))
            self._message_id = said.message_id
            refused.sort()
        self._lanes[key] = (seq, stored_us)
        device.lanes[spool_id, lane] = seq
        gap = seq - last - 1
        if gap:
            self._note_gap(key, last, seq, dropped, stored_us)
        if dropped or refused:
            self._note_drops(workgroup, device.no, dropped, len(refused), stored_us)
        self.counters["batches"] += 1
        self.counters["records"] += len(records)
        if said is None:
            return Stored(
                device_id=device_id,
                duplicate=False,
                acked=seq,
                gap=gap,
                refused=refused,
                stored_us=stored_us,
                first_message_id=first_id,
                records=records,
            )
        return Stored(
            device_id=device_id,
            duplicate=False,
            acked=seq,
            gap=gap,
            refused=refused,
            stored_us=stored_us,
            first_message_id=first_id,
            records=records,
            states=said.states,
            declarations=said.declarations,
            plugin_presences=said.plugin_presences,
            alerts=said.alerts,
            steps=said.steps,
        )

    def _records(
        self, workgroup: str, device: _Device, items: Sequence[Item], stored_us: int
    ) -> tuple[list[Record], list[int], list[tuple[int, str]]]:
        """Encode the records; (records stored, indices of other items, refusals)."""
        records: list[Record] = []
        others: list[int] = []
        refused: list[tuple[int, str]] = []
        blocks: dict[str, _Block] = {}
        shapes, acceptable = device.shapes, codec.TYPES.issuperset
        for index, item in enumerate(items):
            if type(item) is not Record:
                others.append(index)
                continue
            kind, time_us, fields = item.kind, item.event_time_us, item.fields
            values = tuple(fields.values())
            if not acceptable(map(type, values)) or not -_LARGEST <= time_us <= _LARGEST:
                refused.append((index, "a value of a type that cannot be kept, or an impossible time"))
                continue
            shape = (kind, item.table, item.source, *fields)
            series = shapes.get(shape)
            if series is None:
                why = _unkeepable(shape, values)
                if why is not None:
                    refused.append((index, why))
                    continue
                series = self._series(workgroup, device, shape)
            block = blocks.get(kind)
            if block is None:
                block = blocks[kind] = _Block(time_us)
            elif time_us < block.min_us:
                block.min_us = time_us
            elif time_us > block.max_us:
                block.max_us = time_us
            place = block.places.setdefault(series, len(block.places))
            block.records.append((place, len(records), time_us, values))
            block.readings += len(values)
            records.append(item)
        rows: list[tuple[Any, ...]] = []
        try:
            for kind, block in blocks.items():
                rows += self._rows(workgroup, device.no, kind, block, stored_us)
        except codec.CodecError:
            return self._without_unkeepable(workgroup, device, items, stored_us)
        self._blocks += rows
        self._message_id += len(records)
        for block in blocks.values():
            self.counters["readings"] += block.readings
        return records, others, refused

    def _rows(self, workgroup: str, no: int, kind: str, block: _Block, stored_us: int) -> list[tuple[Any, ...]]:
        """The block as a row, several where metrics span more than an hour."""
        first_id = self._message_id + 1
        if kind != "metric" or block.max_us - block.min_us <= HOUR_US:
            first = block.records[0][1]
            if first:
                block.records = [(place, n - first, time, values) for place, n, time, values in block.records]
            row_id = first_id + first
            data = codec.encode_plain(row_id, stored_us, list(block.places), block.records)
            last_id = row_id + block.records[-1][1]
            times = (block.min_us, block.max_us)
            return [(row_id, workgroup, no, kind, *times, last_id, stored_us, block.readings, data)]
        hours: dict[int, _Block] = {}
        for record in block.records:
            part = hours.setdefault(record[2] // HOUR_US, _Block(record[2]))
            part.places = block.places
            part.records.append(record)
            part.readings += len(record[3])
            part.min_us, part.max_us = min(part.min_us, record[2]), max(part.max_us, record[2])
        return [row for part in hours.values() for row in self._rows(workgroup, no, kind, part, stored_us)]

    def _without_unkeepable(
        self, workgroup: str, device: _Device, items: Sequence[Item], stored_us: int
    ) -> tuple[list[Record], list[int], list[tuple[int, str]]]:
        """The slow way, once in a blue moon: find the records that cannot be encoded and leave them out."""
        good: list[Item] = []
        places: list[int] = []
        refused: list[tuple[int, str]] = []
        for index, item in enumerate(items):
            why = _unkeepable((), tuple(item.fields.values())) if type(item) is Record else None
            if why is None:
                good.append(item)
                places.append(index)
            else:
                refused.append((index, why))
        records, others, more = self._records(workgroup, device, good, stored_us)
        refused += [(places[index], why) for index, why in more]
        return records, [places[index] for index in others], sorted(refused)

    # -- look-ups ------------------------------------------------------------------------------------------------

    def _find(self, workgroup: str, device_id: str) -> _Device:
        row = self._connection.execute(
            "SELECT no FROM device WHERE workgroup = ? AND id = ?", (workgroup, device_id)
        ).fetchone()
        if row is None:
            raise NotFound("device.unknown", f"there is no device {device_id} in workgroup {workgroup}")
        device = self._devices[workgroup, device_id] = _Device(row[0])
        return device

    def _last(self, key: tuple[str, int, str, str]) -> int:
        row = self._connection.execute(_SELECT_LANE, key).fetchone()
        return 0 if row is None else int(row[0])

    def _series(self, workgroup: str, device: _Device, shape: tuple[str, ...]) -> tuple[int, ...]:
        kind, table, source, *fields = shape
        numbers = []
        for field in fields:
            key = (workgroup, device.no, kind, table, source, field)
            select = (
                "SELECT id FROM series WHERE workgroup = ? AND device = ? AND kind = ? AND tbl = ? AND source = ?"
                " AND field = ?"
            )
            row = self._connection.execute(select, key).fetchone()
            if row is None:
                cursor = self._connection.execute(
                    "INSERT INTO series (workgroup, device, kind, tbl, source, field) VALUES (?, ?, ?, ?, ?, ?)", key
                )
                numbers.append(int(cursor.lastrowid or 0))
            else:
                numbers.append(int(row[0]))
        series = tuple(numbers)
        device.shapes[tuple(map(sys.intern, shape))] = series
        return series

    def _note_gap(
        self, key: tuple[str, int, str, str], last: int, seq: int, dropped: Mapping[str, int], stored_us: int
    ) -> None:
        cause = "dropped" if dropped else "unexplained" if last else "first_seen"
        self._connection.execute(
            "INSERT INTO lane_gap (workgroup, device, spool_id, lane, first, last, cause, time_us)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*key, last + 1, seq - 1, cause, stored_us),
        )
        self.counters["gaps"] += 1
        self.counters["missing_batches"] += seq - last - 1

    def _note_drops(self, workgroup: str, no: int, dropped: Mapping[str, int], refused: int, stored_us: int) -> None:
        counts = {kind: min(count, _MOST_DROPS) for kind, count in dropped.items() if count > 0}
        if refused:
            self.counters["refused_items"] += refused
            counts["refused"] = counts.get("refused", 0) + refused
        self._connection.executemany(
            _ADD_DROP, [(workgroup, no, kind, count, stored_us) for kind, count in counts.items()]
        )


def _unkeepable(names: tuple[str, ...], values: tuple[Any, ...]) -> str | None:
    """Why a record cannot be encoded, None if it can."""
    try:
        for name in names:
            name.encode()
        codec.encode_plain(0, 0, (), ((0, 0, 0, values),))
    except (codec.CodecError, UnicodeEncodeError) as error:
        return str(error)
    return None
