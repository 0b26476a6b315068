# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.run TASK [--runs 7] [--seconds 2] [--peers a,b] [--loads text]``: measure, compare, print tables.

Server and generator are pinned to one core each; peers take turns; medians are compared. What counts is CPU time a
message: rates swing with the machine's neighbours. ``aims`` prints the newest results of all tasks against the aims.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import curves, gateway, neighbours
from benchmarks import ingest as device_path
from benchmarks.gateway import Loads, Peers, compare
from benchmarks.harness import (
    RESULTS,
    ROOT,
    NotAvailable,
    Series,
    compile_tools,
    interleaved,
    load,
    machine,
    save,
)
from benchmarks.verdict import judge, latest, verdicts

Result = tuple[list[Series], list[str], str]
MESSAGE = ("srv_us_per_msg", "deliv_per_s", "message")
TRIP = ("srv_us_per_rt", "rt_per_s", "round trip")
REQUEST = ("srv_us_per_req", "req_per_s", "request")
HANDSHAKE = ("srv_cpu_us_per_hs", "hs_per_s", "handshake")

# What is measured: peers and loads for so many seconds, and the key of cost, of rate, and what one of it is called.
TASKS: dict[str, tuple[Callable[[float], tuple[Peers, Loads]], tuple[str, str, str]]] = {
    "fanout": (lambda seconds: (gateway.FANOUT, gateway.fanout_loads(seconds)), MESSAGE),
    "echo": (lambda seconds: (gateway.ECHO, gateway.echo_loads(seconds)), TRIP),
    "push": (lambda seconds: (gateway.PUSH, gateway.push_loads(seconds)), REQUEST),
    "idle": (lambda seconds: (gateway.IDLE, gateway.idle_loads(seconds)), HANDSHAKE),
    "subscribers": (curves.subscribers, MESSAGE),
    "channels": (curves.channels, MESSAGE),
    "nodes": (curves.nodes, MESSAGE),
    "hop": (curves.hop, MESSAGE),
    "entries": (curves.entries, TRIP),
}
OTHERS = ("neighbours", "ingest", "store")


def measure(tool: Path, who: Peers, loads: Loads, runs: int) -> tuple[list[Series], list[str]]:
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


def run_task(task: str, tool: Path, chosen: argparse.Namespace) -> Result:
    if task == "neighbours":
        return neighbours.measure(tool, chosen.runs, chosen.seconds)
    if task == "ingest":
        return device_path.measure(chosen.runs, chosen.seconds)
    make, (cost, rate, unit) = TASKS[task]
    who, loads = make(chosen.seconds)
    if chosen.peers:
        who = {name: one for name, one in who.items() if name in chosen.peers.split(",")}
    loads = {name: one for name, one in loads.items() if chosen.loads in name}
    if not who or not loads:
        raise SystemExit(f"{task} has no such peers or loads")
    series, notes = measure(tool, who, loads, chosen.runs)
    return series, notes, compare(series, cost, rate, unit)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("task", nargs="?", default="all", choices=[*TASKS, *OTHERS, "aims", "all"])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--peers", default="", help="only these, with commas between")
    parser.add_argument("--loads", default="", help="only loads whose name has this text")
    chosen = parser.parse_args()
    if chosen.task == "aims":
        print(latest(RESULTS))
        return
    if chosen.task in ("store", "all"):
        # The store has no peer to take turns with and needs no generator: it measures itself.
        store = [str(ROOT / "ingest_store.py"), "--runs", str(chosen.runs), "--seconds", str(chosen.seconds)]
        subprocess.run([sys.executable, *store], check=True)
        if chosen.task == "store":
            return
    tool = compile_tools()["wsload"]
    for task in [*TASKS, "neighbours", "ingest"] if chosen.task == "all" else [chosen.task]:
        about = machine()
        series, notes, text = run_task(task, tool, chosen)
        text = "\n".join([f"{chosen.runs} interleaved runs of {chosen.seconds} s, medians", "", text, *notes])
        rows = judge(task, series)
        if rows:
            text += "\n\n" + verdicts(rows)
        path = save(task, about, text, series)
        print(
            f"\n{about}\n{text}\n\nwritten to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}"
        )


if __name__ == "__main__":
    main()
