# SPDX-License-Identifier: Apache-2.0
"""Devices, and the remote shell of one."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from towline.api import models
from towline.api.auth import ActorDep, HubDep, settings_of
from towline.api.errors import documented

router = APIRouter(prefix="/devices", tags=["devices"])


@router.get("", response_model=models.Devices, responses=documented())
async def list_devices(
    hub: HubDep,
    actor: ActorDep,
    search: Annotated[str, Query(max_length=128, description="Part of name, id, host name or address.")] = "",
    state: Literal["online", "offline"] | None = None,
    group: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str | None, Query(max_length=512, description="`next` of the former page.")] = None,
) -> Response:
    """Devices by name, and how many there are."""
    page = await hub.devices.list(actor, search, state, group, limit, after)
    found = models.Devices(
        devices=[models.Device.of(each) for each in page.items],
        next=page.next,
        counts=models.DeviceCounts(total=page.counts.total, online=page.counts.online),
    )
    return models.answer(found)


@router.get("/{device_id}", responses=documented(404))
async def get_device(hub: HubDep, actor: ActorDep, device_id: str) -> models.Device:
    """One device."""
    return models.Device.of(await hub.devices.get(actor, device_id))


@router.patch("/{device_id}", responses=documented(404))
async def rename_device(hub: HubDep, actor: ActorDep, device_id: str, body: models.DeviceUpdate) -> models.Device:
    """Rename a device."""
    return models.Device.of(await hub.devices.rename(actor, device_id, body.name))


@router.delete("/{device_id}", status_code=204, responses=documented(404))
async def delete_device(hub: HubDep, actor: ActorDep, device_id: str) -> None:
    """Delete a device with all that is stored about it; its connection is closed and its key is void."""
    await hub.devices.delete(actor, device_id)


@router.get("/{device_id}/plugins", responses=documented(404))
async def device_plugins(hub: HubDep, actor: ActorDep, device_id: str) -> models.DevicePlugins:
    """The plugins that have registered on the device, with their declarations."""
    found = await hub.plugins.of_device(actor, device_id)
    return models.DevicePlugins(plugins=[models.DevicePlugin.of(each) for each in found])


@router.post("/{device_id}/exec", responses=documented(404, 503))
async def execute(
    request: Request, hub: HubDep, actor: ActorDep, device_id: str, body: models.ExecCreate
) -> models.ExecResult:
    """Run one shell command on the device and wait for its end.

    When the session or token ends meanwhile, the answer is 401 at once; the command runs on to its end or its timeout, as when
    the caller goes away.
    """
    timeout = body.timeout_s if body.timeout_s is not None else settings_of(request).exec_timeout_s
    execution = await hub.execs.run(actor, device_id, body.cmd, timeout)
    result = await execution.result()
    return models.ExecResult(
        correlation_id=execution.correlation_id,
        stdout=result.stdout,
        stderr=result.stderr,
        return_code=result.return_code,
        reason=result.reason,
        message=result.message,
    )
