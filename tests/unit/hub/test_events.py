# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towline.errors import InvalidInput
from towline.hub import events
from towline.hub.views import CommandStepView, CommandView, Value

COMMAND = CommandView(
    id="c",
    device_id="d",
    app_guid="g",
    module="m",
    name="go",
    params={"a": "1", "b": True},
    state="queued",
    final=False,
    created_us=1,
    expires_us=2,
    user="ada",
    steps=[CommandStepView(state="queued", time_us=1)],
)
ALL: list[events.AnyHappening] = [
    events.AccessChanged(workgroup="w", user_id="u"),
    events.DevicePresence(
        workgroup="w", device_id="d", online=True, state="online", cause="connected", cause_text="x", since_us=1
    ),
    events.DeviceNew(workgroup="w", device_id="d", name="n"),
    events.DeviceChanged(workgroup="w", device_id="d"),
    events.DeviceDeleted(workgroup="w", device_id="d"),
    events.MetaChange(workgroup="w", device_id="d"),
    events.RecordsStored(
        workgroup="w",
        device_id="d",
        first_message_id=7,
        store_time_us=3,
        records=[
            events.StoredRecord(
                message_id=7, kind="metric", table="t", source="s", event_time_us=2, fields={"a": ("d", "1.50"), "b": 3}
            )
        ],
    ),
    events.StatesChanged(
        workgroup="w",
        device_id="d",
        states=[events.ChangedState(app_guid="g", table="t", source="s", name="n", value='"x"', time_us=1)],
    ),
    events.Declared(workgroup="w", device_id="d", app_guid="g", app_name="a", version="1.0.0"),
    events.PluginPresence(workgroup="w", device_id="d", app_guid="g", app_name="a", online=True, cause="c", since_us=1),
    events.CommandChanged(workgroup="w", device_id="d", command=COMMAND),
    events.AlertRaised(
        workgroup="w",
        device_id="d",
        app_guid="g",
        table="t",
        source="s",
        name="n",
        action="trigger",
        message="m",
        time_us=1,
    ),
    events.TokenEnded(workgroup="w", jti="j"),
]


@pytest.mark.parametrize("happening", ALL, ids=lambda h: type(h).__name__)
def test_round_trip(happening: events.AnyHappening) -> None:
    assert events.decode(events.encode(happening)) == happening


@pytest.mark.parametrize("happening", ALL, ids=lambda h: type(h).__name__)
def test_whose_records(happening: events.AnyHappening) -> None:
    payload = events.encode(happening)
    assert events.records_of(payload) == ("d" if isinstance(happening, events.RecordsStored) else None)
    assert events.records_of(b"\x02" + payload[1:]) is None
    assert events.records_of(payload[:12]) is None


def test_every_kind_is_tried_here() -> None:
    assert {type(happening) for happening in ALL} == set(events.AnyHappening.__args__)


def test_unknown_members_are_ignored_and_unknown_kinds_are_none() -> None:
    body = {"t": "token_ended", "workgroup": "w", "jti": "j", "new": 1}
    assert events.decode(b"\x01" + msgspec.msgpack.encode(body)) == events.TokenEnded(workgroup="w", jti="j")
    assert events.decode(b"\x01" + msgspec.msgpack.encode({"t": "from_the_future"})) is None


@pytest.mark.parametrize("payload", [b"", b"\x02\x80", b"\x01", b"\x01\xc1", b"\x01\x81\xa1t\xabtoken_ended"])
def test_malformed(payload: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        events.decode(payload)
    assert caught.value.code == "hub.bad_event"


@settings(max_examples=100, deadline=None)
@given(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text()
    | st.decimals(allow_nan=False, allow_infinity=False, places=2)
)
def test_values_keep_their_type(value: Value) -> None:
    record = events.StoredRecord(
        message_id=1, kind="metric", table="t", source="s", event_time_us=1, fields={"x": events.to_wire(value)}
    )
    stored = events.RecordsStored(workgroup="w", device_id="d", first_message_id=1, store_time_us=1, records=[record])
    back = events.decode(events.encode(stored))
    assert isinstance(back, events.RecordsStored)
    found = back.records[0].values()["x"]
    assert found == value
    assert type(found) is type(value)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_only_invalid_input_comes_out(payload: bytes) -> None:
    try:
        events.decode(b"\x01" + payload)
    except InvalidInput:
        pass


def test_decimal_text_is_plain() -> None:
    assert events.to_wire(Decimal("1E+3")) == ("d", "1000")
