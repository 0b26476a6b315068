# SPDX-License-Identifier: Apache-2.0
"""Each command: what it asks of the API, what it prints, how it ends."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.api.fakehub import DEVICE, OFFLINE, command
from tests.unit.cli.conftest import Run, Served, invoke
from towline.cli import find, http
from towline.cli.command import typed
from towline.cli.main import app, main
from towline.errors import NotFound, Refused, TowlineError, Unavailable
from towline.hub.views import ExecResult

GUID = "a8e873a1-e5df-43a2-928a-745ff9c94dfb"


def failure(result: object) -> TowlineError:
    """The error that the console script would print."""
    error = getattr(result, "exception", None)
    assert isinstance(error, TowlineError), error
    return error


def test_device_ls(run: Run, server: Served) -> None:
    result = run("device", "ls")
    assert result.exit_code == 0
    assert DEVICE in result.stdout
    assert "offline" in result.stdout
    assert json.loads(run("device", "ls", "bo", "--state", "online", "--json").stdout)["counts"]["total"] == 2
    assert server.hub.calls[-1] == ("devices.list", "bo", "online", None, 500, None)


def test_device_show(run: Run) -> None:
    shown = run("device", "show", DEVICE).stdout
    assert "main/say_hello" in shown
    assert "the link was silent" in shown
    assert '{"a": [1, null]}' in shown
    assert json.loads(run("device", "show", DEVICE, "--json").stdout)["plugins"][0]["app_name"] == "hello"


def test_names_of_devices(run: Run) -> None:
    """Both invented devices are called boat; an id's beginning tells them apart when it is long enough."""
    ambiguous = failure(run("device", "show", "boat"))
    assert ambiguous.code == "cli.ambiguous"
    assert DEVICE in str(ambiguous)
    assert run("device", "show", DEVICE[:13]).exit_code == 0
    assert isinstance(failure(run("device", "show", "nothing")), NotFound)
    assert isinstance(failure(run("device", "show", "7b0")), NotFound)


