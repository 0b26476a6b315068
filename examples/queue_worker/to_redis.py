# SPDX-License-Identifier: Apache-2.0
"""Carry a topic on to a Redis stream.

    python examples/queue_worker/to_redis.py TOPIC STREAM [--server localhost:6379] [--api URL]

Each item becomes one entry of the stream with the fields ``client_id``, ``node`` and ``data`` (JSON). While Redis is away
the item in hand is kept and tried again; the rest waits in the gateway's topic.
"""

from __future__ import annotations

import argparse
import asyncio
import json

from towline.client import Consumer

KEEP = "1000000"  # entries of the stream, roughly; Redis trims older ones


class Redis:
    """As much of Redis' protocol (RESP2) as one command at a time needs. In your product take redis-py."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._address = (host or "localhost", int(port))
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def command(self, *words: str) -> str:
        """The reply's text. OSError when Redis is not there or not ready, RuntimeError when it refuses."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        try:
            encoded = [word.encode() for word in words]
            writer.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in encoded))
            line = (await reader.readuntil(b"\r\n"))[:-2].decode()
            if line.startswith("$") and line != "$-1":
                line = "+" + (await reader.readexactly(int(line[1:]) + 2))[:-2].decode()
        except (OSError, EOFError):
            self._streams = None
            writer.close()
            raise ConnectionError("Redis ended the connection") from None
        if line.startswith(("-LOADING", "-BUSY", "-MASTERDOWN")):
            raise ConnectionError(line[1:])  # it will pass
        if line.startswith("-"):
            raise RuntimeError(line[1:])
        return line[1:]


async def main(topic: str, stream: str, server: str, api: str) -> None:
    redis = Redis(server)
    async with Consumer(topic, url=api) as items:
        async for item in items:
            fields = ["client_id", item.client_id, "node", str(item.node), "data", json.dumps(item.data)]
            delay = 0.1
            while True:
                try:
                    entry = await redis.command("XADD", stream, "MAXLEN", "~", KEEP, "*", *fields)
                    break
                except OSError as error:
                    print(f"! {error}; again in {delay:.1f} s", flush=True)
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, 10)
            print(f"{stream} {entry}: {item.client_id}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topic")
    parser.add_argument("stream")
    parser.add_argument("--server", default="localhost:6379")
    parser.add_argument("--api", default="http://127.0.0.1:6789", help="of any gateway node")
    asyncio.run(main(**vars(parser.parse_args())))
