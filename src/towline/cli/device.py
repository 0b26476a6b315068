# SPDX-License-Identifier: Apache-2.0
"""``towline device``: see devices, run a command on one, enrol new ones."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from towline.cli.output import Data, Json

app = typer.Typer(help="See devices, run a shell command on one, enrol new ones.", no_args_is_help=True)

Device = Annotated[str, typer.Argument(help="Name, id, or the first characters of the id.")]


@app.command()
def ls(
    search: Annotated[str, typer.Argument(help="Part of name, id, host name or address.")] = "",
    state: Annotated[str | None, typer.Option(help="online or offline.")] = None,
    group: Annotated[str | None, typer.Option(help="Only this group.")] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """List devices."""
    from towline.cli import http, output

    devices: list[dict[str, Any]] = []
    with http.client(data) as client:
        after: str | None = None
        while True:
            page = client.get("/devices", search=search or None, state=state, group=group, limit=500, after=after)
            devices += page["devices"]
            after = page["next"]
            if after is None:
                break
    if as_json:
        output.emit({"devices": devices, "counts": page["counts"]})
        return
    rows = [
        (
            each["name"],
            each["presence"]["state"],
            output.ago(each["presence"]["since"]),
            _percent(each["summary"], "cpu"),
            _percent(each["summary"], "memory"),
            each["agent"]["os"],
            each["id"],
        )
        for each in devices
    ]
    columns = ("NAME", "STATE", "SINCE", "CPU", "MEMORY", "SYSTEM", "ID")
    output.table(columns, rows, empty="no devices; `towline device enrol` makes a line for a new one")


@app.command()
def show(device: Device, as_json: Json = False, data: Data = None) -> None:
    """Show one device with its plugins and their commands."""
    from towline.cli import find, http, output

    with http.client(data) as client:
        device_id = find.device_id(client, device)
        found = client.get(f"/devices/{device_id}")
        plugins = client.get(f"/devices/{device_id}/plugins")["plugins"]
        states = client.get(f"/devices/{device_id}/states")["states"]
    if as_json:
        output.emit({**found, "plugins": plugins, "states": states})
        return
    presence, agent = found["presence"], found["agent"]
    output.facts(
        (
            ("name", found["name"]),
            ("id", found["id"]),
            ("workgroup", found["workgroup"]),
            ("group", found["group"]),
            ("state", f"{presence['state']} since {output.ago(presence['since'])}"),
            ("why", presence["cause_text"]),
            ("host", agent["hostname"]),
            ("system", " ".join(filter(None, (agent["os"], agent["arch"])))),
            ("agent", agent["version"]),
            ("address", agent["address"]),
            ("attention", found["flags"]),
        )
    )
    if plugins:
        typer.echo("")
        rows = [
            (each["app_name"], each["version"], "online" if each["online"] else "offline", _commands(each))
            for each in plugins
        ]
        output.table(("PLUGIN", "VERSION", "STATE", "COMMANDS (module/command)"), rows)
    if states:
        typer.echo("")
        output.table(
            ("STATE OF", "NAME", "VALUE", "AGE"),
            [
                (f"{each['table']}/{each['source']}", each["field"], each["value"], output.ago(each["time"]))
                for each in states
            ],
        )


@app.command("exec", context_settings={"ignore_unknown_options": True})
def execute(
    device: Device,
    command: Annotated[list[str], typer.Argument(help="The command; several words are quoted as they stand.")],
    timeout: Annotated[float, typer.Option(help="Seconds it may take.", min=0.1, max=86_400)] = 60.0,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Run a shell command on a device. The exit status is the command's; 128 and the signal's number when one killed it."""
    import shlex
    import sys

    from towline.cli import find, http, output

    words = command[1:] if command[0] == "--" and len(command) > 1 else command
    cmd = words[0] if len(words) == 1 else shlex.join(words)
    with http.client(data, timeout_s=timeout + 30) as client:
        device_id = find.device_id(client, device)
        result = client.call("POST", f"/devices/{device_id}/exec", {"cmd": cmd, "timeout_s": timeout})
    if as_json:
        output.emit(result)
    else:
        sys.stdout.write(result["stdout"])
        sys.stdout.flush()
        sys.stderr.write(result["stderr"])
        if result["reason"]:
            output.note(f"towline: {result['message'] or result['reason']}")
    raise typer.Exit(_status(result, quiet=as_json))


def _status(result: dict[str, Any], *, quiet: bool) -> int:
    """The exit status as a shell gives it: 128 and the signal's number for a command that a signal ended."""
    import signal

    from towline.cli import output

    code: int = result["return_code"]
    if code >= 0:
        return code if code <= 255 else 1
    if result["reason"] or code < -64:
        return 1  # not the command's own end: the reason was told
    if not quiet:
        named = {each.value: f" ({each.name})" for each in signal.Signals}
        output.note(f"towline: the command was killed by signal {-code}{named.get(-code, '')}")
    return 128 - code


@app.command()
def rename(
    device: Device,
    name: Annotated[str, typer.Argument(help="The new name.")],
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Rename a device."""
    from towline.cli import find, http, output

    with http.client(data) as client:
        found = client.call("PATCH", f"/devices/{find.device_id(client, device)}", {"name": name})
    if as_json:
        output.emit(found)
    else:
        typer.echo(f"{found['id']} is now called {found['name']}")


@app.command()
def delete(
    device: Device,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Delete a device with everything stored about it. Its agent has to be enrolled again."""
    from towline.cli import find, http, output

    with http.client(data) as client:
        found = client.get(f"/devices/{find.device_id(client, device)}")
        if not yes:
            typer.confirm(f"Delete {found['name']} ({found['id']}) and all its data?", abort=True, err=True)
        client.call("DELETE", f"/devices/{found['id']}")
    if as_json:
        output.emit({"deleted": found["id"]})
    else:
        typer.echo(f"{found['name']} deleted")


@app.command()
def enrol(
    name: Annotated[str | None, typer.Option(help="Name of the device; its host name when left out.")] = None,
    minutes: Annotated[
        int | None, typer.Option(help="How long the line is good for; default 15.", min=1, max=1440)
    ] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Make a one-time line to paste on a new device."""
    from towline.cli import http, output

    body = {"name": name, "ttl_s": None if minutes is None else minutes * 60}
    with http.client(data) as client:
        made = client.call("POST", "/enrolments", body)
    if as_json:
        output.emit(made)
        return
    output.note(f"Run this on the device, once, {output.ago(made['expires_at'])} at the latest:")
    typer.echo(made["command"])


def _percent(summary: dict[str, Any] | None, key: str) -> str | None:
    value = (summary or {}).get(key)
    return None if value is None else f"{value:.0f} %"


def _commands(plugin: dict[str, Any]) -> str:
    return ", ".join(
        f"{module.get('moduleName')}/{command.get('name')}"
        for module in plugin["modules"]
        for command in module.get("commands") or ()
    )
