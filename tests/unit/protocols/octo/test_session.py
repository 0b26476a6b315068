# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.protocols.octo.samples import EPOCH, GUID, KEY, NOW, OTHER, Harness, body, changed, update
from towline.protocols.octo import (
    AlertsReported,
    Code,
    CommandAcked,
    CommandState,
    ErrorReply,
    EventsReported,
    Guard,
    Limits,
    LocalCommandAsked,
    MetricsReported,
    Name,
    Reason,
    Registered,
    StatesReported,
    outgoing,
)
from towline.protocols.octo.session import Inspected

HOUR = 3600 * 1_000_000
STATE = body(states=[{"name": "status", "value": "fine"}])


def reason(result: object) -> Reason:
    assert isinstance(result, ErrorReply), result
    return result.reason


def test_registration_binds_the_connection() -> None:
    harness = Harness(registered=False)
    assert harness.session.app_guid is None
    result = harness.send(Name.UPDATE, update(appGUID=GUID.upper()))
    assert isinstance(result, Registered)
    assert result.first
    assert harness.session.app_guid == GUID
    again = harness.send(Name.UPDATE, update(version="2.0.0"))
    assert isinstance(again, Registered)
    assert not again.first
    assert harness.session.declaration is again.declaration


@pytest.mark.parametrize(
    "name", [Name.STATE, Name.METRIC, Name.EVENT, Name.ALERT, Name.COMMAND_ACK, Name.LOCAL_COMMAND]
)
def test_anything_before_the_registration_is_refused_before_a_key_is_asked_for(name: Name) -> None:
    harness = Harness(registered=False)
    result = harness.session.inspect(outgoing.signed(name, STATE, KEY), NOW)
    assert isinstance(result, ErrorReply)
    assert (result.code, result.reason) == (Code.INVALID_REQUEST, Reason.SEQUENCE)


def test_a_refused_registration_leaves_the_connection_unregistered() -> None:
    harness = Harness(registered=False)
    assert reason(harness.send(Name.UPDATE, changed("version", "x"))) is Reason.SCHEMA
    assert reason(harness.send(Name.UPDATE, update(), key=None)) is Reason.KEY
    assert reason(harness.send(Name.UPDATE, update(), key="wrong")) is Reason.SIGNATURE
    assert reason(harness.send(Name.STATE, STATE)) is Reason.SEQUENCE
    assert isinstance(harness.send(Name.UPDATE, update()), Registered)


def test_a_refused_second_registration_keeps_the_first() -> None:
    harness = Harness()
    before = harness.session.declaration
    assert reason(harness.send(Name.UPDATE, changed("type", "x"))) is Reason.SCHEMA
    assert harness.session.declaration is before


def test_a_reserved_name_is_for_its_plugin_alone() -> None:
    harness = Harness(guard=Guard(reserved={"ours": OTHER, "mine": GUID}))
    before = harness.session.declaration
    result = harness.send(Name.UPDATE, changed("appName", "ours"))
    assert reason(result) is Reason.SCHEMA
    assert isinstance(result, ErrorReply)
    assert f"$.params.appName: the name 'ours' is reserved for plugin {OTHER}" in result.message
    assert harness.session.declaration is before
    assert isinstance(harness.send(Name.UPDATE, changed("appName", "mine")), Registered)


