# SPDX-License-Identifier: Apache-2.0
"""What comes to a hub over the bus: relay messages of nodes with agents' frames in them. Nothing may come out of it."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from towline.bus.base import Endpoint
from towline.clock import ManualClock
from towline.hub.core import Core
from towline.hub.identity import Enrolments
from towline.hub.links import Links
from towline.hub.presence import Presence
from towline.hub.sealing import Sealer
from towline.hub.session import Session
from towline.hub.settings import HubSettings
from towline.protocols.link import messages as m
from towline.protocols.link import relay
from towline.protocols.link.frames import Type, encode_frame


class Silence:
    """An endpoint, a store, families that take everything."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **more: None


class Idle(Core):
    """Does nothing beside: the fuzzing has no event loop."""

    def spawn(self, work: Any, name: str, *, endless: bool = False) -> Any:
        work.close()


def links() -> Links:
    random = bytes
    core = Idle(cast(Any, Silence()), ManualClock(), HubSettings(), Sealer(bytes(32), random), random)
    core.endpoint = cast(Endpoint, Silence())
    made = Links(core, Presence(core), Enrolments(core))
    made.families = cast(Any, Silence())
    session = Session("1", "node", "", None)
    session.workgroup, session.device_id = "main", "d"
    made.sessions["1"] = session
    made.signed_in(session)
    session.open_stream(cast(Any, Silence()))
    return made


def fuzz_one(data: bytes) -> None:
    """As a bus payload, as a frame's bytes, and as the body of each type of frame. No exception is allowed."""
    hub = links()
    hub.on_message("node", data)
    hub.on_message("node", b"\x01" + data)
    hub.on_message("node", b"\x81" + data)
    for session in (hub.sessions.get("1"), None):
        if session is not None:
            session.state = "signed_in"
        hub.on_message("node", relay.encode_relay(relay.Frame("1", data)))
    for kind in (*Type, 99):
        for stream in (0, 2, 16):
            again = links()
            frame = encode_frame(kind, data or b"\xc0", stream=stream, seq=len(data) % 3)
            again.on_message("node", relay.encode_relay(relay.Frame("1", frame)))


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=80) | st.builds(m.encode, st.builds(m.PluginKeyAsk, app_guid=st.text(max_size=10))))
def test_nothing_comes_out(data: bytes) -> None:
    fuzz_one(data)
