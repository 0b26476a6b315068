# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.protocols.octo.samples import EPOCH, GUID, KEY, NOW, OTHER, body, update
from towline import __version__
from towline.clock import ManualClock
from towline.protocols.octo import Limits, OctoError, outgoing
from towline.sdk import JsonValidator

VECTORS = Path(__file__).parents[1] / "protocols" / "octo" / "octo-signatures.json"
TEMPLATE = """{
    "jsonrpc": "2.0",
    "method": "v2/notifyPluginUpdate",
    "params": {
        "sdk": "${OCTO_SDK_VERSION}",
        "appGUID": "${PLUGIN_APP_GUID}",
        "appName": "${PLUGIN_NAME}",
        "epoch": "",
        "type": "ib",
        "version": "${PLUGIN_VERSION}",
        "modules": [{"moduleName": "${PLUGIN_NAME}", "properties": []}]
    }
}"""


def make(**options: Any) -> JsonValidator:
    return JsonValidator(GUID, "plugin-hello", "1.2.3", KEY, clock=ManualClock(NOW), **options)


def message(method: str, params: dict[str, Any]) -> str:
    return json.dumps({"jsonrpc": "2.0", "method": f"v2/{method}", "params": params})


def test_a_template_is_filled_and_signed() -> None:
    validator = make()
    signed = validator.sign(TEMPLATE)
    assert signed is not None, validator.last_error
    assert validator.last_error is None
    params = json.loads(signed)["params"]
    assert params == {
        "sdk": __version__,
        "appGUID": GUID,
        "appName": "plugin-hello",
        "epoch": str(EPOCH),
        "type": "ib",
        "version": "1.2.3",
        "modules": [{"moduleName": "plugin-hello", "properties": []}],
    }
    assert validator.verify(signed)
    assert validator.declaration is not None


def test_a_complete_text_is_signed_byte_for_byte() -> None:
    text = message("notifyPluginState", body(states=[])).replace(" ", "  ")
    signed = make().sign(text)
    assert signed is not None
    start = signed.index("?authorization=")
    assert signed[:start] + signed[start + 89 :] == text


def test_a_missing_epoch_is_added() -> None:
    params = body(states=[])
    del params["epoch"]
    signed = make().sign(message("notifyPluginState", params))
    assert signed is not None
    assert json.loads(signed)["params"]["epoch"] == str(EPOCH)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "batch"),
        ("5", "JSON object"),
        ("{}", "unknown method"),
        ('{"method":"v2/notifyPluginState"}', "params must be an object"),
        ('{"method":"v2/notifyPluginState","params":{}}', 'jsonrpc must be "2.0"'),
        (message("notifyPluginCommand", body()), "sent by agents"),
        (message("notifyPluginState", body(states=[])).replace("v2/", "v1/"), "only v2"),
        (message("notifyPluginState", {**body(states=[]), "appGUID": OTHER}), "$.params.appGUID"),
        (message("notifyPluginState", {"moduleName": "main", "states": []}), "$.params.appGUID"),
        (message("notifyPluginUpdate", update(version="1")), "$.params.version"),
        (message("notifyPluginState", body(pad="x" * 2000, states=[])), "with its signature; at most 2048"),
        (message("notifyPluginState", body(epoch="soon", states=[])), "$.params.epoch"),
    ],
)
def test_the_reason_of_the_last_failure(text: str, says: str) -> None:
    validator = make()
    assert validator.sign(text) is None
    assert validator.last_error is not None
    assert says in validator.last_error


@pytest.mark.parametrize(
    ("method", "params", "says"),
    [
        ("notifyPluginState", body(states=[{"name": "nope", "value": "x"}]), "$.params.states[0].name"),
        ("notifyPluginMetric", body(metrics=[{"name": "load", "value": "1.234"}]), "$.params.metrics[0].value"),
        ("notifyPluginEvent", body(events=[{"name": "nope"}]), "$.params.events[0].name"),
        ("notifyPluginAlert", body(alarms=[{"name": "hot"}]), "$.params.alarms[0]"),
        ("notifyPluginCommandAck", body(), "$.params"),
        ("notifyPluginState", {**body(states=[]), "moduleName": "other"}, "$.params.moduleName"),
    ],
)
def test_after_an_update_messages_are_checked_against_it(method: str, params: dict[str, Any], says: str) -> None:
    validator = make()
    assert validator.sign(message("notifyPluginUpdate", update())) is not None
    assert validator.sign(message(method, params)) is None
    assert validator.last_error is not None
    assert says in validator.last_error