def test_states_metrics_events_alerts() -> None:
    harness = Harness()
    states = harness.send(Name.STATE, STATE)
    assert isinstance(states, StatesReported)
    assert (states.module, states.states[0].value, states.epoch_us) == ("main", "fine", NOW)
    metrics = harness.send(Name.METRIC, body(metrics=[{"name": "load", "value": 12.345}]))
    assert isinstance(metrics, MetricsReported)
    assert metrics.metrics[0].value == "12.34"
    events = harness.send(Name.EVENT, body(events=[{"name": "login", "value": "root"}]))
    assert isinstance(events, EventsReported)
    alert = {"name": "hot", "action": "trigger", "time": str(EPOCH), "message": ""}
    alerts = harness.send(Name.ALERT, body(alarms=[alert]))
    assert isinstance(alerts, AlertsReported)
    assert harness.guard.accepted == {
        Name.UPDATE: 1,
        Name.STATE: 1,
        Name.METRIC: 1,
        Name.EVENT: 1,
        Name.ALERT: 1,
    }
    empty = harness.send(Name.STATE, body(states=[]))
    assert isinstance(empty, StatesReported)


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        (Name.STATE, body(), "$.params: Object missing required field 'states'"),
        (Name.STATE, {**STATE, "moduleName": "x"}, "$.params.moduleName: 'x' is no module"),
        (Name.STATE, {**STATE, "moduleName": 5}, "$.params.moduleName: moduleName must be a string"),
        (Name.STATE, {**STATE, "epoch": EPOCH}, "$.params.epoch: epoch must be a string"),
        (Name.STATE, {**STATE, "epoch": "soon"}, "$.params.epoch: 'soon' is no epoch"),
        (Name.STATE, {"appGUID": GUID, "moduleName": "main", "states": []}, "$.params.epoch: epoch is required"),
        (Name.STATE, {**STATE, "appGUID": None}, "$.params.appGUID: appGUID is required"),
        (Name.STATE, {**STATE, "appGUID": "me"}, "$.params.appGUID: 'me' is not a UUID"),
        (Name.METRIC, body(metrics=[{"name": "load"}]), "$.params.metrics[0]: Object missing required field 'value'"),
        (Name.EVENT, body(events=[{"name": "login", "value": 5}]), "$.params.events[0].value"),
        (Name.ALERT, body(alarms=[{"name": "hot"}]), "$.params.alarms[0]: Object missing required field"),
        (Name.COMMAND, body(), "$.method: notifyPluginCommand is sent by agents"),
    ],
)
def test_refusals_name_the_path(name: Name, params: dict[str, Any], says: str) -> None:
    result = Harness().send(name, params)
    assert isinstance(result, ErrorReply)
    assert result.code is Code.INVALID_REQUEST
    assert says in result.message
    assert says.replace('"', "'") in json.loads(result.encode())["error"]["message"]


def test_another_plugin_on_a_bound_connection() -> None:
    harness = Harness()
    assert reason(harness.send(Name.STATE, {**STATE, "appGUID": OTHER})) is Reason.BINDING
    assert reason(harness.send(Name.UPDATE, update(appGUID=OTHER))) is Reason.BINDING


def test_frames_that_are_no_messages() -> None:
    harness = Harness()
    frames: list[tuple[str | bytes, Code]] = [
        ("nonsense", Code.PARSE_ERROR),
        (b"\xff", Code.PARSE_ERROR),
        ("\ud800", Code.PARSE_ERROR),
        ("[]", Code.INVALID_REQUEST),
        ("{}", Code.INVALID_REQUEST),
    ]
    for frame, code in frames:
        result = harness.take(frame)
        assert isinstance(result, ErrorReply)
        assert result.code is code
    binary = harness.take(outgoing.signed(Name.STATE, STATE, KEY), binary=True)
    assert isinstance(binary, ErrorReply)
    assert (binary.code, binary.reason) == (Code.PARSE_ERROR, Reason.BINARY)
    assert isinstance(harness.send(Name.STATE, STATE), StatesReported)  # still alive


def test_an_id_does_not_matter() -> None:
    text = json.dumps({"jsonrpc": "2.0", "id": 5, "method": "v2/notifyPluginState", "params": STATE})
    from towline.protocols.octo.signature import make_salt, sign

    assert isinstance(Harness().take(sign(text.encode(), KEY, make_salt())), StatesReported)


def frame_of(name: Name, params: dict[str, Any], size: int) -> str:
    """A signed frame of exactly ``size`` bytes, filled up with an unknown member."""
    short = len(outgoing.signed(name, {**params, "pad": ""}, KEY))
    return outgoing.signed(name, {**params, "pad": "x" * (size - short)}, KEY)


@pytest.mark.parametrize(("name", "limit"), [(Name.STATE, 2048), (Name.UPDATE, 131_072), (Name.COMMAND_ACK, 16_384)])
def test_each_kind_has_its_limit(name: Name, limit: int) -> None:
    harness = Harness()
    harness.guard.of(GUID).commands.sent("id", module="main", name="say_hello", now_us=NOW)
    params = {Name.STATE: STATE, Name.UPDATE: update(), Name.COMMAND_ACK: ack("ACCEPTED")}[name]
    assert not isinstance(harness.take(frame_of(name, params, limit)), ErrorReply)
    over = harness.take(frame_of(name, params, limit + 1))
    assert isinstance(over, ErrorReply)
    assert over.reason is Reason.SIZE
    assert f"the message has {limit + 1} bytes; at most {limit}" in over.message


def test_strict_makes_every_limit_the_payload_limit() -> None:
    harness = Harness(Limits(strict=True), registered=False)
    assert reason(harness.take(frame_of(Name.UPDATE, update(modules=[]), 2049))) is Reason.SIZE


def test_the_size_is_checked_before_parsing() -> None:
    assert reason(Harness().take(b"[" * 131_073)) is Reason.SIZE


