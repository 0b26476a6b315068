# SPDX-License-Identifier: Apache-2.0
"""A user's client: ``python examples/message_centre/client.py TOKEN [ws://127.0.0.1:6790/messages]``.

Prints messages and tells that they were read, so that they do not come again.
"""

from __future__ import annotations

import asyncio
import json
import sys

import picows


class Client(picows.WSListener):
    """Signs in, and prints."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.last = 0

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        transport.send(picows.WSMsgType.TEXT, json.dumps({"op": "auth", "token": self.token}))

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type is picows.WSMsgType.CLOSE:
            transport.disconnect()
        if frame.msg_type is not picows.WSMsgType.TEXT:
            return
        message = json.loads(frame.get_payload_as_bytes())
        match message["is"]:
            case "signed_in":
                print(f"* signed in as {message['user']}, {message['unread']} unread", flush=True)
            case "error":
                print(f"! {message['text']}", flush=True)
            case "message" if message["id"] > self.last:  # else it came twice, while signing in
                self.last = message["id"]
                print(f"{message['from']}: {message['text']}", flush=True)
                transport.send(picows.WSMsgType.TEXT, json.dumps({"op": "read", "up_to": self.last}))


async def main(token: str, url: str = "ws://127.0.0.1:6790/messages") -> None:
    transport, _ = await picows.ws_connect(lambda: Client(token), url, enable_auto_ping=True, auto_ping_idle_timeout=20)
    await transport.wait_disconnected()


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        raise SystemExit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
