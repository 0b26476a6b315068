# SPDX-License-Identifier: Apache-2.0
"""The operators' doors onto the hub: REST, socket.io, and whatever serves the portal's page.

``create_app`` needs the extra ``server``. Names are imported when asked for, so that reading the settings costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from towline.api.app import BASE, DoorApp, create_app
    from towline.api.server import DoorServer
    from towline.api.settings import DoorSettings

__all__ = ["BASE", "DoorApp", "DoorServer", "DoorSettings", "create_app"]

_WHERE = {
    "BASE": "towline.api.app",
    "DoorApp": "towline.api.app",
    "DoorServer": "towline.api.server",
    "DoorSettings": "towline.api.settings",
    "create_app": "towline.api.app",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_WHERE[name]), name)
