# SPDX-License-Identifier: Apache-2.0
"""Queries on records, states and alerts in SQLite."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from towline.errors import Unavailable
from towline.protocols.link.items import Item, Lane
from towline.store import codec
from towline.store.rows import (
    AlertRow,
    DropCount,
    LaneGap,
    LaneSequences,
    Latest,
    Series,
    SeriesResult,
    StateValue,
    Stored,
    StoredRecord,
)
from towline.store.sqlite.access import Access, check_limit
from towline.store.sqlite.batch import Batch
from towline.store.sqlite.compaction import Compaction, sweep
from towline.store.sqlite.ingest import HOUR_US
from towline.store.thin import Thinner

MAX_READINGS: Final = 2_000_000
"""Readings that one query looks at."""
_LATEST_BLOCKS: Final = 16
"""Blocks of a device in which latest values are looked for."""

_Name = tuple[str, str, str]


def device_no(connection: sqlite3.Connection, workgroup: str, device_id: str) -> int | None:
    row = connection.execute("SELECT no FROM device WHERE workgroup = ? AND id = ?", (workgroup, device_id)).fetchone()
    return None if row is None else int(row[0])


def _series_names(
    connection: sqlite3.Connection,
    workgroup: str,
    no: int,
    kind: str,
    tables: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    fields: Sequence[str] | None = None,
) -> dict[int, _Name]:
    """Series id → (table, source, field) of those that pass the filters."""
    rows = connection.execute(
        "SELECT id, tbl, source, field FROM series WHERE workgroup = ? AND device = ? AND kind = ?",
        (workgroup, no, kind),
    )
    return {
        number: (table, source, field)
        for number, table, source, field in rows
        if (tables is None or table in tables)
        and (sources is None or source in sources)
        and (fields is None or field in fields)
    }


def _columns(data: bytes, block_id: int, wanted: Mapping[int, object]) -> Iterator[codec.Column]:
    try:
        yield from codec.columns(data, wanted)
    except codec.CodecError as error:
        raise _damaged(block_id, error) from error


def _damaged(block_id: int, error: codec.CodecError) -> Unavailable:
    return Unavailable("store.damaged_block", f"block {block_id} cannot be read: {error}")


class SqliteRecords:
    """Fulfils :class:`towline.store.base.RecordStore`."""

    def __init__(self, access: Access, bound: Callable[[sqlite3.Connection, int], int]) -> None:
        self._access = access
        self._bound = bound
        self._compaction = Compaction(access, bound)

    # -- ingest --------------------------------------------------------------------------------------------------

    def store_batch(
        self,
        workgroup: str,
        device_id: str,
        spool_id: str,
        lane: Lane,
        seq: int,
        items: Sequence[Item],
        dropped: Mapping[str, int],
        now_us: int,
    ) -> asyncio.Future[Stored]:
        return self._access.store(Batch(workgroup, device_id, spool_id, lane, seq, items, dropped, now_us))

    async def lane_sequences(self, workgroup: str, device_id: str, spool_id: str) -> LaneSequences:
        def query(connection: sqlite3.Connection) -> LaneSequences:
            rows = connection.execute(
                "SELECT lane, seq FROM lane WHERE workgroup = ? AND device = ? AND spool_id = ?",
                (workgroup, device_no(connection, workgroup, device_id), spool_id),
            )
            found = dict(rows.fetchall())
            return LaneSequences(
                urgent=found.get("urgent", 0), live=found.get("live", 0), backlog=found.get("backlog", 0)
            )

        return await self._access.read(query)

    async def gaps(self, workgroup: str, device_id: str, limit: int = 100) -> list[LaneGap]:
        return await self._access.read(
            lambda connection: [
                LaneGap(
                    device_id=device_id,
                    spool_id=row[0],
                    lane=row[1],
                    first=row[2],
                    last=row[3],
                    cause=row[4],
                    time_us=row[5],
                )
                for row in connection.execute(
                    "SELECT spool_id, lane, first, last, cause, time_us FROM lane_gap"
                    " WHERE workgroup = ? AND device = ? ORDER BY id DESC LIMIT ?",
                    (workgroup, device_no(connection, workgroup, device_id), limit),
                )
            ]
        )

    async def drops(self, workgroup: str, device_id: str) -> list[DropCount]:
        return await self._access.read(
            lambda connection: [
                DropCount(device_id=device_id, kind=row[0], count=row[1], time_us=row[2])
                for row in connection.execute(
                    "SELECT kind, count, time_us FROM lane_drop WHERE workgroup = ? AND device = ? ORDER BY kind",
                    (workgroup, device_no(connection, workgroup, device_id)),
                )
            ]
        )

    # -- queries -------------------------------------------------------------------------------------------------

    async def series(
        self,
        workgroup: str,
        device_id: str,
        kind: str = "metric",
        *,
        tables: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        fields: Sequence[str] | None = None,
        from_us: int,
        to_us: int,
        max_points: int = 600,
    ) -> SeriesResult:
        def query(connection: sqlite3.Connection) -> SeriesResult:
            no = device_no(connection, workgroup, device_id)
            if no is None:
                return SeriesResult(series=[], truncated=False)
            names = _series_names(connection, workgroup, no, kind, tables, sources, fields)
            thinners: dict[int, Thinner] = {}
            read, truncated = 0, False
            for block_id in _blocks_between(connection, workgroup, no, kind, from_us, to_us) if names else ():
                if read >= MAX_READINGS:
                    truncated = True
                    break
                for column in _columns(_data(connection, block_id), block_id, names):
                    thinner = thinners.get(column.series)
                    if thinner is None:
                        thinner = thinners[column.series] = Thinner(from_us, to_us, max_points)
                    thinner.add(column)
                    read += len(column.times)
            found = []
            for number, thinner in sorted(thinners.items(), key=lambda pair: names[pair[0]]):
                if thinner.count:
                    table, source, field = names[number]
                    points = thinner.points()
                    found.append(
                        Series(
                            table=table,
                            source=source,
                            kind=kind,
                            field=field,
                            points=points,
                            thinned=len(points) < thinner.count,
                        )
                    )
            return SeriesResult(series=found, truncated=truncated)

        return await self._access.scan(query)

    async def latest(
        self,
        workgroup: str,
        device_ids: Sequence[str],
        *,
        tables: Sequence[str] | None = None,
        fields: Sequence[str] | None = None,
        since_us: int = 0,
    ) -> dict[str, list[Latest]]:
        def query(connection: sqlite3.Connection) -> dict[str, list[Latest]]:
            found = {}
            for device_id in device_ids:
                no = device_no(connection, workgroup, device_id)
                if no is not None:
                    names = _series_names(connection, workgroup, no, "metric", tables, None, fields)
                    latest = _latest(connection, workgroup, no, names, since_us) if names else []
                    if latest:
                        found[device_id] = latest
            return found

        return await self._access.read(query)

    async def events(
        self,
        workgroup: str,
        device_id: str,
        *,
        kind: str = "event",
        table: str | None = None,
        limit: int = 50,
        before: int | None = None,
    ) -> list[StoredRecord]:
        check_limit(limit)

        def query(connection: sqlite3.Connection) -> list[StoredRecord]:
            no = device_no(connection, workgroup, device_id)
            if no is None:
                return []
            names = _series_names(connection, workgroup, no, kind)
            found: list[StoredRecord] = []
            if table is not None and all(name[0] != table for name in names.values()):
                return found
            for block_id in _blocks_before(connection, workgroup, no, kind, before):
                try:
                    entries = codec.decode(_data(connection, block_id))
                except codec.CodecError as error:
                    raise _damaged(block_id, error) from error
                for entry in reversed(entries):
                    if before is not None and entry.message_id >= before:
                        continue
                    record = _record(entry, kind, names)
                    if record is not None and (table is None or record.table == table):
                        found.append(record)
                        if len(found) == limit:
                            return found
            return found

        return await self._access.scan(query)

    async def states(self, workgroup: str, device_id: str) -> list[StateValue]:
        return await self._access.read(
            lambda connection: [
                StateValue(app_guid=row[0], table=row[1], source=row[2], name=row[3], value=row[4], time_us=row[5])
                for row in connection.execute(
                    "SELECT app_guid, tbl, source, name, value, time_us FROM state"
                    " WHERE workgroup = ? AND device_id = ? ORDER BY app_guid, source, name",
                    (workgroup, device_id),
                )
            ]
        )

    async def alerts(
        self, workgroup: str, device_id: str | None = None, *, limit: int = 50, before: int | None = None
    ) -> list[AlertRow]:
        check_limit(limit)
        where, values = "workgroup = ?", [workgroup]
        conditions: list[tuple[str, Any]] = [("device_id = ?", device_id), ("message_id < ?", before)]
        for condition, value in conditions:
            if value is not None:
                where += f" AND {condition}"
                values.append(value)
        sql = (
            "SELECT message_id, device_id, app_guid, tbl, source, name, action, message, time_us, stored_us FROM alert"
            f" WHERE {where} ORDER BY message_id DESC LIMIT ?"
        )
        return await self._access.read(
            lambda connection: [_alert(row) for row in connection.execute(sql, (*values, limit))]
        )

    # -- housekeeping --------------------------------------------------------------------------------------------

    async def sweep(self, workgroup: str, before_us: int, limit: int = 1000, kind: str | None = None) -> int:
        return await self._access.write(
            lambda connection: sweep(connection, workgroup, self._bound(connection, before_us), limit, kind, before_us)
        )

    async def compact(self, before_us: int, limit: int = 1000) -> int:
        return await self._compaction.run(before_us, limit)


def _data(connection: sqlite3.Connection, block_id: int) -> bytes:
    data: bytes = connection.execute("SELECT data FROM block WHERE id = ?", (block_id,)).fetchone()[0]
    return data


def _blocks_between(
    connection: sqlite3.Connection, workgroup: str, no: int, kind: str, from_us: int, to_us: int
) -> list[int]:
    """Ids of blocks that reach into the window, newest first."""
    # A block of metrics spans an hour at most, so its end bounds its beginning: the index alone finds it.
    latest_us = min(to_us + HOUR_US, 2**63 - 1) if kind == "metric" else 2**63 - 1
    rows = connection.execute(
        "SELECT id FROM block WHERE workgroup = ? AND device = ? AND kind = ? AND form IN (1, 2)"
        " AND max_us BETWEEN ? AND ? AND min_us < ? ORDER BY max_us DESC",
        (workgroup, no, kind, from_us, latest_us, to_us),
    )
    return [row[0] for row in rows]


def _blocks_before(connection: sqlite3.Connection, workgroup: str, no: int, kind: str, before: int | None) -> list[int]:
    rows = connection.execute(
        "SELECT id FROM block WHERE workgroup = ? AND device = ? AND kind = ? AND form IN (1, 2) AND id < ?"
        " ORDER BY id DESC",
        (workgroup, no, kind, 2**63 - 1 if before is None else before),
    )
    return [row[0] for row in rows]


def _latest(
    connection: sqlite3.Connection, workgroup: str, no: int, names: Mapping[int, _Name], since_us: int
) -> list[Latest]:
    blocks: list[tuple[int, int]] = []
    for form in (codec.PLAIN, codec.COLUMNS):
        blocks += connection.execute(
            "SELECT max_us, id FROM block WHERE workgroup = ? AND device = ? AND kind = 'metric' AND form = ?"
            " AND max_us >= ? ORDER BY max_us DESC LIMIT ?",
            (workgroup, no, form, since_us, _LATEST_BLOCKS),
        )
    newest: dict[int, tuple[int, Any]] = {}
    for max_us, block_id in sorted(blocks, reverse=True)[:_LATEST_BLOCKS]:
        missing = {number: name for number, name in names.items() if number not in newest or newest[number][0] < max_us}
        if not missing:
            break
        for column in _columns(_data(connection, block_id), block_id, missing):
            last = max(range(len(column.times)), key=column.times.__getitem__)
            time_us = column.times[last]
            if time_us >= since_us and (column.series not in newest or time_us >= newest[column.series][0]):
                newest[column.series] = (time_us, column.at(last))
    found = []
    for number, (time_us, value) in newest.items():
        table, source, field = names[number]
        found.append(Latest(table=table, source=source, field=field, time_us=time_us, value=value))
    return sorted(found, key=lambda one: (one.table, one.source, one.field))


def _record(entry: codec.Entry, kind: str, names: Mapping[int, _Name]) -> StoredRecord | None:
    """None for a record without fields: nothing says what it belongs to."""
    if not entry.series:
        return None
    table, source, _ = names[entry.series[0]]
    return StoredRecord(
        message_id=entry.message_id,
        kind=kind,
        table=table,
        source=source,
        event_time_us=entry.event_time_us,
        stored_us=entry.stored_us,
        fields={names[number][2]: value for number, value in zip(entry.series, entry.values, strict=True)},
    )


def _alert(row: Sequence[Any]) -> AlertRow:
    return AlertRow(
        message_id=row[0],
        device_id=row[1],
        app_guid=row[2],
        table=row[3],
        source=row[4],
        name=row[5],
        action=row[6],
        message=row[7],
        time_us=row[8],
        stored_us=row[9],
    )
