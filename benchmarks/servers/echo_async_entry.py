# SPDX-License-Identifier: Apache-2.0
"""An entry that echoes from an ``async`` callback."""

from towline.gateway.entries import Connection, Message


async def on_message(conn: Connection, message: Message) -> None:
    conn.send(message.data, message.kind)
