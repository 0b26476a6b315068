# SPDX-License-Identifier: Apache-2.0
"""The whole device path on a real server process: link → node → bus → hub → store → acknowledgement.

The server is ``python -m towline.app.server`` as ``towline up`` starts it (memory bus, doors, SQLite on disk), pinned to one
core; :mod:`benchmarks.agents` plays the devices on the other. For each number of links, in turn: signing in, 10,000
readings a second, the same with commands, saturated with small batches, saturated with large ones. In the end REST must
have stored as many records as were acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.agents import FIELDS, Fleet, percentile
from benchmarks.harness import LOAD_CORE, ROOT, SERVER_CORE, Series, free_port, table
from towline.agent.settings import AgentSettings
from towline.api.settings import DoorSettings
from towline.app import build
from towline.app.plan import prepare_data
from towline.app.settings import LogSettings, Settings
from towline.bus.memory import MemoryBus
from towline.clock import SystemClock
from towline.gateway.settings import GatewaySettings
from towline.ids import uuid7
from towline.store.rows import Facts
from towline.store.sqlite import open_store

LINKS = (200, 1000)
RATE = 10_000
RECORDS = 20
"""Records of a large batch, of ten readings each."""


def settings(data: Path, ports: dict[str, int]) -> Settings:
    return Settings(
        data=str(data),
        log=LogSettings(level="warning"),
        portal=DoorSettings(port=ports["portal"]),
        gateway=GatewaySettings(api_listen=f"127.0.0.1:{ports['api']}", clients_listen=f"127.0.0.1:{ports['clients']}"),
        agent=AgentSettings(data=str(data / "agent"), bundled=()),
    )


async def enrol(data: Path, count: int) -> dict[str, Any]:
    """A data directory with a workgroup, its owner and ``count`` devices; what the fleet has to know."""
    clock = SystemClock()
    ports = {"portal": 0, "api": 0, "clients": 0}
    async with contextlib.AsyncExitStack() as stack:
        bus = await build.make_bus(stack, settings(data, ports), clock)
        assert isinstance(bus, MemoryBus)
        hub = await build.make_hub(stack, settings(data, ports), clock, bus, prepare_data(data))
        made = await build.first_start(hub, data, clock)
        identity = hub.identity
    store = await open_store(data / "towline.db", clock)
    devices = []
    for _ in range(count):
        key = Ed25519PrivateKey.generate()
        devices.append((uuid7(clock.now_us()), key.private_bytes_raw().hex(), key.public_key().public_bytes_raw()))
    await asyncio.gather(
        *[
            store.devices.create(made.workgroup, one, f"bench-{number:04}", public, Facts(), clock.now_us())
            for number, (one, _, public) in enumerate(devices)
        ]
    )
    await store.close()
    return {
        "workgroup": made.workgroup,
        "hub_id": identity.hub_id,
        "hub_key": identity.public_key.hex(),
        "devices": [(one, key) for one, key, _ in devices],
    }


@contextlib.contextmanager
def server(data: Path, ports: dict[str, int]) -> Iterator[subprocess.Popen[bytes]]:
    """The server, ready, on its core; it ends as by ``towline up``."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOWLINE_")}
    with (data / "server.log").open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", SERVER_CORE, sys.executable, "-m", "towline.app.server", "--unsupervised"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(settings(data, ports)) + b"\n")
        process.stdin.close()
        try:
            _wait(process, ports["portal"], data / "server.log")
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if log := (data / "server.log").read_text(errors="replace").partition("Towline")[0].strip():
            print(f"the server wrote:\n{log[-2000:]}", file=sys.stderr)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start: {log.read_text(errors='replace')[-1000:]}")


