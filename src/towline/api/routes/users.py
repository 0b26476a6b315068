# SPDX-License-Identifier: Apache-2.0
"""Users."""

from __future__ import annotations

from fastapi import APIRouter

from towline.api import models
from towline.api.auth import ActorDep, HubDep
from towline.api.errors import documented
from towline.hub.privileges import PRIVILEGES

router = APIRouter(prefix="/users", tags=["users"])


@router.get("", responses=documented())
async def list_users(hub: HubDep, actor: ActorDep) -> models.Users:
    """Users of the workgroup, and every privilege there is."""
    found = await hub.users.list(actor)
    return models.Users(users=[models.User.of(each) for each in found], privileges=dict(PRIVILEGES))


@router.post("", responses=documented(409))
async def create_user(hub: HubDep, actor: ActorDep, body: models.UserCreate) -> models.User:
    """A new user."""
    view = await hub.users.create(actor, body.name, body.password, body.privileges, body.display_name)
    return models.User.of(view)


@router.patch("/{user_id}", responses=documented(404, 409))
async def update_user(hub: HubDep, actor: ActorDep, user_id: str, body: models.UserUpdate) -> models.User:
    """Change a user's display name or privileges, or disable them; lost privileges end their sessions."""
    view = await hub.users.update(
        actor, user_id, display_name=body.display_name, privileges=body.privileges, disabled=body.disabled
    )
    return models.User.of(view)


@router.delete("/{user_id}", status_code=204, responses=documented(404, 409))
async def delete_user(hub: HubDep, actor: ActorDep, user_id: str) -> None:
    """Delete a user; their sessions and tokens end."""
    await hub.users.delete(actor, user_id)


@router.post("/{user_id}/password", status_code=204, responses=documented(404))
async def set_user_password(hub: HubDep, actor: ActorDep, user_id: str, body: models.PasswordSet) -> None:
    """Give a user a new password; their sessions end."""
    await hub.users.set_password(actor, user_id, body.password)
