# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from towline.cli import output

NOW = datetime(2026, 11, 21, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (5, "5 s ago"),
        (180, "3 min ago"),
        (7300, "2 h ago"),
        (200_000, "2 d ago"),
        (-900, "in 15 min"),
        (-899, "in 15 min"),
    ],
)
def test_ago(seconds: int, text: str) -> None:
    stamp = (NOW - timedelta(seconds=seconds)).isoformat()
    assert output.ago(stamp, NOW) == text


def test_unknown_times_are_a_dash() -> None:
    assert output.ago(None) == "-"


def test_facts_leave_out_what_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    output.facts((("name", "boat"), ("group", ""), ("flags", []), ("yes", True)))
    assert capsys.readouterr().out == "name  boat\nyes   yes\n"


def test_an_empty_table_says_so_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("A",), [], empty="nothing here")
    assert capsys.readouterr() == ("", "nothing here\n")


def test_tables_are_not_cut_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("A", "B"), [("x" * 100, "y" * 100), ("[bold]", None)])
    shown = capsys.readouterr().out
    assert "x" * 100 in shown
    assert "y" * 100 in shown
    assert "[bold]" in shown


def test_help_imports_nothing_heavy() -> None:
    """Help must be quick: what takes long to import stays inside the commands."""
    program = (
        "import sys; from towline.cli import main\n"
        "heavy = {'fastapi','socketio','httpx','pydantic','uvicorn','nats','cryptography','rich.table','sqlite3'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
