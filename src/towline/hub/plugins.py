# SPDX-License-Identifier: Apache-2.0
"""Plugins: credentials and declarations."""

from __future__ import annotations

from towline.hub.actor import Actor
from towline.hub.views import CredentialView, PluginView


class Plugins:
    """Use cases about plugins."""

    async def create_credential(
        self,
        actor: Actor,
        name: str,
        app_guid: str | None = None,
        platform: str = "linux",
        architecture: str = "x86_64",
    ) -> CredentialView:
        """A plugin's appGUID and access key (40 characters). Conflict ``plugin.exists`` for a taken appGUID."""
        raise NotImplementedError

    async def list_credentials(self, actor: Actor) -> list[CredentialView]:
        """All of the workgroup, without access keys."""
        raise NotImplementedError

    async def get_credential(self, actor: Actor, app_guid: str) -> CredentialView:
        """One with its access key (audited). NotFound ``plugin.unknown``."""
        raise NotImplementedError

    async def revoke_credential(self, actor: Actor, app_guid: str) -> None:
        """The key is void at once: connected agents are told."""
        raise NotImplementedError

    async def assign(self, actor: Actor, device_id: str, app_guid: str) -> None:
        """Give the credential to a device before its plugin connects."""
        raise NotImplementedError

    async def of_device(self, actor: Actor, device_id: str) -> list[PluginView]:
        """The plugins that have registered on a device, by display name."""
        raise NotImplementedError
