# SPDX-License-Identifier: Apache-2.0
"""The published command dialogue played message by message, and the example plugin by every door."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.helpers import wait_until
from tests.integration.product import Product, environment, local_device
from towline.sdk import JsonValidator

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parent.parent.parent / "examples"

UPDATE = {
    "jsonrpc": "2.0",
    "method": "v2/notifyPluginUpdate",
    "params": {
        "sdk": "${OCTO_SDK_VERSION}",
        "appGUID": "${PLUGIN_APP_GUID}",
        "appName": "${PLUGIN_NAME}",
        "epoch": "",
        "displayName": "plugIN Hello",
        "type": "ib",
        "version": "${PLUGIN_VERSION}",
        "modules": [
            {
                "moduleName": "${PLUGIN_NAME}",
                "displayName": "plugIN Hello",
                "properties": [],
                "commands": [
                    {
                        "name": "say_hello",
                        "type": "asynchronous",
                        "displayCategory": "Action",
                        "displayName": "Say Hello",
                        "description": "Say hello to a person",
                        "params": [
                            {
                                "name": "person",
                                "displayName": "Person Name",
                                "description": "Person who you wanna to say hello",
                                "displayType": "string",
                                "required": True,
                                "defaultValue": "Buzz",
                            }
                        ],
                    }
                ],
            }
        ],
    },
}


def ack(command_id: str, state: str) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "method": "v2/notifyPluginCommandAck",
        "params": {
            "appGUID": "${PLUGIN_APP_GUID}",
            "epoch": "",
            "commandId": command_id,
            "commandSource": "remote",
            "moduleName": "plugin-hello",
            "commandState": state,
            "commandAcks": [{"name": "say_hello", "result": {"response": "Hello Buzz"}}],
        },
    }


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    made = Product(tmp_path_factory.mktemp("product")).start()
    yield made
    made.close()


@pytest.fixture
def rest(product: Product) -> Iterator[httpx.Client]:
    with product.client() as client:
        yield client


def dial(product: Product) -> ClientConnection:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return connect(f"wss://localhost:{product.ports['plugin']}", ssl=context, compression=None)


def receive(socket: ClientConnection, validator: JsonValidator, method: str) -> dict[str, Any]:
    """The next message of a method, its signature verified; others of the agent may come before."""
    while True:
        text = socket.recv(timeout=10)
        assert isinstance(text, str)
        message: dict[str, Any] = json.loads(text)
        assert "error" not in message, text
        assert validator.verify(text), validator.last_error
        if message["method"].startswith(f"v2/{method}?authorization=$argon2id$v=19$m=64,t=16,p=8$"):
            return message


def test_the_published_dialogue_plays_end_to_end(product: Product, rest: httpx.Client) -> None:
    credential = json.loads((product.data / "credentials" / "hello.json").read_text())
    validator = JsonValidator(credential["app_guid"], "plugin-hello", "1.0.0", credential["access_key"])

    def signed(message: dict[str, Any]) -> str:
        text = validator.sign(json.dumps(message, indent=4))
        assert text is not None, validator.last_error
        return text

    device = local_device(rest)["id"]
    with dial(product) as plugin:
        plugin.send(signed(UPDATE))
        submitted: list[dict[str, Any]] = []

        def accepted() -> bool:
            body = {
                "app_guid": credential["app_guid"],
                "module": "plugin-hello",
                "name": "say_hello",
                "params": {"person": "Buzz"},
            }
            answer = rest.post(f"/devices/{device}/commands", json=body)
            if answer.status_code == 202:
                submitted.append(answer.json())
            return answer.status_code == 202

        wait_until(accepted, 5, what="the declared command")
        command = receive(plugin, validator, "notifyPluginCommand")["params"]
        assert command["commandId"] == submitted[0]["id"]
        assert len(command["commandId"]) == 40
        assert command["appGUID"] == credential["app_guid"]
        assert command["moduleName"] == "plugin-hello"
        assert command["commandSource"] == "remote"
        assert command["commands"] == [{"name": "say_hello", "params": [{"name": "person", "value": "Buzz"}]}]
        plugin.send(signed(ack(command["commandId"], "ACCEPTED")))

        def state(name: str) -> bool:
            return bool(rest.get(f"/commands/{command['commandId']}").json()["state"] == name)

        wait_until(lambda: state("accepted"), 5, what="ACCEPTED")
        plugin.send(signed(ack(command["commandId"], "ACKED")))
        wait_until(lambda: state("acked"), 5, what="ACKED")
        done = rest.get(f"/commands/{command['commandId']}").json()
        assert done["final"] is True
        assert done["result"] == {"response": "Hello Buzz"}
        assert [step["state"] for step in done["steps"]][-2:] == ["accepted", "acked"]


@pytest.fixture
def hello(product: Product) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "hello" / "hello.py"), str(product.data / "credentials" / "hello.json")],
        env=environment() | {"TOWLINE_PLUGIN_URL": f"wss://localhost:{product.ports['plugin']}"},
        stderr=subprocess.DEVNULL,
    )
    yield process
    process.terminate()
    process.wait(5)


def online(rest: httpx.Client, device: str, name: str) -> bool:
    plugins = rest.get(f"/devices/{device}/plugins").json()["plugins"]
    return any(plugin["app_name"] == name and plugin["online"] for plugin in plugins)


def test_the_example_appears_within_two_seconds_and_answers_by_every_door(
    product: Product, rest: httpx.Client, hello: subprocess.Popen[bytes]
) -> None:
    device = local_device(rest)["id"]
    wait_until(lambda: online(rest, device, "plugin-hello"), 10, what="plugin-hello online")
    guid = json.loads((product.data / "credentials" / "hello.json").read_text())["app_guid"]
    body = {"app_guid": guid, "module": "plugin-hello", "name": "say_hello", "params": {"person": "Ann"}}
    made = rest.post(f"/devices/{device}/commands", json=body).json()
    done = rest.get(f"/commands/{made['id']}", params={"wait_s": 10}).json()
    assert (done["state"], done["result"]) == ("acked", {"response": "Hello Ann"})
    ran = product.towline(
        "command", "send", device, "plugin-hello", "plugin-hello", "say_hello", "-p", "person=Bob", "--wait", "--json"
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["result"] == {"response": "Hello Bob"}


def test_a_wrong_parameter_is_refused_by_name(product: Product, rest: httpx.Client, hello: object) -> None:
    device = local_device(rest)["id"]
    wait_until(lambda: online(rest, device, "plugin-hello"), 10)
    guid = json.loads((product.data / "credentials" / "hello.json").read_text())["app_guid"]
    for params, where in (({}, "person"), ({"person": 3}, "person"), ({"person": "x", "who": "y"}, "who")):
        body = {"app_guid": guid, "module": "plugin-hello", "name": "say_hello", "params": params}
        answer = rest.post(f"/devices/{device}/commands", json=body)
        assert answer.status_code == 400, answer.text
        assert where in json.dumps(answer.json()["error"])


def test_the_example_is_short() -> None:
    assert len((EXAMPLES / "hello" / "hello.py").read_text().splitlines()) < 40
