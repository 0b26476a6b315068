# SPDX-License-Identifier: Apache-2.0
"""The library's face for plain scripts, from threads, against a node; and Ctrl-C in a script of its own."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.helpers import free_port, until, wait_until
from tests.integration.gateway.running import api, clients, running_node
from towline.client.sync import Consumer, PushClient, PushError
from towline.errors import Unavailable

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "gateway.md"

ENTRY = """
def on_handshake(conn, handshake):
    conn.subscribe("news")
    conn.send(conn.id)

def on_message(conn, message):
    conn.queue.push("orders", {"text": message.data})
"""


@pytest.fixture
def entry(tmp_path: Path) -> str:
    path = tmp_path / "entry.py"
    path.write_text(ENTRY)
    return str(path)


async def test_publish_send_and_call(entry: str) -> None:
    def script(url: str, client_id: str) -> None:
        with PushClient(url, timeout=5) as push:
            assert push.publish("news", "é") == (1, 0)
            push.send(client_id, b"\x00")
            push.call(client_id, "subscribe", "more")
            with pytest.raises(PushError) as caught:
                push.send("15", "nobody")
            assert caught.value.code == "push.401"
            with ThreadPoolExecutor(8) as pool:
                counts = list(pool.map(lambda number: push.publish("more", str(number)), range(100)))
            assert counts == [(1, 0)] * 100
        with pytest.raises(Unavailable) as closed:
            push.publish("news", "x")
        assert closed.value.code == "push.closed"

    async with running_node(entry=entry) as node, connect(clients(node)) as client:
        await asyncio.to_thread(script, api(node), str(await client.recv()))
        assert [await client.recv() for _ in range(2)] == ["é", b"\x00"]
        assert {await client.recv() for _ in range(100)} == {str(number) for number in range(100)}
        await until(lambda: not node.sockets.sockets)
    await until(lambda: not [one for one in threading.enumerate() if one.name.startswith("towline-")])


async def test_consuming(entry: str) -> None:
    heard: list[str] = []

    def script(url: str) -> None:
        with Consumer("orders", url=url, every_node=False) as consumer:
            for event in consumer:
                heard.append(event.data["text"])
                if event.data["text"] == "end":
                    break
            assert consumer.get(timeout=0.05) is None
            heard.append("waits")
            last = consumer.get(timeout=10)
            assert last is not None
            heard.append(last.data["text"])
        assert consumer.get() is None
        assert list(consumer) == []

    async with running_node(entry=entry) as node, connect(clients(node)) as client:
        script_ends = asyncio.ensure_future(asyncio.to_thread(script, api(node)))
        for number in range(250):
            await client.send(str(number))
        await client.send("end")
        await until(lambda: heard and heard[-1] == "waits")
        await client.send("late")
        await script_ends
        assert heard == [*(str(number) for number in range(250)), "end", "waits", "late"]


async def test_what_was_fetched_is_not_lost_by_closing(entry: str) -> None:
    def script(url: str) -> list[str]:
        with Consumer("orders", url=url, every_node=False) as consumer:
            first = next(consumer)
            wait_until(lambda: len(consumer._consumer._events) + len(consumer._events) == 9)
        return [event.data["text"] for event in (first, *consumer)]

    async with running_node(entry=entry) as node, connect(clients(node)) as client:
        for number in range(10):
            await client.send(str(number))
        await until(lambda: node.queues.waiting == 10)
        assert await asyncio.to_thread(script, api(node)) == [str(number) for number in range(10)]


def test_errors_are_clean() -> None:
    with pytest.raises(Unavailable) as caught:
        next(Consumer("a"))
    assert caught.value.code == "push.closed"
    with PushClient(f"http://127.0.0.1:{free_port()}", timeout=0.1) as push:
        with pytest.raises(Unavailable) as caught:
            push.publish("news", "x")
        assert caught.value.code == "push.timeout"
    from towline.errors import InvalidInput

    with pytest.raises(InvalidInput), PushClient("ftp://x"):
        pass
    with pytest.raises(TypeError), PushClient(colour="red"):
        pass


INTERRUPTED = """
import sys
from towline.client.sync import Consumer
with Consumer("orders", url=sys.argv[1]) as consumer:
    try:
        for event in consumer:
            print(event.data, flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


async def test_ctrl_c_ends_what_waits() -> None:
    async with running_node() as node:
        node.queues.push("orders", "one")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", INTERRUPTED, api(node), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 15) == b"one\n"
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 10)
        assert (out, err, process.returncode) == (b"interrupted\n", b"", 0)
        await until(lambda: not node.queues.consumers)


async def test_the_examples_of_the_guide(entry: str) -> None:
    """As they stand there, with this node's port in them."""
    section = GUIDE.read_text("utf-8").split("## From Python")[1].split("\n## ")[0]
    scripts = [block for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL) if "client.sync" in block]
    assert len(scripts) == 2
    async with running_node(entry=entry) as node, connect(clients(node)) as client:
        await client.recv()
        await client.send("hello")
        for script, said in zip(
            scripts, (["1"], [f"{next(iter(node.realm.connections))} {{'text': 'hello'}}"]), strict=True
        ):
            code = script.replace("http://127.0.0.1:6789", api(node))
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            assert process.stdout is not None
            lines = [(await asyncio.wait_for(process.stdout.readline(), 15)).decode().rstrip() for _ in said]
            if process.returncode is None and "for event" in code:
                process.send_signal(signal.SIGINT)
            _, err = await asyncio.wait_for(process.communicate(), 15)
            assert lines == said, err.decode()
