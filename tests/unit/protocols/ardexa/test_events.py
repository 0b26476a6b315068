# SPDX-License-Identifier: Apache-2.0
"""Requests and answers of the live interface: exact keys, and errors that name the key and the limit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from towline.protocols.ardexa import events
from towline.protocols.ardexa.events import BadRequest, FeedRequest


def test_cmd() -> None:
    asked = {"deviceId": "d", "cmd": "uptime", "requestId": "r", "later": 1}
    assert events.parse_cmd([asked]) == ("d", "uptime", "r")
    assert events.parse_cmd([{"deviceId": "d", "cmd": "uptime"}]).request_id is None
    assert events.parse_cmd([{"deviceId": "d", "cmd": "uptime", "requestId": None}]).request_id is None


@pytest.mark.parametrize(
    ("args", "where", "words"),
    [
        ([], "$", "not 0"),
        ([{}, {}], "$", "not 2"),
        ([None], "$", "not null"),
        ([True], "$", "not a boolean"),
        ([b"x"], "$", "not binary data"),
        ([["x"]], "$", "not an array"),
        ([{"cmd": "x"}], "$.deviceId", "missing"),
        ([{"deviceId": "d"}], "$.cmd", "missing"),
        ([{"deviceId": 1.5, "cmd": "x"}], "$.deviceId", "not a number"),
        ([{"deviceId": "d" * 129, "cmd": "x"}], "$.deviceId", "129 characters, at most 128"),
        ([{"deviceId": "d", "cmd": {}}], "$.cmd", "not an object"),
        ([{"deviceId": "d", "cmd": ""}], "$.cmd", "empty"),
        ([{"deviceId": "d", "cmd": "é" * 9000}], "$.cmd", "18000 bytes, at most 16384"),
        ([{"deviceId": "d", "cmd": "\0"}], "$.cmd", "NUL"),
        ([{"deviceId": "d", "cmd": "x", "requestId": 1}], "$.requestId", "128 characters"),
    ],
)
def test_bad_cmd(args: list[Any], where: str, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        events.parse_cmd(args)
    assert caught.value.where == where
    assert words in caught.value.message


def test_an_error_can_echo_the_request_id() -> None:
    with pytest.raises(BadRequest) as caught:
        events.parse_cmd([{"requestId": "r"}])
    assert caught.value.request_id == "r"


def test_feed() -> None:
    asked = {"deviceId": "d", "table": "t", "source": "s"}
    assert events.parse_feed([asked]) == ("d", "t", "s", None, None)
    assert events.parse_feed([{**asked, "field": "f", "requestId": "r"}]) == ("d", "t", "s", "f", "r")
    with pytest.raises(BadRequest):
        events.parse_feed([{**asked, "field": 5}])
    assert events.parse_feed_stop([{"feedId": "x"}]) == ("x", None)
    assert events.parse_device([{"deviceId": "d", "config": {}}]) == ("d", None)


def test_answers_leave_out_an_absent_request_id() -> None:
    assert events.cmd_accepted("c", None) == {"correlationId": "c"}
    assert events.cmd_accepted("c", "r") == {"correlationId": "c", "requestId": "r"}
    assert list(events.cmd_reply("o", "e", 0, "c", "r")) == [
        "stdout", "stderr", "returnCode", "correlationId", "requestId",
    ]  # fmt: skip
    assert events.rpc_error("no", None) == {"error": {"message": "no"}}
    assert events.config_error("no", "r") == {"result": "error", "error": {"message": "no"}, "requestId": "r"}
    assert events.upgrade_error("no", None) == {"error": "no"}
    assert events.feed_accepted("f", None) == {"feedId": "f"}
    assert events.complete("r") == {"complete": True, "requestId": "r"}


def test_notices() -> None:
    assert events.state_change("CN=d,O=w", "w", True) == {"cn": "CN=d,O=w", "vhost": "w", "online": True}
    assert events.device_new("d", "CN=d,O=w") == {"id": "d", "cn": "CN=d,O=w", "online": False}
    assert events.meta_change("d") == {"id": "d"}


def test_feed_replies() -> None:
    fields = {"a": Decimal("4150.0"), "b": Decimal("0.25"), "c": "x", "d": None}
    every = FeedRequest("d", "t", "s", None, None)
    found = events.feed_reply(every, "f", "2024-05-01T10:00:00.000Z", 102, fields)
    assert found == {
        "feedId": "f",
        "event_time": "2024-05-01T10:00:00.000Z",
        "table": "t",
        "source": "s",
        "device": "d",
        "messageId": "102",
        "value": [4150, 0.25, "x", None],
    }
    one = events.feed_reply(every._replace(field="a", request_id="r"), "f", "", 1, fields)
    assert one is not None
    assert (one["value"], one["requestId"]) == (4150, "r")
    assert events.feed_reply(every._replace(field="z"), "f", "", 1, fields) is None


def test_plain_values() -> None:
    assert repr(events.plain(Decimal("5.00"))) == "5"
    assert repr(events.plain(Decimal("5.25"))) == "5.25"
    assert events.plain(True) is True
    assert events.plain(Decimal(2) ** 60) == float(2**60)
