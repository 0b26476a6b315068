# SPDX-License-Identifier: Apache-2.0
"""A gateway node at half load while its scripts change every ten seconds: nothing lost, nothing twice, no more memory.

Clients of a Python and of a Lua entry echo, publish and push; a back end publishes to all of them, a consumer takes what was
pushed. First the test finds how much goes through when it asks for as much as it can, then it asks for half of that.
Each message has a number, and the account is closed at the end. Every third change of a script is one that does not
load: the old one has to go on.

It lasts a share of ``TOWLINE_TEST_SOAK`` seconds.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import soak_seconds, until
from tests.integration.gatewayprocess import GatewayProcess
from tests.integration.mesh.sockets import Socket

pytestmark = [pytest.mark.slow, pytest.mark.soak]

SECONDS = soak_seconds(0.3, 35)
CHANGE_S = 10.0
CLIENTS = 20
"""of each entry"""
FULL_S = 3.0
"""how long as much as possible is asked for"""
GROWTH_MB = 12.0
"""What memory may grow after the first third of the time: a Lua machine that is thrown away goes when its turn comes."""

PYTHON = """
VERSION = {version}

async def on_message(conn, message):
    word, _, rest = message.data.partition(" ")
    if word == "push":
        conn.queue.push("work", int(rest))
    elif word == "publish":
        await conn.mesh.publish("room", f"room {{rest}}")
    elif word == "subscribe":
        conn.subscribe("room")
    conn.send(f"{{VERSION}} {{message.data}}")
"""

LUA = """
local version = {version}

function on_handshake(client_id, headers, server) end
function on_close(client_id, err) end

function on_message(msg)
  local conn = mix.websocket()
  local word, rest = string.match(msg.data, "^(%a+) ?(.*)$")
  if word == "push" then
    local n, err = mix.queue.push("work", tonumber(rest))
    if err then error(err) end
  elseif word == "publish" then
    mix.mesh.publish("room", "room " .. rest)
  elseif word == "subscribe" then
    conn:subscribe("room")
  end
  conn:send(version .. " " .. msg.data)
end
"""

SCRIPTS = {"entry.py": PYTHON, "entry.lua": LUA}
BROKEN = "this is no program ) in either language"

SETTINGS = """
gateway:
  api_listen: "127.0.0.1:{api}"
  clients_listen: "127.0.0.1:{clients}"
  center_listen: ""
  entry: entry.py
  reload_s: 2
  queue:
    topic_size: 100000
  listeners:
    - listen: "127.0.0.1:{lua}"
      entry: entry.lua
      reload_s: 2
