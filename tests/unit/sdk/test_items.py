# SPDX-License-Identifier: Apache-2.0
"""What a plugin tells: wrong values are refused before anything is queued."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.unit.protocols.octo.samples import EPOCH, GUID, KEY, NOW
from towline.clock import ManualClock
from towline.protocols.octo import Name, OctoError
from towline.sdk import Alarm, Credential, Event, Metric, Plugin, State
from towline.sdk.items import as_read
from towline.sdk.settings import AlarmSetting

NAN = float("nan")


def make() -> Plugin:
    plugin = Plugin(Credential(GUID, KEY), name="one", version="1.0.0", clock=ManualClock(NOW))
    plugin.module(
        states=[State("s"), State("table", "table"), State("link", "link")],
        metrics=[Metric("c", "n")],
        events=[Event("e")],
        alarms=[Alarm("a")],
    )
    plugin._settings.alarms["one", "a"] = AlarmSetting(enabled=True)
    return plugin


def queued(plugin: Plugin) -> list[dict[str, Any]]:
    outbox = plugin._connection.outbox
    messages = [*outbox._urgent, *outbox._telemetry]
    return [item for message in messages for key in message.params for item in _items(message.params[key])]


def _items(value: Any) -> list[dict[str, Any]]:
    return value if isinstance(value, list) else []


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda p: p.event("e", 5), "$.params.events[0].value: Expected 'str', got 'int'"),
        (lambda p: p.event("e", "a\0b"), "$.params.events[0].value: text must not contain U+0000"),
        (lambda p: p.event("e", "a\ud800b"), "half a character (a lone surrogate) at 1"),
        (lambda p: p.event("e", time=1e12), "$.params.events[0].time: 1000000000000.0 is no time"),
        (lambda p: p.event("e", time=-1), "$.params.events[0].time: -1 is no time"),
        (lambda p: p.event("e", time=NAN), "nan is no time"),
        (lambda p: p.event("e", time="5"), "'5' is no time"),
        (lambda p: p.event("e", time=True), "True is no time"),
        (lambda p: p.event("e", time=EPOCH + 601), "more than 600 s in the future"),
        (lambda p: p.metrics([("c", 1, -5)]), "$.params.metrics[0].time: -5 is no time"),
        (lambda p: p.metrics([("c", 1, None), ("c", 1, 1e12)]), "$.params.metrics[1].time"),
        (lambda p: p.metrics({"c": 1}, time=1e12), "$.params.metrics[0].time"),
        (lambda p: p.metrics({"c": NAN}), "$.params.metrics[0].value: NaN is not a finite number"),
        (lambda p: p.metrics({"d": 1}), "$.params.metrics[0].name: 'd' is no metric of module 'one'"),
        (lambda p: p.state("s", None), "text, a number, {url, alias} or rows of cells, not NoneType"),
        (lambda p: p.state("s", b"x"), "not bytes"),
        (lambda p: p.state("s", "a\0b"), "$.params.states[0].value: text must not contain U+0000"),
        (lambda p: p.state("s", "x", time=-1), "$.params.states[0].time"),
        (lambda p: p.state("table", [{"a\0": "x"}]), "U+0000"),
        (lambda p: p.state("table", [{"a": object()}]), "cannot be written as JSON"),
        (lambda p: p.alert("a", message="a\0b"), "$.params.alarms[0].message: text must not contain U+0000"),
        (lambda p: p.alert("a", message=5), "$.params.alarms[0].message: Expected 'str'"),
        (lambda p: p.alert("a", 5), "$.params.alarms[0].action"),
        (lambda p: p.alert("a", time=-1), "$.params.alarms[0].time"),
    ],
)
async def test_wrong_values(call: Callable[[Plugin], Awaitable[bool]], says: str) -> None:
    plugin = make()
    with pytest.raises(OctoError, match=re.escape(says)):
        await call(plugin)
    assert queued(plugin) == []


async def test_right_values() -> None:
    plugin = make()
    await plugin.metrics([("c", 1.005, 0), ("c", Decimal(2), 7.9), ("c", 3, None)], time=5)
    await plugin.states({"s": 1.5, "link": {"url": "x"}, "table": [{"a": "b"}]})
    await plugin.event("e", "x")
    await plugin.alert("a", "resolve", time=EPOCH + 600)
    now = str(EPOCH)
    assert queued(plugin) == [
        {"name": "a", "action": "resolve", "message": "", "time": str(EPOCH + 600)},
        {"name": "c", "value": "1", "time": "0"},
        {"name": "c", "value": "2", "time": "7"},
        {"name": "c", "value": "3", "time": "5"},
        {"name": "s", "value": "1.5", "time": now},
        {"name": "link", "value": {"url": "x"}, "time": now},
        {"name": "table", "value": [{"a": "b"}], "time": now},
        {"name": "e", "value": "x", "time": now},
    ]


async def test_an_alarm_that_is_off_is_checked_too() -> None:
    plugin = make()
    plugin._settings.alarms.clear()
    assert not await plugin.alert("a", message="x")
    with pytest.raises(OctoError):
        await plugin.alert("a", message="a\0b")
    assert queued(plugin) == []


@pytest.mark.parametrize(
    ("value", "says"),
    [(b"\xff".decode("utf-8", "surrogateescape"), "surrogate"), ({("a",): 1}, "JSON"), (10**5000, "JSON")],
    ids=["surrogate", "key", "number"],
)
def test_what_cannot_be_written(value: Any, says: str) -> None:
    with pytest.raises(OctoError, match=says):
        as_read(Name.COMMAND_ACK, {"result": value})
