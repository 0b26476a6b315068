# SPDX-License-Identifier: Apache-2.0
"""Messages from the agent, without one: none of them ends the connection."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.unit.protocols.octo.samples import GUID, KEY, NOW
from towline.clock import ManualClock
from towline.protocols.octo import Limits, Name, outgoing
from towline.sdk import Credential
from towline.sdk.connection import Connection

EVENT = outgoing.agent_event(KEY, app_guid=GUID, online=True, now_us=NOW)


def make(received: Any) -> Connection:
    return Connection(
        Credential(GUID, KEY),
        "wss://localhost:1",
        limits=Limits(),
        clock=ManualClock(NOW),
        render=dict,
        received=received,
    )


@pytest.mark.parametrize("error", [TypeError("coroutine"), ArithmeticError(), RecursionError("deep"), KeyError("x")])
async def test_a_fault_in_the_plugin_is_logged_and_counted(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    def received(name: Name, params: dict[str, Any]) -> None:
        raise error

    connection = make(received)
    connection._take(EVENT)
    connection._take(EVENT)
    assert connection.ignored == 2
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert type(error).__name__ in record.message
    assert record.exc_info is not None
    assert record.exc_info[1] is error


@pytest.mark.parametrize(
    "message",
    [
        b"binary",
        "{",
        '{"n": 1e99999999999999999999}',
        "[" * 100_000,
        '{"error": 1e-99999999999999999999}',
        EVENT.replace("online", "offlin"),
        "5",
    ],
    ids=["binary", "cut", "number", "deep", "error", "signature", "no object"],
)
async def test_what_cannot_be_read_is_counted(message: str | bytes, caplog: pytest.LogCaptureFixture) -> None:
    taken: list[Name] = []
    connection = make(lambda name, params: taken.append(name))
    connection._take(message)
    assert (connection.ignored, taken) == (1, [])
    assert len(caplog.records) == 1
    connection._take(EVENT)
    assert (connection.ignored, taken) == (1, [Name.AGENT_EVENT])