"""


class Client:
    """One connection. :attr:`said` are messages whose echo is outstanding, in order."""

    def __init__(self, soak: Soak, script: str) -> None:
        self.soak = soak
        self.script = script
        self.said: list[str] = []
        self.echoes = 0
        self.version = 0
        self.room: list[int] = []
        self.socket: Socket

    async def connect(self, port: int) -> None:
        self.socket = await Socket.connect(port, "/", self.heard, self.gone)
        self.say("subscribe")

    def say(self, text: str) -> None:
        self.said.append(text)
        self.socket.send(text.encode())

    def heard(self, text: bytes) -> None:
        first, _, rest = text.decode().partition(" ")
        if first == "room":
            self.room.append(int(rest))
            return
        if not self.said or self.said[0] != rest:
            self.soak.problems.append(f"{self.script}: heard {text!r}, expected {self.said[:1]}")
            return
        del self.said[0]
        self.echoes += 1
        if int(first) < self.version:
            self.soak.problems.append(f"{self.script}: version {first} after {self.version}")
        self.version = int(first)

    def gone(self) -> None:
        if not self.soak.over:
            self.soak.problems.append(f"a client of {self.script} was closed with {self.socket.close_code}")


class Soak:
    """One run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.over = False
        self.problems: list[str] = []
        self.version = 1
        self.broken = 0
        for name in SCRIPTS:
            self._write(name, self.version)
        self.process = GatewayProcess(folder, SETTINGS, "lua")
        self.clients: list[Client] = []
        self.pushed = self.published = self.number = 0
        self.consumed: Counter[int] = Counter()
        self.backend: Socket
        self.consumer: Socket
        self.unanswered: dict[int, float] = {}

    def _write(self, name: str, version: int, *, broken: bool = False) -> None:
        text = BROKEN if broken else SCRIPTS[name].format(version=version)
        fresh = self.folder / f"{name}.new"
        fresh.write_text(text)
        fresh.replace(self.folder / name)

    async def start(self) -> None:
        ports = self.process.ports
        for script, port in (("entry.py", ports["clients"]), ("entry.lua", ports["lua"])):
            for _ in range(CLIENTS):
                client = Client(self, script)
                await client.connect(port)
                self.clients.append(client)
        self.backend = await Socket.connect(ports["api"], "/ws/v1", self._answered, self._lost)
        self.consumer = await Socket.connect(ports["api"], "/ws/v1", self._event, self._lost)
        self.consumer.send(b'{"m":"queue.pop","p":{"t":["work"]},"i":1}')
        await until(lambda: not self.outstanding, what="everybody subscribed")

    def _lost(self) -> None:
        if not self.over:
            self.problems.append("a back end's socket was closed")

    def _answered(self, text: bytes) -> None:
        answer = json.loads(text)
        self.unanswered.pop(answer["i"])
        if answer.get("r") != {"s": len(self.clients), "f": 0}:
            self.problems.append(f"a publish was answered {text!r}")

    def _event(self, text: bytes) -> None:
        if text == b"pong":
            return
        message = json.loads(text)
        if "e" in message:
            self.consumed[message["p"]["d"]] += 1

    @property
    def outstanding(self) -> int:
        return sum(len(client.said) for client in self.clients) + len(self.unanswered)

    @property
    def echoes(self) -> int:
        return sum(client.echoes for client in self.clients)

    # -- load

    def turn(self) -> int:
        """One message of each client, now and then a push or a publish, and a publish of the back end: how many."""
        self.number += 1
        for place, client in enumerate(self.clients):
            what = (self.number + place) % 40
            if what == 0:
                client.say(f"publish {self._publish()}")
            elif what % 4 == 1:
                client.say(f"push {self.pushed}")
                self.pushed += 1
            else:
                client.say(f"echo {self.number} and some more, so that it is as long as messages are")
        number = self._publish()
        self.unanswered[number] = time.monotonic()
        text = f'{{"m":"mesh.publish","p":{{"c":"room","d":"room {number}"}},"i":{number}}}'
        self.backend.send(text.encode())
        return len(self.clients)

    def _publish(self) -> int:
        self.published += 1
        return self.published

    async def full(self) -> float:
        """Messages a second when there is always something outstanding."""
        began, before = time.monotonic(), self.echoes
        while time.monotonic() < began + FULL_S:
            if self.outstanding < len(self.clients) * 4:
                self.turn()
            await asyncio.sleep(0)
        await until(lambda: not self.outstanding, what="everything answered")
        return (self.echoes - before) / (time.monotonic() - began)

    async def half(self, seconds: float, rate: float) -> None:
        """``rate`` messages a second, and a change of a script every :data:`CHANGE_S`."""
        began = time.monotonic()
        change_at, said, pinged = began + CHANGE_S / 2, 0, began
        while (now := time.monotonic()) < began + seconds:
            if said < rate * (now - began) and self.outstanding < rate:
                said += self.turn()
            if now >= change_at:
                change_at += CHANGE_S
                self.change()
            if now > pinged + 20:
                pinged = now
                self.consumer.send(b"ping")
            assert not self.problems, self.problems[:10]
            await asyncio.sleep(0 if said < rate * (now - began) else 0.002)

    def change(self) -> None:
        self.version += 1
        broken = self.version % 3 == 0
        self.broken += broken
        for name in SCRIPTS:
            self._write(name, self.version, broken=broken)

    async def settle(self) -> None:
        """Everything said is answered, and all have the last version that loads."""
        await until(lambda: not self.outstanding, 30, what="everything answered")
        wanted = self.version if self.version % 3 else self.version - 1

        def taken() -> bool:
            for client in self.clients:
                if not client.said and client.version != wanted:
                    client.say("version")
            return all(client.version == wanted for client in self.clients)

        await until(taken, 10, what="the last version everywhere")
        await until(lambda: not self.outstanding, what="everything answered")
        await until(lambda: sum(self.consumed.values()) >= self.pushed, what="everything pushed is consumed")

    def check(self) -> None:
        """The account."""
        assert not self.problems, self.problems[:10]
        assert self.consumed == Counter(range(self.pushed)), "each push is consumed once"
        for client in self.clients:
            assert len(client.room) == len(set(client.room)) == self.published, client.script
        assert "refused" not in "".join(
            line for line in self.process.metrics().splitlines() if line.startswith("towline_gateway_queue_refused")
        )

    def check_log(self) -> None:
        """No error but those of the scripts that were broken on purpose."""
        output = self.process.output()
        errors = [line for line in output.splitlines() if re.search(r" (ERROR|CRITICAL) ", line)]
        strange = [line for line in errors if "changed script not taken" not in line]
        assert not strange, strange[:5]
        assert len(errors) == self.broken * len(SCRIPTS), errors
        assert "Traceback" not in output


@pytest.fixture
def soak(tmp_path: Path) -> Iterator[Soak]:
    made = Soak(tmp_path)
    try:
        yield made
    finally:
        made.over = True
        made.process.close()


@pytest.mark.timeout(SECONDS * 2 + 120)
async def test_changing_scripts_lose_nothing_and_keep_no_memory(soak: Soak) -> None:
    await soak.start()
    rate = await soak.full()
    first = max(SECONDS / 3, CHANGE_S * 1.2)
    await soak.half(first, rate / 2)
    warm = soak.process.memory_mb
    await soak.half(max(SECONDS - first, CHANGE_S * 1.2), rate / 2)
    await soak.settle()
    soak.check()
    print(f"{rate:.0f} messages/s full, {soak.echoes} echoes, {soak.pushed} pushes, {soak.published} publishes,")
    print(f"{soak.version - 1} changes, memory {warm:.1f} MB, then {soak.process.memory_mb:.1f} MB")
    await until(lambda: soak.process.memory_mb <= warm + GROWTH_MB, 30, what="memory as before")
    soak.over = True
    soak.process.stop()
    soak.check_log()