ACK = body(
    commandId="x", commandSource="remote", commandState="ACKED", commandAcks=[{"name": "say_hello", "result": {}}]
)
LOCAL = {
    "clientAppGUID": GUID,
    "appGUID": OTHER,
    "epoch": str(EPOCH),
    "commandId": f"{GUID}|1",
    "commandSource": "local",
    "moduleName": "m",
    "commands": [{"name": "go"}],
}


@pytest.mark.parametrize("registered", [True, False])
@pytest.mark.parametrize(
    ("method", "params", "says"),
    [
        ("CommandAck", {**ACK, "commandState": "DONE"}, "$.params.commandState: 'DONE' is none of ACCEPTED"),
        ("CommandAck", {**ACK, "commandState": "SENT"}, "$.params.commandState"),
        ("CommandAck", {**ACK, "commandSource": "here"}, "$.params.commandSource"),
        ("CommandAck", {**ACK, "commandAcks": [{"name": "a"}, {"name": "b"}]}, "$.params.commandAcks[1].name"),
        ("CommandAck", {**ACK, "commandAcks": [{"name": "a", "result": 5}]}, "$.params.commandAcks[0].result"),
        ("CommandAck", {**ACK, "commandAcks": [{"name": "a", "result": "\0"}]}, "U+0000"),
        ("CommandAck", {**ACK, "states": [{"name": "status", "value": 5}]}, "$.params.states[0].value"),
        ("CommandAck", {**ACK, "moduleName": 5}, "$.params.moduleName"),
        ("LocalCommand", {"clientAppGUID": GUID, "epoch": str(EPOCH)}, "$.params: Object missing required field"),
        ("LocalCommand", {**LOCAL, "commandId": "1"}, "$.params.commandId: commandId is <clientAppGUID>|<number>"),
        ("LocalCommand", {**LOCAL, "commandSource": "remote"}, "$.params.commandSource"),
        ("LocalCommand", {**LOCAL, "appGUID": "x"}, "$.params.appGUID: 'x' is not a UUID"),
        ("LocalCommand", {**LOCAL, "commands": []}, "$.params.commands"),
        ("State", body(epoch=EPOCH, states=[]), "$.params.epoch: epoch must be a string"),
        ("State", body(epoch=0, states=[]), "$.params.epoch: epoch must be a string"),
        ("State", body(states=[{"name": "status"}]), "$.params.states[0]"),
        ("State", {**body(states=[]), "moduleName": None}, "$.params.moduleName"),
        ("Metric", body(metrics=[{"name": "load", "value": "much"}]), "$.params.metrics[0].value"),
        ("Event", body(events=[{"name": "login", "value": 5}]), "$.params.events[0].value"),
        ("Alert", body(alarms=[{"name": "hot", "action": "fire", "time": str(EPOCH), "message": ""}]), ".action"),
        ("Alert", body(alarms="none"), "$.params.alarms"),
        ("Update", update(epoch="soon"), "$.params.epoch"),
    ],
)
def test_what_any_agent_refuses_is_not_signed(registered: bool, method: str, params: dict[str, Any], says: str) -> None:
    validator = make()
    if registered:
        assert validator.sign(message("notifyPluginUpdate", update())) is not None
    before = validator.declaration
    assert validator.sign(message(f"notifyPlugin{method}", params)) is None
    assert says in str(validator.last_error)
    assert validator.declaration is before


