# SPDX-License-Identifier: Apache-2.0
"""Plugin commands."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request

from towline.api import models
from towline.api.auth import ActorDep, HubDep
from towline.api.errors import documented
from towline.api.waiting import CommandWaiters

router = APIRouter(tags=["commands"])


@router.get("/devices/{device_id}/commands", responses=documented(404))
async def device_commands(
    hub: HubDep,
    actor: ActorDep,
    device_id: str,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    before: Annotated[str | None, Query(max_length=512, description="`next` of the former page.")] = None,
) -> models.Commands:
    """Commands of the device, newest first."""
    page = await hub.commands.list(actor, device_id, limit, before)
    return models.Commands(commands=[models.Command.of(each) for each in page.items], next=page.next)


@router.post("/devices/{device_id}/commands", status_code=202, responses=documented(404, 409))
async def submit_command(
    hub: HubDep,
    actor: ActorDep,
    device_id: str,
    body: models.CommandCreate,
    idempotency_key: Annotated[str | None, Header(max_length=128)] = None,
) -> models.Command:
    """Give a plugin of the device a command. It waits for a device that is away until it expires.

    With the same `Idempotency-Key` the same command is answered again instead of given twice.
    """
    view = await hub.commands.submit(
        actor, device_id, body.app_guid, body.module, body.name, body.params, body.expires_in_s, idempotency_key
    )
    return models.Command.of(view)


@router.get("/commands/{command_id}", responses=documented(404))
async def get_command(
    request: Request,
    hub: HubDep,
    actor: ActorDep,
    command_id: str,
    wait_s: Annotated[float, Query(ge=0, le=30, description="Wait this long for a change.")] = 0,
    after_state: Annotated[
        str | None, Query(max_length=32, description="Answer as soon as the state is another; without it, when final.")
    ] = None,
) -> models.Command:
    """One command; with `wait_s` the answer waits until it is final, or no longer in `after_state`."""
    waiters: CommandWaiters = request.app.state.waiters
    view = await waiters.wait(
        lambda: hub.commands.get(actor, command_id),
        command_id,
        wait_s,
        lambda found: found.final or (after_state is not None and found.state != after_state),
    )
    return models.Command.of(view)


@router.post("/commands/{command_id}/cancel", responses=documented(404, 409))
async def cancel_command(hub: HubDep, actor: ActorDep, command_id: str) -> models.Command:
    """Cancel a command that has not been sent."""
    return models.Command.of(await hub.commands.cancel(actor, command_id))