@contextlib.contextmanager
def generator(fleet: Fleet, folder: Path) -> Iterator[Any]:
    """The agents on their core; yields ``order(do, **more)``."""
    path = folder / "fleet.json"
    path.write_bytes(msgspec.json.encode(fleet))
    process = subprocess.Popen(
        ["taskset", "-c", LOAD_CORE, sys.executable, "-m", "benchmarks.agents", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def order(do: str, **more: object) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the generator ended")
        found: dict[str, Any] = json.loads(line)
        return found

    try:
        yield order
    finally:
        process.kill()
        process.wait()


def stored_records(port: int, token: str, devices: list[str]) -> int:
    """Points of one of the fields, over all devices, as REST tells."""
    door = HTTPConnection("127.0.0.1", port, timeout=60)
    total = 0
    for device in devices:
        path = f"/api/towline/v1/devices/{device}/metrics?field={FIELDS[0]}&from=-1h&max_points=10000"
        door.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = door.getresponse()
        body = json.loads(answer.read())
        if answer.status != 200 or body["truncated"]:
            raise RuntimeError(f"GET {path}: {answer.status} {str(body)[:300]}")
        total += sum(len(series["points"]) for series in body["series"])
    door.close()
    return total


def one_run(template: Path, known: dict[str, Any], links: int, seconds: float) -> dict[str, dict[str, Any]]:
    """All loads on one server; figures by load."""
    with tempfile.TemporaryDirectory(dir=template.parent) as name:
        folder = Path(name)
        data = folder / "data"
        shutil.copytree(template, data)
        ports = {name: free_port() for name in ("portal", "api", "clients")}
        with server(data, ports) as process:
            token = (data / "cli-token").read_text().strip()
            fleet = Fleet(
                url=f"ws://127.0.0.1:{ports['clients']}/link/v1",
                rest=f"127.0.0.1:{ports['portal']}",
                token=token,
                server_pid=process.pid,
                core=int(SERVER_CORE),
                **known,
            )
            with generator(fleet, folder) as order:
                found = {"signing in": order("connect", n=links)}
                # Series are made, caches are warm, the doors have answered a first request.
                order("paced", rate=RATE, seconds=1.2, commands=True)
                found["paced"] = order("paced", rate=RATE, seconds=seconds)
                found["with commands"] = order("paced", rate=RATE, seconds=seconds, commands=True)
                found["saturated, 10 a batch"] = order("saturated", records=1, seconds=seconds)
                found[f"saturated, {RECORDS * 10} a batch"] = order("saturated", records=RECORDS, seconds=seconds)
                ended = order("quit")
            stored = stored_records(ports["portal"], token, [one for one, _ in known["devices"][:links]])
        if stored * len(FIELDS) != ended["acked_readings"] or ended["lost_links"]:
            raise RuntimeError(f"{ended}, but {stored * len(FIELDS)} readings are stored")
        print(f"  {links} links: {ended['acked_readings']:,} readings acknowledged, as many stored", file=sys.stderr)
    return found


def measure(runs: int, seconds: float, which: tuple[int, ...] = LINKS) -> tuple[list[Series], list[str], str]:
    """Series by load, notes, and the tables."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    series: dict[tuple[int, str], Series] = {}
    commands: dict[int, list[float]] = {links: [] for links in which}
    (ROOT / "bin").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "bin", prefix="ingest-") as name:
        template = Path(name) / "template"
        known = asyncio.run(enrol(template, max(which)))
        for run in range(runs):
            print(f"run {run + 1}/{runs}", file=sys.stderr)
            for links in which if run % 2 == 0 else reversed(which):
                for load, figures in one_run(template, known, links, seconds).items():
                    commands[links] += figures.pop("commands_ms", [])
                    series.setdefault((links, load), Series(f"{links} links", load)).runs.append(figures)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    notes = [f"{links} links: every acknowledged reading was found through REST, in each run" for links in which]
    return list(series.values()), notes, _tables(series, commands)


def _cell(one: Series, key: str, digits: int) -> str:
    low, high = one.spread(key)
    return f"{one.median(key):,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def _busy(one: Series) -> str:
    """What bounded a saturated run."""
    server, own, others = one.median("cpu%"), one.median("generator%"), one.median("others%")
    word = "server" if server + others >= 90 else "generator" if own >= 90 else f"neither (server {server:.0f} %)"
    return f"{word}; others took {others:.0f} %"


def _tables(series: dict[tuple[int, str], Series], commands: dict[int, list[float]]) -> str:
    rows, ends = [], []
    for (links, load), one in series.items():
        if load == "signing in":
            ends.append(
                [
                    str(links),
                    _cell(one, "links_per_s", 0),
                    _cell(one, "cpu_us_per_link", 0),
                    _cell(one, "kb_per_link", 1),
                    _cell(one, "rss_mb", 0),
                ]
            )
            continue
        rows.append(
            [
                f"{load}, {links} links",
                _cell(one, "readings_per_s", 0),
                _cell(one, "cpu%", 1),
                _cell(one, "cpu_us_per_reading", 2),
                _cell(one, "p50_ms", 1),
                _cell(one, "p99_ms", 1),
                f"{one.median('rss_mb'):.0f}",
                "fixed rate; others took " + f"{one.median('others%'):.0f} %"
                if "saturated" not in load
                else _busy(one),
            ]
        )
    headers = [
        "load",
        "readings/s",
        "CPU % of the core",
        "CPU µs/reading",
        "ack p50 ms",
        "ack p99 ms",
        "MB",
        "saturated",
    ]
    said = []
    for links, taken in commands.items():
        found = sorted(taken)
        said.append(
            [
                str(links),
                str(len(found)),
                f"{statistics.median(found):.1f}" if found else "",
                f"{percentile(found, 0.99):.1f}",
                f"{found[-1]:.1f}" if found else "",
            ]
        )
    return "\n\n".join(
        [
            table(headers, rows),
            table(["links", "signed in/s", "CPU µs/link", "KB/link", "MB"], ends),
            table(["links", "commands", "submit to acked p50 ms", "p99 ms", "max ms"], said),
        ]
    )
