# SPDX-License-Identifier: Apache-2.0
"""The entry of the fan-out measurements: a client subscribes to the channel that its address names, ``ch`` without one."""

from towline.gateway.entries import Connection, Handshake, Message


def on_handshake(conn: Connection, handshake: Handshake) -> None:
    conn.subscribe(handshake.query or "ch")


def on_message(conn: Connection, message: Message) -> None:
    """Subscribers say nothing."""
