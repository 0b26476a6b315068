# SPDX-License-Identifier: Apache-2.0
"""The whole product under kill -9 at random moments, on both buses: nothing that the agent took is lost or doubled.

A raw plugin sends numbers, each as an event and as a metric, and pings behind each: the pong says that the agent has
read them. Meanwhile server, agent, host plugin, all three, or the supervisor are killed. In the end REST must know every number
that the agent had for longer than its spool takes to commit, and none twice.

A share of ``TOWLINE_TEST_SOAK`` is how many seconds the killing lasts on each bus; ``TOWLINE_TEST_SEED`` repeats a run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.helpers import soak_seconds, wait_until
from tests.integration.product import Product, local_device, resident_kb
from tests.integration.wrong.plugins import MODULE, Octo
from tests.integration.wrong.wire import PING, PONG, TEXT, Gone, Wire, encode, tls_context
from tests.natsserver import NatsServer

pytestmark = [pytest.mark.slow, pytest.mark.soak]

SECONDS = soak_seconds(0.15, 12)
SEED = int(os.environ.get("TOWLINE_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
EVERY_S = 0.01
COMMIT_S = 1.0
"""What came to the agent this long before its death is in its spool: it commits every 100 ms; the rest is for a machine
that does other things besides."""

LIMITS_MB = {"server": 200, "agent": 60, "host": 45}
VICTIMS = (("server",), ("server",), ("agent",), ("agent",), ("host",), ("server", "agent", "host"), ("supervisor",))

SETTINGS = """
bus: {{url: "{bus}"}}
agent:
  reconnect_max_s: 2
  flush_s: 0.2
  octo: {{calls_per_hour: 0}}