@pytest.mark.parametrize(("shift", "good"), [(0, True), (600, True), (-600, True), (601, False), (-601, False)])
def test_the_epoch_window(shift: int, good: bool) -> None:
    result = Harness().send(Name.STATE, {**STATE, "epoch": str(EPOCH + shift)})
    if good:
        assert isinstance(result, StatesReported)
    else:
        assert reason(result) is Reason.EPOCH
        assert isinstance(result, ErrorReply)
        assert "time error" in result.message
        assert ("ahead of" if shift > 0 else "behind") in result.message


def test_the_window_can_be_off() -> None:
    harness = Harness(Limits(epoch_window_s=0))
    assert isinstance(harness.send(Name.STATE, {**STATE, "epoch": "1"}), StatesReported)


def test_a_replay_is_refused_also_on_another_connection() -> None:
    guard = Guard()
    first = Harness(guard=guard)
    frame = outgoing.signed(Name.STATE, STATE, KEY)
    assert isinstance(first.take(frame), StatesReported)
    assert reason(first.take(frame)) is Reason.REPLAY
    assert reason(Harness(guard=guard).take(frame)) is Reason.REPLAY


def test_v1_is_off_unless_switched_on() -> None:
    text = json.dumps({"jsonrpc": "2.0", "method": "v1/notifyPluginUpdate", "params": update()})
    assert reason(Harness().take(text)) is Reason.METHOD
    harness = Harness(Limits(allow_v1=True), registered=False)
    assert isinstance(harness.take(text.replace(f'"{EPOCH}"', str(EPOCH))), Registered)


def test_500_calls_an_hour_on_a_rolling_window() -> None:
    harness = Harness(Limits(calls_per_hour=5))
    for second in range(3):
        harness.now = NOW + second * 1_000_000
        assert isinstance(harness.send(Name.STATE, STATE), StatesReported)
    assert reason(harness.take("nonsense")) is Reason.PARSE  # refused frames count
    for _ in range(3):
        over = harness.send(Name.STATE, STATE)
        assert isinstance(over, ErrorReply)
        assert over.reason is Reason.RATE
        assert "over 5 calls in an hour; the next is free in 3598 s" in over.message
    harness.now = NOW + HOUR
    for _ in range(2):  # the registration's and the first state's slots are free again
        assert reason(harness.send(Name.STATE, STATE)) is Reason.EPOCH
    assert reason(harness.send(Name.STATE, STATE)) is Reason.RATE


def test_the_budget_is_the_plugins_not_the_connections() -> None:
    guard = Guard(Limits(calls_per_hour=3))
    harness = Harness(guard=guard)
    for _ in range(2):
        assert isinstance(harness.send(Name.STATE, STATE), StatesReported)
    again = Harness(guard=guard, registered=False)
    assert reason(again.send(Name.UPDATE, update())) is Reason.RATE


def test_frames_without_a_key_cannot_use_up_a_plugins_budget() -> None:
    guard = Guard(Limits(calls_per_hour=5))
    stranger = Harness(guard=guard, registered=False)
    for _ in range(5):
        assert reason(stranger.send(Name.UPDATE, update(), key="wrong")) is Reason.SIGNATURE
    assert reason(stranger.send(Name.UPDATE, update(), key="wrong")) is Reason.RATE
    assert isinstance(Harness(guard=guard).send(Name.STATE, STATE), StatesReported)
    assert guard.refused == {Reason.SIGNATURE: 5, Reason.RATE: 1}


def ack(state: str, **changes: Any) -> dict[str, Any]:
    acks = [{"name": "say_hello", "result": {"response": "Hello Buzz", "load": 1.5}}]
    return body(commandId="id", commandSource="remote", commandState=state, commandAcks=acks, **changes)


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def test_a_result_may_nest_sixty_four_times() -> None:
    harness = Harness()
    harness.guard.of(GUID).commands.sent("id", module="main", name="say_hello", now_us=NOW)
    deep = harness.send(
        Name.COMMAND_ACK, {**ack("ACKED"), "commandAcks": [{"name": "say_hello", "result": nested(65)}]}
    )
    assert isinstance(deep, ErrorReply)
    assert "$.params.commandAcks[0].result: the result nests deeper than 64" in deep.message
    fine = {**ack("ACKED"), "commandAcks": [{"name": "say_hello", "result": nested(64)}]}
    assert isinstance(harness.send(Name.COMMAND_ACK, fine), CommandAcked)


