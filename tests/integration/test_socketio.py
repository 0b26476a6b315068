# SPDX-License-Identifier: Apache-2.0
"""The published device API, spoken by the public socket.io client on Node, against the whole product."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import find_program
from tests.helpers import wait_until
from tests.integration.product import Product, environment, local_device

NODE = Path(__file__).parent.parent / "node"
pytestmark = pytest.mark.needs_node


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    made = Product(tmp_path_factory.mktemp("live"))
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture(scope="module")
def client(product: Product) -> Iterator[httpx.Client]:
    with product.client() as made:
        yield made


@pytest.fixture(scope="module")
def device(client: httpx.Client) -> dict[str, Any]:
    return local_device(client)


@pytest.fixture(scope="module")
def api_token(client: httpx.Client) -> str:
    body = {"name": "operator", "privileges": ["read", "control_devices"]}
    token: str = client.post("/tokens", json=body).json()["token"]
    return token


def node_environment(product: Product, token: str) -> dict[str, str]:
    return {**environment(), "HOST": product.url, "TOKEN": token, "WORKGROUP": "main"}


class NodeClient:
    """tests/node/lines.mjs as a process: what it printed so far, and what to emit next."""

    def __init__(self, product: Product, token: str, **environ: str) -> None:
        node = find_program("node")
        assert node is not None
        self.process = subprocess.Popen(
            [node, str(NODE / "lines.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=node_environment(product, token) | environ,
        )
        self.lines: list[list[Any]] = []
        self._queue: queue.Queue[None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> NodeClient:
        return self

    def __exit__(self, *exc: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        self._thread.join(5)
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def say(self, *line: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()

    def of(self, event: str) -> list[list[Any]]:
        return [rest for name, *rest in list(self.lines) if name == event]

    def got(self, event: str, count: int = 1, timeout: float = 15.0) -> list[list[Any]]:
        wait_until(lambda: len(self.of(event)) >= count, timeout, what=f"{count} × {event}")
        return self.of(event)


def run_example(product: Product, token: str, device_id: str) -> subprocess.CompletedProcess[str]:
    node = find_program("node")
    assert node is not None
    return subprocess.run(
        [node, str(NODE / "exec.mjs")],
        env=node_environment(product, token) | {"DEVICE": device_id},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_published_example(product: Product, api_token: str, device: dict[str, Any]) -> None:
    done = run_example(product, api_token, device["id"])
    assert done.returncode == 0, done.stderr
    shown = re.fullmatch(
        r"SOCKET CONNECTED\n"
        r"RPC: \{ correlationId: '([0-9a-f-]{36})' \}\n"
        r"REPLY: \{\n"
        r"  stdout: '[^\n]*load average[^\n]*\\n',\n"
        r"  stderr: '',\n"
        r"  returnCode: 0,\n"
        r"  correlationId: '([0-9a-f-]{36})'\n\}\n",
        done.stdout,
    )
    assert shown is not None, done.stdout
    assert shown[1] == shown[2]


def test_the_session_token_does_as_well(product: Product, client: httpx.Client, device: dict[str, Any]) -> None:
    token = client.get("/session").json()["token"]
    assert "REPLY:" in run_example(product, token, device["id"]).stdout


def test_a_wrong_token_is_a_connect_error_with_data(product: Product, device: dict[str, Any]) -> None:
    done = run_example(product, "nonsense", device["id"])
    assert done.returncode == 1
    assert "code: 'token.invalid'" in done.stderr


@pytest.fixture(scope="module")
def absent(product: Product, client: httpx.Client) -> str:
    """A device that has enrolled and never come online."""
    line = client.post("/enrolments", json={"name": "absent"}).json()["line"]
    done = product.towline("agent", "--data", str(product.folder / "absent"), "enrol", line)
    assert done.returncode == 0, done.stderr
    (found,) = client.get("/devices", params={"search": "absent"}).json()["devices"]
    return str(found["id"])


def test_refusals_have_an_error_and_no_reply(
    product: Product, client: httpx.Client, api_token: str, device: dict[str, Any], absent: str
) -> None:
    reader = client.post("/tokens", json={"name": "reader", "privileges": ["read"]}).json()["token"]
    unknown = "7b0c2a54-1111-4222-8333-9a0b1c2d3e4f"
    for token, device_id in ((reader, device["id"]), (api_token, unknown), (api_token, absent)):
        with NodeClient(product, token) as node:
            node.got("connect")
            node.say("device:cmd", {"deviceId": device_id, "cmd": "uptime", "requestId": "r-1"})
            (body,) = node.got("device:cmd:rpc")[0]
            assert body["requestId"] == "r-1"
            assert body["error"]["message"]
            assert "correlationId" not in body
            node.say("@ack", "towline:unwatch", {"deviceId": device["id"]})
            node.got("@ack")
            assert node.of("device:cmd:reply") == []


def test_concurrent_requests_are_matched(product: Product, api_token: str, device: dict[str, Any]) -> None:
    with NodeClient(product, api_token) as node:
        node.got("connect")
        for number in range(8):
            cmd = f"sleep 0.{8 - number}; echo {number}"
            node.say("device:cmd", {"deviceId": device["id"], "cmd": cmd, "requestId": f"r-{number}"})
        accepted = {body["requestId"]: body["correlationId"] for (body,) in node.got("device:cmd:rpc", 8)}
        replies = node.got("device:cmd:reply", 8)
    assert len(set(accepted.values())) == 8
    for (body,) in replies:
        assert body["stdout"] == body["requestId"].removeprefix("r-") + "\n"
        assert body["correlationId"] == accepted[body["requestId"]]


def test_wrong_arguments_and_binary_data_are_answered(product: Product, api_token: str, device: dict[str, Any]) -> None:
    with NodeClient(product, api_token) as node:
        node.got("connect")
        node.say("device:cmd")
        node.say("device:cmd", None, 5)
        node.say("@binary", "device:cmd", {"deviceId": device["id"]})
        bodies = [body for (body,) in node.got("device:cmd:rpc", 3)]
    assert [set(body) for body in bodies] == [{"error"}] * 3


def test_live_data_of_a_watched_device(product: Product, api_token: str, device: dict[str, Any]) -> None:
    with NodeClient(product, api_token) as node:
        node.got("connect")
        node.say("@ack", "towline:watch", {"deviceId": device["id"]})
        assert node.got("@ack") == [[{"ok": True}]]
        (records,) = node.got("towline:records", timeout=25)[0]
        record = records["records"][0]
        assert record["table"] == "towline-host"
        feed = {"deviceId": device["id"], "table": record["table"], "source": record["source"], "requestId": "f"}
        node.say("device:feed", feed)
        (accepted,) = node.got("device:feed:rpc")[0]
        (value,) = node.got("device:feed:reply", timeout=25)[0]
    assert value["feedId"] == accepted["feedId"]
    assert set(value) == {"feedId", "event_time", "table", "source", "device", "messageId", "value", "requestId"}


def test_a_revoked_token_closes_its_connection(product: Product, client: httpx.Client) -> None:
    made = client.post("/tokens", json={"name": "short", "privileges": ["read"]}).json()
    with NodeClient(product, made["token"]) as node:
        node.got("connect")
        client.delete(f"/tokens/{made['jti']}")
        assert node.got("disconnect") == [["io server disconnect"]]


def test_a_device_lost_in_mid_command_gives_its_reply_with_the_reason(
    product: Product, api_token: str, device: dict[str, Any]
) -> None:
    with NodeClient(product, api_token) as node:
        node.got("connect")
        node.say("device:cmd", {"deviceId": device["id"], "cmd": "sleep 60", "requestId": "lost"})
        node.got("device:cmd:rpc")
        os.kill(product.children()["agent"], signal.SIGKILL)
        (body,) = node.got("device:cmd:reply", timeout=20)[0]
        assert body["returnCode"] == -1
        assert body["requestId"] == "lost"
        assert body["stderr"].strip()
        name = f"CN={device['id']},O=main"
        changes = [change for (change,) in node.got("device:stateChange", 2, timeout=20)]
        assert changes[:2] == [
            {"cn": name, "vhost": "main", "online": False},
            {"cn": name, "vhost": "main", "online": True},
        ]


def test_a_new_device_is_announced(product: Product, client: httpx.Client, api_token: str) -> None:
    with NodeClient(product, api_token) as node:
        node.got("connect")
        line = client.post("/enrolments", json={"name": "newcomer"}).json()["line"]
        done = product.towline("agent", "--data", str(product.folder / "newcomer"), "enrol", line)
        assert done.returncode == 0, done.stderr
        (body,) = node.got("device:new")[0]
    assert body == {"id": body["id"], "cn": f"CN={body['id']},O=main", "online": False}
