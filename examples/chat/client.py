# SPDX-License-Identifier: Apache-2.0
"""A chat client for the terminal: ``python examples/chat/client.py ROOM NAME [ws://127.0.0.1:6790/chat]``."""

from __future__ import annotations

import asyncio
import json
import sys

import picows


class Chat(picows.WSListener):
    """Prints what the room says."""

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type is picows.WSMsgType.CLOSE:
            print(f"closed: {frame.get_close_reason() or 'the gateway ended the connection'}")
            transport.disconnect()
        if frame.msg_type is not picows.WSMsgType.TEXT:
            return
        message = json.loads(frame.get_payload_as_bytes())
        match message["is"]:
            case "said":
                print(f"{message['name']}: {message['text']}", flush=True)
            case "joined" | "left":
                print(f"* {message['name']} {message['is']} {message['room']}", flush=True)
            case "error":
                print(f"! {message['text']}", flush=True)


async def main(room: str, name: str, url: str = "ws://127.0.0.1:6790/chat") -> None:
    transport, _ = await picows.ws_connect(Chat, url, enable_auto_ping=True, auto_ping_idle_timeout=20)

    def say(message: dict[str, str]) -> None:
        transport.send(picows.WSMsgType.TEXT, json.dumps(message))

    def typed() -> None:
        line = sys.stdin.readline()
        if line.strip():
            say({"do": "say", "text": line.strip()})
        elif not line:
            transport.send_close(picows.WSCloseCode.OK)

    say({"do": "join", "room": room, "name": name})
    asyncio.get_running_loop().add_reader(sys.stdin, typed)
    await transport.wait_disconnected()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    asyncio.run(main(*sys.argv[1:4]))
