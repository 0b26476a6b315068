# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from towline.bus.numbers import NUMBERS, Number, pick
from towline.errors import Unavailable

REST = 60_000_000


def test_a_number_in_use_is_not_free_until_its_lease_ended_and_it_rested() -> None:
    number = Number(owner="a", expires_us=10_000_000)
    assert not number.free(69_999_999, REST)
    assert number.free(70_000_000, REST)


def test_a_released_number_rests() -> None:
    number = Number(owner="a", expires_us=10_000_000)
    number.release(3_000_000)
    assert not number.free(62_999_999, REST)
    assert number.free(63_000_000, REST)


def test_the_next_holder_starts_after_the_last_millisecond() -> None:
    silent = Number(owner="a", expires_us=10_000_000, last_id_ms=4000)
    assert silent.floor_ms() == 10_000
    silent.release(5_000_000)
    assert silent.floor_ms() == 4000


def test_the_lowest_free_number_is_picked() -> None:
    known = {1: Number("a", 1 << 62), 2: Number("", 0, released_us=1)}
    assert pick(known, 2, REST) == 3
    assert pick(known, 2, REST, avoid={3, 4}) == 5
    assert pick(known, REST + 1, REST) == 2


def test_no_number_is_left() -> None:
    known = {number: Number("a", 1 << 62) for number in NUMBERS}
    with pytest.raises(Unavailable, match="1023") as caught:
        pick(known, 0, REST)
    assert caught.value.code == "bus.no_number"
