# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towline.protocols.octo import Guard, Limits, OctoError
from towline.protocols.octo.guard import HOUR_US, CallWindow, ReplayMemory

SECOND = 1_000_000


def test_the_window_rolls() -> None:
    window = CallWindow(2)
    window.take(0)
    window.take(10)
    with pytest.raises(OctoError, match="over 2 calls"):
        window.take(HOUR_US - 1)
    window.take(HOUR_US)
    assert window.used(HOUR_US) == 2


def test_zero_switches_it_off() -> None:
    window = CallWindow(0)
    for _ in range(10):
        window.take(0)


def test_a_clock_set_back_does_not_block() -> None:
    window = CallWindow(1)
    window.take(10 * HOUR_US)
    window.take(0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 600), max_size=60), st.integers(1, 8))
def test_never_more_than_the_limit_in_any_hour(gaps: list[int], limit: int) -> None:
    window, now = CallWindow(limit), 0
    taken: list[int] = []
    for gap in gaps:
        now += gap * SECOND
        try:
            window.take(now)
        except OctoError:
            assert sum(1 for at in taken if at > now - HOUR_US) == limit
        else:
            taken.append(now)
    for at in taken:
        assert sum(1 for other in taken if at - HOUR_US < other <= at) <= limit


def test_replays_are_known_for_as_long_as_they_would_pass_the_epoch_check() -> None:
    memory = ReplayMemory(Limits(replay_entries=3))
    epoch = 1_000 * SECOND
    memory.check(b"a", epoch, epoch)
    for number in range(2):
        memory.check(bytes([number]), epoch, epoch)
    memory.check(b"b", epoch + 601 * SECOND, epoch + 601 * SECOND)  # the first three cannot pass any more
    with pytest.raises(OctoError, match="received before"):
        memory.check(b"b", epoch + 601 * SECOND, epoch + 602 * SECOND)
    memory.check(b"a", epoch, epoch + 601 * SECOND)


def test_replay_memory_is_bounded_also_without_a_window() -> None:
    memory = ReplayMemory(Limits(replay_entries=3, epoch_window_s=0))
    for number in range(5):
        memory.check(bytes([number]), 0, 0)
    with pytest.raises(OctoError):
        memory.check(b"\x04", 0, 0)
    memory.check(b"\x00", 0, 0)


def test_one_memory_for_each_plugin() -> None:
    guard = Guard()
    assert guard.of("ABC") is guard.of("abc")
    before = guard.of("abc")
    guard.forget("Abc")
    assert guard.of("abc") is not before
