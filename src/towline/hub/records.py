# SPDX-License-Identifier: Apache-2.0
"""Queries on what devices measured."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from towline.errors import InvalidInput
from towline.hub.actor import Actor
from towline.hub.core import Core
from towline.hub.devices import check_limit
from towline.hub.identity import unknown_device
from towline.hub.views import EventView, Page, Series, SeriesPage, StateView
from towline.store.rows import Value, plain

_MIN_POINTS, _MAX_POINTS = 10, 10_000


class Records:
    """Use cases that read states, series and events of one device."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def states(self, actor: Actor, device_id: str) -> list[StateView]:
        """Latest state values of all its plugins."""
        self._core.check(actor, "records.states")
        found = await self._core.store.records.states(actor.workgroup, device_id)
        if not found:
            await self._exists(actor, device_id)
        return [
            StateView(
                app_guid=row.app_guid,
                table=row.table,
                source=row.source,
                name=row.name,
                value=row.value,
                time_us=row.time_us,
            )
            for row in found
        ]

    async def series(
        self,
        actor: Actor,
        device_id: str,
        kind: str = "metric",
        *,
        tables: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        fields: Sequence[str] | None = None,
        from_us: int,
        to_us: int,
        max_points: int = 600,
    ) -> SeriesPage:
        """Numeric series with ``from_us`` ≤ event time < ``to_us``; each thinned to ``max_points`` (10–10000), lows and
        highs kept."""
        self._core.check(actor, "records.series")
        if not _MIN_POINTS <= max_points <= _MAX_POINTS:
            raise InvalidInput(
                "series.points",
                f"a series has {_MIN_POINTS} to {_MAX_POINTS} points, not {max_points}",
                where="max_points",
            )
        if from_us >= to_us:
            raise InvalidInput("series.window", "the window ends before it begins", where="from")
        found = await self._core.store.records.series(
            actor.workgroup,
            device_id,
            kind,
            tables=tables,
            sources=sources,
            fields=fields,
            from_us=from_us,
            to_us=to_us,
            max_points=max_points,
        )
        if not found.series:
            await self._exists(actor, device_id)
        series = []
        for one in found.series:
            points = [(time_us, text) for time_us, value in one.points if (text := number(value)) is not None]
            if points:
                series.append(Series(table=one.table, source=one.source, field=one.field, points=points))
        return SeriesPage(series=series, truncated=found.truncated, from_us=from_us, to_us=to_us)

    async def events(
        self,
        actor: Actor,
        device_id: str,
        limit: int = 50,
        before: int | None = None,
        table: str | None = None,
    ) -> Page[EventView]:
        """Events, newest message first; ``before`` is a message_id (a former page's ``next``).

        A record with several fields gives several events; so a page may have a few more than ``limit``.
        """
        self._core.check(actor, "records.events")
        check_limit(limit)
        rows = await self._core.store.records.events(
            actor.workgroup, device_id, table=table, limit=limit, before=before
        )
        if not rows:
            await self._exists(actor, device_id)
        items = [
            EventView(
                message_id=row.message_id,
                table=row.table,
                source=row.source,
                name=name,
                value=plain(value),
                time_us=row.event_time_us,
                stored_us=row.stored_us,
            )
            for row in rows
            for name, value in row.fields.items()
        ]
        return Page(items=items, next=str(rows[-1].message_id) if len(rows) == limit else None)

    async def _exists(self, actor: Actor, device_id: str) -> None:
        if await self._core.store.devices.get(actor.workgroup, device_id) is None:
            raise unknown_device(device_id)


def number(value: Value) -> str | None:
    """A number as decimal text; None for what cannot be drawn."""
    found = plain(value)
    if isinstance(found, bool):
        return "1" if found else "0"
    if isinstance(found, Decimal):
        return format(found, "f")
    return str(found) if isinstance(found, int) else None
