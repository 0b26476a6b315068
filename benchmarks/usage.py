# SPDX-License-Identifier: Apache-2.0
"""What a process used of its core over some time, and what others took of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU seconds of all threads that live, to the nanosecond."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except OSError:  # the thread has just ended
            continue
    return total / 1e9


def resident_kb(pid: int) -> int:
    """Resident memory."""
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS"))


def _busy_s(core: int) -> float:
    line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(f"cpu{core} "))
    user, nice, system, _, _, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) * _TICK_S


class Usage:
    """From its making until :meth:`figures`. ``others%``: what others (and the kernel's interrupts) took of the core."""

    def __init__(self, pid: int, core: int) -> None:
        self._pid, self._core = pid, core
        self._start = (time.perf_counter(), cpu_s(pid), _busy_s(core), time.process_time())

    def figures(self) -> dict[str, float]:
        """``cpu_s``, ``seconds``, and shares of the wall time: ``cpu%``, ``others%``, ``own%`` (this process)."""
        now = (time.perf_counter(), cpu_s(self._pid), _busy_s(self._core), time.process_time())
        seconds, cpu, busy, own = (after - before for before, after in zip(self._start, now, strict=True))
        return {
            "seconds": seconds,
            "cpu_s": cpu,
            "cpu%": cpu / seconds * 100,
            "others%": max(busy - cpu, 0) / seconds * 100,
            "own%": own / seconds * 100,
        }
