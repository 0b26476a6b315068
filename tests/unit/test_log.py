# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from towline.log import JsonFormatter, TextFormatter


def record(exc_info: Any = None) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "towline.x", "levelname": "INFO", "msg": "hello %s", "args": ("you",)})
    made.exc_info = exc_info
    made.device = "d1"
    return made


def test_extra_members() -> None:
    line = json.loads(JsonFormatter().format(record()))
    assert (line["message"], line["logger"], line["level"], line["device"]) == ("hello you", "towline.x", "info", "d1")
    assert TextFormatter().format(record()).endswith("towline.x  hello you device=d1")


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_a_traceback_that_is_none_does_not_hide_the_error(formatter: logging.Formatter) -> None:
    error = ConnectionResetError("handshake")
    broken = (ConnectionResetError, error, ConnectionResetError.__traceback__)
    assert "ConnectionResetError('handshake')" in formatter.format(record(broken))


def test_what_comes_from_outside_makes_no_line_of_its_own() -> None:
    made = logging.makeLogRecord(
        {"name": "towline.x", "levelname": "INFO", "msg": "device %s", "args": ("a\n12:00 ERROR",)}
    )
    made.client = "\x1b[31m\r\x9b"
    for formatter in (TextFormatter(), JsonFormatter()):
        assert not set(formatter.format(made)) & set("\n\r\x1b")
    assert TextFormatter().format(made).endswith(r"device a\n12:00 ERROR client=\x1b[31m\r\x9b")
