# SPDX-License-Identifier: Apache-2.0
"""A thousand wrong inputs to each open port of the whole product: answered as specified, counted, and without harm."""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.helpers import wait_until
from tests.integration.product import Product, local_device, resident_kb
from tests.integration.wrong import slow
from tests.integration.wrong.clients import Clients, Links
from tests.integration.wrong.door import Rest
from tests.integration.wrong.live import Live
from tests.integration.wrong.plugins import MODULE, Octo, Plugins
from tests.integration.wrong.pushapi import Counted, Http, Sockets
from tests.integration.wrong.wire import PING, TEXT, Wire, encode

SEED = int(os.environ.get("TOWLINE_TEST_SEED", "20261121"))
ENOUGH = 1000
CALLS_PER_HOUR = 4000

SETTINGS = f"""
gateway:
  entry: entry.py
  api_request_s: 1
  api_keepalive_s: 3
  handshake_timeout_s: 1
  read_timeout_s: 3
portal:
  request_timeout_s: 1
agent:
  report_s: 0.5
  octo:
    calls_per_hour: {CALLS_PER_HOUR}
"""

ENTRY = """
def on_handshake(conn, handshake):
    conn.subscribe("news")

def on_message(conn, message):
    conn.send(conn.id if message.data == "id" else message.data)
"""

pytestmark = pytest.mark.slow


