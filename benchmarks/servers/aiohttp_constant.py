# SPDX-License-Identifier: Apache-2.0
"""aiohttp answering constant JSON to any POST: what the push API is compared with. Needs aiohttp, which is not ours."""

from __future__ import annotations

import sys

from aiohttp import web  # type: ignore[import-not-found]


async def answer(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response({"E": None, "r": {"s": 0, "f": 0}})


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    print("ready", flush=True)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
