# SPDX-License-Identifier: Apache-2.0
"""API tokens."""

from __future__ import annotations

from fastapi import APIRouter

from towline.api import models
from towline.api.auth import ActorDep, HubDep
from towline.api.errors import documented

router = APIRouter(prefix="/tokens", tags=["tokens"])


@router.get("", responses=documented())
async def list_tokens(hub: HubDep, actor: ActorDep) -> models.Tokens:
    """The caller's API tokens; with manage_access everybody's. A token without it sees itself only."""
    found = await hub.users.tokens.list(actor)
    return models.Tokens(tokens=[models.Token.of(each) for each in found])


@router.post("", responses=documented())
async def create_token(hub: HubDep, actor: ActorDep, body: models.TokenCreate) -> models.NewToken:
    """A new API token with at most the caller's privileges; it is shown only now."""
    made = await hub.users.tokens.create(actor, body.name, body.privileges, body.ttl_days)
    return models.NewToken(**models.Token.of(made.info).model_dump(), token=made.token)


@router.delete("/{jti}", status_code=204, responses=documented(404))
async def revoke_token(hub: HubDep, actor: ActorDep, jti: str) -> None:
    """End a token: live connections opened with it are closed, and who waits for a shell command with it gets 401 at once.

    A token without manage_access can end itself only.
    """
    await hub.users.tokens.revoke(actor, jti)
