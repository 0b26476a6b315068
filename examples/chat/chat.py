# SPDX-License-Identifier: Apache-2.0
"""Chat rooms: an entry for a gateway listener. Rooms are channels, so they span all nodes of the mesh.

    towline gateway --config examples/chat/chat.yaml     (or gateway.entry: examples/chat/chat.py in your own file)

Messages are JSON text. From the client: {"do": "join", "room", "name"}, {"do": "say", "text"}, {"do": "leave"},
{"do": "ping"}.
To the client: {"is": "joined" | "said" | "left", "room", "name", "text"?}, {"is": "error", "text"}.
"""

from __future__ import annotations

import json
from typing import Any

from towline.gateway.entries import Connection, Handshake, Message

MAX_TEXT = 2000


def on_handshake(conn: Connection, handshake: Handshake) -> None:
    conn.send(json.dumps({"is": "welcome", "id": conn.id}))


async def on_message(conn: Connection, message: Message) -> None:
    try:
        asked = json.loads(message.data)
        await DO[asked["do"]](conn, asked)
    except (ValueError, KeyError, TypeError):
        complain(conn, 'send {"do": "join", "room": …, "name": …}, {"do": "say", "text": …} or {"do": "leave"}')


async def on_close(conn: Connection, error: str | None) -> None:
    await leave(conn, {})


async def join(conn: Connection, asked: dict[str, Any]) -> None:
    room, name = str(asked["room"]).strip(), str(asked["name"]).strip()
    if not (0 < len(room) <= 40 and 0 < len(name) <= 40) or " " in room:
        complain(conn, "room and name have 1 to 40 characters, a room no spaces")
        return
    await leave(conn, {})
    conn.subscribe(f"room:{room}")
    conn.set_context({"room": room, "name": name})
    await tell(conn, "joined")


async def say(conn: Connection, asked: dict[str, Any]) -> None:
    text = str(asked["text"])
    if conn.context_value("room") is None:
        complain(conn, "join a room first")
    elif not 0 < len(text) <= MAX_TEXT:
        complain(conn, f"a message has 1 to {MAX_TEXT} characters")
    else:
        await tell(conn, "said", text=text)


async def leave(conn: Connection, asked: dict[str, Any]) -> None:
    room = conn.context_value("room")
    if room is not None:
        await tell(conn, "left")
        conn.unsubscribe(f"room:{room}")
        conn.set_context({"room": None})


async def tell(conn: Connection, what: str, **more: str) -> None:
    """Everybody in the client's room, on every node, the client included."""
    room, name = conn.context_value("room"), conn.context_value("name")
    await conn.mesh.publish(f"room:{room}", json.dumps({"is": what, "room": room, "name": name, **more}))


def complain(conn: Connection, text: str) -> None:
    conn.send(json.dumps({"is": "error", "text": text}))


async def ping(conn: Connection, asked: dict[str, Any]) -> None:
    """A browser cannot send ping frames; any message keeps its connection from being closed as silent."""


DO = {"join": join, "say": say, "leave": leave, "ping": ping}
