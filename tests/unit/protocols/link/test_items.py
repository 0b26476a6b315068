# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.protocols.link.frames import LinkError
from towline.protocols.link.items import (
    Alert,
    CommandStep,
    Dec,
    Declared,
    Item,
    PluginPresence,
    Record,
    State,
    decode_batch,
    decode_item,
    encode_batch,
    encode_item,
)

times = st.integers(0, (1 << 63) - 1)
words = st.text(max_size=12)
values = st.one_of(
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.booleans(),
    st.none(),
    words,
    st.from_regex(r"-?[0-9]{1,15}(\.[0-9]{1,2})?", fullmatch=True).map(Dec),
)
items: st.SearchStrategy[Item] = st.one_of(
    st.builds(Record, words, words, words, times, st.dictionaries(words, values, max_size=5)),
    st.builds(State, words, words, words, words, st.binary(max_size=20), times),
    st.builds(Declared, words, words, words, words, st.binary(max_size=20), times),
    st.builds(PluginPresence, words, words, st.booleans(), words, times),
    st.builds(Alert, words, words, words, words, words, words, times),
    st.builds(CommandStep, words, words, times, st.none() | st.binary(max_size=9), words),
)


@given(st.lists(items, max_size=8), st.dictionaries(words, st.integers(0, 1 << 40), max_size=3))
def test_a_batch_survives_its_encoding(content: list[Item], dropped: dict[str, int]) -> None:
    body = encode_batch("spool", "live", 7, [encode_item(item) for item in content], dropped)
    batch = decode_batch(body)
    assert batch.items == content
    assert (batch.spool_id, batch.lane, batch.seq, batch.dropped, batch.unknown) == ("spool", "live", 7, dropped, 0)


def test_a_bool_stays_a_bool_and_a_decimal_keeps_its_digits() -> None:
    record = Record("metric", "t", "s", 1, {"flag": True, "one": 1, "temp": Dec("298.10")})
    again = decode_item(encode_item(record))
    assert isinstance(again, Record)
    assert again.fields["flag"] is True
    assert again.fields["one"] == 1
    assert not isinstance(again.fields["one"], bool)
    assert again.fields["temp"] == Dec("298.10")
    assert msgspec.msgpack.decode(encode_item(record))[-1]["temp"] == ["d", "298.10"]


def test_items_of_a_newer_version_are_counted_and_the_rest_stands() -> None:
    known = CommandStep("id", "acked", 1)
    newer = msgspec.msgpack.encode(["zz", 1, 2])
    batch = decode_batch(encode_batch("spool", "urgent", 1, [newer, encode_item(known), newer], {}))
    assert batch.items == [known]
    assert batch.unknown == 2


def test_members_added_later_are_ignored_and_missing_ones_have_defaults() -> None:
    longer = msgspec.msgpack.encode(["c", "id", "acked", 5, None, "", "added later"])
    assert decode_item(longer) == CommandStep("id", "acked", 5)
    assert decode_item(msgspec.msgpack.encode(["c", "id", "acked", 5])) == CommandStep("id", "acked", 5)


def test_an_integer_over_64_bits_cannot_travel() -> None:
    with pytest.raises(LinkError) as caught:
        encode_item(Record("metric", "t", "s", 1, {"n": 1 << 70}))
    assert caught.value.code == "link.item"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode({"spool_id": "s", "lane": "live", "seq": 0, "items": []}),
        msgspec.msgpack.encode({"spool_id": "s", "lane": "fast", "seq": 1, "items": []}),
        msgspec.msgpack.encode({"spool_id": "s", "lane": "live", "seq": 1, "items": [], "dropped": {"metric": -1}}),
        msgspec.msgpack.encode({"spool_id": "s", "lane": "live", "seq": 1}),
    ],
)
def test_what_is_no_batch_is_refused(body: bytes) -> None:
    with pytest.raises(LinkError) as caught:
        decode_batch(body)
    assert caught.value.code == "link.batch"


def test_rubbish_is_no_item() -> None:
    with pytest.raises(LinkError):
        decode_item(b"\xc1")