class World:
    """The running product, and how to look at it."""

    def __init__(self, folder: Path) -> None:
        (folder / "towline.yaml").write_text(SETTINGS)
        (folder / "entry.py").write_text(ENTRY)
        self.product = Product(folder)
        self.ports = self.product.ports
        self.counted: Counted = Counter()

    def start(self) -> None:
        self.product.start()
        with self.product.client() as client:
            self.device: str = local_device(client)["id"]
            self.token = client.headers["Authorization"].removeprefix("Bearer ")
            wait_until(lambda: self.points(client, "towline-host"), 20, what="the host plugin's first metrics")
        credential = json.loads((self.product.data / "credentials" / "hello.json").read_text())
        self.octo = Octo(credential["app_guid"], credential["access_key"])
        self.children = self.product.children()
        assert set(self.children) == {"server", "agent", "host"}

    def client(self) -> httpx.Client:
        """REST, signed in since the start."""
        url = f"{self.product.url}/api/towline/v1"
        return httpx.Client(base_url=url, timeout=20.0, headers={"Authorization": f"Bearer {self.token}"})

    def points(self, client: httpx.Client, table: str) -> dict[str, list[list[float]]]:
        """The device's metrics of a table, by field."""
        answer = client.get(f"/devices/{self.device}/metrics", params={"table": table})
        assert answer.status_code == 200, answer.text
        return {series["field"]: series["points"] for series in answer.json()["series"]}

    def node_counts(self) -> Counted:
        """What the node counted: (figure, value of its label)."""
        answer = httpx.get(f"http://127.0.0.1:{self.ports['api']}/metrics")
        counts: Counted = Counter()
        for line in answer.text.splitlines():
            if match := re.fullmatch(r"towline_gateway_(\w+?)_total\{(.*)\} ([\d.e+]+)", line):
                labels = dict(re.findall(r'(\w+)="([^"]*)"', match[2]))
                labels.pop("listener", None)
                counts[match[1], "".join(labels.values())] += int(float(match[3]))
        return counts

    def now(self, figure: str) -> float:
        """A gauge of the node."""
        text = httpx.get(f"http://127.0.0.1:{self.ports['api']}/metrics").text
        return sum(float(line.split()[1]) for line in text.splitlines() if re.match(rf"{figure}(\{{|\s)", line))

    def server_counts(self) -> Counter[str]:
        """What door, hub and store counted."""
        with self.client() as client:
            text = client.get("/metrics").text
        pattern = r'towline_server_events_total\{part="(\w+)",event="([^"]+)"\} (\d+)'
        return Counter({f"{part}.{event}": int(count) for part, event, count in re.findall(pattern, text)})

    def agent_counts(self) -> Counter[str]:
        """What the agent told the hub of its counters."""
        with self.client() as client:
            return Counter(
                {field: int(points[-1][1]) for field, points in self.points(client, "towline-agent").items()}
            )

    def memory(self) -> dict[str, int]:
        """Resident megabytes by process."""
        return {role: resident_kb(pid) // 1024 for role, pid in self.children.items()}

    def healthy(self) -> None:
        """The same processes as at the start, and nothing in the log that should not happen."""
        assert self.product.children() == self.children
        output = self.product.output()
        assert "Traceback" not in output, output[output.index("Traceback") - 2000 :][:6000]
        assert " ERROR " not in output, output

    # -- ordinary work

    def push_works(self) -> None:
        """A publish reaches a client, and so does a send."""
        url = f"http://127.0.0.1:{self.ports['api']}"
        with Wire(self.ports["clients"]) as wire:
            assert wire.upgrade("/", self.ports["clients"]).status == 101
            wire.send(encode(TEXT, b"id"))
            client_id = wire.text()
            assert httpx.post(f"{url}/v1/mesh/publish", json={"c": "news", "d": "hello"}).json()["r"]["s"] >= 1
            assert wire.text() == "hello"
            assert httpx.post(f"{url}/v1/mesh/send", json={"c": client_id, "d": "you"}).json()["r"] == {"s": True}
            assert wire.text() == "you"
            with Wire(self.ports["api"]) as socket:
                assert socket.upgrade("/ws/v1", self.ports["api"]).status == 101
                socket.send(encode(TEXT, b'{"m":"mesh.publish","p":{"c":"news","d":"all"},"i":1}'))
                assert json.loads(socket.text())["i"] == 1
                assert wire.text() == "all"

    def device_works(self) -> None:
        """The link never went, and a shell command comes back."""
        with self.client() as client:
            device = client.get(f"/devices/{self.device}").json()
            assert device["presence"]["state"] == "online"
            answer = client.post(f"/devices/{self.device}/exec", json={"cmd": "echo works"}).json()
            assert (answer["stdout"], answer["return_code"]) == ("works\n", 0)

    def live_works(self, live: Live) -> None:
        """``device:cmd`` by socket.io."""
        with live.sign_in() as wire:
            request = json.dumps(["device:cmd", {"deviceId": self.device, "cmd": "echo live", "requestId": "q"}])
            wire.send(encode(TEXT, b"42" + request.encode()))
            assert "correlationId" in live.event(wire, "device:cmd:rpc")[1]
            assert live.event(wire, "device:cmd:reply")[1]["stdout"] == "live\n"

    def plugins_work(self, plugins: Plugins) -> None:
        """A plugin registers, and its metric is stored."""
        value = str(random.randrange(10**6))
        with plugins.register() as wire, self.client() as client:
            params = {
                "moduleName": MODULE,
                "metrics": [{"name": "number", "value": value, "epoch": str(int(time.time()))}],
            }
            wire.send(encode(TEXT, self.octo.signed("notifyPluginMetric", params)))
            wait_until(
                lambda: any(point[1] == int(value) for point in self.points(client, "wrong-inputs").get("number", [])),
                10,
                what="the stored metric",
            )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("wrong"))
    try:
        made.start()
        yield made
    finally:
        made.product.close()


@pytest.fixture
def seeded() -> random.Random:
    return random.Random(SEED)


def run(set_: Any, *batteries: tuple[str, int]) -> int:
    """Run a set's batteries; how many inputs that were."""
    for name, count in batteries:
        getattr(set_, name)(count)
    if hasattr(set_, "drop"):
        set_.drop()
    inputs: int = set_.inputs
    return inputs


