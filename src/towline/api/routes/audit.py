# SPDX-License-Identifier: Apache-2.0
"""The audit log."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from towline.api import models
from towline.api.auth import ActorDep, HubDep
from towline.api.errors import documented

router = APIRouter(prefix="/audit", tags=["audit"])


@router.get("", responses=documented())
async def list_audit(
    hub: HubDep,
    actor: ActorDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=0, le=2**63 - 1, description="`next` of the former page.")] = None,
) -> models.AuditEntries:
    """Who did what, newest first."""
    page = await hub.audit.list(actor, limit, before)
    return models.AuditEntries(entries=[models.AuditEntry.of(each) for each in page.items], next=page.next)