def test_a_device_is_found_on_any_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search also matches host names and systems, so a short name may match many pages of other devices."""
    asked = []

    def get(self: http.Client, path: str, **query: Any) -> Any:
        asked.append(query["after"])
        name = "pi" if query["after"] else "pi-1"
        return {"devices": [{"id": DEVICE, "name": name}], "next": None if query["after"] else "further"}

    monkeypatch.setattr(http.Client, "get", get)
    with http.Client(http.Target("http://127.0.0.1:1", "", "")) as client:
        assert find.device_id(client, "pi") == DEVICE
    assert asked == [None, "further"]


def test_device_exec(run: Run, server: Served) -> None:
    done = run("device", "exec", DEVICE, "uptime", "--timeout", "5")
    assert (done.exit_code, done.stdout) == (0, "uptime\n")
    assert server.hub.calls[-1] == ("execs.run", DEVICE, "uptime", 5.0)
    run("device", "exec", DEVICE, "--", "ls", "-l", "a b")
    words = next(call for call in reversed(server.hub.calls) if call[0] == "execs.run")
    assert words[2] == "ls -l 'a b'"
    assert failure(run("device", "exec", OFFLINE, "uptime")).code == "device.offline"


@pytest.mark.parametrize(
    ("code", "reason", "status", "line"),
    [
        (-9, None, 137, "towline: the command was killed by signal 9 (SIGKILL)\n"),
        (-9, "timeout", 1, "towline: it took too long\n"),
        (-1, "link_lost", 1, "towline: it took too long\n"),
        (3, None, 3, ""),
    ],
)
def test_the_exit_status_of_exec(
    run: Run, server: Served, monkeypatch: pytest.MonkeyPatch, code: int, reason: str | None, status: int, line: str
) -> None:
    message = "it took too long" if reason else ""
    result = ExecResult(stdout="", stderr="", return_code=code, reason=reason, message=message)

    class Ended:
        correlation_id = "c"

        async def result(self) -> ExecResult:
            return result

    async def ended(*_: Any) -> Ended:
        return Ended()

    monkeypatch.setattr(server.hub, "run", ended)
    done = run("device", "exec", DEVICE, "x")
    assert (done.exit_code, done.stderr) == (status, line)
    assert run("device", "exec", DEVICE, "x", "--json").exit_code == status


def test_rename_delete_enrol(run: Run, server: Served) -> None:
    assert "barge" in run("device", "rename", DEVICE, "barge").stdout
    assert run("device", "delete", DEVICE, stdin="n\n").exit_code == 1
    assert all(call[0] != "devices.delete" for call in server.hub.calls)
    assert run("device", "delete", DEVICE, "--yes").exit_code == 0
    made = run("device", "enrol", "--name", "pump", "--minutes", "5")
    assert made.stdout == "towline agent enrol 'ws://127.0.0.1:6790/link/v1#abc.def'\n"
    assert server.hub.calls[-1] == ("enrolments.create", "pump", 300)


def test_command_send(run: Run, server: Served) -> None:
    server.hub.command = command()
    arguments = ["command", "send", DEVICE, "hello", "main", "say_hello", "-p", "person=Buzz", "-p", "agree=yes"]
    sent = run(*arguments, "--expires", "60", "--key", "k")
    assert sent.stdout == f"{'ab' * 20}  queued\n"
    assert server.hub.calls[-1] == (
        "commands.submit", DEVICE, GUID, "main", "say_hello", {"person": "Buzz", "agree": True}, 60, "k",
    )  # fmt: skip
    assert failure(run(*arguments[:3], "other", *arguments[4:])).code == "plugin.unknown"
    assert failure(run(*arguments, "-p", "nonsense")).code == "cli.usage"
    server.hub.command = command(state="acked", final=True, result='{"response":"Hello Buzz"}')
    done = run(*arguments, "--wait")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"response": "Hello Buzz"})
    server.hub.command = command(state="errored", final=True, result='"no"')
    failed = run(*arguments, "--wait")
    assert (failed.exit_code, failed.stdout) == (1, "no\n")


def test_waiting_too_long_says_so(run: Run, server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    server.hub.command = command()
    result = run("command", "show", server.hub.command.id, "--wait", "--timeout", "1")
    assert failure(result).code == "cli.wait"
    assert "still queued" in str(failure(result))


def test_command_show_ls_cancel(run: Run, server: Served) -> None:
    server.hub.command = command(state="acked", final=True, result='{"a":1}')
    shown = run("command", "show", server.hub.command.id).stdout
    assert '{"a": 1}' in shown
    assert "main/say_hello" in shown
    assert "main/say_hello" in run("command", "ls", DEVICE).stdout
    assert failure(run("command", "cancel", server.hub.command.id)).code == "command.sent"


def test_values_are_typed_by_the_declaration() -> None:
    group = {"name": "g", "params": [{"name": "agree", "displayType": "tos"}]}
    plugin = {"modules": [{"moduleName": "m", "commands": [{"name": "c", "params": [group]}]}]}
    assert typed(plugin, "m", "c", "agree", "True") is True
    assert typed(plugin, "m", "c", "agree", "perhaps") == "perhaps"
    assert typed(plugin, "m", "c", "other", "true") == "true"
    assert typed(plugin, "x", "c", "agree", "true") == "true"


def test_plugins(run: Run, tmp_path: Path) -> None:
    shown = json.loads(run("plugin", "create", "hello").stdout)
    assert set(shown) == {"app_guid", "access_key", "platform", "architecture"}
    file = tmp_path / "c.json"
    made = run("plugin", "create", "hello", "-o", str(file))
    assert made.stdout == ""
    assert json.loads(file.read_text()) == shown
    assert GUID in run("plugin", "ls").stdout
    assert json.loads(run("plugin", "credential", GUID).stdout) == shown
    assert run("plugin", "revoke", GUID).exit_code == 0
    kept = tmp_path / "kept.json"
    kept.write_text("the only key")
    assert failure(run("plugin", "create", "my-plugin", "-o", str(kept))).code == "cli.file"
    assert kept.read_text() == "the only key"
    missing = run("plugin", "credential", GUID, "-o", str(tmp_path / "no" / "c.json"))
    assert failure(missing).code == "cli.file"


def test_users_and_tokens(run: Run) -> None:
    assert "Ada" in run("user", "ls").stdout
    made = run("user", "create", "bob", "-P", "read")
    assert "password" in made.stdout
    assert "password" not in run("user", "create", "eve", "--password-stdin", stdin="long enough\n").stdout
    reset = json.loads(run("user", "reset-password", "ada", "--json").stdout)
    assert len(reset["password"]) == 23
    assert failure(run("user", "reset-password", "nobody")).code == "user.unknown"
    token = run("token", "create", "ci", "-P", "read", "--days", "3")
    assert token.stdout == "secret\n"
    assert "t-1" in run("token", "ls").stdout
    assert run("token", "revoke", "t-1").exit_code == 0
    assert failure(run("token", "revoke", "t-2")).code == "token.unknown"


# Where to go -------------------------------------------------------------------------------------------------------


def test_a_reset_goes_by_the_machines_own_token(
    run: Run, server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "towline-data"
    data.mkdir()
    (data / "cli-token").write_text("owner-token\n")
    (data / "cli-url").write_text(server.url + "\n")
    monkeypatch.delenv("TOWLINE_TOKEN")
    monkeypatch.delenv("TOWLINE_URL")
    http.store(http.Target(server.url, "a-session-that-ended", ""))
    assert failure(run("user", "ls")).code == "token.invalid"
    assert run("user", "reset-password", "ada").exit_code == 0
    monkeypatch.setenv("TOWLINE_TOKEN", "wrong")
    monkeypatch.setenv("TOWLINE_URL", server.url)
    assert failure(run("user", "reset-password", "ada")).code == "token.invalid"
    assert run("user", "reset-password", "ada", "--data", str(data)).exit_code == 0


def test_nothing_known() -> None:
    error = failure(invoke("device", "ls"))
    assert isinstance(error, Refused)
    assert "towline login" in str(error)


def test_what_is_known_in_order(server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "towline-data"
    data.mkdir()
    (data / "cli-token").write_text("owner-token\n")
    assert http.target() == http.Target(http.DEFAULT_URL, "owner-token", "towline-data/cli-token")
    (data / "cli-url").write_text(server.url + "\n")
    assert http.target().url == server.url
    assert invoke("device", "ls").exit_code == 0
    assert invoke("device", "ls", "--data", str(data)).exit_code == 0
    http.store(http.Target("http://stored", "s", ""))
    assert http.target().url == "http://stored"
    assert http.target(data).url == server.url
    assert http.stored_file().stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("TOWLINE_URL", server.url)
    assert http.target().token == "owner-token"
    monkeypatch.setenv("TOWLINE_TOKEN", "t")
    assert http.target() == http.Target(server.url, "t", "TOWLINE_TOKEN")
    http.stored_file().write_text("nonsense")
    monkeypatch.delenv("TOWLINE_TOKEN")
    monkeypatch.delenv("TOWLINE_URL")
    assert failure(invoke("device", "ls")).code == "cli.stored"


def test_login(server: Served) -> None:
    login = ["login", "--url", server.url + "/", "--user", "ada", "--password-stdin"]
    done = invoke(*login, stdin="right\n")
    assert done.exit_code == 0, done.output
    assert server.url in done.stdout
    assert invoke("device", "ls").exit_code == 0
    assert failure(invoke(*login, stdin="wrong\n")).code == "login.wrong"
    assert json.loads(invoke("login", "--forget", "--json").stdout) == {"forgotten": True}
    assert invoke("login", "--forget").stdout == "nothing was stored\n"
    by_token = invoke("login", "--url", server.url, "--token-stdin", "--json", stdin="reader-token\n")
    assert json.loads(by_token.stdout)["user"] == "ada"


def test_unreachable_and_foreign_servers(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWLINE_TOKEN", "t")
    monkeypatch.setenv("TOWLINE_URL", "http://127.0.0.1:1")
    error = failure(invoke("device", "ls"))
    assert isinstance(error, Unavailable)
    assert error.code == "cli.unreachable"
    monkeypatch.setenv("TOWLINE_URL", server.url + "/elsewhere")
    assert failure(invoke("device", "ls")).code == "route.unknown"
    monkeypatch.setenv("TOWLINE_URL", server.url)
    ended = failure(invoke("device", "ls"))
    assert ended.code == "token.invalid"
    assert "towline login" in str(ended)


@pytest.mark.parametrize("token", ["bäd", "a b", "a\tb", "\udce4"])
def test_a_token_that_is_none(server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("TOWLINE_URL", server.url)
    monkeypatch.setattr("os.environ", os.environ | {"TOWLINE_TOKEN": token})
    error = failure(invoke("device", "ls"))
    assert (error.code, "TOWLINE_TOKEN" in str(error)) == ("cli.token", True)


def test_a_token_on_standard_input_that_is_none(server: Served) -> None:
    words = ("login", "--url", server.url, "--token-stdin")
    error = failure(invoke(*words, stdin="tök\n"))
    assert (error.code, "standard input" in str(error)) == ("cli.token", True)
    assert failure(CliRunner().invoke(app, list(words), input=b"t\xf6k\n")).code == "cli.stdin"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("config check --json --wrong x", "No such option"),
        ("device exec d x --timeout 0 --json", "--timeout"),
        ("device show --json", "Missing argument"),
        ("nothing --json", "nothing"),
        ("device delete x --json", ""),
    ],
)
def test_wrong_usage_is_a_line_of_json(
    words: str, part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["towline", *words.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    error = json.loads(capsys.readouterr().err)["error"]
    assert part in error["message"]
    assert (ended.value.code, error["code"]) == ((2, "cli.usage") if part else (1, "cli.no_token"))


def test_json_changes_no_other_end(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, status in (("device ls --json", 0), ("device exec d -- --json", 1), ("config check --help --json", 0)):
        monkeypatch.setattr("sys.argv", ["towline", *words.split()])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == status
    assert "towline: there is no device" in capsys.readouterr().err


def test_push_finds_the_machines_own_node(server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def call(api: str, *_: object) -> dict[str, Any]:
        asked.append(api)
        return {"s": 1, "f": 0}

    monkeypatch.setattr("towline.cli.push._call", call)
    for name in ("towline-data", "elsewhere"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cli-push-url").write_text(f"http://{name}:1\n")
    invoke("push", "send", "1", "x")
    invoke("push", "publish", "room", "x", "--data", str(tmp_path / "elsewhere"))
    invoke("push", "publish", "room", "x", "--api", "http://given:2")
    monkeypatch.setenv("TOWLINE_DATA", str(tmp_path / "nothing"))
    invoke("push", "send", "1", "x")
    assert asked == ["http://towline-data:1", "http://elsewhere:1", "http://given:2", "http://127.0.0.1:6789"]


def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWLINE_TOKEN", "t")
    monkeypatch.setenv("TOWLINE_URL", "http://ü..x")
    assert failure(invoke("device", "ls")).code == "cli.url"
    assert failure(invoke("push", "send", "1", "x", "--api", "http://ü..x")).code == "cli.url"
    assert failure(invoke("push", "consume", "t", "--api", "http://ü..x")).code == "cli.url"


def test_push_errors(server: Served) -> None:
    unreachable = failure(invoke("push", "publish", "room", "x", "--api", "http://u:secret@127.0.0.1:1"))
    assert unreachable.code == "cli.unreachable"
    assert "secret" not in str(unreachable)
    assert failure(invoke("push", "send", "1", "x", "--api", server.url)).code == "cli.push"


@pytest.mark.parametrize("words", [("agent", "--data", "{}", "enrol"), ("agent", "enrol", "--data", "{}")])
def test_agent_enrol_says_how_to_start(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--data`` may stand where a person puts it, and the line to start the agent names it."""
    redeemed = []

    async def redeem(settings: Any, line: str) -> str:
        redeemed.append((settings.agent.data, line))
        return "enrolled"

    monkeypatch.setattr("towline.app.agent.enrol", redeem)
    result = invoke(*(word.format(tmp_path) for word in words), "wss://x/link/v1#t")
    assert result.output == f"enrolled; start the agent with: towline agent --data {tmp_path}\n"
    assert redeemed == [(str(tmp_path), "wss://x/link/v1#t")]


@pytest.mark.parametrize("role", ["up", "gateway", "hub"])
def test_a_base_install_says_what_it_lacks(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    error = failure(invoke(role))
    assert error.code == "cli.server_parts"
    assert "towline[server]" in str(error)


def test_gateway_top(run: Run) -> None:
    out = run("gateway", "top", "--once", "--interval", "0.2").output
    assert out.startswith("Towline gateway  2 nodes, 1 clients")
    assert "no answer" in out
    assert "room" in out
    assert "orders" in out
    told = json.loads(run("gateway", "top", "--once", "--interval", "0.2", "--json").output)
    assert told["rates"]["node-a"] == {"out_per_s": 0.0}
    assert [node["number"] for node in told["nodes"]] == [3, 4]
    assert failure(run("gateway", "top", "--once", "--api", "ftp://x")).code == "cli.usage"
