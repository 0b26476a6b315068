# SPDX-License-Identifier: Apache-2.0
"""Plugins' credentials."""

from __future__ import annotations

from fastapi import APIRouter

from towline.api import models
from towline.api.auth import ActorDep, HubDep
from towline.api.errors import documented

router = APIRouter(prefix="/plugins", tags=["plugins"])


@router.get("", responses=documented())
async def list_plugins(hub: HubDep, actor: ActorDep) -> models.Plugins:
    """Credentials of the workgroup, without their access keys."""
    found = await hub.plugins.list_credentials(actor)
    return models.Plugins(plugins=[models.Plugin.of(each) for each in found])


@router.post("", responses=documented(409))
async def create_plugin(hub: HubDep, actor: ActorDep, body: models.PluginCreate) -> models.PluginCredential:
    """A new plugin's appGUID and access key."""
    view = await hub.plugins.create_credential(actor, body.name, body.app_guid, body.platform, body.architecture)
    return models.PluginCredential.of(view)


@router.get("/{app_guid}/credential", responses=documented(404))
async def plugin_credential(hub: HubDep, actor: ActorDep, app_guid: str) -> models.PluginCredential:
    """A plugin's credential with its access key; the audit log keeps that it was read."""
    return models.PluginCredential.of(await hub.plugins.get_credential(actor, app_guid))


@router.delete("/{app_guid}", status_code=204, responses=documented(404))
async def revoke_plugin(hub: HubDep, actor: ActorDep, app_guid: str) -> None:
    """Void a plugin's access key at once, on every device."""
    await hub.plugins.revoke_credential(actor, app_guid)
