# SPDX-License-Identifier: Apache-2.0
"""``towline command``: give plugins commands and follow them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from towline.cli.device import Device
from towline.cli.output import Data, Json

if TYPE_CHECKING:
    from towline.cli.http import Client

app = typer.Typer(help="Give plugins commands and follow them.", no_args_is_help=True)

_POLL_SECONDS = 20
_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@app.command()
def send(
    device: Device,
    plugin: Annotated[str, typer.Argument(help="Application name, display name or appGUID.")],
    module: Annotated[str, typer.Argument(help="Module of the plugin.")],
    command: Annotated[str, typer.Argument(help="Command of the module.")],
    param: Annotated[list[str] | None, typer.Option("--param", "-p", help="name=value, several times.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit status 1 unless it was ACKED.")] = False,
    timeout: Annotated[float, typer.Option(help="Longest wait in seconds.", min=1)] = 300.0,
    expires: Annotated[int | None, typer.Option(help="Seconds that it waits for a device that is away.", min=1)] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key sends only once.")] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Give a plugin of a device a command."""
    from towline.cli import find, http, output

    given = dict(_pair(each) for each in param or ())
    with http.client(data, timeout_s=_POLL_SECONDS + 15) as client:
        device_id = find.device_id(client, device)
        found = find.plugin(client, device_id, plugin)
        body = {
            "app_guid": found["app_guid"],
            "module": module,
            "name": command,
            "params": {name: typed(found, module, command, name, value) for name, value in given.items()},
            "expires_in_s": expires,
        }
        headers = {"idempotency-key": key} if key else None
        view = client.call("POST", f"/devices/{device_id}/commands", body, headers=headers)
        if wait:
            view = follow(client, view, timeout, quiet=as_json)
    if as_json:
        output.emit(view)
    elif wait:
        print_result(view)
    else:
        typer.echo(f"{view['id']}  {view['state']}")
    if wait and view["state"] != "acked":
        raise typer.Exit(1)


@app.command()
def show(
    command_id: Annotated[str, typer.Argument(help="The command's id.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end.")] = False,
    timeout: Annotated[float, typer.Option(help="Longest wait in seconds.", min=1)] = 300.0,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show a command, its steps and its result."""
    from towline.cli import http, output

    with http.client(data, timeout_s=_POLL_SECONDS + 15) as client:
        view = client.get(f"/commands/{http.segment(command_id)}")
        if wait:
            view = follow(client, view, timeout, quiet=as_json)
    if as_json:
        output.emit(view)
        return
    output.facts(
        (
            ("id", view["id"]),
            ("device", view["device_id"]),
            ("plugin", view["app_guid"]),
            ("command", f"{view['module']}/{view['name']}"),
            ("params", view["params"]),
            ("by", view["user"]),
            ("state", view["state"]),
            ("expires", None if view["final"] else output.ago(view["expires_at"])),
            ("result", view["result"]),
            ("late result", view["late_result"]),
        )
    )
    typer.echo("")
    output.table(("STEP", "TIME", "NOTE"), [(step["state"], step["time"], step["note"]) for step in view["steps"]])


@app.command()
def ls(
    device: Device,
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=200)] = 20,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """List a device's commands, newest first."""
    from towline.cli import find, http, output

    with http.client(data) as client:
        page = client.get(f"/devices/{find.device_id(client, device)}/commands", limit=limit)
    if as_json:
        output.emit(page)
        return
    rows = [
        (output.ago(each["created_at"]), f"{each['module']}/{each['name']}", each["state"], each["user"], each["id"])
        for each in page["commands"]
    ]
    output.table(("WHEN", "COMMAND", "STATE", "BY", "ID"), rows, empty="no commands yet")


@app.command()
def cancel(
    command_id: Annotated[str, typer.Argument(help="The command's id.")], as_json: Json = False, data: Data = None
) -> None:
    """Cancel a command that has not been sent."""
    from towline.cli import http, output

    with http.client(data) as client:
        view = client.call("POST", f"/commands/{http.segment(command_id)}/cancel")
    if as_json:
        output.emit(view)
    else:
        typer.echo(f"{view['id']}  {view['state']}")


def follow(client: Client, view: dict[str, Any], timeout: float, *, quiet: bool) -> dict[str, Any]:
    """Wait until a command is final, telling of each step on stderr. Unavailable ``cli.wait`` when it takes longer."""
    from towline.cli import http, output
    from towline.errors import Unavailable

    deadline = time.monotonic() + timeout
    told = 0
    while True:
        for step in view["steps"][told:]:
            if not quiet:
                output.note(f"{step['time'] or '':24}  {step['state']}  {step['note']}".rstrip())
        told = len(view["steps"])
        if view["final"]:
            return view
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise Unavailable(
                "cli.wait",
                f"command {view['id']} is still {view['state']} after {timeout:g} s",
                hint=f"look again with `towline command show {view['id']}`",
            )
        wait = max(0.1, min(_POLL_SECONDS, remaining))
        view = client.get(f"/commands/{http.segment(view['id'])}", wait_s=wait, after_state=view["state"])


def print_result(view: dict[str, Any]) -> None:
    """A finished command's result on stdout."""
    from towline.cli import output

    result = view["result"]
    if isinstance(result, dict | list):
        output.emit(result)
    elif result is not None:
        typer.echo(str(result))


def typed(plugin: dict[str, Any], module: str, command: str, name: str, value: str) -> str | bool:
    """A parameter's value as its declaration wants it: a consent (``tos``) is a boolean, all others are text."""
    for declared in plugin["modules"]:
        if declared.get("moduleName") != module:
            continue
        for each in declared.get("commands") or ():
            if each.get("name") == command and _display_type(each.get("params"), name) == "tos":
                return _TRUTH.get(value.lower(), value)
    return value


def _display_type(params: Any, name: str) -> str | None:
    """``displayType`` of the parameter ``name``, which may lie inside a group."""
    for each in params if isinstance(params, list) else ():
        if not isinstance(each, dict):
            continue
        if each.get("name") == name:
            return each.get("displayType")
        inner = _display_type(each.get("params"), name)
        if inner is not None:
            return inner
    return None


def _pair(text: str) -> tuple[str, str]:
    from towline.errors import InvalidInput

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidInput("cli.usage", f"{text!r} is not name=value", where="--param")
    return name, value
