# SPDX-License-Identifier: Apache-2.0
"""Undocumented means red: routes, and events of the live door."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.unit.api.fakehub import FakeHub
from towline.api.app import BASE, describe
from towline.api.reference import markdown, operations
from towline.api.settings import DoorSettings
from towline.api.socketio import fanout
from towline.api.socketio.requests import Requests
from towline.protocols.ardexa import events

DOCS = Path(__file__).parents[3] / "docs"


def test_every_route_is_documented() -> None:
    page = (DOCS / "reference" / "rest.md").read_text("utf-8")
    described = describe()
    for operation in operations(described):
        assert f"`{operation.method} {operation.path.removeprefix(BASE)}`" in page, "run: make docs"
    assert markdown(described, BASE).strip() in page, "run: make docs"


def test_every_event_is_documented() -> None:
    page = (DOCS / "protocols" / "ardexa.md").read_text("utf-8")
    requests = Requests(FakeHub().as_hub(), DoorSettings(), Counter(), fanout.Fanout())
    sent = [
        *(value for name, value in vars(fanout).items() if name.isupper() and isinstance(value, str)),
        events.STATE_CHANGE,
        events.NEW,
        events.META_CHANGE,
        "device:feed:reply",
    ]
    for event in [*requests.events(), *sent]:
        assert event in page, event
