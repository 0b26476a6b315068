# SPDX-License-Identifier: Apache-2.0
"""Compile the C tools, start servers pinned to one core, load them from the other, and make sense of the figures."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent
RESULTS = ROOT / "results"
CACHE = ROOT / "bin"
SERVER_CORE, LOAD_CORE = "0", "1"


class NotAvailable(Exception):
    """A peer cannot be measured here; the text says how to get it."""


@dataclass
class Server:
    """A running server: the processes whose CPU counts, its ports by name."""

    pids: list[int]
    ports: dict[str, int]
    process: subprocess.Popen[bytes]


@dataclass
class Series:
    """Figures of one peer for one load, over all runs."""

    peer: str
    load: str
    runs: list[dict[str, float]] = field(default_factory=list)

    def median(self, key: str) -> float:
        return statistics.median(run[key] for run in self.runs)

    def spread(self, key: str) -> tuple[float, float]:
        values = [run[key] for run in self.runs]
        return min(values), max(values)


def compile_tools() -> dict[str, Path]:
    """``cc -O2`` of native/*.c, again only when a source is newer."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SystemExit("a C compiler is needed: apt-get install gcc libc6-dev")
    CACHE.mkdir(exist_ok=True)
    tools = {}
    for source in sorted((ROOT / "native").glob("*.c")):
        binary = CACHE / source.stem
        if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
            subprocess.run([compiler, "-O2", "-w", "-o", str(binary), str(source)], check=True)
        tools[source.stem] = binary
    return tools


@contextmanager
def running(
    command: list[str],
    *,
    ports: dict[str, int],
    env: dict[str, str] | None = None,
    workers: bool = False,
) -> Iterator[Server]:
    """A server on its core until the block ends. ``workers``: count its children's CPU, not its own."""
    output: IO[bytes]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            ["taskset", "-c", SERVER_CORE, *command], stdout=output, stderr=output, env={**os.environ, **(env or {})}
        )
        try:
            for port in ports.values():
                _wait_for(port, process, output)
            pids = _children(process.pid) if workers else [process.pid]
            yield Server(pids, ports, process)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def load(tool: Path, server: Server, arguments: list[str]) -> dict[str, float]:
    """Run the generator once; its ``key=value`` words of the last line that measures."""
    pids = ",".join(str(pid) for pid in server.pids)
    done = subprocess.run(
        ["taskset", "-c", LOAD_CORE, str(tool), *arguments, "-pids", pids], capture_output=True, text=True, timeout=300
    )
    if done.returncode != 0:
        raise RuntimeError(f"{tool.name} {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    found: dict[str, float] = {}
    for key, value in re.findall(r"([a-z0-9_%]+)=([0-9.]+)", done.stdout):
        found[key] = float(value)
    return found


def interleaved(peers: list[str], runs: int) -> Iterator[tuple[int, str]]:
    """Every peer once, then every peer again: what disturbs the machine disturbs them alike."""
    for run in range(runs):
        for peer in peers if run % 2 == 0 else reversed(peers):
            yield run, peer


def saturated(series: Series) -> str:
    """What a closed-loop run measured: the core that was busy."""
    server, generator = series.median("srv_cpu%"), series.median("gen_busy%")
    wait = series.median("srv_wait%")
    words = "server" if server >= 90 else "generator" if generator >= 90 else f"neither (server {server:.0f} %)"
    return f"{words}; disturbed {wait:.0f} %" if wait > 8 else words


def machine() -> str:
    """One line about where this ran, and how busy it was already."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "unknown processor",
    )
    first = os.getloadavg()[0]
    return f"{os.cpu_count()} × {model}; Python {sys.version.split()[0]}; load {first:.2f} at the start"


def save(task: str, about: str, table: str, series: list[Series]) -> Path:
    """Write results/<task>-<time>.json and .md; the folder is not in the repository."""
    RESULTS.mkdir(exist_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    data = {"task": task, "machine": about, "series": [vars(one) for one in series]}
    (RESULTS / f"{task}-{stamp}.json").write_text(json.dumps(data, indent=1))
    path = RESULTS / f"{task}-{stamp}.md"
    path.write_text(f"{about}\n\n{table}\n")
    return path


def table(headers: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(len(row[column]) for row in [headers, *rows]) for column in range(len(headers))]

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(headers), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)])


def _wait_for(port: int, process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
    import socket

    end = time.monotonic() + 20
    while time.monotonic() < end:
        if process.poll() is not None:
            output.seek(0)
            raise NotAvailable(f"{process.args!r} ended: {output.read().decode(errors='replace')[-400:]}")
        with socket.socket() as probe:
            probe.settimeout(0.5)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise NotAvailable(f"nothing listens on {port}")


def _children(pid: int) -> list[int]:
    """A master listens before it has made its workers."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        if text:
            return [int(word) for word in text.split()]
        time.sleep(0.02)
    raise NotAvailable(f"process {pid} has no workers")


def free_port() -> int:
    """A port that was free a moment ago."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
