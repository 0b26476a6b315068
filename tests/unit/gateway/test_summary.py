# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from towline.gateway.metrics import SummaryValue, render
from towline.gateway.summary import QUANTILES, Summary


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(clock: Clock, age: float = 100, parts: int = 5, samples: int = 10) -> Summary:
    return Summary(age, parts, samples, clock, lambda below: below // 2)


def test_an_empty_window_shows_no_number() -> None:
    shown = make(Clock()).quantiles()
    assert all(math.isnan(value) for value in shown.quantiles.values())
    assert (tuple(shown.quantiles), shown.total, shown.observed) == (QUANTILES, 0, 0)


def test_quantiles() -> None:
    summary = make(Clock())
    for value in (4, 1, 3, 2):
        summary.observe(value)
    assert dict(summary.quantiles().quantiles) == {0.0: 1, 0.25: 1, 0.5: 2, 0.75: 3, 1.0: 4}


def test_what_is_too_old_leaves_the_window_and_stays_in_the_sums() -> None:
    clock = Clock()
    summary = make(clock)
    summary.observe(9)
    clock.now += 60
    summary.observe(1)
    assert summary.quantiles().quantiles[1.0] == 9
    clock.now += 50
    assert summary.quantiles().quantiles[1.0] == 1
    clock.now += 100
    shown = summary.quantiles()
    assert math.isnan(shown.quantiles[0.5])
    assert (shown.total, shown.observed) == (10, 2)


def test_parts_weigh_what_came_in_them() -> None:
    clock = Clock()
    summary = make(clock, samples=2)
    for _ in range(1000):
        summary.observe(1)
    clock.now += 20
    for _ in range(2):
        summary.observe(5)
    assert summary.quantiles().quantiles[0.75] == 1


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.integers(1, 5))
def test_quantiles_are_in_order_and_their_ends_are_exact(values: list[float], samples: int) -> None:
    clock = Clock()
    summary = make(clock, samples=samples)
    for number, value in enumerate(values):
        clock.now += number % 2
        summary.observe(value)
    recent = values if len(values) < 80 else None
    found = list(summary.quantiles().quantiles.values())
    assert found == sorted(found)
    if recent is not None:
        assert (found[0], found[-1]) == (min(recent), max(recent))


def test_the_text() -> None:
    summary = make(Clock())
    summary.observe(0.5)
    name = "connmix_engine_servers_send_duration_seconds"
    value = SummaryValue(name, "how long", summary.quantiles(), {"protocol": "socket", "scenario": "local"})
    lines = [line for line in render([value]).decode().splitlines() if name in line]
    assert lines[1] == f"# TYPE {name} summary"
    assert lines[2] == f'{name}{{protocol="socket",quantile="0",scenario="local"}} 0.5'
    assert lines[-1] == f'{name}_count{{protocol="socket",scenario="local"}} 1.0'
    assert len(lines) == 2 + 5 + 2
