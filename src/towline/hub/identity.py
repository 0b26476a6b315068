# SPDX-License-Identifier: Apache-2.0
"""Enrolment."""

from __future__ import annotations

from towline.hub.actor import Actor
from towline.hub.views import EnrolmentView


class Enrolments:
    """One-time invitations for devices."""

    async def create(
        self, actor: Actor, name: str | None = None, ttl_s: int | None = None, link_url: str | None = None
    ) -> EnrolmentView:
        """A new line for ``towline agent enrol LINE``; ``name`` becomes the device's name (else its host name).

        ``ttl_s`` 60–86400, the setting enrolment_seconds when None; ``link_url`` replaces the setting of that name.
        """
        raise NotImplementedError

    async def list(self, actor: Actor) -> list[EnrolmentView]:
        """Newest first, without token and line."""
        raise NotImplementedError

    async def revoke(self, actor: Actor, enrolment_id: str) -> None:
        """NotFound ``enrolment.unknown``; Conflict ``enrolment.used`` when a device has redeemed it."""
        raise NotImplementedError
