# SPDX-License-Identifier: Apache-2.0
"""Entries: what handles the connections of a listener. Scripts import their types from here.

::

    from towline.gateway.entries import Connection, Handshake, Message

    def on_handshake(conn: Connection, handshake: Handshake) -> None:
        conn.subscribe("news")

    async def on_message(conn: Connection, message: Message) -> None:
        await conn.mesh.publish("news", message.data)
"""

from __future__ import annotations

from towline.gateway.connectionqueue import ConnectionQueue
from towline.gateway.connections import Connection
from towline.gateway.entries.base import Entry, Handshake, Message, RawEntry
from towline.gateway.entries.buffer import Buffer
from towline.gateway.entries.load import load_entry, load_raw_entry
from towline.gateway.mesh import Mesh, Outcome
from towline.gateway.queues import QueueFull
from towline.gateway.rawconnection import RawConnection

__all__ = [
    "Buffer",
    "Connection",
    "ConnectionQueue",
    "Entry",
    "Handshake",
    "Mesh",
    "Message",
    "Outcome",
    "QueueFull",
    "RawConnection",
    "RawEntry",
    "load_entry",
    "load_raw_entry",
]
