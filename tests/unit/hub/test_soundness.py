# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.hub.test_ingest import DECLARED, GUID
from towline.hub.soundness import END_OF_TIME_US, sound
from towline.protocols.link.items import Alert, CommandStep, Dec, Declared, Item, PluginPresence, Record, State

GOOD: list[Item] = [
    Record("metric", "t", "s", 0, {"a": Dec("298.15"), "b": Dec("-1e-3"), "c": 1, "d": None, "e": "text", "f": True}),
    State(GUID, "t", "s", "n", b'{"url":"x"}', 1),
    DECLARED,
    PluginPresence(GUID, "app", True, "registered", 1),
    Alert(GUID, "t", "s", "hot", "trigger", "", 1),
    CommandStep("c", "acked", 1, b'"ok"'),
]
replace = msgspec.structs.replace


def test_what_is_right_passes_untouched() -> None:
    assert sound(GOOD, 5).items is GOOD


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (Record("metric", "t", "s", -1, {"a": 1}), "calendar"),
        (Record("metric", "t", "s", END_OF_TIME_US, {"a": 1}), "calendar"),
        (Record("metric", "t", "s", 1, {}), "0 fields"),
        (Record("metric", "t", "s", 1, {"": 1}), "name"),
        (Record("metric", "", "s", 1, {"a": 1}), "name"),
        (Record("metric", "t", "x" * 300, 1, {"a": 1}), "name"),
        (Record("metric", "t", "s", 1, {"a": Dec("nan")}), "no decimal"),
        (Record("metric", "t", "s", 1, {"a": Dec("1e9999")}), "no decimal"),
        (Record("metric", "t", "s", 1, {"a": Dec("1"), "b": Dec("1,2")}), "'1,2' is no decimal"),
        (Record("metric", "t", "s", 1, {"a": Dec("1"), "b": Dec("")}), "'' is no decimal"),
        (Record("metric", "t", "s", 1, {"a": Dec("1"), "b": Dec("2.5x")}), "'2.5x' is no decimal"),
        (Record("metric", "t", "s", 1, {"a": Dec("٣")}), "no decimal"),
        (Record("metric", "t", "s", 1, {"a": Dec("1" * 65)}), "no decimal"),
        (State(GUID, "t", "s", "n", b"{", 1), "not JSON"),
        (State(GUID, "t", "s", "", b"1", 1), "name"),
        (State(GUID, "t", "s", "n", b"1", 1 << 62), "calendar"),
        (Declared(GUID, "plugin-hello", "1.0.0", "Hello", b"{}", 1), "declaration"),
        (replace(DECLARED, app_guid="00000000-0000-4000-8000-000000000000"), "another appGUID"),
        (Alert(GUID, "t", "s", "", "trigger", "", 1), "name"),
        (PluginPresence("", "app", True, "x", 1), "name"),
    ],
)
def test_what_is_wrong_is_left_out(item: Item, words: str) -> None:
    found = sound([GOOD[0], item, GOOD[1]], 5)
    assert list(found.items) == [GOOD[0], GOOD[1]]
    assert found.rejected == 1
    assert words in found.reason


def test_steps_are_mended() -> None:
    found = sound([CommandStep("c", "acked", -5, b"not json")], 7)
    assert list(found.items) == [CommandStep("c", "acked", 7, b'"not json"')]
    assert found.rejected == 0


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20) | st.from_regex(r"[+-]?[0-9.eE+-]{1,12}", fullmatch=True))
def test_what_passes_is_a_decimal(text: str) -> None:
    if sound([Record("metric", "t", "s", 1, {"a": Dec(text)})], 1).rejected == 0:
        assert Decimal(text).is_finite()
