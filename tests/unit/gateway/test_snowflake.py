# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towline.clock import ManualClock
from towline.errors import Unavailable
from towline.gateway import snowflake
from towline.gateway.snowflake import Snowflakes
from towline.protocols.connmix.clientid import EPOCH_MS, issued_ms, node_of


class Lease:
    def __init__(self, number: int = 5, last_id_ms: int = 0) -> None:
        self.number = number
        self.last_id_ms = last_id_ms

    def note_last_id(self, ms: int) -> None:
        assert ms > self.last_id_ms
        self.last_id_ms = ms


def made(lease: Lease, clock: ManualClock | None = None) -> Snowflakes:
    ids = Snowflakes(clock or ManualClock())
    ids.attach(lease)
    return ids


def test_the_documented_sample_is_read_right() -> None:
    # 2022-03-24 14:13:15.646 UTC, node 0 (spec connmix §7)
    assert issued_ms("1506997576879046656") == 1648131195646
    assert node_of("1506997576879046656") == 0
    assert int("1627581697287520263") & 0xFFF == 7


def test_ids_hold_time_node_and_sequence() -> None:
    clock = ManualClock()
    ids = made(Lease(1023), clock)
    first, second = ids.next(), ids.next()
    assert issued_ms(first) == clock.now_us() // 1000
    assert node_of(first) == node_of(second) == 1023
    assert int(second) == int(first) + 1


def test_a_used_up_millisecond_moves_on() -> None:
    ids = made(Lease())
    found = [int(ids.next()) for _ in range(10_000)]
    assert found == sorted(set(found))


def test_a_clock_that_goes_back_repeats_nothing() -> None:
    clock = ManualClock()
    ids = made(Lease(), clock)
    before = int(ids.next())
    clock.advance(-30)
    after = int(ids.next())
    assert after > before
    for _ in range(4094):
        ids.next()
    with pytest.raises(Unavailable) as caught:
        ids.next()
    assert caught.value.code == "gateway.clock_behind"
    clock.advance(30.001)
    assert int(ids.next()) > after


def test_a_burst_runs_ahead_only_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snowflake, "MAX_AHEAD_MS", 3)
    clock = ManualClock()
    ids = made(Lease(), clock)
    count = 0
    with pytest.raises(Unavailable):
        while True:
            ids.next()
            count += 1
    assert count == (3 + 1) * 4096


def test_without_a_number_there_are_no_ids() -> None:
    lease = Lease(-1)
    ids = made(lease)
    assert not ids.ready
    with pytest.raises(Unavailable) as caught:
        ids.next()
    assert caught.value.code == "gateway.no_number"
    lease.number = 3
    assert ids.ready
    assert node_of(ids.next()) == 3
    lease.number = -1
    with pytest.raises(Unavailable):
        ids.next()
    ids.attach(None)
    assert not ids.ready


def test_the_next_holder_of_a_number_begins_behind_the_last() -> None:
    clock = ManualClock()
    used_until = clock.now_us() // 1000 + 5
    ids = made(Lease(5, used_until), clock)
    assert issued_ms(ids.next()) > used_until


def test_a_new_number_starts_behind_its_own_past() -> None:
    clock = ManualClock()
    lease = Lease(5)
    ids = made(lease, clock)
    ids.next()
    lease.number, lease.last_id_ms = 6, clock.now_us() // 1000 + 50
    assert issued_ms(ids.next()) == clock.now_us() // 1000 + 51


@given(steps=st.lists(st.floats(-2, 2), max_size=60))
@settings(max_examples=60, deadline=None)
def test_ids_always_grow(steps: list[float]) -> None:
    clock = ManualClock()
    ids = made(Lease(), clock)
    last = 0
    for step in steps:
        clock.advance(step)
        try:
            found = int(ids.next())
        except Unavailable:
            continue
        assert found > last
        last = found


@pytest.mark.parametrize("text", ["", "x", "-5", "١٢", "9" * 40, "1.5"])
def test_what_is_no_id_has_no_node(text: str) -> None:
    assert node_of(text) == -1


def test_the_epoch() -> None:
    assert EPOCH_MS == 1288834974657