def test_warm_up(world: World, seeded: random.Random) -> None:
    """A little of everything first, so that what is made once is made before memory is looked at."""
    counted: Counted = Counter()
    run(Http(world.ports["api"], seeded, counted), ("bodies", 60), ("malformed", 30), ("bombs", 7), ("long_bodies", 4))
    run(Sockets(world.ports["api"], seeded, counted), ("requests", 60), ("frames", 40))
    run(Clients(world.ports["clients"], seeded, counted), ("heads", 30), ("bombs", 7), ("frames", 40))
    run(Links(world.ports["clients"], seeded, counted), ("frames", 40), ("messages", 40), ("proofs", 10))
    run(
        Rest(world.ports["portal"], world.token, world.product.cookie, world.device, seeded),
        ("bodies", 40),
        ("queries", 40),
        ("long_bodies", 4),
    )
    run(
        Live(world.ports["portal"], world.token, world.device, seeded),
        ("packets", 30),
        ("requests", 40),
        ("frames", 40),
    )
    run(Plugins(world.ports["plugin"], world.octo, seeded), ("handshakes", 20), ("frames", 40), ("strangers", 60))
    world.push_works()
    world.device_works()
    world.healthy()
    world.before = world.memory()  # type: ignore[attr-defined]


def test_push_api(world: World, seeded: random.Random) -> None:
    before, counted = world.node_counts(), Counter[tuple[str, str]]()
    http = Http(world.ports["api"], seeded, counted)
    inputs = run(
        http,
        ("bodies", 600), ("unknown_clients", 50), ("requests", 150), ("malformed", 250), ("bombs", 40), ("long_bodies", 10),
        ("pipelined", 100), ("vanish", 50),
    )  # fmt: skip
    sockets = Sockets(world.ports["api"], seeded, counted)
    inputs += run(sockets, ("upgrades", 80), ("requests", 600), ("frames", 200), ("vanish", 40), ("polite", 20))
    assert inputs >= 2 * ENOUGH
    world.push_works()
    grew(world, before, counted, at_least=("api_answers",))
    world.healthy()


def test_clients_and_links(world: World, seeded: random.Random) -> None:
    before, counted = world.node_counts(), Counter[tuple[str, str]]()
    hub_before = world.server_counts()
    clients = Clients(world.ports["clients"], seeded, counted)
    inputs = run(
        clients,
        ("heads", 200), ("bombs", 40), ("upgrades", 100), ("frames", 200), ("texts", 50), ("strange_but_right", 40),
        ("vanish", 50),
    )  # fmt: skip
    links = Links(world.ports["clients"], seeded, counted)
    inputs += run(
        links, ("frames", 200), ("strangers", 60), ("messages", 250), ("proofs", 50), ("floods", 100), ("vanish", 50)
    )
    assert inputs >= ENOUGH
    world.push_works()
    world.device_works()
    grew(world, before, counted)
    refused = world.server_counts() - hub_before
    assert sum(count for event, count in refused.items() if event.startswith("hub.links.refused.")) == 300
    world.healthy()


def grew(world: World, before: Counted, counted: Counted, *, at_least: tuple[str, ...] = ()) -> None:
    """The node's counts grew by exactly what was sent (by no less, for figures that other inputs raise too)."""

    def wrong() -> dict[tuple[str, str], tuple[int, int]]:
        grown = world.node_counts()
        grown.subtract(before)
        return {
            key: (count, grown[key])
            for key, count in counted.items()
            if (grown[key] < count if key[0] in at_least else grown[key] != count)
        }

    try:
        wait_until(lambda: not wrong(), 6)
    except AssertionError:
        raise AssertionError(f"(sent, counted) differ: {wrong()}") from None


