# SPDX-License-Identifier: Apache-2.0
"""The protocol's introductory exchange: register, command, ACCEPTED, ACKED; macros filled, ids matched."""

from __future__ import annotations

import json

from tests.unit.protocols.octo.samples import GUID, KEY, NOW, Harness
from tests.unit.sdk.test_examples import HELLO
from towline.clock import ManualClock
from towline.protocols.octo import CommandAcked, CommandState, Registered, check_command, outgoing
from towline.sdk import JsonValidator

TEMPLATE = {
    "jsonrpc": "2.0",
    "method": "v2/notifyPluginUpdate",
    "params": {
        **HELLO,
        "sdk": "${OCTO_SDK_VERSION}",
        "appGUID": "${PLUGIN_APP_GUID}",
        "appName": "${PLUGIN_NAME}",
        "epoch": "",
        "version": "${PLUGIN_VERSION}",
        "modules": [{**HELLO["modules"][0], "moduleName": "${PLUGIN_NAME}"}],
    },
}
COMMAND_ID = "d0a0af987c17da435b2bc44dfbee8ffe90104f4f"


def ack(state: str) -> str:
    params = {
        "appGUID": GUID,
        "epoch": "",
        "commandId": COMMAND_ID,
        "commandSource": "remote",
        "moduleName": "plugin-hello",
        "commandState": state,
        "commandAcks": [{"name": "say_hello", "result": {"response": "Hello Buzz"}}],
    }
    return json.dumps({"jsonrpc": "2.0", "method": "v2/notifyPluginCommandAck", "params": params}, indent=4)


def test_the_four_messages() -> None:
    plugin = JsonValidator(GUID, "plugin-hello", "1.0.0", KEY, clock=ManualClock(NOW))
    agent = Harness(registered=False)

    signed = plugin.sign(json.dumps(TEMPLATE, indent=4))
    assert signed is not None, plugin.last_error
    registered = agent.take(signed)
    assert isinstance(registered, Registered)

    values = check_command(registered.declaration, "plugin-hello", "say_hello", {"person": "Buzz"})
    agent.guard.of(GUID).commands.sent(COMMAND_ID, module="plugin-hello", name="say_hello", now_us=NOW)
    command = outgoing.command(
        KEY,
        app_guid=GUID,
        module="plugin-hello",
        name="say_hello",
        params=values,
        command_id=COMMAND_ID,
        now_us=NOW,
    )
    assert plugin.verify(command), plugin.last_error

    for state in (CommandState.ACCEPTED, CommandState.ACKED):
        signed = plugin.sign(ack(state))
        assert signed is not None, plugin.last_error
        answer = agent.take(signed)
        assert isinstance(answer, CommandAcked)
        assert (answer.state, answer.command_id) == (state, COMMAND_ID)
        assert answer.result_json == '{"response":"Hello Buzz"}'
