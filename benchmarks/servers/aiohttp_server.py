# SPDX-License-Identifier: Apache-2.0
"""aiohttp on uvloop: ``/sub`` subscribes, ``/pub`` publishes, ``/echo`` echoes; any POST is answered with constant JSON.

Needs aiohttp, which is not ours.
"""

from __future__ import annotations

import resource
import sys

import uvloop
from aiohttp import WSMsgType, web  # type: ignore[import-not-found]

subscribers: dict[web.WebSocketResponse, None] = {}


async def answer(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response({"E": None, "r": {"s": 0, "f": 0}})


async def opened(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False, autoping=True)
    await socket.prepare(request)
    return socket


async def subscribe(request: web.Request) -> web.WebSocketResponse:
    socket = await opened(request)
    subscribers[socket] = None
    try:
        async for _ in socket:
            pass
    finally:
        subscribers.pop(socket, None)
    return socket


async def publish(request: web.Request) -> web.WebSocketResponse:
    socket = await opened(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            for one in list(subscribers):
                await one.send_str(message.data)
    return socket


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = await opened(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.install()
    app = web.Application()
    app.add_routes([web.get("/sub", subscribe), web.get("/pub", publish), web.get("/echo", echo)])
    app.router.add_post("/{path:.*}", answer)
    print("ready", flush=True)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None, backlog=4096)
