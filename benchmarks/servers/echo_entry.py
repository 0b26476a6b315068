# SPDX-License-Identifier: Apache-2.0
"""An entry that echoes."""

from towline.gateway.entries import Connection, Message


def on_message(conn: Connection, message: Message) -> None:
    conn.send(message.data, message.kind)
