# SPDX-License-Identifier: Apache-2.0
"""How the gateway's cost grows with subscribers, channels and nodes; what a second node adds; what an entry costs."""

from __future__ import annotations

from benchmarks import peers
from benchmarks.gateway import OURS, Loads, Peers, echo_at, towline_publish
from benchmarks.harness import Server

CHANNELS = '{"c":"c%d","d":"%s"}'


def _fanout(seconds: float) -> list[str]:
    return ["-mode", "fanout", "-size", "128", "-plain", "1", "-dur", str(seconds)]


def subscribers(seconds: float) -> tuple[Peers, Loads]:
    """Subscribers of one channel, one publish under way and 16."""
    loads = {
        f"N={count} W={window}": [*_fanout(seconds), "-n", str(count), "-window", str(window)]
        for window in (1, 16)
        for count in (1, 10, 100, 1000, 10_000)
    }
    return {"towline": (OURS, towline_publish)}, loads


def _over_channels(server: Server) -> list[str]:
    return [
        "-port", str(server.ports["clients"]), "-path", "/sub?c%d", "-pubport", str(server.ports["api"]),
        "-pubproto", "http", "-pubpath", "/v1/mesh/publish", "-fmt", CHANNELS,
    ]  # fmt: skip


def channels(seconds: float) -> tuple[Peers, Loads]:
    """1000 subscribers spread over so many channels, publishes to each in turn."""
    loads = {
        f"channels={count}": [*_fanout(seconds), "-n", "1000", "-window", "16", "-channels", str(count)]
        for count in (1, 10, 100, 1000)
    }
    return {"towline": (OURS, _over_channels)}, loads


def _over_nodes(server: Server) -> list[str]:
    ports = [str(port) for name, port in server.ports.items() if name.startswith("clients")]
    return [
        "-ports", ",".join(ports), "-path", "/sub", "-pubport", str(server.ports["api0"]),
        "-pubproto", "http", "-pubpath", "/v1/mesh/publish", "-fmt", '{"c":"ch","d":"%s"}',
    ]  # fmt: skip


def nodes(seconds: float) -> tuple[Peers, Loads]:
    """1000 subscribers spread over the nodes, everything published at the first. The cost is that of all nodes and NATS."""
    who: Peers = {f"{count} nodes": (peers.towline_nodes(count), _over_nodes) for count in (1, 2, 3)}
    loads = {f"N=1000 W={window}": [*_fanout(seconds), "-n", "1000", "-window", str(window)] for window in (1, 16)}
    return who, loads


def _at_node(number: int) -> Peers:
    def arguments(server: Server) -> list[str]:
        return [*_over_nodes(server), "-ports", str(server.ports[f"clients{number}"])]

    return {"here" if number == 0 else "behind NATS": (peers.towline_nodes(2), arguments)}


def hop(seconds: float) -> tuple[Peers, Loads]:
    """The way to one subscriber at the node where it was published, and at the other one; 100 publishes a second."""
    load = [*_fanout(max(seconds, 3)), "-n", "1", "-rate", "100"]
    return {**_at_node(0), **_at_node(1)}, {"N=1 100/s": load}


def entries(seconds: float) -> tuple[Peers, Loads]:
    """The same echo by entries in each language, over 100 sockets."""
    who: Peers = {
        "towline": (peers.towline("builtin:echo"), echo_at("/sub")),
        "Python": (peers.towline("echo_entry.py"), echo_at("/sub")),
        "Python async": (peers.towline("echo_async_entry.py"), echo_at("/sub")),
        "Lua": (peers.towline("echo_entry.lua"), echo_at("/sub")),
        "Lua trusted": (peers.towline("echo_entry.lua", "--trusted"), echo_at("/sub")),
    }
    return who, {"N=100": ["-mode", "echo", "-size", "120", "-plain", "1", "-dur", str(seconds), "-n", "100"]}
