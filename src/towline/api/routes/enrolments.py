# SPDX-License-Identifier: Apache-2.0
"""Invitations for devices."""

from __future__ import annotations

from fastapi import APIRouter

from towline.api import models
from towline.api.auth import ActorDep, HubDep
from towline.api.errors import documented

router = APIRouter(prefix="/enrolments", tags=["enrolments"])


@router.get("", responses=documented())
async def list_enrolments(hub: HubDep, actor: ActorDep) -> models.Enrolments:
    """Invitations, newest first, without their lines."""
    found = await hub.enrolments.list(actor)
    return models.Enrolments(enrolments=[models.Enrolment.of(each) for each in found])


@router.post("", responses=documented())
async def create_enrolment(hub: HubDep, actor: ActorDep, body: models.EnrolmentCreate) -> models.NewEnrolment:
    """A new line to paste on a device."""
    view = await hub.enrolments.create(actor, body.name, body.ttl_s)
    return models.NewEnrolment(
        **models.Enrolment.of(view).model_dump(),
        line=view.line,
        command=f"towline agent enrol '{view.line}'",
    )


@router.delete("/{enrolment_id}", status_code=204, responses=documented(404, 409))
async def revoke_enrolment(hub: HubDep, actor: ActorDep, enrolment_id: str) -> None:
    """Make a line useless that no device has redeemed."""
    await hub.enrolments.revoke(actor, enrolment_id)
