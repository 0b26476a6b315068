# SPDX-License-Identifier: Apache-2.0
"""Printing: tables for people, JSON for programs, results to stdout and everything else to stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Data directory of a server on this machine, to use its token; default ./towline-data."
    ),
]

_WIDE = 240
_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def emit(value: Any) -> None:
    """A value as JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=not _unicode()))


def note(text: str) -> None:
    """A line for the person, not for a pipe."""
    typer.echo(text, err=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "nothing") -> None:
    """A table; when there are no rows, ``empty`` says so on stderr."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        note(empty)
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*columns, box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for row in cells:
        drawn.add_row(*(Text(text, style=_STATE_STYLE.get(text, "")) for text in row))
    terminal = sys.stdout.isatty()
    Console(width=None if terminal else _WIDE, no_color=None if terminal else True).print(drawn)


def facts(pairs: Iterable[tuple[str, Any]]) -> None:
    """Names and values, one a line, without empty ones."""
    shown = [(name, _cell(value)) for name, value in pairs if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in shown), default=0)
    for name, text in shown:
        typer.echo(f"{name:<{width}}  {text}")


def ago(stamp: str | None, now: datetime | None = None) -> str:
    """``3 min ago`` for an RFC 3339 time; one to come is rounded up, ``in 15 min``."""
    if not stamp:
        return "-"
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(stamp)).total_seconds()
    if abs(seconds) < 1:
        return "now"
    size, unit = next(step for step in _STEPS if abs(seconds) >= step[0])
    return f"{int(seconds // size)} {unit} ago" if seconds > 0 else f"in {math.ceil(-seconds / size)} {unit}"


_STATE_STYLE = {
    "online": "green",
    "offline": "red",
    "verifying": "yellow",
    "acked": "green",
    "errored": "red",
    "rejected": "red",
    "expired": "red",
    "timed_out": "red",
    "unknown": "yellow",
}


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(each) for each in value) or "-"
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=not _unicode())
    return str(value)


def _unicode() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