def test_a_command_from_sent_to_acked() -> None:
    harness = Harness()
    assert reason(harness.send(Name.COMMAND_ACK, ack("ACCEPTED"))) is Reason.COMMAND
    harness.guard.of(GUID).commands.sent("id", module="main", name="say_hello", now_us=NOW)
    accepted = harness.send(Name.COMMAND_ACK, ack("ACCEPTED"))
    assert isinstance(accepted, CommandAcked)
    assert (accepted.command_id, accepted.state) == ("id", CommandState.ACCEPTED)
    acked = harness.send(Name.COMMAND_ACK, ack("ACKED", states=[{"name": "status", "value": "x"}]))
    assert isinstance(acked, CommandAcked)
    assert acked.result_json == '{"response":"Hello Buzz","load":1.5}'
    assert acked.states[0].value == "x"
    assert reason(harness.send(Name.COMMAND_ACK, ack("ACKED"))) is Reason.COMMAND


def test_an_ack_with_a_wrong_shape_leaves_the_command_open() -> None:
    harness = Harness()
    book = harness.guard.of(GUID).commands
    book.sent("id", module="main", name="say_hello", now_us=NOW)
    for bad in (
        ack("DONE"),
        ack("SENT"),
        ack("ACKED", states=[{"name": "nope", "value": "x"}]),
        {**ack("ACKED"), "commandAcks": [{"name": "other"}]},
        {**ack("ACKED"), "commandAcks": [{"name": "say_hello", "result": 5}]},
        {**ack("ACKED"), "commandAcks": [{"name": "say_hello", "result": nested(65)}]},
    ):
        assert reason(harness.send(Name.COMMAND_ACK, bad)) in (Reason.SCHEMA, Reason.COMMAND)
    assert book.open()[0].state is CommandState.SENT


def test_results_as_text_and_missing_acks_are_for_older_sdks() -> None:
    text = {**ack("ACKED"), "commandAcks": [{"name": "say_hello", "result": "done"}]}
    bare = ack("ACKED")
    del bare["commandAcks"]
    for params, expected in ((text, '"done"'), (bare, None)):
        harness = Harness()
        harness.guard.of(GUID).commands.sent("id", module="main", name="say_hello", now_us=NOW)
        result = harness.send(Name.COMMAND_ACK, params)
        assert isinstance(result, CommandAcked)
        assert result.result_json == expected
    for params in (text, bare):
        guard = Guard(Limits(strict=True, max_payload_bytes=5000))
        harness = Harness(guard=guard)
        guard.of(GUID).commands.sent("id", module="main", name="say_hello", now_us=NOW)
        assert reason(harness.send(Name.COMMAND_ACK, params)) is Reason.SCHEMA


LOCAL = {
    "clientAppGUID": GUID,
    "appGUID": OTHER,
    "epoch": str(EPOCH),
    "commandId": f"{GUID}|5",
    "commandSource": "local",
    "moduleName": "other",
    "commands": [{"name": "run", "params": [{"name": "a", "value": "b"}]}],
}


def test_a_local_command_is_signed_by_the_client() -> None:
    result = Harness().send(Name.LOCAL_COMMAND, LOCAL)
    assert isinstance(result, LocalCommandAsked)
    assert (result.client, result.target, result.module, result.name) == (GUID, OTHER, "other", "run")
    assert result.params[0].value == "b"


@pytest.mark.parametrize(
    "changes",
    [
        {"commandSource": "remote"},
        {"commandId": "5"},
        {"commandId": f"{OTHER}|5"},
        {"commands": []},
        {"appGUID": "x"},
    ],
)
def test_local_commands_refused(changes: dict[str, Any]) -> None:
    assert reason(Harness().send(Name.LOCAL_COMMAND, {**LOCAL, **changes})) is Reason.SCHEMA


def test_a_local_command_of_another_client_is_refused() -> None:
    assert reason(Harness().send(Name.LOCAL_COMMAND, {**LOCAL, "clientAppGUID": OTHER})) is Reason.BINDING


def test_a_frame_inspected_before_the_connection_was_bound_elsewhere() -> None:
    # Two registrations are in flight while the keys are looked up; the first one binds.
    harness = Harness(registered=False)
    first = harness.session.inspect(outgoing.signed(Name.UPDATE, update(), KEY), NOW)
    second = harness.session.inspect(outgoing.signed(Name.UPDATE, update(appGUID=OTHER), KEY), NOW)
    assert isinstance(first, Inspected)
    assert isinstance(second, Inspected)
    assert isinstance(harness.session.accept(first, KEY, NOW), Registered)
    assert reason(harness.session.accept(second, KEY, NOW)) is Reason.BINDING


def test_a_revoked_key_ends_it() -> None:
    assert reason(Harness().send(Name.STATE, STATE, key=None)) is Reason.KEY


def test_the_agents_own_refusals_are_counted_too() -> None:
    harness = Harness()
    harness.guard.refused[Reason.OFFLINE] += 1
    assert ErrorReply.offline("the spool is full").encode().startswith('{"jsonrpc":"2.0","error":{"code":"-320000"')
