# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.protocols.octo.samples import EPOCH, GUID, KEY, NOW
from towline.protocols.octo import Limits, Name, OctoError, Reason, outgoing, signature
from towline.protocols.octo import messages as m
from towline.protocols.octo.envelope import parse_envelope

SALT = b"0123456789abcdef"


def decoded(text: str) -> tuple[str, dict[str, Any]]:
    signature.verify(text.encode(), KEY)
    tree = json.loads(text)
    return tree["method"].partition("?")[0], tree["params"]


def test_a_command() -> None:
    text = outgoing.command(
        KEY,
        app_guid=GUID,
        module="plugin-hello",
        name="say_hello",
        params=[m.ParamValue(name="person", value="Buzz")],
        command_id="d0a0af987c17da435b2bc44dfbee8ffe90104f4f",
        now_us=NOW,
        salt=SALT,
    )
    assert "\\/" not in text
    method, params = decoded(text)
    assert method == "v2/notifyPluginCommand"
    assert params == {
        "appGUID": GUID,
        "moduleName": "plugin-hello",
        "commandSource": "remote",
        "commands": [{"name": "say_hello", "params": [{"name": "person", "value": "Buzz"}]}],
        "commandId": "d0a0af987c17da435b2bc44dfbee8ffe90104f4f",
        "epoch": str(EPOCH),
    }
    assert m.read(parse_envelope(text.encode()).params, m.Command).command_source == "remote"


def test_a_command_too_large_names_bytes_and_limit() -> None:
    large = [m.ParamValue(name="person", value="x" * 2000)]
    with pytest.raises(OctoError, match="bytes with its signature; at most 2048") as caught:
        outgoing.check_command_size(module="main", name="say_hello", params=large)
    assert caught.value.reason is Reason.SIZE
    with pytest.raises(OctoError):
        outgoing.command(
            KEY, app_guid=GUID, module="main", name="say_hello", params=large, command_id="0" * 40, now_us=NOW
        )


def test_the_size_check_agrees_with_the_message() -> None:
    def params(size: int) -> list[m.ParamValue]:
        return [m.ParamValue(name="p", value="x" * size)]

    def rendered(size: int) -> str:
        return outgoing.command(
            KEY, app_guid=GUID, module="main", name="c", params=params(size), command_id="0" * 40, now_us=NOW
        )

    fill = 2048 - len(rendered(0))
    assert len(rendered(fill)) == 2048
    outgoing.check_command_size(module="main", name="c", params=params(fill))
    with pytest.raises(OctoError):
        outgoing.check_command_size(module="main", name="c", params=params(fill + 1))


def test_alarms_one_message_a_module() -> None:
    modules = [
        m.AlarmModule(
            module_name="a",
            epoch="5",
            alarms=[m.AlarmItem(name="hot", enabled=True, params=[m.ParamValue(name="limit", value="300")])],
        ),
        m.AlarmModule(module_name="b", epoch="6", alarms=[m.AlarmItem(name="cold", enabled=False)]),
        m.AlarmModule(module_name="c", epoch="7", alarms=[]),
    ]
    texts = outgoing.alarm_updates(KEY, app_guid=GUID, version="1.0.0", modules=modules, now_us=NOW)
    contents = [decoded(text)[1] for text in texts]
    assert [content["modules"] for content in contents] == [
        [
            {
                "moduleName": "a",
                "epoch": "5",
                "alarms": [{"name": "hot", "enabled": True, "params": [{"name": "limit", "value": "300"}]}],
            }
        ],
        [{"moduleName": "b", "epoch": "6", "alarms": [{"name": "cold", "enabled": False, "params": []}]}],
        [{"moduleName": "c", "epoch": "7", "alarms": []}],
    ]
    assert m.read(contents[0], m.AlarmUpdate).version == "1.0.0"


def test_configs_and_their_size() -> None:
    module = m.ConfigModule(
        module_name="a",
        epoch="5",
        configs=[m.ConfigItem(name="report", params=[m.ParamValue(name="every", value="5")])],
    )
    (text,) = outgoing.config_updates(KEY, app_guid=GUID, version="1.0.0", modules=[module], now_us=NOW)
    method, params = decoded(text)
    assert method == "v2/notifyPluginConfigUpdate"
    assert params["modules"][0]["configs"] == [{"name": "report", "params": [{"name": "every", "value": "5"}]}]
    outgoing.check_settings_size("configs", module, "1.0.0")
    with pytest.raises(OctoError, match=r"the configs of module 'a' would be .* at most 100"):
        outgoing.check_settings_size("configs", module, "1.0.0", Limits(max_payload_bytes=100))


def test_agent_events() -> None:
    method, params = decoded(outgoing.agent_event(KEY, app_guid=GUID, online=False, now_us=NOW))
    assert method == "v2/notifyAgentEvent"
    assert params == {"serverConnectivity": "offline", "appGUID": GUID, "epoch": str(EPOCH)}


def test_an_ack_for_a_local_client() -> None:
    text = outgoing.command_ack(
        KEY,
        app_guid=GUID,
        module="main",
        name="run",
        command_id=f"{GUID}|5",
        state="ACKED",
        result_json='{"a":1.50}',
        now_us=NOW,
    )
    method, params = decoded(text)
    assert method == f"v2/{Name.COMMAND_ACK.value}"
    assert params["commandAcks"] == [{"name": "run", "result": {"a": 1.5}}]
    assert params["commandSource"] == "local"