def test_door(world: World, seeded: random.Random) -> None:
    before = world.server_counts()
    rest = Rest(world.ports["portal"], world.token, world.product.cookie, world.device, seeded)
    inputs = run(
        rest,
        ("bodies", 350), ("texts", 120), ("queries", 200), ("paths", 200), ("strangers", 50), ("heads", 150), ("bombs", 40),
        ("long_bodies", 10), ("vanish", 50),
    )  # fmt: skip
    assert not [status for status in rest.statuses if status >= 500], rest.statuses
    live = Live(world.ports["portal"], world.token, world.device, seeded)
    inputs += run(
        live,
        ("upgrades", 50), ("strangers", 50), ("packets", 120), ("binary", 30), ("requests", 250), ("unknown", 80),
        ("frames", 100), ("texts", 30), ("vanish", 50), ("polite", 20),
    )  # fmt: skip
    assert inputs >= 2 * ENOUGH
    world.live_works(live)
    world.device_works()
    grown = world.server_counts() - before
    asked = Counter({status: count for status, count in rest.statuses.items() if status < 500})
    assert grown["door.http.4xx"] >= sum(count for status, count in asked.items() if status >= 400)
    assert grown["door.http.413"] == 10
    assert grown["door.http.malformed"] + grown["door.http.head_too_long"] >= 150 + 40 - 10
    assert grown["door.live.malformed"] >= 150
    assert grown["door.live.refused"] == 50
    assert grown["door.live.unknown_event"] == 80
    assert grown["door.live.protocol_error"] >= 100
    world.healthy()


def test_plugin_port(world: World, seeded: random.Random) -> None:
    plugins = Plugins(world.ports["plugin"], world.octo, seeded)
    before = world.agent_counts()
    inputs = run(
        plugins,
        ("handshakes", 80), ("heads", 80), ("bombs", 20), ("frames", 150), ("crumbs", 5), ("vanish", 40), ("strangers", 300),
        ("contents", 250), ("replays", 10), ("registrations", 100), ("too_big", 15),
    )  # fmt: skip
    assert inputs >= ENOUGH
    world.plugins_work(plugins)
    world.device_works()

    def counted() -> bool:
        grown = world.agent_counts() - before
        refused = sum(count for name, count in grown.items() if name.startswith("octo.refused."))
        return (
            refused == sum(plugins.answers.values())
            and grown["plugins.tcp"] - grown["plugins.tls"] >= 80
            and grown["plugins.handshake"] >= 100
        )

    wait_until(counted, 8, what="the agent's counters at the hub")
    world.healthy()


def test_calls_over_the_hourly_limit_are_refused(world: World, seeded: random.Random) -> None:
    """They are answered, the connection stays, and other plugins do not notice."""
    plugins = Plugins(world.ports["plugin"], world.octo, seeded)
    with plugins.open() as wire:
        for start in range(0, CALLS_PER_HOUR, 50):
            wire.send(encode(TEXT, b"{") * 50)
            for _ in range(50):
                assert plugins.answer(wire)["error"]["code"] == "-327000", start
        for _ in range(20):
            wire.send(encode(TEXT, b"{"))
            error = plugins.answer(wire)["error"]
            assert error["code"] == "-326000"
            assert str(CALLS_PER_HOUR) in error["message"]
    world.plugins_work(plugins)


def test_slow_senders_are_ended_in_time(world: World) -> None:
    api, clients, portal, plugin = (world.ports[name] for name in ("api", "clients", "portal", "plugin"))
    post = b"POST /v1/mesh/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 40\r\n\r\n"
    rest = b"POST /api/towline/v1/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 40\r\n\r\n"
    half_frame = encode(TEXT, b"x" * 100)[:50]
    live = f"/socket.io-client/?EIO=4&transport=websocket&token={world.token}&orgName=main"
    slows = [
        slow.Slow("push head", slow.plain(api), post[:30], 1, 408),
        slow.Slow("push body", slow.plain(api), post + b'{"c":', 1, 408),
        slow.Slow("push idle", slow.plain(api), b"", 3, 0),
        slow.Slow("ws/v1 frame", slow.websocket(api, "/ws/v1"), half_frame, 3, 3002),
        slow.Slow("client head", slow.plain(clients), b"GET / HTTP/1.1\r\nHo", 1, 0),
        slow.Slow("client nothing", slow.plain(clients), b"", 1, 0),
        slow.Slow("client frame", slow.websocket(clients, "/"), half_frame, 3, 3002),
        slow.Slow("link frame", slow.websocket(clients, "/link/v1"), half_frame, 10, 3004),
        slow.Slow("link nothing", slow.websocket(clients, "/link/v1"), b"", 10, 3004),
        slow.Slow("door head", slow.plain(portal), rest[:30], 1, 408),
        slow.Slow("door nothing", slow.plain(portal), b"", 1, 408),
        slow.Slow("door body", slow.plain(portal), rest + b'{"user":', 1, 408),
        slow.Slow("live sign-in", slow.websocket(portal, live), b"", 10, 4408),
        slow.Slow("plugin TLS", slow.plain(plugin), b"\x16\x03\x01", 10, 0),
        slow.Slow("plugin head", slow.secure(plugin), b"GET / HTTP/1.1\r\nHo", 10, 0),
    ]
    for ended in slow.all_of(slows):
        name, seconds = ended.slow.name, ended.slow.seconds
        assert ended.answer == ended.slow.answer, ended
        assert seconds - 1.1 <= ended.after <= seconds + slow.LATE_S, (name, ended.after)
    world.push_works()
    world.device_works()
    world.healthy()


