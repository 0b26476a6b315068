# SPDX-License-Identifier: Apache-2.0
"""The hub: the part that knows devices. Doors call its use cases with an :class:`~towline.hub.actor.Actor`."""

from __future__ import annotations

from towline.hub.actor import Actor
from towline.hub.hub import Bootstrapped, Hub
from towline.hub.settings import HubSettings

__all__ = ["Actor", "Bootstrapped", "Hub", "HubSettings"]
