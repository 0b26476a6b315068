# SPDX-License-Identifier: Apache-2.0
"""Every role a process of its own, joined by NATS: two gateway nodes, a hub, an agent; and each of them killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.helpers import free_port, wait_until
from tests.integration.product import TOWLINE, environment
from tests.integration.wrong.wire import TEXT, Wire, encode
from tests.natsserver import NatsServer
from towline.app.settings import load_settings

pytestmark = [pytest.mark.needs_nats, pytest.mark.slow]

PRESENCE_S = 20.0
"""The promise: presence is never wrong for longer."""

ENTRY = """
def on_handshake(conn, handshake):
    conn.subscribe("news")

def on_message(conn, message):
    conn.send(conn.id)
"""


class Role:
    """One process. Its directory is its working directory, and the data is in there."""

    def __init__(self, folder: Path, *words: str, **settings: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.words = words
        self.settings = {f"TOWLINE_{name.upper()}": value for name, value in settings.items()}
        self.process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def start(self) -> None:
        self._starts += 1
        with (self.folder / f"output-{self._starts}.txt").open("wb") as out:
            self.process = subprocess.Popen(
                [*TOWLINE, *self.words], cwd=self.folder, env=environment() | self.settings, stdout=out, stderr=out
            )

    def output(self) -> str:
        return (self.folder / f"output-{self._starts}.txt").read_text(errors="replace")

    def run(self, *words: str) -> str:
        """A command of the same program in the same place; what it printed."""
        done = subprocess.run(
            [*TOWLINE, *words],
            cwd=self.folder,
            env=environment() | self.settings,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


class Apart:
    """All of them."""

    def __init__(self, folder: Path) -> None:
        self.nats = NatsServer().start()
        (folder / "entry.py").write_text(ENTRY)
        self.ports = {name: free_port() for name in ("portal", "plugin", "api1", "api2", "clients1", "clients2")}
        self.links = [f"ws://127.0.0.1:{self.ports[name]}/link/v1" for name in ("clients1", "clients2")]
        bus = ("--bus", self.nats.url)
        self.nodes = [
            Role(
                folder / f"node{number}",
                "gateway", *bus,
                "--api-port", str(self.ports[f"api{number}"]), "--clients-port", str(self.ports[f"clients{number}"]),
                gateway__entry=str(folder / "entry.py"),
            )
            for number in (1, 2)
        ]  # fmt: skip
        self.hub = Role(
            folder / "hub", "hub", *bus, "--portal-port", str(self.ports["portal"]), hub__link_url=self.links[0]
        )
        self.agent = Role(
            folder / "agent", "agent", "--plugin-port", str(self.ports["plugin"]), agent__server=",".join(self.links)
        )
        self.device = ""

    @property
    def roles(self) -> list[Role]:
        return [*self.nodes, self.hub, self.agent]

    def start(self) -> None:
        for role in (*self.nodes, self.hub):
            role.start()
        self.wait_served()
        wait_until(lambda: len(self.node_list(1)) == 2, 15, what="two nodes in the mesh")
        line = json.loads(self.hub.run("device", "enrol", "--json"))["line"]
        assert "enrolled as device" in self.agent.run("agent", "enrol", line)
        self.agent.start()
        self.device = self.presence()["id"]

    def wait_served(self) -> None:
        for url in (self.rest("/health"), self.api(1, "/version"), self.api(2, "/version")):
            wait_until(partial(answers, url), 30, what=f"an answer at {url}")

    def close(self) -> None:
        for role in self.roles:
            role.close()
        self.nats.stop()

    # -- looking

    def rest(self, path: str) -> str:
        return f"http://127.0.0.1:{self.ports['portal']}/api/towline/v1{path}"

    def api(self, number: int, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[f'api{number}']}{path}"

    def node_list(self, number: int) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = httpx.get(self.api(number, "/v1/nodes")).json()["nodes"]
        return nodes

    def get(self, path: str, **params: Any) -> Any:
        token = (self.hub.folder / "towline-data" / "cli-token").read_text().strip()
        answer = httpx.get(self.rest(path), params=params, headers={"Authorization": f"Bearer {token}"}, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def presence(self, state: str = "online", within: float = PRESENCE_S) -> dict[str, Any]:
        """The device, once its presence is ``state``."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            try:
                found[:] = [one for one in self.get("/devices")["devices"] if one["presence"]["state"] == state]
            except httpx.TransportError:
                return False
            return bool(found)

        wait_until(there, within, what=f"the device {state}")
        return found[0]

    def exec_works(self) -> None:
        out = self.hub.run("device", "exec", self.device[:8], "echo", "apart")
        assert out == "apart\n"

    def fresh_metrics(self) -> None:
        """Something measured from now on is stored."""
        now = time.time() * 1000

        def fresh() -> bool:
            series = self.get(f"/devices/{self.device}/metrics", table="towline-host")["series"]
            return any(point[0] > now for each in series for point in each["points"])

        wait_until(fresh, 30, what="fresh telemetry")

    def linked_node(self) -> int:
        """1 or 2: which node holds the agent's link."""
        for number in (1, 2):
            try:
                text = httpx.get(self.api(number, "/metrics")).text
            except httpx.TransportError:
                continue
            if "\ntowline_gateway_links 1.0" in text:
                return number
        return 0


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    made = Apart(tmp_path_factory.mktemp("apart"))
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_a_device_is_live_through_all_of_them(apart: Apart) -> None:
    apart.fresh_metrics()
    apart.exec_works()
    apart.fresh_metrics()
    plugins = apart.get(f"/devices/{apart.device}/plugins")["plugins"]
    assert [(plugin["app_name"], plugin["online"]) for plugin in plugins] == [("towline-host", True)]


