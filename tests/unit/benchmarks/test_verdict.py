# SPDX-License-Identifier: Apache-2.0
"""Aims against figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from benchmarks.curves import entries, hop, nodes
from benchmarks.gateway import ECHO, FANOUT, IDLE, PUSH, echo_loads, fanout_loads, idle_loads, push_loads
from benchmarks.harness import Series
from benchmarks.neighbours import COMPANY, LOAD
from benchmarks.verdict import AIMS, Aim, judge, latest

MORE = Aim("w", "t", "L", "peer", "k", floor=8, aim=12)
LESS = Aim("w", "t", "L", "peer", "k", floor=2.0, aim=1.5, more=False)


def series(peer: str, *values: float, load: str = "L", key: str = "k") -> Series:
    return Series(peer, load, [{key: value} for value in values])


@pytest.mark.parametrize(
    ("aim", "ours", "peer", "value", "verdict"),
    [
        (MORE, [1, 1, 50], [12, 12, 12], 12, "met"),
        (MORE, [1], [10.8], 10.8, "within 10 %"),
        (MORE, [1], [10.7], 10.7, "missed, floor held"),
        (MORE, [1], [8], 8, "missed, floor held"),
        (MORE, [1], [7.9], 7.9, "BELOW THE FLOOR"),
        (LESS, [15], [10], 1.5, "met"),
        (LESS, [16.6], [10], 1.66, "within 10 %"),
        (LESS, [16.7], [10], 1.67, "missed, floor held"),
        (LESS, [20.1], [10], 2.01, "BELOW THE FLOOR"),
    ],
)
def test_verdicts(aim: Aim, ours: list[float], peer: list[float], value: float, verdict: str) -> None:
    figures = {("towline", "L"): series("towline", *ours), ("peer", "L"): series("peer", *peer)}
    found = aim.value(figures)
    assert found == pytest.approx(value)
    assert found is not None
    assert aim.verdict(found) == verdict


def test_a_missing_peer_is_not_measured() -> None:
    assert MORE.value({("towline", "L"): series("towline", 1)}) is None
    assert [row[1:3] for row in judge("hop", [])] == [["not measured", "–"]]


def test_a_difference_in_milliseconds() -> None:
    here = series("here", 500, load="N=1 100/s", key="lat_p50_us")
    there = series("behind NATS", 750, load="N=1 100/s", key="lat_p50_us")
    assert judge("hop", [here, there])[0][1:] == ["0.25 ms", "met", "≤ 0.6 ms", "≤ 0.3 ms"]


def test_every_aim_names_a_load_and_peers_that_there_are() -> None:
    measured: dict[str, tuple[Mapping[str, object], Mapping[str, object]]] = {
        "fanout": (FANOUT, fanout_loads(1)),
        "echo": (ECHO, echo_loads(1)),
        "push": (PUSH, push_loads(1)),
        "idle": (IDLE, idle_loads(1)),
        "hop": hop(1),
        "neighbours": ({"alone": None, COMPANY: None}, {LOAD: []}),
    }
    for aim in AIMS:
        who, loads = measured[aim.task]
        assert aim.load in loads
        assert {aim.ours, aim.peer} <= set(who)
    assert {"towline", "Lua", "Python"} <= set(entries(1)[0])
    assert len(nodes(1)[0]) == 3


def test_the_newest_result_of_each_task_counts(tmp_path: Path) -> None:
    for stamp, ms in (("20260101-000000", 9.0), ("20260102-000000", 0.2)):
        one = [vars(series(name, value, load="N=1 100/s", key="lat_p50_us"))
               for name, value in (("here", 0), ("behind NATS", ms * 1000))]  # fmt: skip
        (tmp_path / f"hop-{stamp}.json").write_text(json.dumps({"series": one}))
    text = latest(tmp_path)
    assert text.count("\n") == len(AIMS) + 1
    assert "0.20 ms" in text
    assert text.count("not measured") == len(AIMS) - 1
