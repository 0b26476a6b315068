# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.run fanout|echo|push|ingest|store [--runs 7] [--seconds 2]``: measure, compare, print a table.

Server and generator are pinned to one core each; peers take turns; medians are compared. What counts is CPU time a
message: rates swing with the machine's neighbours.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import ingest as device_path
from benchmarks import peers
from benchmarks.harness import (
    ROOT,
    NotAvailable,
    Series,
    Server,
    compile_tools,
    interleaved,
    load,
    machine,
    saturated,
    save,
    table,
)

PUBLISH = '{"c":"ch","d":"%s"}'
Arguments = Callable[[Server], list[str]]


def towline_publish(server: Server) -> list[str]:
    return [
        "-port", str(server.ports["clients"]), "-path", "/sub", "-pubport", str(server.ports["api"]),
        "-pubproto", "http", "-pubpath", "/v1/mesh/publish", "-fmt", PUBLISH,
    ]  # fmt: skip


def nchan_publish(server: Server) -> list[str]:
    return ["-port", str(server.ports["clients"]), "-path", "/sub", "-pubproto", "http", "-pubpath", "/pub"]


def bare_publish(server: Server) -> list[str]:
    return ["-port", str(server.ports["clients"]), "-path", "/sub", "-pubpath", "/pub"]


def echo_at(path: str) -> Arguments:
    return lambda server: ["-port", str(server.ports["clients"]), "-pubpath", path]


def post_at(path: str) -> Arguments:
    return lambda server: ["-port", str(server.ports["api"]), "-pubpath", path, "-fmt", '{"c":"none","d":"%s"}']


Peers = dict[str, tuple[peers.Start, Arguments]]

FANOUT: Peers = {
    "towline": (peers.towline_fanout, towline_publish),
    "bare C": (peers.bare_c, bare_publish),
    "nchan": (peers.nchan, nchan_publish),
}
ECHO: Peers = {
    "towline": (peers.towline_echo, echo_at("/sub")),
    "bare C": (peers.bare_c, echo_at("/echo")),
    "node ws": (peers.node_ws, echo_at("/")),
}
PUSH: Peers = {
    "towline": (peers.towline_fanout, post_at("/v1/mesh/publish")),
    "aiohttp": (peers.aiohttp_constant, post_at("/v1/mesh/publish")),
}


def measure(tool: Path, who: Peers, loads: dict[str, list[str]], runs: int) -> tuple[list[Series], list[str]]:
    """All loads on all peers, interleaved. Peers that are not there are left out and named."""
    found: dict[tuple[str, str], Series] = {}
    missing: dict[str, str] = {}
    for run, peer in interleaved(list(who), runs):
        if peer in missing:
            continue
        start, arguments = who[peer]
        try:
            for name, extra in loads.items():
                # A server of its own for each load: connections of the last one are still ending otherwise.
                with start() as server:
                    figures = load(tool, server, [*arguments(server), *extra])
                    found.setdefault((peer, name), Series(peer, name)).runs.append(figures)
        except NotAvailable as reason:
            missing[peer] = str(reason)
            continue
        print(f"run {run + 1}/{runs} {peer}", file=sys.stderr)
    return list(found.values()), [f"{peer}: not measured. {reason}" for peer, reason in missing.items()]


def compare(series: list[Series], cost: str, rate: str, unit: str) -> str:
    """A row for each peer and load; ratios are of CPU time, the peer's to ours: over 1 we are cheaper."""
    ours = {one.load: one.median(cost) for one in series if one.peer == "towline"}
    rows = []
    for one in sorted(series, key=lambda each: (each.load, each.peer != "towline", each.peer)):
        low, high = one.spread(cost)
        ratio = "" if one.peer == "towline" else f"{one.median(cost) / ours[one.load]:.2f}"
        extra = f"{one.median('kb_per_conn'):.1f}" if "kb_per_conn" in one.runs[0] else ""
        hello = f"{one.median('srv_cpu_us_per_hs'):.0f}" if "srv_cpu_us_per_hs" in one.runs[0] else ""
        p99 = f"{one.median('p99_us') / 1000:.1f}" if "p99_us" in one.runs[0] else ""
        rows.append(
            [
                one.load,
                one.peer,
                f"{one.median(cost):.3f}",
                f"{low:.3f}–{high:.3f}",
                ratio,
                f"{one.median(rate):,.0f}",
                p99,
                hello,
                extra,
                saturated(one) if "gen_busy%" in one.runs[0] else "fixed rate",
            ]
        )
    headers = ["load", "server", f"CPU µs/{unit}", "min–max", "peer/ours", f"{unit}/s", "p99 ms"]
    return table([*headers, "µs/handshake", "KB/conn", "saturated"], rows)


def fanout(tool: Path, runs: int, seconds: float) -> tuple[list[Series], list[str], str]:
    common = ["-mode", "fanout", "-size", "128", "-plain", "1", "-dur", str(seconds)]
    loads = {
        "N=1000 W=1": [*common, "-n", "1000", "-window", "1"],
        "N=1000 W=16": [*common, "-n", "1000", "-window", "16"],
        "N=1000 20/s": [*common, "-n", "1000", "-rate", "20"],
    }
    series, notes = measure(tool, FANOUT, loads, runs)
    return series, notes, compare(series, "srv_us_per_msg", "deliv_per_s", "message")


def echo(tool: Path, runs: int, seconds: float) -> tuple[list[Series], list[str], str]:
    common = ["-mode", "echo", "-size", "120", "-plain", "1", "-dur", str(seconds)]
    loads = {"N=100": [*common, "-n", "100"], "N=1000": [*common, "-n", "1000"]}
    series, notes = measure(tool, ECHO, loads, runs)
    return series, notes, compare(series, "srv_us_per_rt", "rt_per_s", "round trip")


def push(tool: Path, runs: int, seconds: float) -> tuple[list[Series], list[str], str]:
    common = ["-mode", "post", "-size", "128", "-plain", "1", "-dur", str(seconds), "-n", "32"]
    loads = {"32 connections": common, "32 connections, 8 pipelined": [*common, "-pipe", "8"]}
    series, notes = measure(tool, PUSH, loads, runs)
    return series, notes, compare(series, "srv_us_per_req", "req_per_s", "request")


def ingest(tool: Path, runs: int, seconds: float) -> tuple[list[Series], list[str], str]:
    return device_path.measure(runs, seconds)


TASKS = {"fanout": fanout, "echo": echo, "push": push, "ingest": ingest}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("task", nargs="?", default="all", choices=[*TASKS, "store", "all"])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    chosen = parser.parse_args()
    if chosen.task in ("store", "all"):
        # The store has no peer to take turns with and needs no generator: it measures itself.
        store = [str(ROOT / "ingest_store.py"), "--runs", str(chosen.runs), "--seconds", str(chosen.seconds)]
        subprocess.run([sys.executable, *store], check=True)
        if chosen.task == "store":
            return
    tool = compile_tools()["wsload"]
    for task in TASKS if chosen.task == "all" else [chosen.task]:
        about = machine()
        series, notes, text = TASKS[task](tool, chosen.runs, chosen.seconds)
        text = "\n".join([f"{chosen.runs} interleaved runs of {chosen.seconds} s, medians", "", text, *notes])
        path = save(task, about, text, series)
        print(
            f"\n{about}\n{text}\n\nwritten to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}"
        )


if __name__ == "__main__":
    main()
