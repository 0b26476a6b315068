# SPDX-License-Identifier: Apache-2.0
"""The audit log: who did what. Every changing use case, every sign-in and every remote shell command writes an entry."""

from __future__ import annotations

from towline.hub.actor import Actor
from towline.hub.core import Core
from towline.hub.devices import check_limit
from towline.hub.views import AuditEntry, Page


class Audit:
    """Reads the log."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def list(self, actor: Actor, limit: int = 100, before: int | None = None) -> Page[AuditEntry]:
        """Newest first; ``before`` is an entry's id (a former page's ``next``)."""
        self._core.check(actor, "audit.list")
        check_limit(limit)
        rows = await self._core.store.audit.list(actor.workgroup, limit=limit, before=before)
        items = [
            AuditEntry(
                id=row.id,
                time_us=row.time_us,
                user=row.user_name,
                action=row.action,
                entity=row.entity,
                entity_id=row.entity_id,
                detail=row.detail,
                address=row.address,
            )
            for row in rows
        ]
        return Page(items=items, next=str(rows[-1].id) if len(rows) == limit else None)
