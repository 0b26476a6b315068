# SPDX-License-Identifier: Apache-2.0
"""Logging: the standard library with one JSON object a line, or plain text for a terminal.

Never log for each message. ``extra={...}`` becomes members of the object. The schema is in docs/reference/logs.md.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any, Final, TextIO

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    9: "\\t",
    10: "\\n",
    13: "\\r",
}
"""Names and paths that come from outside must not make lines of their own, or colours."""


class JsonFormatter(logging.Formatter):
    """``{"time", "level", "logger", "message", …extra…, "error"?}``"""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
        if record.exc_info:
            line["error"] = _error(self, record)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """``03:04:05 INFO  towline.hub  text key=value``, for a person watching."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        extra = "".join(f" {key}={value}" for key, value in vars(record).items() if key not in _STANDARD)
        text = f"{stamp} {record.levelname:<7} {record.name}  {record.getMessage()}{extra}".translate(_CONTROLS)
        return f"{text}\n{_error(self, record)}" if record.exc_info else text


def _error(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The traceback; where a library hands over one that is none (uvloop's failed TLS handshakes), the error alone."""
    assert record.exc_info is not None
    try:
        return formatter.formatException(record.exc_info)
    except AttributeError:
        return repr(record.exc_info[1])


def setup(level: str = "info", form: str = "text", stream: TextIO | None = None) -> None:
    """Install one handler on the root logger. ``form`` is ``text`` or ``json``."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)


def set_level(level: str) -> None:
    """Change what is written, at once."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    for chatty in ("picows", "uvicorn", "engineio", "socketio", "httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(max(root.level, logging.WARNING))  # they log every connection


def also_to(path: str, keep: int) -> None:
    """Write every line to a file too, a new one each day of which ``keep`` earlier ones stay (0: all). OSError when it
    cannot be opened."""
    from logging.handlers import TimedRotatingFileHandler

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    handler = TimedRotatingFileHandler(path, when="midnight", backupCount=keep, encoding="utf-8")
    root = logging.getLogger()
    handler.setFormatter(root.handlers[0].formatter)
    root.addHandler(handler)
