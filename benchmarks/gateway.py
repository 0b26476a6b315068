# SPDX-License-Identifier: Apache-2.0
"""The gateway beside what people use today: fan-out, echo, push, idle connections."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import peers
from benchmarks.harness import Series, Server, saturated, table

Arguments = Callable[[Server], list[str]]
Peers = dict[str, tuple[peers.Start, Arguments]]
Loads = dict[str, list[str]]

PUBLISH = '{"c":"ch","d":"%s"}'
SOCKET_IO = "/socket.io/?EIO=4&transport=websocket"


def towline_publish(server: Server) -> list[str]:
    return [
        "-port", str(server.ports["clients"]), "-path", "/sub", "-pubport", str(server.ports["api"]),
        "-pubproto", "http", "-pubpath", "/v1/mesh/publish", "-fmt", PUBLISH,
    ]  # fmt: skip


def nchan_publish(server: Server) -> list[str]:
    return ["-port", str(server.ports["clients"]), "-path", "/sub", "-pubproto", "http", "-pubpath", "/pub"]


def socket_publish(server: Server) -> list[str]:
    return ["-port", str(server.ports["clients"]), "-path", "/sub", "-pubpath", "/pub"]


def nats_publish(server: Server) -> list[str]:
    return ["-port", str(server.ports["clients"]), "-proto", "nats", "-pubproto", "nats"]


def socket_io_publish(server: Server) -> list[str]:
    return [
        "-port", str(server.ports["clients"]), "-path", SOCKET_IO + "&sub=1", "-pubpath", SOCKET_IO,
        "-setup", "40", "-fmt", '42["pub","%s"]',
    ]  # fmt: skip


def echo_at(path: str, *more: str) -> Arguments:
    return lambda server: ["-port", str(server.ports["clients"]), "-pubpath", path, *more]


def post_at(path: str) -> Arguments:
    return lambda server: ["-port", str(server.ports["api"]), "-pubpath", path, "-fmt", '{"c":"none","d":"%s"}']


OURS = peers.towline("fanout_entry.py")
FANOUT: Peers = {
    "towline": (OURS, towline_publish),
    "bare C": (peers.bare_c, socket_publish),
    "Bun": (peers.bun, socket_publish),
    "nats-server": (peers.nats_server, nats_publish),
    "nchan": (peers.nchan, nchan_publish),
    "node ws": (peers.node_ws, socket_publish),
    "aiohttp": (peers.aiohttp, socket_publish),
    "socket.io": (peers.socket_io, socket_io_publish),
}
ECHO: Peers = {
    "towline": (peers.towline("builtin:echo"), echo_at("/sub")),
    "bare C": (peers.bare_c, echo_at("/echo")),
    "Bun": (peers.bun, echo_at("/echo")),
    "node ws": (peers.node_ws, echo_at("/echo")),
    "aiohttp": (peers.aiohttp, echo_at("/echo")),
    "socket.io": (peers.socket_io, echo_at(SOCKET_IO, "-setup", "40", "-fmt", '42["echo","%s"]')),
}
PUSH: Peers = {
    "towline": (OURS, post_at("/v1/mesh/publish")),
    "aiohttp": (peers.aiohttp, post_at("/v1/mesh/publish")),
}
IDLE = {name: one for name, one in FANOUT.items() if name != "nats-server"}


def _common(mode: str, seconds: float, size: int = 128) -> list[str]:
    return ["-mode", mode, "-size", str(size), "-plain", "1", "-dur", str(seconds)]


def fanout_loads(seconds: float) -> Loads:
    common = _common("fanout", seconds)
    return {
        "N=1000 W=1": [*common, "-n", "1000", "-window", "1"],
        "N=1000 W=16": [*common, "-n", "1000", "-window", "16"],
        "N=5000 W=8": [*common, "-n", "5000", "-window", "8"],
        "N=1000 20/s": [*common, "-n", "1000", "-rate", "20"],
    }


def echo_loads(seconds: float) -> Loads:
    common = _common("echo", seconds, 120)
    return {"N=100": [*common, "-n", "100"], "N=1000": [*common, "-n", "1000"]}


def push_loads(seconds: float) -> Loads:
    common = [*_common("post", seconds), "-n", "32"]
    return {"32 connections": common, "32 connections, 8 pipelined": [*common, "-pipe", "8"]}


def idle_loads(seconds: float) -> Loads:
    return {"N=10000": ["-mode", "connect", "-n", "10000"]}


def compare(series: list[Series], cost: str, rate: str, unit: str) -> str:
    """A row for each peer and load; ratios are of CPU time, the peer's to ours: over 1 we are cheaper."""
    ours = {one.load: one.median(cost) for one in series if one.peer == "towline"}
    headers = ["load", "server", f"CPU µs/{unit}", "min–max", "peer/ours", f"{unit}/s"]
    optional = {"p50 ms": "lat_p50_us", "rt p50 ms": "rt_p50_us", "p99 ms": "p99_us", "KB/conn": "kb_per_conn"}
    optional = {name: key for name, key in optional.items() if any(key in one.runs[0] for one in series)}
    rows = []
    for one in sorted(series, key=lambda each: (each.load, each.peer != "towline", each.median(cost))):
        low, high = one.spread(cost)
        known = one.peer != "towline" and one.load in ours
        row = [
            one.load,
            one.peer,
            f"{one.median(cost):.3g}",
            f"{low:.3g}–{high:.3g}",
            f"{one.median(cost) / ours[one.load]:.2f}" if known else "",
            f"{one.median(rate):,.0f}",
        ]
        for key in optional.values():
            scale = 1000 if key.endswith("_us") else 1
            row.append(f"{one.median(key) / scale:.2f}" if key in one.runs[0] else "")
        rows.append([*row, saturated(one) if "gen_busy%" in one.runs[0] else ""])
    return table([*headers, *optional, "saturated"], rows)