"""


class Sender(threading.Thread):
    """The plugin. :attr:`taken` maps each number that the agent has read to the moment of its pong."""

    def __init__(self, port: int, octo: Octo) -> None:
        super().__init__(name="sender")
        self.port = port
        self.octo = octo
        self.taken: dict[int, float] = {}
        self.sent = 0
        self.refused: Counter[str] = Counter()
        self.stopping = threading.Event()
        self._tls = tls_context()

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                self._connection()
            except (OSError, Gone, AssertionError):
                self.stopping.wait(0.1)

    def _connection(self) -> None:
        with Wire(self.port, tls=self._tls) as wire:
            assert wire.upgrade("/", self.port).status == 101
            wire.send(encode(TEXT, self.octo.update()))
            if self._errors_until_pong(wire):
                self.stopping.wait(0.2)  # the agent does not have our key yet: its link is not up
                return
            while not self.stopping.wait(EVERY_S):
                self.sent += 1
                number, now = self.sent, str(int(time.time()))
                item = {"value": str(number), "epoch": now}
                events = {"moduleName": MODULE, "events": [{"name": "login", **item}]}
                metrics = {"moduleName": MODULE, "metrics": [{"name": "number", **item}]}
                wire.send(encode(TEXT, self.octo.signed("notifyPluginEvent", events)))
                wire.send(encode(TEXT, self.octo.signed("notifyPluginMetric", metrics)))
                if not self._errors_until_pong(wire):
                    self.taken[number] = time.monotonic()

    def _errors_until_pong(self, wire: Wire) -> bool:
        """Whether the agent refused something before it answered a ping. Its work comes after its reading, so two pings
        with a moment between them."""
        refused = False
        for _ in range(2):
            wire.send(encode(PING, b""))
            while (frame := wire.frame()).opcode != PONG:
                if frame.opcode == TEXT and b'"error"' in frame.payload:
                    refused = True
                    self.refused[json.loads(frame.payload)["error"]["message"]] += 1
            time.sleep(0.005)
        return refused


class Soak:
    """One run."""

    def __init__(self, folder: Path, bus: str) -> None:
        (folder / "towline.yaml").write_text(SETTINGS.format(bus=bus))
        self.product = Product(folder)
        self.agent_deaths: list[float] = []
        self.killed: Counter[str] = Counter()

    def start(self) -> None:
        self.product.start()
        with self.product.client() as client:
            self.device: str = local_device(client)["id"]
            self.authorization = client.headers["Authorization"]
        credential = json.loads((self.product.data / "credentials" / "hello.json").read_text())
        self.sender = Sender(self.product.ports["plugin"], Octo(credential["app_guid"], credential["access_key"]))
        self.sender.start()
        wait_until(lambda: self.sender.taken, 15, what="the first number")

    def kill(self, victims: tuple[str, ...]) -> None:
        """Kill these, if they live at the moment; a supervisor is started again by hand."""
        supervisor = self.product.process
        assert supervisor is not None
        if victims == ("supervisor",):
            self.agent_deaths.append(time.monotonic())
            supervisor.kill()
            supervisor.wait(5)
            self.killed["supervisor"] += 1
            self.product.start()
            return
        alive = self.product.children()
        for role in victims:
            if role in alive:
                if role == "agent":
                    self.agent_deaths.append(time.monotonic())
                try:
                    os.kill(alive[role], signal.SIGKILL)
                except ProcessLookupError:
                    continue
                self.killed[role] += 1

    def rage(self, seconds: float, random_: random.Random) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(random_.uniform(0.5, 4.0))
            self.kill(random_.choice(VICTIMS))

    # -- afterwards

    def get(self, path: str, **params: object) -> httpx.Response:
        url = f"{self.product.url}/api/towline/v1{path}"
        return httpx.get(url, params=params, headers={"Authorization": self.authorization}, timeout=30)  # type: ignore[arg-type]

    def stored_events(self) -> Counter[int]:
        numbers: Counter[int] = Counter()
        before = None
        while True:
            params = {"limit": 1000, "table": "wrong-inputs"} | ({} if before is None else {"before": before})
            page = self.get(f"/devices/{self.device}/events", **params).raise_for_status().json()
            numbers.update(int(event["value"]) for event in page["events"])
            before = page["next"]
            if before is None:
                return numbers

    def stored_metrics(self) -> Counter[int]:
        answer = self.get(
            f"/devices/{self.device}/metrics", table="wrong-inputs", **{"from": "-7d"}, max_points=10_000
        ).raise_for_status()
        return Counter(int(point[1]) for series in answer.json()["series"] for point in series["points"])

    def settled(self, last: int) -> bool:
        """Everything is back, and the last number has arrived."""
        try:
            device = self.get(f"/devices/{self.device}").raise_for_status().json()
            return (
                device["presence"]["state"] == "online"
                and set(self.product.children()) == {"server", "agent", "host"}
                and last in self.stored_events()
            )
        except httpx.HTTPError:
            return False

    def check(self) -> None:
        """What was taken is stored, once."""
        taken = self.sender.taken
        certain = {
            number
            for number, at in taken.items()
            if not any(at - COMMIT_S < death < at + COMMIT_S for death in self.agent_deaths)
        }
        events = self.stored_events()
        assert [number for number, count in events.items() if count > 1] == [], "stored twice"
        assert set(events) <= set(range(1, self.sender.sent + 1)), "stored and never sent"
        lost = sorted(certain - set(events))
        assert lost == [], f"{len(lost)} of {len(certain)} taken numbers are not stored"
        metrics = self.stored_metrics()
        if self.sender.sent < 9000:  # beyond, the series is thinned
            assert [number for number, count in metrics.items() if count > 1] == [], "a metric stored twice"
            assert sorted(certain - set(metrics)) == [], "taken metrics that are not stored"

    def close(self) -> None:
        if hasattr(self, "sender"):
            self.sender.stopping.set()
            self.sender.join(10)
        self.product.close()


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.needs_nats)])
def soak(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Soak]:
    nats = NatsServer().start() if request.param == "nats" else None
    made = Soak(tmp_path, nats.url if nats else "")
    try:
        made.start()
        yield made
    finally:
        made.close()
        if nats:
            nats.stop()


@pytest.mark.timeout(SECONDS * 2 + 180)
def test_nothing_taken_is_lost_or_doubled_by_kills(soak: Soak) -> None:
    print(f"seed {SEED}")
    soak.rage(SECONDS, random.Random(SEED))
    done = max(soak.sender.taken)
    wait_until(
        lambda: len([number for number in list(soak.sender.taken) if number > done]) > 10, 60, what="numbers again"
    )
    soak.sender.stopping.set()
    soak.sender.join(10)
    last = max(soak.sender.taken)
    wait_until(lambda: soak.settled(last), 90, what="everything back and the last number stored")
    soak.check()
    sizes = {role: resident_kb(pid) // 1024 for role, pid in soak.product.children().items()}
    assert {role: size for role, size in sizes.items() if size > LIMITS_MB[role]} == {}, sizes
    for path in sorted(soak.product.folder.glob("output-*.txt")):
        text = path.read_text(errors="replace")
        assert "Traceback" not in text, text
    print(
        f"killed {dict(soak.killed)}; {soak.sender.sent} sent, {len(soak.sender.taken)} taken, {dict(soak.sender.refused)}"
    )
