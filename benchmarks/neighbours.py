# SPDX-License-Identifier: Apache-2.0
"""What slow and idle clients cost the fast ones: the same load on fresh nodes, alone and in such company, in turns.

1000 fast clients get 20 messages of 4 KB a second. In company there are 10,000 idle connections, and 500 clients of the same
channel that read a twentieth of what they are sent, through a receive buffer of 4 KB: the node's buffers for them fill up,
it closes them with 3001, and they come back.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import peers
from benchmarks.gateway import OURS, towline_publish
from benchmarks.harness import LOAD_CORE, Series, Server, interleaved, load, table

IDLE, SLOW, FAST = 10_000, 500, 1000
SIZE, RATE = 4096, 20
LOAD = f"N={FAST} {RATE}/s of {SIZE} bytes"
COMPANY = f"beside {IDLE:,} idle and {SLOW} slow"


@contextmanager
def _held(tool: Path, server: Server, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Connections that another generator process holds; what it printed last is read by the caller."""
    command = [str(tool), "-port", str(server.ports["clients"]), *arguments, "-hold", "600"]
    process = subprocess.Popen(["taskset", "-c", LOAD_CORE, *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "ready" in line:
                break
        else:
            raise RuntimeError(f"{' '.join(command)} ended with {process.wait()}")
        yield process
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def _fast(tool: Path, server: Server, seconds: float) -> dict[str, float]:
    arguments = ["-mode", "fanout", "-size", str(SIZE), "-plain", "1", "-n", str(FAST), "-rate", str(RATE)]
    return load(tool, server, [*towline_publish(server), *arguments, "-dur", str(seconds)])


def measure(tool: Path, runs: int, seconds: float) -> tuple[list[Series], list[str], str]:
    """At least 15 s each: until then the node has room for what slow clients do not read."""
    seconds = max(seconds, 15.0)
    found = {name: Series(name, LOAD) for name in ("alone", COMPANY)}
    start: peers.Start = OURS
    for run, name in interleaved(list(found), runs):
        with start() as server:
            if name == "alone":
                figures = _fast(tool, server, seconds)
            else:
                slow = ["-mode", "slow", "-n", str(SLOW), "-path", "/sub", "-rcvbuf", "4096"]
                slow += ["-readrate", str(SIZE * RATE // 20)]
                # Idle ones listen to another channel: they are there, and get nothing.
                idle = ["-mode", "connect", "-n", str(IDLE), "-path", "/sub?idle"]
                with _held(tool, server, *idle), _held(tool, server, *slow):
                    figures = _fast(tool, server, seconds)
                    figures.update(_closed(server))
        found[name].runs.append(figures)
        print(f"run {run + 1}/{runs} {name}", file=sys.stderr)
    return list(found.values()), [], _table(list(found.values()))


def _closed(server: Server) -> dict[str, float]:
    """How many slow clients the node has closed, from its metrics."""
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{server.ports['api']}/metrics") as response:
        text: str = response.read().decode()
    words = ("towline_gateway_closed_total", 'cause="slow"')
    lines = [line for line in text.splitlines() if all(word in line for word in words)]
    return {"slow_closed": sum(float(line.rsplit(" ", 1)[1]) for line in lines)}


def _table(series: list[Series]) -> str:
    base = series[0].median("p99_us")
    rows = [
        [
            one.peer,
            *(f"{one.median(key) / 1000:.1f}" for key in ("lat_p50_us", "p99_us", "max_us")),
            f"{one.median('p99_us') / base:.2f}",
            f"{one.median('srv_cpu%'):.0f} %",
            f"{one.median('lost'):.0f}",
            f"{one.median('slow_closed'):.0f}" if "slow_closed" in one.runs[0] else "",
        ]
        for one in series
    ]
    return table(["fast clients", "p50 ms", "p99 ms", "max ms", "p99 ratio", "node's CPU", "lost", "slow closed"], rows)
