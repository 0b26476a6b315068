# SPDX-License-Identifier: Apache-2.0
"""REST and the command line against the whole product: this machine is the device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.helpers import wait_until
from tests.integration.product import Product, local_device


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    made = Product(tmp_path_factory.mktemp("rest"))
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
def host(client: httpx.Client, device: dict[str, Any]) -> dict[str, Any]:
    """The host plugin, once it has registered."""
    found: list[dict[str, Any]] = []

    def online() -> bool:
        plugins = client.get(f"/devices/{device['id']}/plugins").json()["plugins"]
        found[:] = [each for each in plugins if each["app_name"] == "towline-host" and each["online"]]
        return bool(found)

    wait_until(online, 20, what="the host plugin")
    return found[0]


def run_json(product: Product, *arguments: str) -> Any:
    done = product.towline(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_session_of_the_first_admin(client: httpx.Client) -> None:
    session = client.get("/session").json()
    assert session["user"]["name"] == "admin"
    assert session["privileges"] == ["owner"]
    assert session["token"] == client.headers["authorization"].removeprefix("Bearer ")


def test_metrics_and_states_arrive(client: httpx.Client, device: dict[str, Any], host: dict[str, Any]) -> None:
    path = f"/devices/{device['id']}"

    def series() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client.get(f"{path}/metrics").json()["series"]
        return [each for each in found if len(each["points"]) >= 2]

    wait_until(series, 20, what="two points of a metric")
    one = series()[0]
    assert one["table"] == "towline-host"
    assert one["points"] == sorted(one["points"])
    only = client.get(f"{path}/metrics", params={"field": one["field"], "from": "-5m"}).json()["series"]
    assert {each["field"] for each in only} == {one["field"]}
    states = client.get(f"{path}/states").json()["states"]
    assert {"load", "uptime"} <= {each["field"] for each in states}
    assert client.get(f"{path}/events").status_code == 200


def test_a_command_to_its_end(client: httpx.Client, device: dict[str, Any], host: dict[str, Any]) -> None:
    body = {"app_guid": host["app_guid"], "module": "host", "name": "top", "params": {}}
    path = f"/devices/{device['id']}/commands"
    first = client.post(path, json=body, headers={"Idempotency-Key": "once"})
    assert first.status_code == 202
    again = client.post(path, json=body, headers={"Idempotency-Key": "once"})
    assert again.json()["id"] == first.json()["id"]
    done = client.get(f"/commands/{first.json()['id']}", params={"wait_s": 20}).json()
    assert done["state"] == "acked"
    assert done["final"] is True
    assert [step["state"] for step in done["steps"]][-2:] == ["accepted", "acked"]
    assert isinstance(done["result"], dict)
    assert client.get(path).json()["commands"][0]["id"] == done["id"]
    late = client.post(f"/commands/{done['id']}/cancel")
    assert late.status_code == 409


def test_wrong_commands_name_what_is_wrong(client: httpx.Client, device: dict[str, Any], host: dict[str, Any]) -> None:
    path = f"/devices/{device['id']}/commands"
    body = {"app_guid": host["app_guid"], "module": "host", "name": "top", "params": {"nonsense": "1"}}
    wrong = client.post(path, json=body)
    assert wrong.status_code == 400
    assert "nonsense" in wrong.json()["error"]["message"]
    odd = json.dumps({**body, "params": {"a": float("nan"), "b": "\ud800"}})
    answer = client.post(path, content=odd, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    undeclared = client.post(path, json={**body, "name": "fly", "params": {}})
    assert undeclared.json()["error"]["code"] == "command.undeclared"


def test_the_remote_shell(client: httpx.Client, device: dict[str, Any]) -> None:
    path = f"/devices/{device['id']}/exec"
    done = client.post(path, json={"cmd": "echo out; echo err >&2; exit 3"}).json()
    assert (done["stdout"], done["stderr"], done["return_code"], done["reason"]) == ("out\n", "err\n", 3, None)
    slow = client.post(path, json={"cmd": "sleep 20", "timeout_s": 0.3}).json()
    assert slow["return_code"] < 0
    assert slow["reason"]


def test_renaming(client: httpx.Client, device: dict[str, Any]) -> None:
    renamed = client.patch(f"/devices/{device['id']}", json={"name": "barge"})
    assert renamed.json()["name"] == "barge"
    found = client.get("/devices", params={"search": "arg"}).json()
    assert [each["id"] for each in found["devices"]] == [device["id"]]
    client.patch(f"/devices/{device['id']}", json={"name": device["name"]})


def test_users_with_fewer_privileges(client: httpx.Client, product: Product, device: dict[str, Any]) -> None:
    body = {"name": "reader", "password": "only for reading", "privileges": ["read"]}
    user = client.post("/users", json=body).json()
    with httpx.Client(base_url=client.base_url) as other:
        signed = other.post("/session", json={"user": "reader", "password": "only for reading"})
        assert signed.status_code == 200
        assert other.get("/devices").status_code == 200
        token = signed.json()["token"]
        other.cookies.clear()
        other.headers["authorization"] = f"Bearer {token}"
        refused = other.post(f"/devices/{device['id']}/exec", json={"cmd": "id"})
        assert refused.json()["error"]["code"] == "privilege.missing"
        assert other.get("/users").status_code == 403
        assert client.delete(f"/users/{user['id']}").status_code == 204
        assert other.get("/devices").status_code == 401


def test_a_revoked_token_is_out_at_once(client: httpx.Client) -> None:
    made = client.post("/tokens", json={"name": "ci", "privileges": ["read"]}).json()
    with httpx.Client(base_url=client.base_url, headers={"authorization": f"Bearer {made['token']}"}) as program:
        assert program.get("/devices").status_code == 200
        assert client.delete(f"/tokens/{made['jti']}").status_code == 204
        answer = program.get("/devices")
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "token.revoked"


def test_what_was_done_is_in_the_audit_log(client: httpx.Client) -> None:
    entries = client.get("/audit", params={"limit": 200}).json()["entries"]
    assert {entry["user"] for entry in entries} >= {"admin"}
    assert all(isinstance(entry["detail"], dict) for entry in entries)


def test_the_gateway_node_is_listed(client: httpx.Client, device: dict[str, Any]) -> None:
    (node,) = client.get("/gateway").json()["nodes"]
    assert node["version"]
    assert node["number"] >= 0
    assert node["links"] == 1
    # The agent's link is a connection of that node; it is no client.
    assert node["clients"] == 0
    assert client.get("/gateway/clients").json()["clients"] == []
    assert client.get("/gateway/channels").json() == {"channels": [], "more": False, "silent": []}
    assert client.post("/gateway/publish", json={"channel": "x", "data": "y"}).json() == {
        "sent": 0,
        "failed": 0,
        "silent": 0,
    }


# The command line ----------------------------------------------------------------------------------------------------


def test_devices_without_a_login(product: Product, device: dict[str, Any], host: dict[str, Any]) -> None:
    listed = run_json(product, "device", "ls")
    assert [each["id"] for each in listed["devices"]] == [device["id"]]
    table = product.towline("device", "ls")
    assert device["id"] in table.stdout
    assert "online" in table.stdout
    shown = product.towline("device", "show", device["name"])
    assert "host/top" in shown.stdout


def test_exec_gives_streams_and_status_back(product: Product, device: dict[str, Any]) -> None:
    done = product.towline("device", "exec", device["name"], "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)
    words = product.towline("device", "exec", device["id"], "--", "printf", "%s|", "a b", "-n")
    assert words.stdout == "a b|-n|"


def test_errors_are_one_line(product: Product) -> None:
    done = product.towline("device", "exec", "nowhere", "uptime")
    assert done.returncode == 1
    assert done.stderr == "towline: there is no device 'nowhere'\n"
    assert product.towline("device", "fly").returncode == 2
    told = product.towline("device", "show", "nowhere", "--json")
    assert json.loads(told.stderr)["error"]["code"] == "device.unknown"


def test_a_command_from_the_command_line(product: Product, device: dict[str, Any], host: dict[str, Any]) -> None:
    done = product.towline("command", "send", device["name"], "towline-host", "host", "top", "--wait")
    assert done.returncode == 0, done.stderr
    assert "processes" in json.loads(done.stdout)
    assert "acked" in done.stderr
    listed = run_json(product, "command", "ls", device["id"])["commands"]
    assert "acked" in product.towline("command", "show", listed[0]["id"]).stdout
    wrong = product.towline("command", "send", device["name"], "towline-host", "host", "top", "-p", "x=1")
    assert wrong.returncode == 1
    assert "has no parameter 'x'" in wrong.stderr


def test_credentials_from_the_command_line(product: Product, tmp_path: Path) -> None:
    file = tmp_path / "credential.json"
    made = run_json(product, "plugin", "create", "pump", "--out", str(file))
    written = json.loads(file.read_text())
    assert written["app_guid"] == made["app_guid"]
    assert len(written["access_key"]) == 40
    assert file.stat().st_mode & 0o777 == 0o600
    assert made["app_guid"] in product.towline("plugin", "ls").stdout
    again = run_json(product, "plugin", "credential", made["app_guid"])
    assert again["access_key"] == written["access_key"]
    assert product.towline("plugin", "revoke", made["app_guid"]).returncode == 0


def test_push_from_the_command_line(product: Product) -> None:
    api = f"http://127.0.0.1:{product.ports['api']}"
    assert run_json(product, "push", "publish", "nobody", "hello", "--api", api) == {"s": 0, "f": 0}
    missing = product.towline("push", "send", "1", "hello", "--api", api)
    assert missing.returncode == 1


def test_pushing_and_a_killed_command_by_the_command_line(product: Product, device: dict[str, Any]) -> None:
    assert run_json(product, "push", "publish", "room", "x") == {"s": 0, "f": 0}
    killed = product.towline("device", "exec", device["id"], "kill -9 $$")
    assert (killed.returncode, killed.stderr) == (137, "towline: the command was killed by signal 9 (SIGKILL)\n")


def test_two_towlines_on_one_host_do_not_sign_each_other_out(product: Product, tmp_path: Path) -> None:
    second = Product(tmp_path, "--no-agent")
    try:
        second.start()
        with httpx.Client() as browser:
            for one in (product, second):
                who = {"user": "admin", "password": one.password}
                assert browser.post(f"{one.url}/api/towline/v1/session", json=who).status_code == 200
            for one in (product, second):
                assert browser.get(f"{one.url}/api/towline/v1/session").status_code == 200
    finally:
        second.close()


def test_login_and_a_reset_password(product: Product, tmp_path: Path) -> None:
    reset = run_json(product, "user", "create", "ada", "--privilege", "owner")
    password = run_json(product, "user", "reset-password", "ada")["password"]
    assert password != reset["password"]
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    login = ["login", "--url", product.url, "--user", "ada", "--password-stdin"]
    done = product.towline(*login, stdin=password + "\n", environ=environ)
    assert done.returncode == 0, done.stderr
    stored = tmp_path / "towline" / "cli.json"
    assert stored.stat().st_mode & 0o777 == 0o600
    elsewhere = product.towline("device", "ls", "--json", environ={**environ, "TOWLINE_DATA": str(tmp_path / "none")})
    assert elsewhere.returncode == 0, elsewhere.stderr
    wrong = product.towline(*login, stdin="nonsense\n", environ=environ)
    assert wrong.returncode == 1
    assert product.towline("login", "--forget", environ=environ).returncode == 0
    assert not stored.exists()


def test_an_enrolment_line(product: Product) -> None:
    made = run_json(product, "device", "enrol", "--name", "pump")
    assert made["command"].startswith("towline agent enrol '")
    assert "#" in made["line"]


# With and without a server ---------------------------------------------------------------------------------------------


def test_a_way_back_in_without_a_server(tmp_path: Path) -> None:
    """Whoever is locked out and sits at the machine gets a new password, whether the server runs or not."""
    product = Product(tmp_path, "--no-agent")
    try:
        product.start()
        running = run_json(product, "user", "reset-password")["password"]
        product.password = running
        with product.client() as client:
            assert client.get("/session").json()["user"]["name"] == "admin"
        product.stop()
        for arguments in ((), ("--data", str(product.data))):
            stopped = run_json(product, "user", "reset-password", *arguments)["password"]
            assert stopped != running
        assert product.towline("user", "reset-password", "nobody").returncode == 1
        product.start()
        product.password = stopped
        with product.client() as client:
            assert client.get("/session").status_code == 200
        with httpx.Client(base_url=f"{product.url}/api/towline/v1") as client:
            old = client.post("/session", json={"user": "admin", "password": running})
            assert old.json()["error"]["code"] == "login.wrong"
    finally:
        product.close()
