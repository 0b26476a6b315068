# SPDX-License-Identifier: Apache-2.0
"""The hub: the part that knows devices. Doors call its use cases with an :class:`~towline.hub.actor.Actor`.

Names are imported when asked for, so that reading the settings costs a device nothing and needs no extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from towline.hub.actor import Actor
    from towline.hub.hub import Bootstrapped, Hub
    from towline.hub.settings import HubSettings

__all__ = ["Actor", "Bootstrapped", "Hub", "HubSettings"]

_WHERE = {
    "Actor": "towline.hub.actor",
    "Bootstrapped": "towline.hub.hub",
    "Hub": "towline.hub.hub",
    "HubSettings": "towline.hub.settings",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_WHERE[name]), name)
