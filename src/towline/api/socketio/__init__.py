# SPDX-License-Identifier: Apache-2.0
"""The live door: socket.io at ``/socket.io-client`` (spec ardexa §1) with our own ``towline:`` events beside it."""

from __future__ import annotations

from towline.api.socketio.door import PATH, LiveDoor

__all__ = ["PATH", "LiveDoor"]
