# SPDX-License-Identifier: Apache-2.0
"""The entry of the fan-out measurement: every client subscribes to one channel."""

from towline.gateway.entries import Connection, Handshake, Message


def on_handshake(conn: Connection, handshake: Handshake) -> None:
    conn.subscribe("ch")


def on_message(conn: Connection, message: Message) -> None:
    """Subscribers say nothing."""
