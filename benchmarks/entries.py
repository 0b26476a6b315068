# SPDX-License-Identifier: Apache-2.0
"""What an entry costs a message, in Python and Lua, without sockets: ``python -m benchmarks.entries``."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

from towline.gateway.channels import Channels
from towline.gateway.connections import Connection, Realm
from towline.gateway.entries.base import Handshake, Message
from towline.gateway.entries.load import load_entry
from towline.gateway.entries.options import ScriptOptions
from towline.gateway.mesh import Mesh
from towline.gateway.outbox import Outbox

ROUNDS, MESSAGES = 5, 20_000
CLOSE = " function on_handshake() end function on_close() end"
JSON = '{"do":"say","text":"hello world","n":[1,2,3],"who":{"name":"ann"}}'

WORK = {
    "nothing": ("hello", "def on_message(conn, m): pass", "function on_message(msg) end"),
    "echo": (
        "hello",
        "def on_message(conn, m): conn.send(m.data)",
        "function on_message(msg) mix.websocket():send(msg.data) end",
    ),
    "JSON decoded and encoded": (
        JSON,
        "import json\ndef on_message(conn, m): conn.send(json.dumps(json.loads(m.data)))",
        "function on_message(msg) mix.websocket():send(mix.json_encode(mix.json_decode(msg.data))) end",
    ),
}


class Request:
    method, path, version = b"GET", b"/", b"HTTP/1.1"
    headers: ClassVar[dict[str, str]] = {}


def cost(path: Path, text: str, options: ScriptOptions) -> float:
    """Microseconds a message, the best round."""
    turns: list[Any] = []
    outbox = Outbox(turns.append, 1 << 30, lambda connection: None)
    realm = Realm(outbox, Channels())
    Mesh(realm, asyncio.new_event_loop(), 1.0, 1 << 20)
    request: Any = Request()
    connection = Connection(
        "1", realm, Handshake(request, "127.0.0.1:1"), lambda data: None, lambda: 0, lambda *_: None
    )
    realm.connections["1"] = connection
    entry = load_entry(str(path), options=options)
    entry.on_handshake(connection, connection.handshake)
    message, best = Message("text", text), 1e9
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for number in range(MESSAGES):
            entry.on_message(connection, message)
            if number % 100 == 99:
                while turns:
                    turns.pop()()
        best = min(best, time.perf_counter() - start)
    return best / MESSAGES * 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, (text, python, lua) in WORK.items():
            (Path(folder) / "entry.py").write_text(python)
            (Path(folder) / "entry.lua").write_text(lua + CLOSE)
            figures = [
                cost(Path(folder) / file, text, ScriptOptions(trusted=trusted, reload_s=0))
                for file, trusted in (("entry.py", False), ("entry.lua", False), ("entry.lua", True))
            ]
            print(f"{name}: Python {figures[0]:.1f} µs, Lua {figures[1]:.1f} µs, Lua trusted {figures[2]:.1f} µs")


if __name__ == "__main__":
    main()
