# SPDX-License-Identifier: Apache-2.0
"""Sampling every two seconds and sending few, full messages.

500 calls an hour are one every 7.2 s, so five timed samples travel together every 10 s: 360 calls an hour for
metrics and 30 for states leave over a hundred for commands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import psutil

from towline.sdk import Metric

SAMPLE_EVERY_S = 2
FIRST_SENDS_S = (0, 3, 6)
SEND_EVERY_S = 10
STATES_EVERY_S = 120
PER_SEND = SEND_EVERY_S // SAMPLE_EVERY_S
KELVIN = 273.15
MAX_RATE = 9_999_999.0
"""kB/s shown at most, so that a message's size has a bound."""

Row = tuple[str, float, int]
"""Metric, value, seconds since 1970."""

METRICS = [
    Metric("cpu", "%", display_category="Processor", display_name="CPU"),
    Metric("memory", "%", display_category="Memory", display_name="Memory"),
    Metric("net_rx", "kB/s", display_category="Network", display_name="Received"),
    Metric("net_tx", "kB/s", display_category="Network", display_name="Sent"),
    Metric("disk", "%", display_category="Disk", display_name="Disk used"),
    Metric("disk_read", "kB/s", display_category="Disk", display_name="Disk read"),
    Metric("disk_write", "kB/s", display_category="Disk", display_name="Disk written"),
    Metric("temperature", display_type="temperature", display_category="Temperature", display_name="Temperature"),
    Metric("load", "runnable", display_category="Processor", display_name="Load, 1 minute"),
    Metric("swap", "%", display_category="Memory", display_name="Swap"),
    Metric("processes", "processes", display_category="System", display_name="Processes"),
]


@dataclass(slots=True)
class Counters:
    """Totals since boot, in bytes."""

    rx: int
    tx: int
    read: int
    write: int

    @classmethod
    def now(cls) -> Counters:
        rx = tx = 0
        for name, nic in psutil.net_io_counters(pernic=True).items():
            if not name.startswith("lo"):
                rx, tx = rx + nic.bytes_recv, tx + nic.bytes_sent
        disk = psutil.disk_io_counters()  # None in many containers
        return cls(rx, tx, disk.read_bytes, disk.write_bytes) if disk else cls(rx, tx, 0, 0)


def rate(before: int, after: int, seconds: float) -> float:
    """kB/s; a counter that went back (an interface that left) counts as silence."""
    if seconds <= 0 or after < before:
        return 0.0
    return min((after - before) / seconds / 1000, MAX_RATE)


def temperature() -> float | None:
    """The hottest plausible sensor in Kelvin, None where the machine has none."""
    read = getattr(psutil, "sensors_temperatures", None)  # not on every platform
    try:
        groups = read() if read else {}
    except OSError:
        return None
    values = [entry.current for entries in groups.values() for entry in entries]
    plausible = [value for value in values if -40 < value < 150]
    return max(plausible) + KELVIN if plausible else None


def declared_metrics() -> list[Metric]:
    """What this machine can measure: without a sensor no temperature, so that no chart stays empty for ever."""
    has_sensor = temperature() is not None
    return [metric for metric in METRICS if metric.name != "temperature" or has_sensor]


@dataclass(slots=True)
class Sampler:
    """Collects rows between two sends.

    ``sample`` is to be called every two seconds with the machine's monotonic and wall clocks.
    """

    fast: list[Row] = field(default_factory=list)
    _counters: Counters | None = None
    _at: float = 0.0
    _slow_counters: Counters | None = None
    _slow_at: float = 0.0

    def sample(self, monotonic: float, epoch: int) -> None:
        """Take the fast metrics; of what is not taken away the newest five samples are kept."""
        counters = Counters.now()
        rows = [("cpu", psutil.cpu_percent(), epoch), ("memory", psutil.virtual_memory().percent, epoch)]
        if self._counters is not None:
            passed = monotonic - self._at
            rows.append(("net_rx", rate(self._counters.rx, counters.rx, passed), epoch))
            rows.append(("net_tx", rate(self._counters.tx, counters.tx, passed), epoch))
        self._counters, self._at = counters, monotonic
        self.fast += rows
        times = sorted({row[2] for row in self.fast})[-PER_SEND:]
        self.fast = [row for row in self.fast if row[2] >= times[0]]

    def take(self, monotonic: float, epoch: int) -> list[Row]:
        """What is to be sent now: the fast rows since the last time, and the slow metrics once."""
        rows, self.fast = self.fast, []
        rows += [
            ("disk", psutil.disk_usage("/").percent, epoch),
            ("load", psutil.getloadavg()[0], epoch),
            ("swap", psutil.swap_memory().percent, epoch),
            ("processes", float(len(psutil.pids())), epoch),
        ]
        hottest = temperature()
        if hottest is not None:
            rows.append(("temperature", hottest, epoch))
        counters = Counters.now()
        if self._slow_counters is not None:
            passed = monotonic - self._slow_at
            rows.append(("disk_read", rate(self._slow_counters.read, counters.read, passed), epoch))
            rows.append(("disk_write", rate(self._slow_counters.write, counters.write, passed), epoch))
        self._slow_counters, self._slow_at = counters, monotonic
        return rows


def send_times() -> Iterable[int]:
    """Seconds after the start at which metrics are sent: 0, 3, 6, 16, 26, …"""
    yield from FIRST_SENDS_S
    at = FIRST_SENDS_S[-1]
    while True:
        at += SEND_EVERY_S
        yield at
