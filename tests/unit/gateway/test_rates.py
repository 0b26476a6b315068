# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.gateway.rates import Bucket, Rate


def test_a_burst_then_the_rate() -> None:
    rate = Rate(messages_per_s=10, burst=3, bytes_per_s=0, now=100.0)
    for _ in range(3):
        assert rate.wait(100.0) == 0
        rate.handled()
    assert rate.wait(100.0) == pytest.approx(0.1)
    assert rate.wait(100.05) == pytest.approx(0.05)
    assert rate.wait(100.1) == 0
    rate.handled()
    assert rate.wait(100.1) == pytest.approx(0.1)
    assert rate.wait(200.0) == 0


def test_without_a_burst_it_is_what_a_second_has_and_at_least_one() -> None:
    slow = Rate(messages_per_s=0.5, burst=0, bytes_per_s=0, now=0.0)
    assert slow.wait(0.0) == 0
    slow.handled()
    assert slow.wait(0.0) == pytest.approx(2.0)


def test_bytes_are_paid_after_they_came() -> None:
    rate = Rate(messages_per_s=0, burst=0, bytes_per_s=1000, now=0.0)
    rate.came(5000)
    assert rate.wait(0.0) == pytest.approx(4.0)
    assert rate.wait(4.0) == 0


def test_no_limit_is_no_limit() -> None:
    rate = Rate(0, 0, 0, now=0.0)
    for _ in range(1000):
        rate.came(1 << 20)
        rate.handled()
    assert rate.wait(0.0) == 0


def test_a_debt_has_an_end() -> None:
    rate = Rate(messages_per_s=10, burst=20, bytes_per_s=0, now=0.0)
    for _ in range(10_000):
        rate.handled()
    assert rate.wait(0.0) == pytest.approx(2.1)


@given(
    rate=st.floats(0.5, 1000),
    burst=st.integers(1, 100),
    steps=st.lists(st.floats(0, 2), max_size=60),
)
def test_never_more_than_the_burst_and_the_rate(rate: float, burst: int, steps: list[float]) -> None:
    now = 0.0
    bucket = Bucket(rate, burst, now)
    taken = 0
    for step in steps:
        now += step
        while bucket.wait(1, now) == 0:
            bucket.charge(1)
            taken += 1
        assert taken <= burst + now * rate + 1e-6 * (taken + 1)
        wait = bucket.wait(1, now)
        assert bucket.wait(1, now + wait) == 0
        now += wait
