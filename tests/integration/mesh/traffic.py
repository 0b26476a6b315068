# SPDX-License-Identifier: Apache-2.0
"""Clients, back ends and consumers on every node, and a ledger of all they said and heard.

Each operation has a number of its own, which is its data; a back end's numbers grow, so that what a client hears tells
which operation it was, whether it came twice, and whether the order of its sender held.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.integration.mesh.sockets import Socket
from tests.integration.mesh.world import NodeProcess

PUBLISH, SEND, CALL = "mesh.publish", "mesh.send", "conn.call"
CLIENTS_PER_NODE = 4
CHANNELS = 6
RETRY_S = 0.1
CLIENT_ID = re.compile(r"\d{17,20}")


class Operation:
    """What one back end asked, and what it was told."""

    __slots__ = ("answered", "code", "failed", "kind", "number", "seen", "sender", "sent", "sent_at", "target")

    def __init__(self, number: int, kind: str, target: str, sender: Sender, now: float) -> None:
        self.number = number
        self.kind = kind
        self.target = target
        self.sender = sender
        self.sent_at = now
        self.answered = math.inf
        self.code = -1
        self.sent = 0
        self.failed = 0
        self.seen = 0
        """clients that heard it"""


class Push:
    """What one client gave to the topic."""

    __slots__ = ("acknowledged", "client", "consumed", "sent_at")

    def __init__(self, client: Client, now: float) -> None:
        self.client = client
        self.sent_at = now
        self.acknowledged = math.inf
        self.consumed = 0


class Client:
    """One connection of a client; a new one is a new client."""

    def __init__(self, node: NodeProcess, life: int, channels: tuple[str, ...]) -> None:
        self.node = node
        self.life = life
        """which start of its node it belongs to"""
        self.channels = channels
        self.id = ""
        self.began = time.monotonic()
        self.gone = math.inf
        self.heard: list[int] = []
        self.context: dict[str, int] | None = None
        self.socket: Socket | None = None


class Sender:
    """One connection of a back end."""

    def __init__(self, traffic: Traffic, node: NodeProcess) -> None:
        self.traffic = traffic
        self.node = node
        self.number = len(traffic.senders)
        self.gone = math.inf
        self.answers = 0
        self.unanswered: dict[int, Operation] = {}
        self.socket: Socket | None = None

    def ask(self) -> None:
        """One more operation."""
        traffic = self.traffic
        random_ = traffic.random
        what = random_.random()
        number = len(traffic.operations)
        if what < 0.5:
            kind, target = PUBLISH, "all" if what < 0.02 else f"c{int(random_.random() * CHANNELS)}"
            text = b'{"m":"mesh.publish","p":{"c":"%b","d":"%d"},"i":%d}' % (target.encode(), number, number)
        else:
            target = traffic.some_client()
            if what < 0.9:
                kind, text = SEND, b'{"m":"mesh.send","p":{"c":"%b","d":"%d"},"i":%d}'
                text %= (target.encode(), number, number)
            else:
                kind, text = CALL, b'{"m":"conn.call","p":{"c":"%b","f":"set_context_value","a":["s%d",%d]},"i":%d}'
                text %= (target.encode(), self.number, number, number)
        operation = Operation(number, kind, target, self, time.monotonic())
        traffic.operations.append(operation)
        self.unanswered[number] = operation
        assert self.socket is not None
        self.socket.send(text)

    def heard(self, text: bytes) -> None:
        answer = json.loads(text)
        operation = self.unanswered.pop(answer["i"])
        operation.answered = time.monotonic()
        if answer["E"] is not None:
            operation.code = answer["E"]["c"]
        else:
            operation.code = 0
            if operation.kind == PUBLISH:
                operation.sent, operation.failed = answer["r"]["s"], answer["r"]["f"]
            else:
                assert answer["r"] == {"s": True}, answer
        self.answers += 1
        self.traffic.answers += 1


class Consumer:
    """One connection of a consumer."""

    def __init__(self, node: NodeProcess) -> None:
        self.node = node
        self.began = time.monotonic()
        self.gone = math.inf
        self.socket: Socket | None = None


class Traffic:
    """All of it. ``wanted`` operations are kept under way at each node; 0 lets everything come to rest."""

    def __init__(self, nodes: list[NodeProcess], random_: random.Random, consumers: tuple[int, ...]) -> None:
        self.nodes = nodes
        self.random = random_
        self.operations: list[Operation] = []
        self.pushes: list[Push] = []
        self.clients: list[Client] = []
        self.senders: list[Sender] = []
        self.consumers: list[Consumer] = []
        self.living: list[str] = []
        """ids of clients that are connected now"""
        self.ids: list[str] = []
        self.problems: list[str] = []
        self.answers = 0
        self.wanted = 0
        self.pushing = False
        self._consumers_on = consumers
        self._tasks: list[asyncio.Task[None]] = []
        self._recent: deque[str] = deque(maxlen=8)

    def start(self) -> None:
        for node in self.nodes:
            for number in range(CLIENTS_PER_NODE):
                place = node.index * CLIENTS_PER_NODE + number
                channels = ("all", *{f"c{place % CHANNELS}", f"c{place // 2 % CHANNELS}"})
                self._run(self._client(node, channels))
            self._run(self._sender(node))
            if node.index in self._consumers_on:
                self._run(self._consumer(node))

    def _run(self, work: Any) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    def some_client(self) -> str:
        """Mostly one that lives, sometimes one that has just gone."""
        if self._recent and self.random.random() < 0.02:
            return self.random.choice(self._recent)
        return self.random.choice(self.living) if self.living else "1"

    def answered(self, count: int) -> bool:
        """Whether there are so many answers. A bug of the test itself must not look like silence."""
        self.check_alive()
        return self.answers >= count

    def check_alive(self) -> None:
        """AssertionError for what went wrong in a task."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                raise AssertionError("traffic stopped") from task.exception()
        assert not self.problems, self.problems[:10]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        sockets = [one.socket for one in self.clients] + [one.socket for one in self.senders]
        for socket in sockets + [one.socket for one in self.consumers]:
            if socket is not None:
                socket.abort()

    # -- roles, each coming back for ever

    async def _client(self, node: NodeProcess, channels: tuple[str, ...]) -> None:
        while True:
            client = Client(node, node.starts, channels)
            self.clients.append(client)
            ended = asyncio.Event()
            try:
                client.socket = await Socket.connect(
                    node.clients,
                    "/?" + ",".join(channels),
                    partial(self._to_client, client),
                    ended.set,
                )
            except (OSError, TimeoutError):
                client.gone = time.monotonic()
                self.clients.remove(client)
                await asyncio.sleep(RETRY_S)
                continue
            await self._until_ended(client, ended, self._push(client))
            if client.id in self.living:
                self.living.remove(client.id)
                self._recent.append(client.id)
            await asyncio.sleep(RETRY_S)

    async def _until_ended(self, one: Client | Sender | Consumer, ended: asyncio.Event, work: Any) -> None:
        task = asyncio.ensure_future(work)
        try:
            await ended.wait()
            one.gone = time.monotonic()
        finally:
            task.cancel()
            results = await asyncio.gather(task, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]

    def _to_client(self, client: Client, text: bytes) -> None:
        if text[0] < 58:  # a digit
            client.heard.append(int(text))
            return
        word, _, rest = text.decode().partition(" ")
        if word == "id":
            client.id = rest
            self.ids.append(rest)
            self.living.append(rest)
        elif word == "pushed":
            self.pushes[int(rest)].acknowledged = time.monotonic()
        elif word == "context":
            client.context = {key: int(value) for key, value in re.findall(r"'(\w+)': (\d+)", rest)}
        elif word != "probe":
            self.problems.append(f"{client.id} heard {text!r}")

    async def _push(self, client: Client) -> None:
        while True:
            await asyncio.sleep(0.02)
            if self.pushing and client.id and client.socket is not None:
                for _ in range(3):
                    number = len(self.pushes)
                    self.pushes.append(Push(client, time.monotonic()))
                    client.socket.send(b"push %d" % number)

    async def _sender(self, node: NodeProcess) -> None:
        while True:
            sender = Sender(self, node)
            ended = asyncio.Event()
            try:
                sender.socket = await Socket.connect(node.api, "/ws/v1", sender.heard, ended.set)
            except (OSError, TimeoutError):
                await asyncio.sleep(RETRY_S)
                continue
            self.senders.append(sender)
            await self._until_ended(sender, ended, self._ask(sender))
            await asyncio.sleep(RETRY_S)

    async def _ask(self, sender: Sender) -> None:
        while True:
            missing = self.wanted - len(sender.unanswered)
            for _ in range(min(50, missing)):
                sender.ask()
            await asyncio.sleep(0 if missing > 0 else 0.001)

    async def _consumer(self, node: NodeProcess) -> None:
        while True:
            consumer = Consumer(node)
            ended = asyncio.Event()
            try:
                consumer.socket = await Socket.connect(node.api, "/ws/v1", self._to_consumer, ended.set)
            except (OSError, TimeoutError):
                await asyncio.sleep(RETRY_S)
                continue
            self.consumers.append(consumer)
            consumer.socket.send(b'{"m":"queue.pop","p":{"t":["work"]},"i":1}')
            await self._until_ended(consumer, ended, self._ping(consumer.socket))
            await asyncio.sleep(RETRY_S)

    async def _ping(self, socket: Socket) -> None:
        while True:
            await asyncio.sleep(20)
            socket.send(b"ping")

    def _to_consumer(self, text: bytes) -> None:
        if text == b"pong":
            return
        message = json.loads(text)
        if "e" not in message:
            if message != {"E": None, "r": {"s": True}, "i": 1}:
                self.problems.append(f"a consumer heard {text!r}")
            return
        event = message["p"]
        push = self.pushes[event["d"]]
        push.consumed += 1
        if event["c"] != push.client.id:
            self.problems.append(f"{text!r} is of client {push.client.id}")

    # -- coming to rest

    async def rest(self, timeout: float = 15.0) -> None:
        """Until everything asked is answered or cut off."""
        self.wanted, self.pushing = 0, False
        await self._until(lambda: not self.waiting(), timeout, "everything answered")

    def waiting(self) -> list[Operation]:
        return [one for sender in self.senders if sender.gone == math.inf for one in sender.unanswered.values()]

    async def everybody(self, timeout: float = 20.0) -> None:
        """Until all clients, back ends and consumers are connected."""

        def there() -> bool:
            return (
                len(self.living) == len(self.nodes) * CLIENTS_PER_NODE
                and sum(one.gone == math.inf for one in self.senders) == len(self.nodes)
                and sum(one.gone == math.inf for one in self.consumers) == len(self._consumers_on)
            )

        try:
            await self._until(there, timeout, "everybody connected")
        except AssertionError as error:
            running = [node.index for node in self.nodes if node.running]
            raise AssertionError(f"{error}; clients {self.living}; nodes that run {running}") from None

    async def _until(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        end = time.monotonic() + timeout
        while not condition():
            self.check_alive()
            if time.monotonic() > end:
                raise AssertionError(f"not within {timeout} s: {what}")
            await asyncio.sleep(0.01)
