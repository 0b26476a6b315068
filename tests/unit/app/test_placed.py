# SPDX-License-Identifier: Apache-2.0
"""A start that fails names the line of the setting at fault, in the words of its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from towline.app.live import Origin
from towline.app.placed import placed
from towline.errors import StartError

OURS = """\
gateway:
  entry: none.lua
  queue:
    topics:
      - name: a
      - {name: b, dead_letter: b}
"""

THEIRS = """\
engine:
  servers:
    - {port: 1, bind: 10.9.9.9, protocol: websocket, entry: lua/a.lua}
    - port: 2
      bind: 10.9.9.8
      protocol: socket
      entry: lua/b.lua
"""


def told(text: str, error: StartError, path: Path, form: str = "towline", **flags: object) -> str:
    file = path / "c.yaml"
    file.write_text(text)
    origin = Origin.of(file, flags, "connmix" if form == "connmix" else "towline")
    return str(placed(error, origin)).removeprefix(f"{path}/")


def failed(where: str | None, code: str = "gateway.entry") -> StartError:
    return StartError(code, "cannot read it", where=where, hint="do better")


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("gateway.entry", "c.yaml:2:3: gateway.entry: cannot read it (do better)"),
        (
            "gateway.queue.topics[0].dead_letter",
            "c.yaml:5:9: gateway.queue.topics[0].dead_letter: cannot read it (do better)",
        ),
        (
            "gateway.queue.topics[1].dead_letter",
            "c.yaml:6:19: gateway.queue.topics[1].dead_letter: cannot read it (do better)",
        ),
        ("portal.port", "c.yaml:1:1: portal.port: cannot read it (do better)"),
        ("lua/gateway.lua", "lua/gateway.lua: cannot read it (do better)"),
        ("hub.py", "hub.py: cannot read it (do better)"),
        (None, "cannot read it (do better)"),
    ],
)
def test_our_file(where: str | None, line: str, tmp_path: Path) -> None:
    assert told(OURS, failed(where), tmp_path) == line


@pytest.mark.parametrize(
    ("where", "code", "line"),
    [
        ("gateway.entry", "gateway.entry", "c.yaml:3:54: engine.servers[0].entry: "),
        ("gateway.listeners[0].entry", "gateway.entry", "c.yaml:7:7: engine.servers[1].entry: "),
        ("gateway.listeners[0].listen", "port.taken", "c.yaml:4:7: engine.servers[1].port: "),
        ("gateway.listeners[0].listen", "gateway.listen", "c.yaml:5:7: engine.servers[1].bind: "),
        ("gateway.clients_listen", "gateway.listen", "c.yaml:3:17: engine.servers[0].bind: "),
        ("gateway.api_listen", "port.taken", "c.yaml:1:1: engine.apiServer.port: "),
        ("gateway.center_listen", "port.taken", "c.yaml:1:1: center.apiServer.port: "),
    ],
)
def test_their_file(where: str, code: str, line: str, tmp_path: Path) -> None:
    assert told(THEIRS, failed(where, code), tmp_path, "connmix") == f"{line}cannot read it (do better)"


def test_a_flag_and_a_variable_are_named_in_our_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = failed("gateway.clients_listen", "gateway.listen")
    found = told(THEIRS, taken, tmp_path, "connmix", clients_port=7)
    assert found == "--clients-port: gateway.clients_listen: cannot read it (do better)"
    monkeypatch.setenv("TOWLINE_GATEWAY__ENTRY", "b.lua")
    found = told(THEIRS, failed("gateway.entry"), tmp_path, "connmix")
    assert found == "TOWLINE_GATEWAY__ENTRY: gateway.entry: cannot read it (do better)"


def test_a_file_that_is_wrong_by_now_leaves_the_error_as_it_is(tmp_path: Path) -> None:
    assert told("gateway: [", failed("gateway.entry"), tmp_path) == "gateway.entry: cannot read it (do better)"
    assert str(placed(failed("gateway.entry"), None)) == "gateway.entry: cannot read it (do better)"