@pytest.mark.parametrize("registered", [True, False])
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("CommandAck", ACK),
        ("CommandAck", {**ACK, "commandState": "REJECTED", "commandAcks": []}),
        ("CommandAck", {**ACK, "commandSource": "local", "commandId": f"{OTHER}|1"}),
        ("CommandAck", {**ACK, "states": [{"name": "disks", "value": [{"Disk": "sda"}]}]}),
        ("LocalCommand", LOCAL),
        ("State", body(states=[{"name": "status", "value": "x"}, {"name": "page", "value": {"url": "x"}}])),
        ("Metric", body(metrics=[{"name": "load", "value": 1.5, "time": "5"}])),
        ("Event", body(events=[{"name": "login"}])),
        ("Alert", body(alarms=[{"name": "hot", "action": "resolve", "time": str(EPOCH), "message": ""}])),
    ],
)
def test_what_an_agent_takes_is_signed(registered: bool, method: str, params: dict[str, Any]) -> None:
    validator = make(limits=Limits(calls_per_hour=1))
    if registered:
        assert validator.sign(message("notifyPluginUpdate", update())) is not None
    for _ in range(3):  # an ack too many, or one call too many, only an agent knows of
        assert validator.sign(message(f"notifyPlugin{method}", params)) is not None, validator.last_error


@pytest.mark.parametrize("epoch", [str(EPOCH), ""])
def test_a_signed_text_is_not_signed_again(epoch: str) -> None:
    validator = make()
    signed = validator.sign(message("notifyPluginUpdate", update()))
    assert signed is not None
    assert validator.sign(signed.replace(str(EPOCH), epoch)) is None
    assert validator.last_error == "$.method: the message is signed already"


def test_samples_with_epochs_of_long_ago_are_signed() -> None:
    validator = make()
    for text in (
        message("notifyPluginUpdate", update(epoch="1664185099")),
        message("notifyPluginState", body(epoch="1664250407", states=[])),
    ):
        assert validator.sign(text) is not None, validator.last_error


def test_filling_the_epoch_keeps_every_digit() -> None:
    text = message("notifyPluginMetric", body(epoch="", metrics=[], x=0)).replace(
        '"x": 0', '"x": 1.234567890123456789012'
    )
    signed = make().sign(text)
    assert signed is not None
    assert "1.234567890123456789012" in signed


@pytest.mark.parametrize("key", ["", None, b"key"])
def test_a_key_that_is_none(key: Any) -> None:
    with pytest.raises(OctoError, match="access_key: must be a text that is not empty"):
        JsonValidator(GUID, "a", "1.0.0", key)


def test_verify() -> None:
    validator = make()
    command = outgoing.command(
        KEY, app_guid=GUID, module="main", name="say_hello", params=[], command_id="c", now_us=NOW
    )
    assert validator.verify(command)
    assert validator.last_error is None
    assert not validator.verify(command.replace("say_hello", "say_goodb"))
    assert "does not match" in str(validator.last_error)
    assert not validator.verify(command.replace("?authorization=", "?x="))
    other = outgoing.command(KEY, app_guid=OTHER, module="m", name="c", params=[], command_id="c", now_us=NOW)
    assert not validator.verify(other)
    assert "not for this plugin" in str(validator.last_error)
    for broken in ("", "\ud800", "[]"):
        assert not validator.verify(broken)
        assert validator.last_error


@pytest.mark.parametrize("case", json.loads(VECTORS.read_text())["cases"], ids=lambda case: str(case["name"]))
def test_vectors(case: dict[str, Any]) -> None:
    validator = JsonValidator(GUID, "plugin-hello", "1.0.0", case["access_key"])
    assert validator.verify(case["text"]) is case["valid"]
    assert (validator.last_error is None) is case["valid"]


def test_strict_limits() -> None:
    validator = make(limits=Limits(strict=True))
    assert validator.sign(message("notifyPluginUpdate", update())) is None
    assert "at most 2048" in str(validator.last_error)


@pytest.mark.parametrize("wrong", [("x", "a", "1.0.0"), (GUID, "1", "1.0.0"), (GUID, "a", "1")])
def test_a_wrong_plugin(wrong: tuple[str, str, str]) -> None:
    with pytest.raises(OctoError):
        JsonValidator(*wrong, KEY)


def test_it_stands_alone() -> None:
    code = "import sys; from towline.sdk import JsonValidator; print(sorted({'asyncio', 'ssl', 'psutil'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"
