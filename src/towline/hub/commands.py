# SPDX-License-Identifier: Apache-2.0
"""Plugin commands and their ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from towline.hub.actor import Actor
from towline.hub.views import CommandView, Page

Params = Mapping[str, object] | Sequence[Mapping[str, object]]
"""``{name: value}`` or octo's ``[{"name", "value"}]``."""


class Commands:
    """Use cases about commands."""

    async def submit(
        self,
        actor: Actor,
        device_id: str,
        app_guid: str,
        module: str,
        name: str,
        params: Params = (),
        expires_s: int | None = None,
        idempotency_key: str | None = None,
    ) -> CommandView:
        """Write a command into the ledger and send it if the device is there.

        InvalidInput names the JSON path and the rule; NotFound ``device.unknown``, ``plugin.unknown``,
        ``command.undeclared``.
        The same ``idempotency_key`` of the same user within 24 h answers the first command (Conflict
        ``command.idempotency`` when it was for something else).
        """
        raise NotImplementedError

    async def get(self, actor: Actor, command_id: str) -> CommandView:
        """NotFound ``command.unknown``."""
        raise NotImplementedError

    async def list(self, actor: Actor, device_id: str, limit: int = 20, before: str | None = None) -> Page[CommandView]:
        """Newest first; ``before`` is a former page's ``next``."""
        raise NotImplementedError

    async def cancel(self, actor: Actor, command_id: str) -> CommandView:
        """Only a queued command can be cancelled by the hub alone: Conflict ``command.sent`` from then on."""
        raise NotImplementedError
