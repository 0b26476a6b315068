# SPDX-License-Identifier: Apache-2.0
"""Queries on what devices measured."""

from __future__ import annotations

from collections.abc import Sequence

from towline.hub.actor import Actor
from towline.hub.views import EventView, Page, SeriesPage, StateView


class Records:
    """Use cases that read states, series and events of one device."""

    async def states(self, actor: Actor, device_id: str) -> list[StateView]:
        """Latest state values of all its plugins."""
        raise NotImplementedError

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
        """Numeric series with ``from_us`` ≤ event time < ``to_us``; each thinned to ``max_points`` (10–10000)."""
        raise NotImplementedError

    async def events(
        self,
        actor: Actor,
        device_id: str,
        limit: int = 50,
        before: int | None = None,
        table: str | None = None,
    ) -> Page[EventView]:
        """Events, newest message first; ``before`` is a message_id (a former page's ``next``)."""
        raise NotImplementedError
