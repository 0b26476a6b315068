# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towline.protocols.link.items import Dec
from towline.store import codec
from towline.store.codec import CodecError, Entry
from towline.store.rows import Date, Value

octo_decimals = st.from_regex(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,2})?", fullmatch=True).map(Dec)
int64 = st.integers(-(2**63), 2**63 - 1)
anything: st.SearchStrategy[Value] = st.one_of(
    st.none(),
    st.booleans(),
    int64,
    st.integers(0, 2**64 - 1),
    octo_decimals,
    st.text(max_size=8),
    st.text(max_size=8).map(Dec),
    int64.map(Date),
)
columns_of: st.SearchStrategy[st.SearchStrategy[Any]] = st.sampled_from(
    [octo_decimals, int64, st.integers(-5, 5), st.booleans(), st.none(), st.text(max_size=4), int64.map(Date), anything]
)


@st.composite
def blocks(draw: st.DrawFn) -> list[Entry]:
    """Records of a few shapes; a series mostly has values of one kind."""
    shapes = []
    number = 0
    for _ in range(draw(st.integers(1, 3))):
        kinds = draw(st.lists(columns_of, max_size=4))
        shapes.append((tuple(range(number, number + len(kinds))), kinds))
        number += len(kinds)
    entries = []
    for message_id in range(1, draw(st.integers(1, 20)) + 1):
        series, kinds = draw(st.sampled_from(shapes))
        time = draw(st.integers(-(2**62) + 1, 2**62 - 1))
        values: list[Value] = [draw(kind) for kind in kinds]
        entries.append(Entry(message_id, 1000 + message_id // 3, time, series, values))
    return entries


def same(a: list[Entry], b: list[Entry]) -> bool:
    """Equal, and a bool is not an integer."""
    return [(*e[:4], list(map(repr, e.values))) for e in a] == [(*e[:4], list(map(repr, e.values))) for e in b]


@given(blocks())
@settings(max_examples=300)
def test_columns_come_back_exactly(entries: list[Entry]) -> None:
    assert same(codec.decode(codec.encode(entries)), entries)


@given(blocks())
@settings(max_examples=100)
def test_both_forms_tell_the_same_of_a_series(entries: list[Entry]) -> None:
    shapes = list(dict.fromkeys(entry.series for entry in entries))
    plain = codec.encode_plain(
        1, 1000, shapes, [(shapes.index(e.series), e.message_id - 1, e.event_time_us, e.values) for e in entries]
    )
    wanted = {series for entry in entries for series in entry.series if series % 2 == 0}
    for block in (plain, codec.encode(entries)):
        found = {
            column.series: [(time, repr(column.at(i))) for i, time in enumerate(column.times)]
            for column in codec.columns(block, wanted)
        }
        expected: dict[int, list[tuple[int, str]]] = {}
        for entry in entries:
            for series, value in zip(entry.series, entry.values, strict=True):
                if series in wanted:
                    expected.setdefault(series, []).append((entry.event_time_us, repr(value)))
        assert found == expected


def test_a_plain_block_keeps_records_in_order() -> None:
    block = codec.encode_plain(7, 99, [(1, 2), (3,)], [(0, 0, 50, (Dec("1.10"), 2)), (1, 1, 51, ("x",))])
    assert block[0] == codec.PLAIN
    assert codec.decode(block) == [Entry(7, 99, 50, (1, 2), [Dec("1.10"), 2]), Entry(8, 99, 51, (3,), ["x"])]


@pytest.mark.parametrize(
    "texts",
    [
        ["298.15", "298.1", "298", "-0.01", "0.00"],
        ["999999999999999.99", "-999999999999999.99", "0.01"],
        ["007", "+1", "-0.0", "1e5", "", "NaN", "1_0", "١"],
        ["0." + "1" * 18, "123456789012345678"],
        ["9" * 40, "1"],
    ],
)
def test_decimals_keep_their_digits(texts: list[str]) -> None:
    entries = [Entry(n, 1, n, (1,), [Dec(text)]) for n, text in enumerate(texts)]
    assert [entry.values for entry in codec.decode(codec.encode(entries))] == [[Dec(text)] for text in texts]


def test_keys_are_numbers_or_nothing() -> None:
    entries = [Entry(n, 1, n, (1, 2, 3), [Dec(f"{n}.50"), n % 2 == 0, Dec("x")]) for n in range(4)]
    found = {column.series: column.keys for column in codec.columns(codec.encode(entries), {1, 2, 3})}
    assert found == {1: [0.5, 1.5, 2.5, 3.5], 2: None, 3: None}


def test_wandering_values_take_few_bytes() -> None:
    chance = random.Random(1)
    entries, value = [], 5000
    for n in range(3600):
        value += chance.randrange(-99, 100)
        entries.append(Entry(n * 7, n, n * 1_000_000, (1, 2), [Dec(f"{value / 100:.2f}"), value * 4096]))
    assert len(codec.encode(entries)) / 7200 < 2.5


@pytest.mark.parametrize("block", [b"", b"\x00", b"\x03abc", b"\x01", b"\x01\xc0", b"\x02", b"\x02abc"])
def test_damage_is_told(block: bytes) -> None:
    with pytest.raises(CodecError):
        codec.decode(block)
    with pytest.raises(CodecError):
        list(codec.columns(block, {1}))


def test_what_no_block_can_hold_is_refused() -> None:
    with pytest.raises(CodecError):
        codec.encode_plain(1, 1, [(1,)], [(0, 0, 1, [2**64])])
    with pytest.raises(CodecError):
        codec.encode([Entry(1, 1, 1, (1,), ["\ud800"])])
    with pytest.raises(CodecError, match="100000 records"):
        codec.encode([Entry(1, 1, 1, (), [])] * (codec.MAX_RECORDS + 1))