def test_a_publish_reaches_clients_of_every_node(apart: Apart) -> None:
    wires = [Wire(apart.ports["clients1"]), Wire(apart.ports["clients2"]), Wire(apart.ports["clients2"])]
    ids = []
    try:
        for wire, name in zip(wires, ("clients1", "clients2", "clients2"), strict=True):
            assert wire.upgrade("/", apart.ports[name]).status == 101
            wire.send(encode(TEXT, b"id"))
            ids.append(wire.text())
        for number in (1, 2):
            answer = httpx.post(apart.api(number, "/v1/mesh/publish"), json={"c": "news", "d": f"from {number}"}).json()
            assert answer == {"E": None, "r": {"s": 3, "f": 0}}
            assert [wire.text() for wire in wires] == [f"from {number}"] * 3
        for client_id, wire in zip(ids, wires, strict=True):
            answer = httpx.post(apart.api(1, "/v1/mesh/send"), json={"c": client_id, "d": "you"}).json()
            assert answer == {"E": None, "r": {"s": True}}
            assert wire.text() == "you"
        missing = httpx.post(apart.api(2, "/v1/mesh/send"), json={"c": "12345", "d": "you"}).json()
        assert missing["E"]["c"] == 401
    finally:
        for wire in wires:
            wire.close()


def test_a_killed_node_gives_its_device_to_the_other(apart: Apart) -> None:
    number = apart.linked_node()
    assert number
    victim = apart.nodes[number - 1]
    began = time.monotonic()
    victim.kill()
    other = 3 - number
    wait_until(lambda: apart.linked_node() == other, PRESENCE_S, what="the link at the other node")
    device = apart.presence(within=PRESENCE_S - (time.monotonic() - began))
    assert device["id"] == apart.device
    apart.exec_works()
    wait_until(lambda: len(apart.node_list(other)) == 1, PRESENCE_S, what="the dead node out of the list")
    apart.presence()  # and the death that is noticed later does not undo it
    victim.start()
    wait_until(lambda: answers(apart.api(number, "/version")), 20)
    wait_until(lambda: len(apart.node_list(other)) == 2, 20, what="the node back in the mesh")
    apart.fresh_metrics()


def test_presence_is_true_soon_after_a_killed_hub(apart: Apart) -> None:
    before = apart.get(f"/devices/{apart.device}")["presence"]
    apart.hub.kill()
    apart.hub.start()
    wait_until(lambda: answers(apart.rest("/health")), 20, what="the hub back")
    device = apart.presence()
    times = [datetime.fromisoformat(presence["since"]) for presence in (before, device["presence"])]
    assert abs(times[1] - times[0]).total_seconds() < 1, "the link never went"  # the node's clock against the hub's
    apart.exec_works()
    apart.fresh_metrics()


def test_an_agent_that_dies_is_offline_and_online_again(apart: Apart) -> None:
    apart.agent.kill()
    gone = apart.presence("offline")["presence"]
    assert gone["cause"]
    assert gone["cause_text"]
    apart.agent.start()
    apart.presence()
    apart.fresh_metrics()


def test_a_restarted_nats_server_heals(apart: Apart) -> None:
    apart.nats.kill()
    time.sleep(7)  # longer than members take to be called dead
    apart.nats.restart()
    apart.presence(within=PRESENCE_S + 10)
    wait_until(lambda: len(apart.node_list(1)) == 2, 20, what="two nodes in the mesh")
    apart.exec_works()
    apart.fresh_metrics()
    test_a_publish_reaches_clients_of_every_node(apart)


def test_roles_end_on_their_signal(apart: Apart) -> None:
    for role in (apart.agent, apart.hub, *apart.nodes):
        assert role.stop() == 0, role.output()
    for role in apart.roles:
        assert "Traceback" not in role.output(), role.output()


def test_a_role_without_nats_says_so(tmp_path: Path) -> None:
    hub = Role(tmp_path / "hub", "hub")
    hub.start()
    assert hub.process is not None
    assert hub.process.wait(10) == 2
    assert "joined by NATS" in hub.output()
    assert os.listdir(tmp_path / "hub") == ["output-1.txt"]


def test_the_settings_in_the_guide_are_taken(tmp_path: Path) -> None:
    guide = Path(__file__).parents[2] / "docs" / "guides" / "roles-apart.md"
    blocks = re.findall(r"```yaml\n(.*?)```", guide.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        path = tmp_path / "towline.yaml"
        path.write_text(block)
        load_settings(path, environ={})
