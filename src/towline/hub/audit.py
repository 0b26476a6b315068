# SPDX-License-Identifier: Apache-2.0
"""The audit log."""

from __future__ import annotations

from towline.hub.actor import Actor
from towline.hub.views import AuditEntry, Page


class Audit:
    """Who did what."""

    async def list(self, actor: Actor, limit: int = 100, before: int | None = None) -> Page[AuditEntry]:
        """Newest first; ``before`` is an entry's id (a former page's ``next``)."""
        raise NotImplementedError
