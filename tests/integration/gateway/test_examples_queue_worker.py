# SPDX-License-Identifier: Apache-2.0
"""examples/queue_worker: a topic carried on to a real Redis and a real NATS server, which go away meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest
from websockets.asyncio.client import connect

from tests.conftest import find_program
from tests.helpers import free_port, until
from tests.integration.gateway.examples import Program, program, settings_of
from tests.integration.gateway.running import api, clients, running_node
from tests.natsserver import NatsServer
from towline.gateway.entries.lua.redis import RedisClient, RedisError
from towline.gateway.settings import RedisSettings

CONFIG = settings_of("queue_worker")


@asynccontextmanager
async def redis_server(port: int, folder: Path) -> AsyncIterator[RedisClient]:
    redis = find_program("redis-server")
    assert redis is not None
    process = await asyncio.create_subprocess_exec(
        redis, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--appendonly", "yes",
        "--appendfsync", "always", stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    client = RedisClient(RedisSettings(addr=f"127.0.0.1:{port}"))
    try:
        for _ in range(500):
            try:
                assert await client.command(b"PING") == b"PONG"
                break
            except (OSError, RedisError):  # not up, or still reading its file
                await asyncio.sleep(0.02)
        yield client
    finally:
        await client.close()
        process.kill()
        await process.wait()


async def stream_of(redis: RedisClient) -> list[tuple[str, object]]:
    entries = await redis.command(b"XRANGE", b"shop", b"-", b"+")
    assert isinstance(entries, list)
    found = []
    for _, fields in entries:
        named = dict(zip(fields[::2], fields[1::2], strict=True))
        found.append((named[b"client_id"].decode(), json.loads(named[b"data"])["frame"]["data"]))
    return found


@pytest.mark.needs_redis
async def test_to_a_redis_stream_and_through_its_restart(tmp_path: Path) -> None:
    port = free_port()
    async with running_node(**CONFIG) as node, connect(clients(node, CONFIG["path"])) as client:
        client_id = next(iter(node.realm.connections))
        options = ("orders", "shop", "--server", f"127.0.0.1:{port}", "--api", api(node))
        async with program("queue_worker/to_redis.py", *options) as worker:
            async with redis_server(port, tmp_path) as redis:
                for order in ("one", "two é\r\n"):
                    await client.send(order)
                    assert (await worker.line()).endswith(client_id)
                assert await stream_of(redis) == [(client_id, "one"), (client_id, "two é\r\n")]
            await client.send("three")
            await client.send("four")
            assert (await worker.line()).startswith("! ")
            async with redis_server(port, tmp_path) as redis:
                await lines_without_trouble(worker, 2)
                assert [data for _, data in await stream_of(redis)] == ["one", "two é\r\n", "three", "four"]


async def lines_without_trouble(worker: Program, count: int) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        line = await worker.line()
        if not line.startswith("!"):
            found.append(line)
    return found


@pytest.mark.needs_nats
async def test_to_a_nats_subject_and_to_a_stream_through_a_restart() -> None:
    server = await asyncio.to_thread(NatsServer().start)
    connection = await nats.connect(server.url)
    try:
        async with running_node(**CONFIG) as node, connect(clients(node, CONFIG["path"])) as client:
            client_id = next(iter(node.realm.connections))
            options = ("orders", "shop.orders", "--server", server.url, "--api", api(node))
            heard = await connection.subscribe("shop.orders")
            await connection.flush()
            async with program("queue_worker/to_nats.py", *options) as worker:
                await client.send("one é")
                assert await worker.line() == f"shop.orders: {client_id}"
                message = await heard.next_msg(15)
                assert json.loads(message.data)["frame"]["data"] == "one é"
                assert message.headers == {"Client-Id": client_id, "Node": "1"}
            await until(lambda: node.queues.consumers == 0)
            await connection.jetstream().add_stream(name="SHOP", subjects=["shop.>"])
            await connection.close()
            async with program("queue_worker/to_nats.py", *options, "--jetstream") as worker:
                await client.send("two")
                await worker.line()
                await asyncio.to_thread(server.kill)
                await client.send("three")
                assert (await worker.line()).startswith("! ")
                await asyncio.to_thread(server.restart)
                await lines_without_trouble(worker, 1)
        connection = await nats.connect(server.url)
        kept = [await connection.jetstream().get_msg("SHOP", number) for number in (1, 2)]
        assert [json.loads(one.data or b"")["frame"]["data"] for one in kept] == ["two", "three"]
    finally:
        await connection.close()
        await asyncio.to_thread(server.stop)
