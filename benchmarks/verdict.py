# SPDX-License-Identifier: Apache-2.0
"""What was measured against what is aimed for: each aim met, within a tenth of it, missed, or below its floor.

A *floor* is what a release must hold, an *aim* what it is built for. All but one are ratios within one run, so that neither
the machine nor its neighbours decide.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.harness import Series, table


@dataclass(frozen=True)
class Aim:
    """One line of the table.

    :param task: the benchmark that measures it
    :param load: its load
    :param peer: the series to compare with; empty for a figure that stands by itself
    :param key: what is compared, of each
    :param ours: the series that stands for us
    :param more: whether peer ÷ ours is what counts, and more is better; else ours ÷ peer, and less is better
    """

    work: str
    task: str
    load: str
    peer: str
    key: str
    floor: float
    aim: float
    ours: str = "towline"
    more: bool = True
    unit: str = ""

    def value(self, figures: Mapping[tuple[str, str], Series]) -> float | None:
        """From the series of the task by peer and load; None when one is missing."""
        ours, peer = figures.get((self.ours, self.load)), figures.get((self.peer, self.load))
        if ours is None or peer is None:
            return None
        mine, other = (median(run[self.key] for run in one.runs) for one in (ours, peer))
        if self.unit == "ms":
            return (mine - other) / 1000
        return other / mine if self.more else mine / other

    def verdict(self, value: float) -> str:
        sign = 1 if self.more else -1
        if sign * value >= sign * self.aim:
            return "met"
        if sign * value >= sign * self.aim * (0.9 if self.more else 1 / 0.9):
            return "within 10 %"
        return "missed, floor held" if sign * value >= sign * self.floor else "BELOW THE FLOOR"


W1, W16, BIG, PACED = "N=1000 W=1", "N=1000 W=16", "N=5000 W=8", "N=1000 20/s"
MESSAGE = "srv_us_per_msg"
AIMS = (
    Aim("fan-out to 1000, one under way, against bare C", "fanout", W1, "bare C", MESSAGE, 0.70, 0.85),
    Aim("the same against nchan", "fanout", W1, "nchan", MESSAGE, 1.0, 1.1),
    Aim("fan-out to 1000, 16 under way, against nchan", "fanout", W16, "nchan", MESSAGE, 8, 12),
    Aim("the same against Bun", "fanout", W16, "Bun", MESSAGE, 0.5, 0.8),
    Aim("fan-out to 5000, 8 under way, against nats-server", "fanout", BIG, "nats-server", MESSAGE, 2, 3),
    Aim("20 a second to 1000, p99, against nchan", "fanout", PACED, "nchan", "p99_us", 1.5, 1.2, more=False),
    Aim("echo, 100 connections, against node ws", "echo", "N=100", "node ws", "srv_us_per_rt", 0.9, 1.3),
    Aim("POST /v1/mesh/publish against aiohttp", "push", "32 connections", "aiohttp", "srv_us_per_req", 2, 5),
    Aim("memory of an idle connection against nchan", "idle", "N=10000", "nchan", "kb_per_conn", 2.0, 1.5, more=False),
    Aim("handshakes against nchan", "idle", "N=10000", "nchan", "srv_cpu_us_per_hs", 0.15, 0.25),
    Aim(
        "a second node through NATS, added p50", "hop", "N=1 100/s", "here", "lat_p50_us", 0.6, 0.3,
        ours="behind NATS", more=False, unit="ms",
    ),
    Aim(
        "p99 of fast clients beside 10,000 idle and 500 slow", "neighbours", "N=1000 20/s of 4096 bytes", "alone", "p99_us",
        2.0, 2.0, ours="beside 10,000 idle and 500 slow", more=False,
    ),
)  # fmt: skip


def judge(task: str, series: Iterable[Series]) -> list[list[str]]:
    """Rows of the aims that a task measures."""
    found = {(one.peer, one.load): one for one in series}
    rows = []
    for aim in AIMS:
        if aim.task != task:
            continue
        value = aim.value(found)
        shown = ["not measured", "–"] if value is None else [_with(aim, f"{value:.2f}"), aim.verdict(value)]
        sign = "≥" if aim.more else "≤"
        rows.append([aim.work, *shown, *(_with(aim, f"{sign} {limit:g}") for limit in (aim.floor, aim.aim))])
    return rows


def _with(aim: Aim, text: str) -> str:
    return f"{text} {aim.unit}".rstrip()


def verdicts(rows: list[list[str]]) -> str:
    return table(["aim", "measured", "verdict", "floor", "aim "], rows)


def latest(results: Path) -> str:
    """The table of all aims, each from the newest result of its task in a folder."""
    rows: list[list[str]] = []
    for task in dict.fromkeys(aim.task for aim in AIMS):
        paths = sorted(results.glob(f"{task}-*.json"))
        data = json.loads(paths[-1].read_text()) if paths else {"series": []}
        rows += judge(task, [Series(**one) for one in data["series"]])
    return verdicts(rows)