def test_readers_that_do_not_read_are_bounded(world: World) -> None:
    """What waits for one client is bounded; it is ended, and nobody else waits."""
    api, clients, portal, plugin = (world.ports[name] for name in ("api", "clients", "portal", "plugin"))
    post = b'POST /v1/mesh/send HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 15\r\n\r\n{"c":"1","d":1}'
    live = Live(portal, world.token, world.device, random.Random(SEED))
    ping = encode(PING, b"p" * 125)
    deaf = [
        (slow.plain(api), post),
        (slow.websocket(api, "/ws/v1"), encode(TEXT, b'{"m":"nothing","p":{},"i":1}')),
        (slow.websocket(api, "/ws/v1"), ping),
        (slow.websocket(clients, "/"), encode(TEXT, b"e" * 4000)),
        (slow.websocket(clients, "/"), ping),
        (slow.websocket(clients, "/link/v1"), encode(2, b"\x94\x08\x00\x00\x80")),
        (slow.websocket(clients, "/link/v1"), ping),
        (live.sign_in, encode(TEXT, b'4277["nothing"]')),
        (live.sign_in, ping),
        (slow.websocket(plugin, "/", tls=True), encode(TEXT, b"{")),
        (slow.websocket(plugin, "/", tls=True), ping),
    ]
    before = world.memory()
    wires = [make() for make, _ in deaf]
    peaks: Counter[str] = Counter()
    for wire, (_, frame) in zip(wires, deaf, strict=True):
        slow.flood(wire, frame * (65536 // len(frame)))
        for role, size in world.memory().items():
            peaks[role] = max(peaks[role], size)
        world.push_works()
        world.device_works()
    assert peaks["server"] <= before["server"] + 48, (before, peaks)
    assert peaks["agent"] <= before["agent"] + 24, (before, peaks)
    gone = {
        "towline_gateway_api_connections": 1,  # who asks is one
        "towline_gateway_api_sockets": 0,
        "connmix_engine_servers_clients": 0,
        "towline_gateway_links": 1,  # the agent's own
    }

    def left() -> dict[str, float]:
        now = {figure: world.now(figure) for figure in gone}
        return {figure: count for figure, count in now.items() if count > gone[figure]}

    try:
        wait_until(lambda: not left(), 20)
    except AssertionError:
        raise AssertionError(f"still there: {left()}") from None
    for wire in wires:
        wire.close()
    world.healthy()


def test_memory_is_given_back(world: World) -> None:
    before: dict[str, int] = world.before  # type: ignore[attr-defined]

    def settled() -> bool:
        after = world.memory()
        return after["server"] <= before["server"] + 24 and after["agent"] <= before["agent"] + 12

    try:
        wait_until(settled, 10)
    except AssertionError:
        raise AssertionError(f"before {before}, after {world.memory()}") from None
    world.healthy()
