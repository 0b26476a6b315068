# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from towline.errors import StartError
from towline.gateway.entries import Message, load_entry
from towline.gateway.entries.python import PythonEntry


def compiled(folder: Path, source: bytes) -> PythonEntry:
    (folder / "x.py").write_bytes(source)
    return PythonEntry(folder / "x.py")


def test_a_script_may_leave_out_all_but_on_message(tmp_path: Path) -> None:
    entry = compiled(tmp_path, b"seen = []\ndef on_message(conn, message): seen.append(message)")
    nothing: Any = None
    assert entry.name == "x.py"
    assert entry.on_handshake(nothing, nothing) is None
    assert entry.on_close(nothing, None) is None
    assert entry.on_message(nothing, Message("text", "x")) is None


@pytest.mark.parametrize(
    ("source", "where", "what"),
    [
        (b"def on_message(conn, message)\n  pass", "x.py:1:", "expected ':'"),
        (b"a = 1\nb = a / 0", "x.py:2", "ZeroDivisionError"),
        (b"import no_such_module_at_all", "x.py:1", "ModuleNotFoundError"),
        (b"on_handshake = 5\ndef on_message(c, m): ...", "x.py", "on_handshake is not a function"),
        (b"\ndef on_message(conn): ...", "x.py:2", "must take two arguments"),
        (b"def on_handshake(c, h): ...", "x.py", "no function on_message"),
        (b"\x00", "x.py", "null bytes"),
    ],
)
def test_scripts_that_do_not_load_say_where(tmp_path: Path, source: bytes, where: str, what: str) -> None:
    with pytest.raises(StartError) as caught:
        compiled(tmp_path, source)
    assert where in str(caught.value.where)
    assert what in caught.value.message


def test_loading(tmp_path: Path) -> None:
    script = tmp_path / "entry.py"
    script.write_text("def on_message(conn, message): ...")
    assert load_entry(str(script)).name == "entry.py"
    assert load_entry("builtin:echo").name == "builtin:echo"
    for bad in ("builtin:nothing", str(tmp_path / "missing.py"), "entry.txt"):
        with pytest.raises(StartError) as caught:
            load_entry(bad, "gateway.listeners[0].entry")
        assert caught.value.where == "gateway.listeners[0].entry"
